"""The tokenizer half of `HarmonyEncoding` does what openai_harmony 0.0.8 does: values, exceptions
and their texts.

One call of its `encode` with default arguments takes over a millisecond, so counts are moderate
here; the ids themselves are settled in test_against_tiktoken.py.
"""

import array

import numpy
import pytest
from compare import outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from scale import scaled
from strategies import SPECIALS, random_texts, surrogate_texts, texts, token_ids

TEXTS = [
    "",
    "hello world",
    "a<|start|>b<|end|>",
    "<|<|start|>",
    " <|end|>  x",
    "<|star",
    "it's\u017f",
    "\ud800",
    "a\ud83d\ude00",
]


def assert_same_outcome(ours, theirs, call, *args, **kwargs):
    assert outcome(call, ours, *args, **kwargs) == outcome(call, theirs, *args, **kwargs)


# encode


@settings(max_examples=scaled(150))
@given(texts(6))
def test_encode_with_defaults(encoding, upstream, text):
    assert outcome(encoding.encode, text) == outcome(upstream.encode, text)


def test_encode_random_texts_with_defaults(encoding, upstream):
    for text in random_texts(scaled(2_000), seed=1):
        assert outcome(encoding.encode, text) == outcome(upstream.encode, text), ascii(text)


@given(texts(8))
def test_encode_all_allowed(encoding, upstream, text):
    assert encoding.encode(text, allowed_special="all") == upstream.encode(
        text, allowed_special="all"
    )


@settings(max_examples=scaled(150))
@given(
    st.one_of(texts(6), surrogate_texts()),
    st.sets(st.sampled_from(SPECIALS)),
    st.sets(st.sampled_from(SPECIALS)),
)
def test_encode_some_allowed_some_disallowed(encoding, upstream, text, allowed, disallowed):
    options = {"allowed_special": allowed, "disallowed_special": disallowed}
    assert outcome(encoding.encode, text, **options) == outcome(upstream.encode, text, **options)


@given(surrogate_texts())
def test_encode_surrogates(encoding, upstream, text):
    assert encoding.encode(text, disallowed_special=()) == upstream.encode(
        text, disallowed_special=()
    )


# Made anew for each call, because some are used up.
OPTIONS = {
    "defaults": lambda: {},
    "all allowed": lambda: {"allowed_special": "all"},
    "all allowed, all disallowed": lambda: {"allowed_special": "all", "disallowed_special": "all"},
    "one allowed": lambda: {"allowed_special": {"<|start|>"}},
    "one allowed, none disallowed": lambda: {
        "allowed_special": {"<|start|>"},
        "disallowed_special": (),
    },
    "list": lambda: {"allowed_special": ["<|start|>"], "disallowed_special": []},
    "tuple, None": lambda: {"allowed_special": ("<|start|>",), "disallowed_special": None},
    "frozenset with an unknown name": lambda: {
        "allowed_special": frozenset({"<|start|>", "x"}),
        "disallowed_special": (),
    },
    "dict": lambda: {"allowed_special": {"<|start|>": 1}, "disallowed_special": ()},
    "generator": lambda: {
        "allowed_special": (name for name in ["<|start|>"]),
        "disallowed_special": (),
    },
    "a name instead of a set": lambda: {"allowed_special": "<|start|>", "disallowed_special": ()},
    "allowed None": lambda: {"allowed_special": None},
    "allowed None, none disallowed": lambda: {"allowed_special": None, "disallowed_special": ()},
    "allowed int": lambda: {"allowed_special": 5, "disallowed_special": ()},
    "allowed ints": lambda: {"allowed_special": {1}},
    "allowed ints, none disallowed": lambda: {"allowed_special": [1], "disallowed_special": ()},
    "allowed bytes": lambda: {"allowed_special": [b"<|start|>"], "disallowed_special": ()},
    "allowed holds None": lambda: {"allowed_special": [None], "disallowed_special": ()},
    "allowed and disallowed": lambda: {
        "allowed_special": {"<|start|>"},
        "disallowed_special": {"<|start|>"},
    },
    "all allowed, some disallowed": lambda: {
        "allowed_special": "all",
        "disallowed_special": ["<|end|>", "<|start|>"],
    },
    "disallowed plain text": lambda: {"disallowed_special": {"b"}},
    "disallowed letters": lambda: {"disallowed_special": "ab"},
    "disallowed by letters of a name": lambda: {"disallowed_special": "<|end|>"},
    "disallowed empty text": lambda: {"disallowed_special": {""}},
    "disallowed empty string": lambda: {"disallowed_special": ""},
    "disallowed 0": lambda: {"disallowed_special": 0},
    "disallowed False": lambda: {"disallowed_special": False},
    "disallowed True": lambda: {"disallowed_special": True},
    "disallowed int": lambda: {"disallowed_special": 5},
    "disallowed ints": lambda: {"disallowed_special": [1]},
    "disallowed holds None": lambda: {"disallowed_special": [None]},
    "disallowed bytes": lambda: {"disallowed_special": b"ab"},
    "disallowed generator": lambda: {"disallowed_special": (text for text in ["b"])},
    "disallowed looks like a pattern": lambda: {"disallowed_special": [".", "a*", "[a-z]"]},
    "disallowed part of a name": lambda: {"disallowed_special": ["tart|", "<|s"]},
    "disallowed absent": lambda: {"disallowed_special": ["zz"]},
    "disallowed surrogate": lambda: {"disallowed_special": ["\ud800"]},
    "unknown option": lambda: {"allowed": ()},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_encode_options(encoding, upstream, text, options):
    assert outcome(encoding.encode, text, **options()) == outcome(
        upstream.encode, text, **options()
    )


@pytest.mark.parametrize("text", [None, 5, 1.5, ["a"], ("a",), {"a"}, object], ids=repr)
def test_encode_what_is_no_text(encoding, upstream, text):
    assert outcome(encoding.encode, text) == outcome(upstream.encode, text) == ("TypeError", None)
    for options in ({"allowed_special": "all"}, {"disallowed_special": ()}):
        assert outcome(encoding.encode, text, **options) == outcome(
            upstream.encode, text, **options
        )


def test_encode_options_are_keyword_only(encoding, upstream):
    assert (
        outcome(encoding.encode, "a", set())
        == outcome(upstream.encode, "a", set())
        == ("TypeError", None)
    )


def test_encode_subclass_of_str(encoding, upstream):
    class Text(str):
        pass

    assert encoding.encode(Text("hello")) == upstream.encode(Text("hello"))


# decode


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class RaisingIndex:
    def __index__(self):
        raise ZeroDivisionError


class Indexless:
    pass


IDS = {
    "empty list": lambda: [],
    "empty tuple": lambda: (),
    "empty str": lambda: "",
    "empty bytes": lambda: b"",
    "list": lambda: [64, 65],
    "tuple": lambda: (64, 65),
    "range": lambda: range(64, 90),
    "generator": lambda: (token for token in [64, 65]),
    "iterator": lambda: iter([64, 65]),
    "set": lambda: {64},
    "frozenset": lambda: frozenset({64}),
    "dict": lambda: {64: 1},
    "dict values": lambda: {1: 64}.values(),
    "map": lambda: map(int, "123"),
    "bytes": lambda: b"@A",
    "bytearray": lambda: bytearray(b"@A"),
    "memoryview": lambda: memoryview(b"@A"),
    "array I": lambda: array.array("I", [64, 65]),
    "array q": lambda: array.array("q", [64, 65]),
    "array d": lambda: array.array("d", [64.0]),
    "bools": lambda: [True, False],
    "__index__": lambda: [Index(64), Index(65)],
    "numpy scalars": lambda: [numpy.int64(64), numpy.uint8(65)],
    "numpy int64": lambda: numpy.array([64, 65]),
    "numpy uint8": lambda: numpy.array([64, 65], dtype=numpy.uint8),
    "numpy big-endian": lambda: numpy.array([64, 65], dtype=">i4"),
    "numpy strided": lambda: numpy.arange(20)[::3],
    "numpy reversed": lambda: numpy.arange(20)[::-1],
    "numpy empty": lambda: numpy.array([], dtype=numpy.int64),
    "numpy empty, of floats": lambda: numpy.array([]),
    "numpy object": lambda: numpy.array([64, 65], dtype=object),
    "numpy bool": lambda: numpy.array([True, False]),
    "numpy float": lambda: numpy.array([64.0, 65.0]),
    "numpy 2-D": lambda: numpy.array([[64, 65]]),
    "numpy 0-D": lambda: numpy.array(64),
    "numpy of str": lambda: numpy.array(["64"]),
    "numpy negative": lambda: numpy.array([64, -1]),
    "numpy above 32 bits": lambda: numpy.array([64, 2**40]),
    "numpy above 63 bits": lambda: numpy.array([2**63], dtype=numpy.uint64),
    "numpy unknown": lambda: numpy.array([64, 201_089, 201_090]),
    "str": lambda: "ab",
    "list of str": lambda: ["a"],
    "None": lambda: None,
    "list of None": lambda: [None],
    "int": lambda: 64,
    "float": lambda: 1.5,
    "floats": lambda: [64.0],
    "numpy floats": lambda: [numpy.float64(64)],
    "nan": lambda: [float("nan")],
    "complex": lambda: [1j],
    "nested": lambda: [[64]],
    "object": lambda: [Indexless()],
    "class": lambda: int,
    "-1": lambda: [-1],
    "2**32 - 1": lambda: [2**32 - 1],
    "2**32": lambda: [2**32],
    "2**63": lambda: [2**63],
    "10**30": lambda: [10**30],
    "-10**30": lambda: [-(10**30)],
    "unknown": lambda: [64, 201_089, 300_000],
    "last special": lambda: [201_088],
    "unknown, then out of range": lambda: [201_089, -1],
    "unknown, then float": lambda: [201_089, 1.5],
    "float, then out of range": lambda: [1.5, -1],
    "out of range, then float": lambda: [-1, 1.5],
    "half a character": lambda: [31446],
    "half a character, then unknown": lambda: [31446, 201_089],
    "half a character in the middle": lambda: [64, 31446, 64],
    "raising __index__": lambda: [RaisingIndex()],
}
DECODERS = {
    "decode": lambda encoding, tokens: encoding.decode(tokens),
    "decode strict": lambda encoding, tokens: encoding.decode(tokens, "strict"),
    "decode ignore": lambda encoding, tokens: encoding.decode(tokens, errors="ignore"),
    "decode_utf8": lambda encoding, tokens: encoding.decode_utf8(tokens),
}


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS.keys())
@pytest.mark.parametrize("ids", IDS.values(), ids=IDS.keys())
def test_decode_kinds_of_ids(encoding, upstream, ids, decoder):
    assert outcome(decoder, encoding, ids()) == outcome(decoder, upstream, ids())


ERRORS = [
    "replace",
    "ignore",
    "strict",
    "backslashreplace",
    "surrogateescape",
    "surrogatepass",
    "namereplace",
    "xmlcharrefreplace",
    "no such handler",
    "",
    None,
    5,
]


@pytest.mark.parametrize("errors", ERRORS, ids=repr)
@pytest.mark.parametrize("ids", [[], [64], [31446, 244], [31446, 64, 244]], ids=repr)
def test_decode_errors_argument(encoding, upstream, ids, errors):
    assert_same_outcome(encoding, upstream, lambda each: each.decode(ids, errors))


@given(token_ids(last=201_100), st.sampled_from(ERRORS[:6]))
def test_decode_any_ids(encoding, upstream, ids, errors):
    assert_same_outcome(encoding, upstream, lambda each: each.decode(ids, errors=errors))


@given(token_ids(last=201_100))
def test_decode_utf8_any_ids(encoding, upstream, ids):
    assert_same_outcome(encoding, upstream, lambda each: each.decode_utf8(ids))


@given(st.lists(st.integers(0, 255), max_size=8))
def test_decode_utf8_any_bytes(encoding, upstream, values):
    """Single bytes reach every way in which UTF-8 can be wrong, and the text that tells where."""
    ids = [encoding.encode_single_token(bytes([value])) for value in values]
    assert_same_outcome(encoding, upstream, lambda each: each.decode_utf8(ids))
    assert_same_outcome(encoding, upstream, lambda each: each.decode(ids, errors="strict"))


# Attributes and single ids


TOKENS = {
    **{repr(token): token for token in (0, 199_997, 199_998, 200_006, 201_088, 201_089, 2**32 - 1)},
    **{
        repr(token): token
        for token in (-1, 2**32, 2**63, 10**30, 200_006.0, True, None, "a", "", b"a")
    },
    "list": [200_006],
    "numpy int64": numpy.int64(200_006),
    "numpy uint64": numpy.uint64(200_006),
    "numpy float64": numpy.float64(200_006),
    "numpy array of one": numpy.array([200_006]),
    "numpy 0-D": numpy.array(200_006),
    "__index__": Index(200_006),
    "raising __index__": RaisingIndex(),
    "object": Indexless(),
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
def test_is_special_token(encoding, upstream, token):
    assert outcome(encoding.is_special_token, token) == outcome(upstream.is_special_token, token)


def test_every_special_token(encoding, upstream):
    assert encoding.special_tokens_set == upstream.special_tokens_set
    assert len(encoding.special_tokens_set) == 1091
    for name in upstream.special_tokens_set:
        ids = encoding.encode(name, allowed_special={name})
        assert ids == upstream.encode(name, allowed_special={name}, disallowed_special=())
        assert encoding.decode(ids) == name


def test_name(encoding, upstream):
    assert encoding.name == upstream.name == "HarmonyGptOss"


@pytest.mark.parametrize(
    "name",
    ["HarmonyGptOss", "harmonygptoss", "", "o200k_harmony", None, 5, b"HarmonyGptOss"],
    ids=repr,
)
def test_load_by_name(name, upstream):
    import openai_harmony

    import harmony

    def loaded_name(package):
        try:
            return package.load_harmony_encoding(name).name
        except ValueError as error:
            return str(error)

    if name != "HarmonyGptOss":  # upstream would read its rank file once more
        assert loaded_name(harmony) == loaded_name(openai_harmony)
    assert loaded_name(harmony) in ("HarmonyGptOss", f"Invalid HarmonyEncodingName: {name}")


def test_load_by_enum_member(encoding):
    import harmony

    assert harmony.load_harmony_encoding(harmony.HarmonyEncodingName.HARMONY_GPT_OSS) == encoding
    assert str(harmony.HarmonyEncodingName.HARMONY_GPT_OSS) == "HarmonyGptOss"
    with pytest.raises(ValueError):
        harmony.HarmonyEncodingName("harmonygptoss")
