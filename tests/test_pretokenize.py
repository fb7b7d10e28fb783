"""The compiled splitter against the slow twin: the ends of the pieces, not only the ids made of
them."""

import random
from itertools import pairwise, product

import numpy
import pytest
from contexts import CONTEXTS, code_point_texts
from families import FAMILIES
from hypothesis import given
from hypothesis import strategies as st
from reference import splitter
from scale import scaled
from strategies import damaged_utf8, random_texts, texts

from harmony._pretokenize import piece_ends


def assert_same_pieces(text):
    encoded = text.encode()
    got, expected = piece_ends(encoded).tolist(), splitter.piece_ends(text)
    if got != expected:
        at = min(set(got) ^ set(expected))
        raise AssertionError(
            f"byte {at} is {'an end' if at in got else 'no end'} of a piece, "
            f"in {encoded[max(0, at - 20) : at]!r} | {encoded[at : at + 20]!r}"
        )


def test_result():
    ends = piece_ends(b"Hello, world")
    assert ends.dtype == numpy.int64
    assert ends.tolist() == [5, 6, 12]
    assert piece_ends(b"").tolist() == []
    for buffer in (bytearray(b"a b"), memoryview(b"a b"), numpy.frombuffer(b"a b", numpy.uint8)):
        assert piece_ends(buffer).tolist() == [1, 3]


@pytest.mark.parametrize(
    "text",
    ["", "a", "Hello, world's  end\n", "12345", "x'\u017f'reg", " \t\n  x", "A\u01c5a\u02b0B"],
)
def test_by_hand(text):
    assert_same_pieces(text)


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS.keys())
def test_every_code_point(context):
    for text in code_point_texts(context):
        assert_same_pieces(text)


def test_random_texts():
    for text in random_texts(scaled(100_000), seed=1):
        assert_same_pieces(text)


def test_every_short_text_over_one_character_of_each_class():
    """Almost everything the pattern can do shows on texts of up to five characters, few enough to
    try them all."""
    alphabet = ["A", "a", "\u4e2d", "\u0301", "1", " ", "\n", "'", "s"]
    for length in range(1, 6):
        for characters in product(alphabet, repeat=length):
            assert_same_pieces("".join(characters))


@given(texts())
def test_any_text(text):
    assert_same_pieces(text)


@given(st.text(alphabet="aAsStTlLrReEvVdDmM'\u017f\u0131\u212a \u0301\u4e2d", max_size=30))
def test_contractions(text):
    assert_same_pieces(text)


@given(st.text(alphabet=" \t\r\n\x0b\x1c\x85\xa0\u2028\u3000\u200ba.", max_size=30))
def test_white_space(text):
    assert_same_pieces(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_long_runs(family):
    assert_same_pieces(FAMILIES[family](3000))


def assert_ends_cover(encoded):
    ends = piece_ends(encoded).tolist()
    assert all(before < after for before, after in pairwise([0, *ends]))
    assert (ends[-1] if ends else 0) == len(encoded)


@given(damaged_utf8())
def test_malformed_bytes_are_covered(encoded):
    """Callers check for UTF-8 first; the scanner alone must still end, and stay inside the text."""
    assert_ends_cover(encoded)


@given(st.binary(max_size=200))
def test_any_bytes_are_covered(encoded):
    assert_ends_cover(encoded)


def test_every_truncation_is_covered():
    for text in random_texts(scaled(300), seed=2):
        encoded = text.encode()
        for end in range(len(encoded)):
            assert_ends_cover(encoded[:end])
            assert_ends_cover(encoded[end:])


def test_random_bytes_are_covered():
    rng = random.Random(3)
    for _ in range(scaled(20_000)):
        assert_ends_cover(rng.randbytes(rng.randint(1, 64)))
