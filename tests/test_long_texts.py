"""Long texts: memory stays in proportion, Ctrl-C is heard."""

import pytest
from processes import run
from scale import SHRINK

MEBIBYTE = 2**20

# The text is made of equal parts: making random text whole would take more memory than the call
# that is measured.
MEASURE_MEMORY = """
import resource, sys
import harmony
from families import FAMILIES

method, family, n_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
tokenizer = harmony.get_tokenizer("o200k_harmony")
call = getattr(tokenizer, method)
text = FAMILIES[family](2**16) * (n_bytes // 2**16)
if method.startswith("encode_batch"):
    text = [text[i : i + 2**16] for i in range(0, n_bytes, 2**16)]
call("warm up" if isinstance(text, str) else ["warm up"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
call(text)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def memory_per_byte(method: str, family: str, n_mebibytes: int) -> float:
    """Memory that one call takes at its peak, beside its text: bytes for each byte of the text."""
    n_bytes = n_mebibytes * MEBIBYTE // SHRINK
    return int(run(MEASURE_MEMORY, method, family, str(n_bytes))) * 1024 / n_bytes


MANY_PIECES = ["contractions", "newline then spaces", "random bytes as latin-1"]
ONE_PIECE = ["one letter", "starts of special tokens", "spaces, a letter at the end", "emoji"]


@pytest.mark.parametrize("family", MANY_PIECES + ONE_PIECE)
def test_memory_of_an_array_of_ids(family):
    """At most one id of four bytes to the byte, half as much again while their buffer grows, a
    UTF-8 copy."""
    assert memory_per_byte("encode_to_numpy", family, 64) < 8


@pytest.mark.parametrize("family", MANY_PIECES)
def test_memory_of_the_arrays_of_a_batch(family):
    """At most one id of four bytes to the byte, and not twice: chunks are joined as they end."""
    assert memory_per_byte("encode_batch_to_numpy", family, 64) < 4.5


@pytest.mark.parametrize("family", MANY_PIECES)
def test_memory_of_a_list_of_ids(family):
    """A pointer of eight bytes for each id on top; the ints themselves are shared."""
    assert memory_per_byte("encode", family, 16) < 16


@pytest.mark.parametrize("family", MANY_PIECES)
def test_counting_keeps_no_ids(family):
    assert memory_per_byte("count_tokens", family, 16) < 1.5


@pytest.mark.parametrize("method", ["encode_to_numpy", "count_tokens"])
def test_memory_of_one_long_piece_that_is_hard_to_merge(method):
    assert memory_per_byte(method, "random lower-case letters", 4) < 8


# The signal comes as soon as the processor has worked for a moment. A call that did not look for it
# would return, and the next one, of None, fail: nothing between the two is bytecode, which would
# look by itself. How much of the work was done by then is counted, not timed.
INTERRUPT = """
import signal, sys
import harmony
from families import FAMILIES
from harmony import _bpe
from scale import SHRINK

method, family, n_mebibytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
counts = _bpe.build_mode() == "debug"
tokenizer = harmony.get_tokenizer("o200k_harmony")
call = getattr(tokenizer, method)
text = FAMILIES[family](2**20 // SHRINK) * n_mebibytes


def steps_of(texts):
    _bpe.reset_steps()
    list(map(call, texts))
    return _bpe.steps()


whole = steps_of([text]) if counts else None
signal.signal(signal.SIGPROF, signal.default_int_handler)
signal.setitimer(signal.ITIMER_PROF, 0.001)
try:
    _bpe.reset_steps()
    list(map(call, [text, None]))
except KeyboardInterrupt:
    part = _bpe.steps() if counts else None
assert tokenizer.encode("hello world") == [24912, 2375]
print(part / whole if counts else 0)
"""


def part_done(method: str, family: str, n_mebibytes: int) -> float:
    """Of the steps of encoding, those taken by a call that Ctrl-C stopped; 0: steps are not counted
    in this build."""
    return float(run(INTERRUPT, method, family, str(n_mebibytes)))


@pytest.mark.parametrize(
    "method, family, n_mebibytes",
    [
        ("encode", "contractions", 48),
        ("encode_ordinary", "random bytes as latin-1", 16),
        ("encode_to_numpy", "random kana", 64),
        ("encode_to_numpy", "random lower-case letters", 4),
        ("count_tokens", "contractions", 256),
        ("count_tokens", "random lower-case letters", 4),
    ],
)
def test_ctrl_c_stops_a_long_call(method, family, n_mebibytes):
    assert part_done(method, family, n_mebibytes) < 0.8


def test_ctrl_c_stops_the_making_of_a_long_list():
    """The letters are one piece, encoded in no time."""
    assert part_done("encode", "one letter", 256) <= 1
