"""Bad input: a typed error that names the problem, nothing left behind, and no harm to what comes
after."""

import subprocess
import sys

import numpy
import pytest
from hypothesis import given
from strategies import damaged_utf8

import harmony
from harmony._codec import bytes_of
from harmony.errors import InvalidUtf8Error

ENCODERS = {
    "encode": lambda tokenizer, text: tokenizer.encode(text),
    "encode with special tokens": lambda tokenizer, text: tokenizer.encode(
        text, allowed_special="all"
    ),
    "encode without a check": lambda tokenizer, text: tokenizer.encode(text, disallowed_special=()),
    "encode_ordinary": lambda tokenizer, text: tokenizer.encode_ordinary(text),
    "encode_to_numpy": lambda tokenizer, text: tokenizer.encode_to_numpy(text),
    "count_tokens": lambda tokenizer, text: tokenizer.count_tokens(text),
    "count_tokens with special tokens": lambda tokenizer, text: tokenizer.count_tokens(
        text, allowed_special="all"
    ),
}
DECODERS = {
    "decode": lambda tokenizer, ids: tokenizer.decode(ids),
    "decode_utf8": lambda tokenizer, ids: tokenizer.decode_utf8(ids),
    "decode_bytes": lambda tokenizer, ids: tokenizer.decode_bytes(ids),
    "decode_tokens_bytes": lambda tokenizer, ids: tokenizer.decode_tokens_bytes(ids),
    "decode_with_offsets": lambda tokenizer, ids: tokenizer.decode_with_offsets(ids),
}


@pytest.fixture(scope="module", params=["encoding", "base_tokenizer"])
def any_tokenizer(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=ENCODERS.values(), ids=ENCODERS.keys())
def encode(request):
    return request.param


@pytest.fixture(params=DECODERS.values(), ids=DECODERS.keys())
def decode(request):
    return request.param


# Text


NO_TEXT = {
    "None": None,
    "int": 5,
    "float": 1.5,
    "list of str": ["a"],
    "tuple": (),
    "set": {"a"},
    "dict": {"a": 1},
    "class": str,
    "numpy int64": numpy.arange(3),
    "numpy float": numpy.zeros(3),
    "numpy 2-D bytes": numpy.zeros((2, 2), numpy.uint8),
    "numpy str": numpy.array(["a"]),
    "memoryview of int": memoryview(b"abcdefgh").cast("I"),
}


@pytest.mark.parametrize("text", NO_TEXT.values(), ids=NO_TEXT.keys())
def test_what_is_no_text(any_tokenizer, encode, text):
    with pytest.raises(TypeError):
        encode(any_tokenizer, text)


INVALID_UTF8 = {
    "continuation byte": (b"ab\x80c", 2),
    "overlong": (b"\xc0\x80", 0),
    "overlong of three": (b"a\xe0\x80\x80", 1),
    "overlong of four": (b"ab\xf0\x80\x80\x80", 2),
    "surrogate": (b"x\xed\xa0\x80", 1),
    "beyond unicode": (b"xyz\xf4\x90\x80\x80", 3),
    "byte that never occurs": (b"\xff", 0),
    "cut of two": (b"a\xc3", 1),
    "cut of three": (b"a\xe2\x82", 1),
    "cut of four": ("é".encode() + b"\xf0\x9f\x98", 2),
    "lead after lead": (b"\xc3\xc3\xa9", 0),
    "late": (b"a" * 100_000 + b"\xff" + b"b" * 100_000, 100_000),
}


@pytest.mark.parametrize("text, start", INVALID_UTF8.values(), ids=INVALID_UTF8.keys())
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_that_are_not_utf8(any_tokenizer, encode, text, start, kind):
    with pytest.raises(InvalidUtf8Error) as raised:
        encode(any_tokenizer, kind(text))
    error = raised.value
    assert isinstance(error, harmony.HarmonyError)
    assert isinstance(error, UnicodeDecodeError)
    with pytest.raises(UnicodeDecodeError) as from_codec:
        text.decode()
    assert (error.start, error.end, error.reason) == (
        start,
        from_codec.value.end,
        from_codec.value.reason,
    )
    assert str(error) == str(from_codec.value)


@given(damaged_utf8())
def test_any_bytes_are_read_or_refused_as_the_codec_does(tokenizer, content):
    try:
        text = content.decode()
    except UnicodeDecodeError as expected:
        with pytest.raises(InvalidUtf8Error) as raised:
            tokenizer.encode_ordinary(content)
        assert (raised.value.start, raised.value.end) == (expected.start, expected.end)
    else:
        assert tokenizer.encode_ordinary(content) == tokenizer.encode_ordinary(text)


def test_a_buffer_that_somebody_mends_before_the_error_is_made():
    """Text from a socket, for one, which another thread writes to."""
    error = InvalidUtf8Error.at(b"mended", 3)
    assert (error.start, error.end, error.object) == (3, 4, b"mended")
    assert "changed while it was read" in str(error)


def test_text_that_somebody_else_may_write_to_is_copied_before_it_is_looked_at():
    """A special token that was found could be gone when its name is read."""
    content = bytearray(b"<|end|>")
    for text in (
        content,
        memoryview(content),
        memoryview(content).toreadonly(),
        numpy.array(content),
    ):
        assert type(bytes_of(text)) is bytes and bytes_of(text) == content
    assert type(bytes_of(memoryview(bytes(content))[::-1])) is bytes
    ours = b"in place"
    assert bytes_of(memoryview(ours)).obj is ours is bytes_of(ours)


def test_a_view_that_was_released(any_tokenizer, encode):
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError):
        encode(any_tokenizer, view)


# Names of special tokens


def test_unknown_names_have_no_effect_in_a_harmony_encoding(encoding):
    """As in openai_harmony."""
    assert encoding.encode("a", allowed_special={"<|nosuch|>"}) == [64]
    ids = encoding.encode("<|nosuch|><|end|>", allowed_special={"<|nosuch|>", "<|end|>"})
    assert ids == [*encoding.encode_ordinary("<|nosuch|>"), 200_007]
    assert encoding.count_tokens("a", allowed_special={"<|nosuch|>"}) == 1


def test_unknown_names_are_refused_by_a_tokenizer(tokenizer, base_tokenizer):
    for call in (tokenizer.encode, tokenizer.encode_to_numpy, tokenizer.count_tokens):
        with pytest.raises(ValueError, match="nosuch"):
            call("a", allowed_special={"<|end|>", "<|nosuch|>"})
    with pytest.raises(ValueError, match="start"):
        base_tokenizer.encode("a", allowed_special={"<|start|>"})


@pytest.mark.parametrize(
    "names", [[1], [None], [b"<|start|>"], {1.5}, [("<|start|>",)], {"\ud800"}], ids=ascii
)
def test_names_that_are_no_text(any_tokenizer, names):
    for call in (any_tokenizer.encode, any_tokenizer.encode_to_numpy):
        with pytest.raises(ValueError, match="invalid allowed_special"):
            call("a", allowed_special=names, disallowed_special=())
    with pytest.raises(ValueError, match="invalid allowed_special"):
        any_tokenizer.count_tokens("a", allowed_special=names)


@pytest.mark.parametrize("names", [None, 5, 1.5], ids=repr)
def test_names_that_are_no_collection(any_tokenizer, names):
    for call in (any_tokenizer.encode, any_tokenizer.encode_to_numpy, any_tokenizer.count_tokens):
        with pytest.raises(TypeError):
            call("a", allowed_special=names)


def test_options_are_keyword_only(any_tokenizer):
    for call in (any_tokenizer.encode, any_tokenizer.encode_to_numpy, any_tokenizer.count_tokens):
        with pytest.raises(TypeError):
            call("a", set())
    with pytest.raises(TypeError):
        any_tokenizer.encode_ordinary("a", allowed_special="all")


# Ids


NO_IDS = {
    "None": None,
    "int": 5,
    "float": 1.5,
    "str": "abc",
    "list of float": [64.0],
    "list of str": ["64"],
    "list of None": [64, None],
    "nested list": [[64]],
    "nested tuple": [(64,)],
    "float after ids": [64, 65, 1.5],
    "numpy float": numpy.array([64.0]),
    "numpy bool": numpy.array([True]),
    "numpy str": numpy.array(["64"]),
    "numpy 2-D": numpy.array([[64, 65]]),
    "numpy 2-D empty": numpy.zeros((0, 2), numpy.int64),
    "numpy 0-D": numpy.array(64),
    "numpy complex": numpy.array([1j]),
    "numpy datetime": numpy.array(["2024-01-01"], dtype="M8[D]"),
    "numpy of lists": numpy.array([[64], [65, 66]], dtype=object),
    "2-D memoryview": memoryview(bytes(8)).cast("B", (2, 4)),
    "memoryview of float": memoryview(bytes(8)).cast("d"),
}


@pytest.mark.parametrize("ids", NO_IDS.values(), ids=NO_IDS.keys())
def test_what_is_no_list_of_ids(any_tokenizer, decode, ids):
    with pytest.raises(TypeError):
        decode(any_tokenizer, ids)


UNKNOWN = 201_089
KINDS = {
    "list": list,
    "tuple": tuple,
    "iterator": iter,
    "numpy int64": lambda ids: numpy.array(ids, dtype=numpy.int64),
    "numpy big-endian": lambda ids: numpy.array(ids, dtype=">i8"),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("unknown", [UNKNOWN, 2**18, 2**21 - 1, 2**21, 2**31, 2**32 - 1])
def test_unknown_ids(any_tokenizer, decode, kind, unknown):
    for ids in (
        [unknown],
        [64, unknown, unknown + 1 - 2 * (unknown == 2**32 - 1), 65],
        [64] * 10_000 + [unknown],
    ):
        with pytest.raises(harmony.HarmonyError, match=f"Invalid token for decoding: {unknown}$"):
            decode(any_tokenizer, kind(ids))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("outside", [-1, -(2**31), -(2**63), 2**32, 2**32 + 64, 2**63 - 1])
def test_ids_outside_32_bits(any_tokenizer, decode, kind, outside):
    """2**32 + 64 must not become 64. An unknown id before it does not matter: all ids are read
    first."""
    for ids in ([outside], [64, outside], [UNKNOWN, outside]):
        with pytest.raises(OverflowError):
            decode(any_tokenizer, kind(ids))


@pytest.mark.parametrize("outside", [2**63, 2**64, 10**30, -(10**30)])
def test_ids_outside_64_bits(any_tokenizer, decode, outside):
    with pytest.raises(OverflowError):
        decode(any_tokenizer, [64, outside])


def test_ids_outside_32_bits_in_unsigned_arrays(any_tokenizer, decode):
    with pytest.raises(OverflowError):
        decode(any_tokenizer, numpy.array([64, 2**63], dtype=numpy.uint64))


def test_ids_whose_reading_fails(any_tokenizer, decode):
    class Failing:
        def __index__(self):
            raise ZeroDivisionError

    def failing():
        yield 64
        raise ZeroDivisionError

    for ids in ([64, Failing()], failing()):
        with pytest.raises(ZeroDivisionError):
            decode(any_tokenizer, ids)


def test_a_list_that_changes_while_it_is_read(any_tokenizer, decode):
    """`__index__` may run any code; what the list then holds may be read or not, memory stays
    sound."""

    class Changing:
        def __init__(self, change):
            self.change = change

        def __index__(self):
            self.change()
            return 64

    for change in (list.clear, lambda ids: ids.extend([65] * 10_000), list.pop):
        ids = [64] * 100
        ids[50] = Changing(lambda ids=ids, change=change: change(ids))
        decode(any_tokenizer, ids)


@pytest.mark.parametrize("token", [1.5, "a", None, [64], b"a"], ids=repr)
def test_single_ids_that_are_none(any_tokenizer, token):
    for call in (any_tokenizer.decode_single_token_bytes, any_tokenizer.is_special_token):
        with pytest.raises(TypeError):
            call(token)


@pytest.mark.parametrize("token", [-1, 2**32, 10**30, -(10**30)])
def test_is_special_token_outside_32_bits(any_tokenizer, token):
    with pytest.raises(OverflowError):
        any_tokenizer.is_special_token(token)


@pytest.mark.parametrize("text", [None, 5, 1.5, ["a"]], ids=repr)
def test_encode_single_token_of_what_is_no_text(any_tokenizer, text):
    with pytest.raises(TypeError):
        any_tokenizer.encode_single_token(text)


@pytest.mark.parametrize("errors", [None, 5, b"strict"], ids=repr)
def test_errors_argument_of_another_type(any_tokenizer, errors):
    with pytest.raises(TypeError):
        any_tokenizer.decode([64], errors)


def test_unknown_error_handler(any_tokenizer):
    assert any_tokenizer.decode([64], "no such handler") == "a"
    with pytest.raises(LookupError, match="no such handler"):
        any_tokenizer.decode([31446], "no such handler")


# After an error


def test_an_error_leaves_nothing_behind(tokenizer):
    expected = tokenizer.encode("hello world, once more")
    bad_calls = [
        lambda: tokenizer.encode(b"hello \xff"),
        lambda: tokenizer.encode("hello <|start|>"),
        lambda: tokenizer.encode("hello", allowed_special={"<|nosuch|>"}),
        lambda: tokenizer.encode(None),
        lambda: tokenizer.decode([13225, UNKNOWN]),
        lambda: tokenizer.decode([13225, -1]),
        lambda: tokenizer.decode([13225, 1.5]),
        lambda: tokenizer.decode_utf8([31446]),
        lambda: tokenizer.decode_with_offsets([31446]),
    ]
    for call in bad_calls:
        for _ in range(20):
            with pytest.raises(Exception):  # noqa: B017  (which one is the subject of the tests above)
                call()
            assert tokenizer.encode("hello world, once more") == expected
            assert tokenizer.decode(expected) == "hello world, once more"


FAILING_CALLS = """
import resource
import harmony

encoding = harmony.load_harmony_encoding("HarmonyGptOss")
text = b"hello world " * 20_000 + b"\\xff"
ids = [24912] * 100_000 + [201_089]


def fail(count):
    for _ in range(count):
        for call in (encoding.encode, encoding.decode, encoding.decode_utf8):
            try:
                call(text if call == encoding.encode else ids)
            except harmony.HarmonyError:
                pass


fail(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fail(300)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def run(program: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, check=True, text=True
    ).stdout


def test_errors_do_not_leak_memory():
    """A leak of the text or of its ids, hundreds of kilobytes a call, would come to some hundred
    megabytes."""
    assert int(run(FAILING_CALLS)) < 40_000
