"""Every id equals that of tiktoken, built from the same ranks."""

import random

import pytest
from compare import assert_same_ids
from contexts import CONTEXTS, code_point_texts
from hypothesis import given
from hypothesis import strategies as st
from oracles import FIRST_SPECIAL, LAST_SPECIAL, N_RANKS
from scale import scaled
from strategies import SPECIALS, damaged_utf8, random_texts, surrogate_texts, texts, token_ids


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS.keys())
def test_every_code_point(tokenizer, tiktoken_harmony, context):
    for text in code_point_texts(context):
        assert_same_ids(
            text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text)
        )


def test_every_token_by_itself(tokenizer, tiktoken_harmony):
    for token in range(LAST_SPECIAL + 1):
        token_bytes = tokenizer.decode_single_token_bytes(token)
        assert token_bytes == tiktoken_harmony.decode_single_token_bytes(token)
        assert tokenizer.encode_single_token(token_bytes) == token


def test_every_token_as_text(tokenizer, tiktoken_harmony, token_texts):
    assert len(token_texts) == N_RANKS - 1562
    split = []
    for text in token_texts:
        ids = tokenizer.encode_ordinary(text)
        assert_same_ids(text, ids, tiktoken_harmony.encode_ordinary(text))
        if ids != [tokenizer.encode_single_token(text)]:
            split.append(text)
    # The pattern cuts a few tokens that the vocabulary holds.
    assert 0 < len(split) < 20


@pytest.mark.parametrize("seed", range(4))
def test_random_texts(tokenizer, tiktoken_harmony, token_texts, seed):
    compared = 0
    for text in random_texts(scaled(75_000), seed=100 + seed, vocabulary=token_texts):
        assert_same_ids(
            text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text)
        )
        compared += 1
    assert compared == scaled(75_000)


def long_pieces(count, seed, token_texts):
    """Texts of one or few pieces, each of dozens of tokens: what a short text never asks of the
    merging."""
    rng = random.Random(seed)
    lower = [text for text in token_texts if text.isalpha() and text.islower()]
    caseless = [
        text for text in token_texts if text.isalpha() and not text.islower() and not text.isupper()
    ]
    signs = [text for text in token_texts if not any(c.isalnum() or c.isspace() for c in text)]
    blank = [text for text in token_texts if text.isspace()]
    for _ in range(count):
        pool = rng.choice([lower, lower, caseless, signs, blank])
        parts = []
        for token in rng.choices(pool, k=rng.randint(2, 60)):
            cut = rng.choice([None, None, rng.randrange(len(token) + 1)])
            parts.append(token[:cut] * rng.choice([1, 1, 1, 2, 9]))
        yield "".join(parts)


def test_long_pieces(tokenizer, tiktoken_harmony, token_texts):
    for text in long_pieces(scaled(10_000), 7, token_texts):
        assert_same_ids(
            text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text)
        )


def test_pieces_of_several_windows(tokenizer, tiktoken_harmony, token_texts):
    """Longer pieces are merged in windows of 62 bytes, 46 or 28 apart, that are joined where they
    agree. Where words repeat they may not, or only at the second attempt."""
    rng = random.Random(9)
    words = [text for text in token_texts if text.isalpha() and text.islower()]
    long_words = [text for text in words if len(text.encode()) > 12]
    lengths = [62 + 46 * n + off for n in (0, 1, 2, 3, 8, 12, 25) for off in (-1, 0, 1, 7)]
    for _ in range(scaled(4_000)):
        pool = rng.choice(
            [
                rng.sample(words, 1),
                rng.sample(words, 3),
                rng.sample(long_words, 2),
                words,
                "abcdefghijklmnopqrstuvwxyz",
                "acgt",
                ["a" * rng.randint(1, 90), "b" * rng.randint(1, 90), "ab" * rng.randint(1, 40)],
                "-=*#_+",
                "abв日",
            ]
        )
        text = ""
        size = rng.choice(lengths)
        while len(text) < size:
            text += rng.choice(pool)
        text = rng.choice(["", " "]) + text[:size]
        expected = tiktoken_harmony.encode_ordinary(text)
        for _seen_before in (False, True):
            assert_same_ids(text, tokenizer.encode_ordinary(text), expected)


def test_long_pieces_over_few_letters(tokenizer, tiktoken_harmony):
    """Few letters make pairs that nearly every merge competes for."""
    rng = random.Random(8)
    for _ in range(scaled(5_000)):
        letters = rng.choice(
            [
                "ab",
                "aeiou",
                "-=",
                "of",
                "lI1",
                "\u0e01\u0e32",
                "\u3042\u306e\u30fc",
                "\u4e00\u662f\u7684",
                " \u0430\u0435\u043e\u043d\u0442\u0441",
                "\u0410\u0430\u0416\u0463a1",
                "\u03b1\u03b9\u03c2",
                " \u05d5\u05d9\u05d4\u05dc",
                "\u0627\u0644\u0645\u0651",
                "\u0915\u093e\u094d\u0930",
                "\u10d0\u10d8",
                "e\u00e9\u00fc\u0301",
                "\u0430\U0001f600\u4e00\ufffd",
            ]
        )
        text = "".join(rng.choices(letters, k=rng.randint(20, 400)))
        assert_same_ids(
            text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text)
        )


@pytest.mark.parametrize(
    "unit", ["a", "-", " ", "\n", "0", "\u0301", "\u4e00", "\U0001f600", "ab", "'s", "<|", "hello "]
)
def test_every_length_of_a_run(tokenizer, tiktoken_harmony, unit):
    for length in [*range(300), *range(510, 516), *range(1022, 1027)]:
        for text in (unit * length, unit * length + "x", " " + unit * length + "\n"):
            assert_same_ids(
                text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text)
            )


def test_texts_of_some_megabytes(tokenizer, tiktoken_harmony, token_texts):
    """Long enough for everything that is done in portions: buffers that grow, looks at pending
    signals."""
    for seed in range(3):
        text = "".join(random_texts(scaled(40_000), seed=200 + seed, vocabulary=token_texts))
        assert_same_ids(
            text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text)
        )
        ids = tokenizer.encode_to_numpy(text, disallowed_special=())
        assert_same_ids(text, ids.tolist(), tiktoken_harmony.encode_ordinary(text))


@given(texts())
def test_encode_ordinary(tokenizer, tiktoken_harmony, text):
    assert_same_ids(text, tokenizer.encode_ordinary(text), tiktoken_harmony.encode_ordinary(text))


@given(surrogate_texts())
def test_surrogates(tokenizer, tiktoken_harmony, text):
    expected = tiktoken_harmony.encode_ordinary(text)
    assert tokenizer.encode_ordinary(text) == expected
    assert tokenizer.encode_to_numpy(text, disallowed_special=()).tolist() == expected
    assert tokenizer.count_tokens(text) == len(expected)


@given(texts(8), st.sets(st.sampled_from(SPECIALS)))
def test_allowed_special(tokenizer, tiktoken_harmony, text, some):
    allowed = some - {"<|endofprompt|>"}
    expected = tiktoken_harmony.encode(text, allowed_special=allowed, disallowed_special=())
    assert tokenizer.encode(text, allowed_special=allowed, disallowed_special=()) == expected
    assert (
        tokenizer.encode_to_numpy(text, allowed_special=allowed, disallowed_special=()).tolist()
        == expected
    )
    assert tokenizer.count_tokens(text, allowed_special=allowed) == len(expected)


def test_special_tokens_in_random_texts(tokenizer, tiktoken_harmony):
    rng = random.Random(9)
    for text in random_texts(scaled(30_000), seed=300):
        text = rng.choice(SPECIALS).join([text[: len(text) // 2], text[len(text) // 2 :]])
        expected = tiktoken_harmony.encode(text, allowed_special="all")
        assert_same_ids(text, tokenizer.encode(text, allowed_special="all"), expected)


@given(texts(6))
def test_o200k_base(base_tokenizer, tiktoken_base, text):
    assert base_tokenizer.encode_ordinary(text) == tiktoken_base.encode_ordinary(text)
    assert base_tokenizer.encode(text, allowed_special="all") == tiktoken_base.encode(
        text, allowed_special="all"
    )


@given(token_ids())
def test_decode(tokenizer, tiktoken_harmony, ids):
    assert tokenizer.decode_bytes(ids) == tiktoken_harmony.decode_bytes(ids)
    assert tokenizer.decode_tokens_bytes(ids) == tiktoken_harmony.decode_tokens_bytes(ids)
    assert tokenizer.decode(ids) == tiktoken_harmony.decode(ids)


def test_decode_long(tokenizer, tiktoken_harmony):
    rng = random.Random(10)
    ids = rng.choices(range(LAST_SPECIAL + 1), k=scaled(300_000))
    assert tokenizer.decode_bytes(ids) == tiktoken_harmony.decode_bytes(ids)
    assert tokenizer.decode(ids) == tiktoken_harmony.decode(ids)


@given(texts(8))
def test_decode_with_offsets(tokenizer, tiktoken_harmony, text):
    ids = tokenizer.encode(text, allowed_special="all")
    assert tokenizer.decode_with_offsets(ids) == tiktoken_harmony.decode_with_offsets(ids)


@given(texts(4).map(str.encode))
def test_decode_with_offsets_when_every_byte_is_a_token(tokenizer, tiktoken_harmony, text):
    ids = [tokenizer.encode_single_token(bytes([byte])) for byte in text]
    assert tokenizer.decode_with_offsets(ids) == tiktoken_harmony.decode_with_offsets(ids)


@given(damaged_utf8())
def test_single_token_of_any_bytes(tokenizer, tiktoken_harmony, token_bytes):
    try:
        expected = tiktoken_harmony.encode_single_token(token_bytes)
    except KeyError:
        with pytest.raises(KeyError):
            tokenizer.encode_single_token(token_bytes)
    else:
        assert tokenizer.encode_single_token(token_bytes) == expected


@pytest.mark.parametrize("name", ["o200k_harmony", "o200k_base"])
def test_attributes(name, request):
    ours = request.getfixturevalue(
        {"o200k_harmony": "tokenizer", "o200k_base": "base_tokenizer"}[name]
    )
    theirs = request.getfixturevalue(f"tiktoken_{name.removeprefix('o200k_')}")
    assert ours.name == theirs.name == name
    assert ours.n_vocab == theirs.n_vocab
    assert ours.max_token_value == theirs.max_token_value
    assert ours.eot_token == theirs.eot_token
    assert ours.special_tokens_set == theirs.special_tokens_set
    assert ours.token_byte_values() == theirs.token_byte_values()
    for token in range(FIRST_SPECIAL - 3, LAST_SPECIAL + 3):
        assert ours.is_special_token(token) == theirs.is_special_token(token)
