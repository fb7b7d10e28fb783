"""The slow twins in `reference/` are judges of the other tests; here they are judged themselves."""

import pytest
import regex
import unicodedata2
from compare import assert_same_ids
from hypothesis import given
from oracles import O200K_PATTERN
from reference.bpe import merge
from reference.splitter import split
from scale import scaled
from strategies import class_edges, random_texts, texts


def encode(ranks, text):
    return [token for piece in split(text) for token in merge(ranks, piece.encode())]


def test_pieces_by_hand():
    assert split("Hello, world's  end\n") == ["Hello", ",", " world's", " ", " end", "\n"]
    assert split("HTTPServer ABCdef") == ["HTTPServer", " ABCdef"]
    assert split("camelCase x'\u017f'reg") == ["camel", "Case", " x'\u017f", "'reg"]
    assert split("12345 \u0301a \t\n  x") == ["123", "45", " \u0301a", " \t\n", " ", " x"]
    assert split("") == []


def test_merging_by_hand():
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4, b"abcab": 5}
    assert merge(ranks, b"abc") == [0, 3]
    assert merge(ranks, b"abab") == [4, 4]
    assert merge(ranks, b"abcab") == [5]
    assert merge(ranks, b"aabcab") == [0, 0, 3, 4]


def test_ids_equal_tiktoken(ranks, token_texts, tiktoken_harmony):
    for text in random_texts(scaled(20_000), seed=1, vocabulary=token_texts):
        assert_same_ids(text, encode(ranks, text), tiktoken_harmony.encode_ordinary(text))


@given(texts(6))
def test_ids_equal_tiktoken_on_what_hypothesis_finds(ranks, tiktoken_harmony, text):
    assert_same_ids(text, encode(ranks, text), tiktoken_harmony.encode_ordinary(text))


# `regex` follows the newest Unicode: only characters whose class it sees as Unicode 16 does can be
# judged by it.
@pytest.fixture(scope="module")
def is_newer():
    return regex.compile(r"[\p{L}\p{M}\p{N}]").fullmatch


def test_pieces_equal_those_of_regex(is_newer):
    pattern = regex.compile(O200K_PATTERN)
    compared = 0
    for text in random_texts(scaled(20_000), seed=2):
        if any(
            unicodedata2.category(character) == "Cn" and is_newer(character) for character in text
        ):
            continue
        assert split(text) == pattern.findall(text), ascii(text)
        compared += 1
    assert compared > scaled(20_000) // 2


def test_class_edges_are_where_the_classes_change():
    edges = class_edges()
    assert {"Z", "[", "`", "a", "\x1f", " "} <= set(edges)
    assert len(edges) > 3000
