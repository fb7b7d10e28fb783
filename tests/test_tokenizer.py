"""`Tokenizer` and the tokenizer half of `HarmonyEncoding`: what each method returns, and for which
kinds of input."""

import array
import contextlib
import copy
import mmap
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import LAST_SPECIAL, N_RANKS, SPECIAL_TOKENS
from strategies import surrogate_texts, texts, token_ids

import harmony

TEXT = "Hello, wörld! <|start|> 東京 \U0001f600 it's 12345\n\n  end"
START = 200_006


@pytest.fixture(scope="module", params=["encoding", "tokenizer", "base_tokenizer"])
def any_tokenizer(request):
    return request.getfixturevalue(request.param)


# Round trips


@given(texts())
def test_decoding_inverts_encoding(any_tokenizer, text):
    ids = any_tokenizer.encode(text, disallowed_special=())
    assert any_tokenizer.decode_utf8(ids) == text
    assert any_tokenizer.decode(ids) == text
    assert any_tokenizer.decode_bytes(ids) == text.encode()
    assert b"".join(any_tokenizer.decode_tokens_bytes(ids)) == text.encode()


@given(texts())
def test_decoding_inverts_encoding_with_special_tokens(any_tokenizer, text):
    ids = any_tokenizer.encode(text, allowed_special="all")
    assert any_tokenizer.decode_utf8(ids) == text


@given(texts())
def test_every_way_to_encode_agrees(any_tokenizer, text):
    ids = any_tokenizer.encode_ordinary(text)
    encoded = text.encode()
    assert any_tokenizer.encode(text, disallowed_special=()) == ids
    assert any_tokenizer.encode_to_numpy(text, disallowed_special=()).tolist() == ids
    assert any_tokenizer.count_tokens(text) == len(ids)
    assert any_tokenizer.encode_ordinary(encoded) == ids
    assert any_tokenizer.encode(bytearray(encoded), disallowed_special=()) == ids
    assert any_tokenizer.count_tokens(memoryview(encoded)) == len(ids)


@given(texts(), st.data())
def test_special_tokens_cut_the_text(tokenizer, text, data):
    """The text on each side of a special token is encoded by itself."""
    at = data.draw(st.integers(0, len(text)))
    joined = text[:at] + "<|channel|>" + text[at:]
    # Where text and name together spell another place for the name, the leftmost one is the token.
    before, _, after = joined.partition("<|channel|>")
    options = {"allowed_special": {"<|channel|>"}, "disallowed_special": ()}
    ids = tokenizer.encode(joined, **options)
    rest = tokenizer.encode(after, **options)
    assert ids == [*tokenizer.encode_ordinary(before), 200_005, *rest]


# Results


def test_types_of_results(any_tokenizer):
    assert type(any_tokenizer.encode("hi")) is list
    assert all(type(token) is int for token in any_tokenizer.encode("hi there"))
    assert type(any_tokenizer.encode_ordinary("hi")) is list
    assert type(any_tokenizer.count_tokens("hi")) is int
    assert type(any_tokenizer.decode([0])) is type(any_tokenizer.decode_utf8([0])) is str
    assert type(any_tokenizer.decode_bytes([0])) is bytes
    assert type(any_tokenizer.encode_single_token("a")) is int


def test_numpy_result(any_tokenizer):
    for text in ("", "a", TEXT, TEXT * 1000):
        ids = any_tokenizer.encode_to_numpy(text, disallowed_special=())
        assert isinstance(ids, numpy.ndarray)
        assert ids.dtype == numpy.uint32
        assert ids.ndim == 1
        assert ids.flags.c_contiguous
        assert ids.tolist() == any_tokenizer.encode_ordinary(text)


def test_numpy_results_share_nothing(tokenizer):
    first = tokenizer.encode_to_numpy("one two three")
    expected = first.copy()
    for _ in range(100):
        assert (tokenizer.encode_to_numpy("one two three") == expected).all()
        other = tokenizer.encode_to_numpy("four five six")
        other[:] = 0
    assert (first == expected).all()


def test_numpy_result_outlives_its_buffer(tokenizer):
    tail = tokenizer.encode_to_numpy(TEXT * 1000, disallowed_special=())[-5:]
    for _ in range(20):
        tokenizer.encode_to_numpy("x" * 10_000)
    assert tail.tolist() == tokenizer.encode_ordinary(TEXT * 1000)[-5:]


def test_lists_are_the_callers_own(tokenizer):
    tokenizer.encode("hello world").clear()
    assert tokenizer.encode("hello world") == [24912, 2375]


def test_empty_input(any_tokenizer):
    assert (
        any_tokenizer.encode("")
        == any_tokenizer.encode_ordinary("")
        == any_tokenizer.encode(b"")
        == []
    )
    assert any_tokenizer.encode("", allowed_special="all") == []
    assert (
        any_tokenizer.encode_to_numpy("").tolist()
        == any_tokenizer.encode_to_numpy(b"").tolist()
        == []
    )
    assert any_tokenizer.count_tokens("") == any_tokenizer.count_tokens(b"") == 0
    assert any_tokenizer.decode([]) == any_tokenizer.decode_utf8([]) == ""
    assert any_tokenizer.decode_bytes([]) == b""
    assert any_tokenizer.decode_tokens_bytes([]) == []
    assert any_tokenizer.decode_with_offsets([]) == ("", [])


# Text given as bytes


def _mapped(tmp_path, content):
    path = tmp_path / "text"
    path.write_bytes(content)
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


BUFFERS = {
    "bytes": lambda tmp_path, content: content,
    "bytearray": lambda tmp_path, content: bytearray(content),
    "memoryview": lambda tmp_path, content: memoryview(content),
    "part of a memoryview": lambda tmp_path, content: memoryview(b"xx" + content + b"yy")[2:-2],
    "strided memoryview": lambda tmp_path, content: memoryview(
        bytes(byte for each in content for byte in (each, 0))
    )[::2],
    "mmap": _mapped,
    "numpy": lambda tmp_path, content: numpy.frombuffer(content, numpy.uint8),
    "numpy writable": lambda tmp_path, content: numpy.frombuffer(content, numpy.uint8).copy(),
    "numpy strided": lambda tmp_path, content: numpy.frombuffer(content, numpy.uint8).repeat(2)[
        ::2
    ],
    "array": lambda tmp_path, content: array.array("B", content),
}


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("text", [TEXT, TEXT * 500, "plain ascii"], ids=["short", "long", "ascii"])
def test_text_as_buffer(any_tokenizer, tmp_path, kind, text):
    buffer = BUFFERS[kind](tmp_path, text.encode())
    ids = any_tokenizer.encode_ordinary(text)
    assert any_tokenizer.encode_ordinary(buffer) == ids
    assert any_tokenizer.encode(buffer, disallowed_special=()) == ids
    assert any_tokenizer.encode_to_numpy(buffer, disallowed_special=()).tolist() == ids
    assert any_tokenizer.count_tokens(buffer) == len(ids)


@pytest.mark.parametrize("kind", BUFFERS)
def test_special_tokens_in_a_buffer(tokenizer, tmp_path, kind):
    buffer = BUFFERS[kind](tmp_path, TEXT.encode())
    for options in ({"allowed_special": "all"}, {"allowed_special": {"<|start|>"}}):
        ids = tokenizer.encode(TEXT, **options)
        assert START in ids
        assert tokenizer.encode(buffer, **options) == ids
        assert tokenizer.encode_to_numpy(buffer, **options).tolist() == ids
        assert tokenizer.count_tokens(buffer, **options) == len(ids)
    with pytest.raises(harmony.HarmonyError) as from_buffer:
        tokenizer.encode(buffer)
    with pytest.raises(harmony.HarmonyError) as from_str:
        tokenizer.encode(TEXT)
    assert str(from_buffer.value) == str(from_str.value)


def test_a_buffer_is_released(tokenizer):
    text = bytearray(b"hello world")
    assert tokenizer.encode(text) == tokenizer.encode_ordinary(text) == [24912, 2375]
    text.append(0)  # BufferError while somebody still holds it


@pytest.mark.parametrize("view_of", [memoryview, lambda text: memoryview(text).toreadonly()])
def test_a_buffer_that_is_written_to_while_it_is_encoded(view_of, tokenizer):
    """Its ids are those of what it held at first: were they not, some could be remembered as those
    of other words, and later texts would get them. Who may only read it may not be the only one."""
    text = bytearray(b" one two" * 200_000)
    expected = tokenizer.encode_to_numpy(bytes(text))
    view = view_of(text)
    begun = threading.Event()

    def encode():
        begun.set()
        return tokenizer.encode_to_numpy(view)

    interval = sys.getswitchinterval()
    with ThreadPoolExecutor(1) as pool:
        try:
            sys.setswitchinterval(60)  # nobody else runs until the call gives up the lock
            ids = pool.submit(encode)
            begun.wait()
            text[:] = b" six ten" * 200_000
        finally:
            sys.setswitchinterval(interval)
        assert numpy.array_equal(ids.result(), expected)


# Special tokens


def test_special_tokens_are_refused_by_default(any_tokenizer):
    with pytest.raises(
        harmony.HarmonyError, match=re.escape("disallowed special token '<|endoftext|>'")
    ):
        any_tokenizer.encode("a<|endoftext|>")
    with pytest.raises(harmony.HarmonyError):
        any_tokenizer.encode_to_numpy("a<|endoftext|>")


def test_every_special_token(tokenizer):
    for name, token in SPECIAL_TOKENS["o200k_harmony"].items():
        assert tokenizer.encode(name, allowed_special="all") == [token]
        assert tokenizer.encode(name, allowed_special={name}) == [token]
        assert (
            tokenizer.encode_single_token(name)
            == tokenizer.encode_single_token(name.encode())
            == token
        )
        assert tokenizer.decode_single_token_bytes(token) == name.encode()
        assert tokenizer.decode([token]) == tokenizer.decode_utf8([token]) == name
        with pytest.raises(harmony.HarmonyError):
            tokenizer.encode(name)
        assert tokenizer.decode(tokenizer.encode_ordinary(name)) == name
        assert token not in tokenizer.encode_ordinary(name)


def test_count_tokens_takes_special_text_as_text_unless_allowed(tokenizer):
    text = "<|start|>hello<|end|>"
    assert tokenizer.count_tokens(text) == len(tokenizer.encode_ordinary(text))
    assert tokenizer.count_tokens(text, allowed_special="all") == 3
    expected = len(tokenizer.encode(text, allowed_special={"<|end|>"}, disallowed_special=()))
    assert tokenizer.count_tokens(text, allowed_special={"<|end|>"}) == expected
    assert tokenizer.count_tokens(text, allowed_special=["<|end|>"]) == expected


def test_many_special_tokens(tokenizer):
    """More than fit any buffer of fixed size, with and without text between them."""
    assert tokenizer.encode("<|start|>" * 5000, allowed_special="all") == [START] * 5000
    assert tokenizer.encode("<|start|> a" * 5000, allowed_special="all") == [START, 261] * 5000
    assert tokenizer.count_tokens("<|start|> a" * 5000, allowed_special="all") == 10_000


def test_names_that_share_a_beginning(tokenizer):
    assert tokenizer.encode("<|<|<|start|>|>", allowed_special="all") == [
        *tokenizer.encode_ordinary("<|<|"),
        START,
        *tokenizer.encode_ordinary("|>"),
    ]


@given(surrogate_texts())
def test_surrogates_become_what_utf16_makes_of_them(any_tokenizer, text):
    replaced = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert any_tokenizer.encode_ordinary(text) == any_tokenizer.encode_ordinary(replaced)
    assert any_tokenizer.decode(any_tokenizer.encode(text, disallowed_special=())) == replaced
    assert any_tokenizer.encode(text, allowed_special="all") == any_tokenizer.encode(
        replaced, allowed_special="all"
    )


def test_special_tokens_beside_surrogates(tokenizer):
    text = "\ud83d<|start|>\ude00\ud83d\ude00"
    assert tokenizer.encode(text, allowed_special="all") == [3251, START, 3251, 84083]


# Ids of every kind


SOME_IDS = [13225, 11, 2375, 0, 199_997, 200_006]


def _integer_arrays():
    for code in ("i2", "u2", "i4", "u4", "i8", "u8"):
        for order in "<>":
            dtype = numpy.dtype(order + code)
            values = [each for each in SOME_IDS if each <= numpy.iinfo(dtype).max]
            yield pytest.param(numpy.array(values, dtype=dtype), values, id=dtype.str)
            yield pytest.param(
                numpy.array(values, dtype=dtype).repeat(3)[::3], values, id=f"{dtype.str}-strided"
            )
            yield pytest.param(
                numpy.array(values[::-1], dtype=dtype)[::-1], values, id=f"{dtype.str}-reversed"
            )
    for code in ("i1", "u1"):
        yield pytest.param(numpy.array([0, 64, 127], dtype=code), [0, 64, 127], id=code)
    read_only = numpy.array(SOME_IDS, dtype=numpy.uint32)
    read_only.flags.writeable = False
    yield pytest.param(read_only, SOME_IDS, id="read-only")
    yield pytest.param(numpy.array(SOME_IDS, dtype=object), SOME_IDS, id="objects")
    for code in "HIiLlQq":
        values = [each for each in SOME_IDS if each < 256 ** array.array(code).itemsize]
        yield pytest.param(array.array(code, values), values, id=f"array-{code}")
        yield pytest.param(memoryview(array.array(code, values)), values, id=f"memoryview-{code}")
    yield pytest.param(b"\x00\x40\xff", [0, 64, 255], id="bytes")
    yield pytest.param(bytearray(b"\x00\x40\xff"), [0, 64, 255], id="bytearray")


@pytest.mark.parametrize("ids, values", list(_integer_arrays()))
def test_ids_in_an_array(any_tokenizer, ids, values):
    expected = b"".join(
        any_tokenizer.decode_single_token_bytes(token) for token in values if token < N_RANKS
    )
    if any_tokenizer.name == "o200k_base":  # has no <|start|>
        ids, values = (
            ids[: len(values) - (START in values)],
            values[: len(values) - (START in values)],
        )
    elif START in values:
        expected += b"<|start|>"
    assert any_tokenizer.decode_bytes(ids) == expected
    assert any_tokenizer.decode(ids) == expected.decode(errors="replace")
    assert any_tokenizer.decode_tokens_bytes(ids) == [
        any_tokenizer.decode_single_token_bytes(each) for each in values
    ]


IDS = [9906, 1, 255, 31446, 244, 0]
ITERABLES = {
    "list": list,
    "tuple": tuple,
    "generator": lambda ids: (token for token in ids),
    "iterator": iter,
    "map": lambda ids: map(int, ids),
    "dict": dict.fromkeys,
    "numpy scalars": lambda ids: [numpy.uint32(token) for token in ids],
}


@pytest.mark.parametrize("kind", ITERABLES)
def test_ids_in_any_iterable(any_tokenizer, kind):
    make = ITERABLES[kind]
    expected = b"".join(any_tokenizer.decode_single_token_bytes(token) for token in IDS)
    assert any_tokenizer.decode_bytes(make(IDS)) == expected
    assert any_tokenizer.decode(make(IDS)) == expected.decode(errors="replace")
    assert any_tokenizer.decode_tokens_bytes(make(IDS)) == [
        any_tokenizer.decode_single_token_bytes(each) for each in IDS
    ]
    text_ids = any_tokenizer.encode_ordinary("東京 is big")
    assert any_tokenizer.decode_utf8(make(text_ids)) == "東京 is big"
    assert any_tokenizer.decode_with_offsets(make(text_ids)) == any_tokenizer.decode_with_offsets(
        text_ids
    )


def test_ids_as_range(any_tokenizer):
    expected = b"".join(
        any_tokenizer.decode_single_token_bytes(token) for token in range(1000, 1100)
    )
    assert any_tokenizer.decode_bytes(range(1000, 1100)) == expected


def test_ids_in_arrow(any_tokenizer):
    pyarrow = pytest.importorskip("pyarrow")
    expected = any_tokenizer.decode_bytes(IDS)
    for kind in (pyarrow.uint32(), pyarrow.int64()):
        ids = pyarrow.array(IDS, kind)
        assert any_tokenizer.decode_bytes(ids) == expected
        assert any_tokenizer.decode_bytes(ids[2:]) == any_tokenizer.decode_bytes(IDS[2:])


@given(token_ids())
def test_ids_of_any_kind_agree(tokenizer, ids):
    expected = b"".join(tokenizer.decode_single_token_bytes(token) for token in ids)
    assert tokenizer.decode_bytes(ids) == expected
    assert tokenizer.decode_bytes(numpy.array(ids, dtype=numpy.int64)) == expected
    assert tokenizer.decode_bytes(iter(ids)) == expected
    assert tokenizer.decode(ids) == expected.decode(errors="replace")
    assert tokenizer.decode(
        numpy.array(ids, dtype=numpy.uint32), errors="ignore"
    ) == expected.decode(errors="ignore")


# Offsets and single tokens


@given(texts())
def test_offsets_point_at_characters(tokenizer, text):
    ids = tokenizer.encode_ordinary(text)
    decoded, offsets = tokenizer.decode_with_offsets(ids)
    assert decoded == text
    start = 0
    for token, offset in zip(tokenizer.decode_tokens_bytes(ids), offsets, strict=True):
        # The character that holds the first byte of the token.
        assert offset == len(text.encode()[: start + 1].decode(errors="replace")) - 1
        start += len(token)


def test_offsets_of_tokens_inside_a_character(tokenizer):
    assert tokenizer.decode_with_offsets([64, 31446, 244, 64]) == ("a\U0001f496a", [0, 1, 1, 2])
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode_with_offsets([64, 31446])


def test_single_tokens(any_tokenizer):
    assert (
        any_tokenizer.encode_single_token("hello")
        == any_tokenizer.encode_single_token(b"hello")
        == 24912
    )
    assert any_tokenizer.decode_single_token_bytes(24912) == b"hello"
    assert any_tokenizer.decode_single_token_bytes(numpy.int64(24912)) == b"hello"
    assert any_tokenizer.encode_single_token("<|endoftext|>") == any_tokenizer.eot_token == 199_999
    assert any_tokenizer.decode_single_token_bytes(199_999) == b"<|endoftext|>"


@pytest.mark.parametrize(
    "text", ["", b"", "hello world", b"\xff\xfe", "\ud800", "<|nosuch|>", "x" * 1000, b"\0" * 129]
)
def test_no_single_token(any_tokenizer, text):
    with pytest.raises(KeyError):
        any_tokenizer.encode_single_token(text)


@pytest.mark.parametrize("token", [201_089, 300_000, 2**32 - 1, 2**32, -1, 10**30])
def test_no_bytes_of_a_single_token(any_tokenizer, token):
    with pytest.raises(KeyError):
        any_tokenizer.decode_single_token_bytes(token)


# Attributes


def test_harmony_ids_have_no_gap(encoding, tokenizer):
    for each in (encoding, tokenizer):
        assert each.n_vocab == LAST_SPECIAL + 1 == 201_089
        assert each.max_token_value == LAST_SPECIAL
        assert b"" not in each.decode_tokens_bytes(range(each.n_vocab))
        assert each.special_tokens_set == SPECIAL_TOKENS["o200k_harmony"].keys()
        assert [each.is_special_token(token) for token in range(N_RANKS - 2, LAST_SPECIAL + 3)] == [
            *[False] * 2,
            *[True] * 1091,
            *[False] * 2,
        ]


def test_base_has_two_special_tokens_and_gaps(base_tokenizer):
    assert base_tokenizer.special_tokens_set == {"<|endoftext|>", "<|endofprompt|>"}
    assert base_tokenizer.encode("<|endoftext|><|endofprompt|>", allowed_special="all") == [
        199_999,
        200_018,
    ]
    assert base_tokenizer.n_vocab == 200_019
    for gap in (199_998, 200_000, 200_017, 200_019):
        assert not base_tokenizer.is_special_token(gap)
        with pytest.raises(harmony.HarmonyError, match=f"Invalid token for decoding: {gap}"):
            base_tokenizer.decode([gap])
        with pytest.raises(KeyError):
            base_tokenizer.decode_single_token_bytes(gap)
    # Special in o200k_harmony, plain text here.
    assert base_tokenizer.encode("<|start|>") == base_tokenizer.encode_ordinary("<|start|>")


def test_token_byte_values(tokenizer, ranks):
    assert tokenizer.token_byte_values() == sorted(ranks)


def test_names():
    assert harmony.load_harmony_encoding("HarmonyGptOss").name == "HarmonyGptOss"
    assert harmony.get_tokenizer("o200k_harmony").name == "o200k_harmony"
    assert harmony.get_tokenizer("o200k_base").name == "o200k_base"
    for name in ("o200k", "", "cl100k_base", "HarmonyGptOss"):
        with pytest.raises(ValueError, match=repr(name)):
            harmony.get_tokenizer(name)


def test_changing_special_tokens_set_changes_nothing(encoding):
    """In openai_harmony clearing this set silently switches the check for special text off."""
    with contextlib.suppress(AttributeError):  # a frozenset would do as well
        encoding.special_tokens_set.clear()
    assert len(encoding.special_tokens_set) == 1091
    with pytest.raises(harmony.HarmonyError):
        encoding.encode("<|start|>")


def test_attributes_cannot_be_assigned(any_tokenizer):
    for attribute in ("name", "n_vocab", "max_token_value", "eot_token", "special_tokens_set"):
        with pytest.raises(AttributeError):
            setattr(any_tokenizer, attribute, None)


# Identity, copies, pickles


def test_equality_is_by_name(encoding, tokenizer, base_tokenizer):
    assert encoding == harmony.load_harmony_encoding("HarmonyGptOss")
    assert tokenizer == harmony.get_tokenizer("o200k_harmony")
    assert hash(encoding) == hash(harmony.load_harmony_encoding("HarmonyGptOss"))
    assert tokenizer != base_tokenizer
    assert encoding != "HarmonyGptOss"
    assert len({encoding, tokenizer, base_tokenizer, copy.deepcopy(encoding)}) == 3


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(any_tokenizer, protocol):
    pickled = pickle.dumps(any_tokenizer, protocol)
    assert len(pickled) < 500, "pickled by name, not with its tables"
    again = pickle.loads(pickled)
    assert type(again) is type(any_tokenizer)
    assert again == any_tokenizer
    assert hash(again) == hash(any_tokenizer)
    assert again.encode("hello world") == [24912, 2375]


def test_pickle_into_another_process(any_tokenizer):
    program = (
        "import pickle, sys; tokenizer = pickle.load(sys.stdin.buffer);"
        "print(tokenizer.name, tokenizer.encode('hello world'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(any_tokenizer),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().strip() == f"{any_tokenizer.name} [24912, 2375]"


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_copy(any_tokenizer, make):
    again = make(any_tokenizer)
    assert again == any_tokenizer
    assert again.encode(TEXT, allowed_special="all") == any_tokenizer.encode(
        TEXT, allowed_special="all"
    )


def test_repr_names_the_encoding(any_tokenizer):
    assert any_tokenizer.name in repr(any_tokenizer)


def test_ids_in_a_tensor_of_another_device(tokenizer):
    """What pretends to be an array but cannot be made one is iterated, as upstream does."""

    class Tensor(list):
        def __array__(self, *arguments, **options):
            raise TypeError("can't convert a tensor of that device")

        __class__ = object  # no list to isinstance

    ids = Tensor([24912, 2375])
    assert tokenizer.decode(ids) == "hello world"
    with pytest.raises(TypeError):
        tokenizer.decode(Tensor([1.5]))
