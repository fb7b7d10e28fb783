"""Growth: twice the text takes at most 2.3 times the steps, on the texts that make tokenizers
quadratic.

Steps are counted by the debug build, not timed: every code point examined, table slot probed, key
compared, and all of it once more where something is looked at again. test_growth_callgrind.py holds
the release build to the same.
"""

import base64
import random

import pytest
from families import FAMILIES
from hypothesis import given, settings
from scale import scaled
from strategies import texts

import harmony
from harmony import _bpe, _encode

pytestmark = pytest.mark.skipif(
    _bpe.build_mode() != "debug",
    reason="steps are counted in the debug build (HARMONY_BUILD=debug)",
)

AT_MOST = 2.3
KIBIBYTE = 2**10
# A few families take hundreds of steps to the byte. Doubling ends where one text takes this many.
MANY_STEPS = 150_000_000


def steps(tokenizer, text: str) -> int:
    # Caches that know half of the text, or as much of it as they can hold, would hide what it takes.
    _encode.use_caches("")
    return more_steps(tokenizer, text)


def more_steps(tokenizer, text: str) -> int:
    """With what the caches have of the calls before."""
    _bpe.reset_steps()
    tokenizer.count_tokens(text)
    return _bpe.steps()


def assert_linear(tokenizer, make, smallest: int, largest: int) -> None:
    """`make` gives a text of any size asked for between these two, in any unit."""
    size = smallest
    before = steps(tokenizer, make(size))
    assert before >= len(make(size)) / 4, "each character is looked at"
    while size < largest and before < MANY_STEPS:
        size *= 2
        after = steps(tokenizer, make(size))
        assert after <= AT_MOST * before, (
            f"size {size} takes {after / before:.2f} times the steps of half of it"
        )
        before = after


@pytest.mark.parametrize("family", FAMILIES)
def test_families(tokenizer, family):
    assert_linear(tokenizer, FAMILIES[family], 64 * KIBIBYTE, 2048 * KIBIBYTE)


@settings(max_examples=max(20, scaled(100)))
@given(texts(3).filter(bool))
def test_anything_repeated(tokenizer, unit):
    """No family we thought of: hypothesis looks for a text whose repetition grows faster than its
    length."""
    few = 1 + 4 * KIBIBYTE // len(unit)
    assert_linear(tokenizer, unit.__mul__, few, 4 * few)


def many_words(seed):
    """A text of distinct words that fill two thirds of the cache of spellings."""
    rng = random.Random(seed)
    syllables = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
    return " ".join(sorted({"".join(rng.choices(syllables, k=4)) for _ in range(100_000)}))


def test_words_seen_before(tokenizer):
    """Two thirds of the cache of spellings can be filled, wherever hashes lead: next to nothing is
    merged again."""
    text = many_words(61)
    first = steps(tokenizer, text)
    assert more_steps(tokenizer, text) < first / 15


def test_long_words_seen_before(tokenizer):
    """Of 7 to 24 ids: these are not merged again either."""
    rng = random.Random(64)
    words = {"".join(rng.choices("jkqvwxz", k=rng.randint(12, 30))) for _ in range(1_000)}
    n_ids = [len(tokenizer.encode_ordinary(f" {word}")) for word in words]
    assert sum(7 <= n <= 24 for n in n_ids) > 900
    text = " ".join(sorted(words))
    first = steps(tokenizer, text)
    assert more_steps(tokenizer, text) < first / 4


def test_words_seen_before_after_others(tokenizer):
    """What is not used any more goes first, so that others do not throw each other out for long."""
    steps(tokenizer, many_words(62))
    text = many_words(63)
    each_time = [more_steps(tokenizer, text) for _ in range(4)]
    assert each_time[3] < each_time[0] / 10


@pytest.mark.parametrize(
    "family", ["one letter", "random lower-case letters", "apostrophes", "random kana"]
)
def test_loaded_vocabularies(tmp_path, family):
    """Other vocabularies merge with a heap: n log n."""
    tokens = [bytes([byte]) for byte in range(256)] + [
        b"th",
        b"he",
        b"the",
        b"aa",
        b"aaaa",
        b"a" * 8,
        b"''",
        b"ab",
    ]
    path = tmp_path / "small.tiktoken"
    path.write_bytes(
        b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))
    )
    small = harmony.Tokenizer.from_tiktoken_file(
        path, pattern=r"(?s:.+)", special_tokens={}, name="small"
    )
    assert_linear(small, FAMILIES[family], 64 * KIBIBYTE, 256 * KIBIBYTE)
