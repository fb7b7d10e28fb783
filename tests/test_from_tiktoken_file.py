"""`Tokenizer.from_tiktoken_file`: any rank file, any pattern. The judges are tiktoken and the naive
merging."""

import base64
import os
import pickle
import random
from pathlib import Path

import numpy as np
import oracles
import pytest
from compare import assert_same_ids
from hypothesis import given
from hypothesis import strategies as st
from reference.bpe import merge
from scale import scaled
from strategies import random_texts, texts

import harmony
from harmony.errors import VocabularyError

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
ALL_OF_IT = r"(?s:.+)"
BYTES = {bytes([byte]): byte for byte in range(256)}
MERGED = [
    b"th",
    b"he",
    b"the",
    b" the",
    b"in",
    b"ing",
    b" t",
    b"er",
    b"aa",
    b"aaaa",
    b"aaa",
    b"  ",
    b"    ",
    "é".encode(),
]
SPECIALS = {"<|end|>": 600, "<|endless|>": 601, "[SEP]": 777}


def small_ranks():
    return BYTES | {token: 256 + i for i, token in enumerate(MERGED)}


def write(path: Path, ranks: dict[bytes, int]) -> Path:
    path.write_bytes(
        b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items())
    )
    return path


def load(path, ranks, pattern=GPT2_PATTERN, special_tokens=SPECIALS, name="small"):
    return harmony.Tokenizer.from_tiktoken_file(
        write(path, ranks), pattern=pattern, special_tokens=special_tokens, name=name
    )


def tiktoken_twin(ranks, pattern=GPT2_PATTERN, special_tokens=SPECIALS):
    tiktoken = oracles.official("tiktoken")
    return tiktoken.Encoding(
        name="twin", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special_tokens
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks") / "small.tiktoken"


@pytest.fixture(scope="module")
def small(path):
    return load(path, small_ranks())


def test_by_hand(small):
    assert small.encode("the ring") == [258, 32, 114, 261]
    assert small.encode("aaaaa a") == [265, 97, 32, 97]
    assert small.encode("é") == [269]
    assert small.decode([258, 32, 114, 261]) == "the ring"
    assert small.name == "small"


def test_attributes(small):
    assert small.n_vocab == 778
    assert small.max_token_value == 777
    assert small.special_tokens_set == set(SPECIALS)
    assert small.is_special_token(600) and not small.is_special_token(602)
    assert small.token_byte_values() == sorted(small_ranks())
    assert small.encode_single_token("[SEP]") == 777
    with pytest.raises(KeyError):
        small.eot_token  # noqa: B018  (there is no <|endoftext|>)


def test_special_tokens(small):
    assert small.encode("the[SEP]the", allowed_special="all") == [258, 777, 258]
    assert small.encode("<|end|><|endless|>", allowed_special="all") == [600, 601]
    assert small.encode("<|start|>") == small.encode_ordinary("<|start|>")
    assert small.decode([777, 600]) == "[SEP]<|end|>"
    with pytest.raises(harmony.HarmonyError):
        small.encode("the[SEP]the")
    with pytest.raises(ValueError, match="nosuch"):
        small.encode("a", allowed_special={"<|nosuch|>"})


def test_ids_of_special_tokens_may_be_those_of_an_array(path):
    numbers = dict(zip(SPECIALS, np.array(list(SPECIALS.values())), strict=True))
    loaded = load(path.with_name("array"), small_ranks(), special_tokens=numbers)
    assert loaded.encode("the[SEP]", allowed_special="all") == [258, 777]
    assert type(loaded.encode_single_token("[SEP]")) is int


def test_no_special_tokens(path):
    plain = load(path.with_name("plain"), small_ranks(), special_tokens={})
    assert plain.encode("the<|end|>") == plain.encode_ordinary("the<|end|>")
    assert plain.encode("the", allowed_special="all") == [258]
    assert plain.n_vocab == 270
    assert plain.special_tokens_set == set()


@given(texts(8))
def test_equal_to_tiktoken(small, text):
    # Characters outside ASCII are left to the test below: the two pattern engines follow different
    # Unicodes.
    text = text.encode("ascii", "ignore").decode()
    twin = tiktoken_twin(small_ranks())
    assert_same_ids(text, small.encode_ordinary(text), twin.encode_ordinary(text))
    ids = twin.encode(text, allowed_special="all")
    assert_same_ids(text, small.encode(text, allowed_special="all"), ids)
    assert_same_ids(text, small.encode_to_numpy(text, allowed_special="all").tolist(), ids)
    assert small.count_tokens(text, allowed_special="all") == len(ids)
    assert_same_ids(text, small.encode(text.encode(), allowed_special="all"), ids)


def test_text_outside_ascii(small):
    twin = tiktoken_twin(small_ranks())
    for text in (
        "é",
        "naïve école",
        "東京タワー the é",
        "\U0001f600é\U0001f600",
        "é[SEP]é<|end|>東",
    ):
        expected = twin.encode(text, allowed_special="all")
        assert small.encode(text, allowed_special="all") == expected
        assert small.encode(text.encode(), allowed_special="all") == expected
        assert small.decode_utf8(expected) == text


def test_surrogates(small):
    assert small.encode("a\ud800") == small.encode("a\ufffd")
    assert small.encode("\ud83d\ude00") == small.encode("\U0001f600")


def random_ranks(rng, alphabet, count):
    """A vocabulary no training would make: tokens that no merge reaches, ranks that run against the
    lengths."""
    tokens = {bytes(rng.choices(alphabet, k=rng.randint(2, 7))) for _ in range(count)}
    order = [*BYTES, *sorted(tokens)]
    rng.shuffle(order)
    return {token: rank for rank, token in enumerate(order)}


@pytest.mark.parametrize("seed", range(scaled(30)))
def test_random_vocabularies(path, seed):
    rng = random.Random(seed)
    alphabet = rng.choice([b"ab", b"abc", b"abcd", b"a "])
    ranks = random_ranks(rng, alphabet, rng.choice([3, 10, 40, 150]))
    ours = load(path.with_name(f"random-{seed}"), ranks, pattern=ALL_OF_IT, special_tokens={})
    twin = tiktoken_twin(ranks, pattern=ALL_OF_IT, special_tokens={})
    for length in [*range(1, 12), 20, 63, 64, 65, 100, 129, 300, 1000]:
        for _ in range(10):
            piece = bytes(rng.choices(alphabet, k=length))
            ids = ours.encode_ordinary(piece)
            assert_same_ids(piece, ids, twin.encode_ordinary(piece.decode()))
            if length <= 300:
                assert_same_ids(piece, ids, merge(ranks, piece))


def test_gaps_in_the_ranks(path):
    ranks = {token: 3 * rank + 5 for token, rank in small_ranks().items()}
    ours = load(path.with_name("gaps"), ranks, special_tokens={"<|end|>": 0})
    twin = tiktoken_twin(ranks, special_tokens={"<|end|>": 0})
    for text in random_texts(scaled(500), seed=4):
        text = text.encode("ascii", "ignore").decode()
        expected = twin.encode(text, allowed_special={"<|end|>"}, disallowed_special=())
        assert ours.encode(text, allowed_special={"<|end|>"}, disallowed_special=()) == expected
    assert ours.decode([0, 3 * 256 + 5]) == "<|end|>th"
    assert ours.n_vocab == twin.n_vocab
    assert ours.token_byte_values() == twin.token_byte_values()
    for gap in (1, 4, 6, ours.n_vocab):
        with pytest.raises(harmony.HarmonyError, match=f"Invalid token for decoding: {gap}$"):
            ours.decode([gap])


def test_the_highest_rank(path):
    """One more is no id: it stands before and behind the tokens of a piece."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 300, b"abc": 2**21 - 2}
    tokenizer = load(path, ranks)
    assert tokenizer.encode_ordinary("abcab") == [2**21 - 2, 300]
    assert tokenizer.decode([2**21 - 2]) == "abc"
    with pytest.raises(VocabularyError, match=r"rank 2097151 is not in 0 \.\.\. 2097150"):
        load(path, ranks | {b"abcd": 2**21 - 1})


@pytest.mark.parametrize("n_bytes", [11, 12, 48, 49, 62, 63, 186, 187, 512, 513, 5_000])
def test_tokens_that_no_merge_makes(path, n_bytes):
    """A piece that is a token is this token, of whatever length, although merging does not lead to it."""
    token, longer = b"x" * n_bytes, b"y" * 6_000
    tokenizer = load(path, BYTES | {token: 256, longer: 257}, ALL_OF_IT)
    assert tokenizer.encode_ordinary("x" * n_bytes) == [256]
    assert tokenizer.encode_ordinary("x" * (n_bytes - 1)) == [ord("x")] * (n_bytes - 1)
    assert tokenizer.encode_ordinary("x" * (n_bytes + 1)) == [ord("x")] * (n_bytes + 1)
    assert tokenizer.encode_ordinary("y" * 6_000) == [257]
    assert tokenizer.encode_ordinary("y" * 6_001) == [ord("y")] * 6_001


def test_lines_in_any_order(path):
    shuffled = list(small_ranks().items())
    random.Random(5).shuffle(shuffled)
    assert load(path.with_name("shuffled"), dict(shuffled)).encode("the ring") == [
        258,
        32,
        114,
        261,
    ]


def test_line_endings(path):
    unix = write(path.with_name("unix"), small_ranks()).read_bytes()
    for name, content in {
        "dos": unix.replace(b"\n", b"\r\n"),
        "open end": unix.rstrip(b"\n"),
    }.items():
        other = path.with_name(name)
        other.write_bytes(content)
        tokenizer = harmony.Tokenizer.from_tiktoken_file(
            str(other), pattern=GPT2_PATTERN, special_tokens=SPECIALS, name="small"
        )
        assert tokenizer.encode("the ring") == [258, 32, 114, 261]


@pytest.fixture(scope="module")
def reloaded_o200k(tmp_path_factory):
    return harmony.Tokenizer.from_tiktoken_file(
        oracles.rank_file(tmp_path_factory.mktemp("o200k")),
        pattern=oracles.O200K_PATTERN,
        special_tokens=oracles.SPECIAL_TOKENS["o200k_harmony"],
        name="o200k_harmony",
    )


def test_o200k_from_its_rank_file(reloaded_o200k, tokenizer, token_texts):
    """The compiled splitter with plain merging: the second way to every id."""
    assert reloaded_o200k.n_vocab == tokenizer.n_vocab
    assert reloaded_o200k.special_tokens_set == tokenizer.special_tokens_set
    for text in random_texts(scaled(20_000), seed=6, vocabulary=token_texts):
        expected = tokenizer.encode(text, allowed_special="all")
        assert_same_ids(text, reloaded_o200k.encode(text, allowed_special="all"), expected)


@given(st.text(alphabet="ab\u4e2d\u3042 -", min_size=60, max_size=400))
def test_long_pieces_of_o200k_from_its_rank_file(reloaded_o200k, tokenizer, text):
    assert_same_ids(text, reloaded_o200k.encode_ordinary(text), tokenizer.encode_ordinary(text))


# What is refused


def line(token: bytes, rank) -> bytes:
    return base64.b64encode(token) + b" " + str(rank).encode() + b"\n"


GOOD = b"".join(line(token, rank) for token, rank in BYTES.items())  # 256 lines
DAMAGE = {
    "no blank": (GOOD + b"YWI=\n", 257),
    "no rank": (GOOD + b"YWI= \n", 257),
    "three fields": (GOOD + b"YWI= 256 256\n", 257),
    "bad base64": (GOOD + b"Y!I= 256\n", 257),
    "base64 cut short": (GOOD + b"YWI 256\n", 257),
    "rank is no number": (GOOD + b"YWI= x\n", 257),
    "rank is a float": (GOOD + b"YWI= 256.0\n", 257),
    "rank is negative": (GOOD + b"YWI= -1\n", 257),
    "rank is huge": (GOOD + b"YWI= 99999999999999999999\n", 257),
    "token twice": (GOOD + line(b"ab", 256) + line(b"ab", 257), 258),
    "rank twice": (GOOD + line(b"ab", 255), 257),
    "damage in the first line": (b"\xff\xfe\n" + GOOD, 1),
    "damage in the middle": (
        GOOD[: GOOD.index(b"\n") + 1] + b"?\n" + GOOD[GOOD.index(b"\n") + 1 :],
        2,
    ),
    "not text at all": (b"\x00\x01\x02 \x03\n", 1),
}


def load_content(path, content):
    path.write_bytes(content)
    return harmony.Tokenizer.from_tiktoken_file(
        path, pattern=ALL_OF_IT, special_tokens={}, name="damaged"
    )


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_with_its_line(path, damage):
    content, number = DAMAGE[damage]
    with pytest.raises(VocabularyError, match=f"line {number}\\b") as raised:
        load_content(path.with_name("damaged.tiktoken"), content)
    assert "damaged.tiktoken" in str(raised.value)


def test_an_empty_file_is_refused(path):
    with pytest.raises(VocabularyError, match=r"empty\.tiktoken"):
        load_content(path.with_name("empty.tiktoken"), b"")


def test_a_vocabulary_without_all_bytes_is_refused(path):
    with pytest.raises(VocabularyError, match=r"holes\.tiktoken"):
        load_content(path.with_name("holes.tiktoken"), GOOD.replace(line(b"A", 65), b""))


def test_a_missing_file_is_refused(path):
    with pytest.raises((VocabularyError, FileNotFoundError), match=r"absent\.tiktoken"):
        harmony.Tokenizer.from_tiktoken_file(
            path.with_name("absent.tiktoken"), pattern=ALL_OF_IT, special_tokens={}, name="absent"
        )


def test_a_folder_is_refused(path):
    with pytest.raises((VocabularyError, OSError)):
        harmony.Tokenizer.from_tiktoken_file(
            path.parent, pattern=ALL_OF_IT, special_tokens={}, name="folder"
        )


@pytest.mark.parametrize(
    "special_tokens",
    [
        {"<|end|>": 97},
        {"<|end|>": -1},
        {"<|end|>": 2**32},
        {"<|end|>": "600"},
        {"a": 600, "b": 600},
        {"": 600},
        {1: 600},
        {"a\ud800": 600},
    ],
    ids=ascii,
)
def test_special_tokens_that_cannot_be_are_refused(path, special_tokens):
    with pytest.raises(VocabularyError):
        load(path.with_name("specials"), small_ranks(), special_tokens=special_tokens)


def test_a_pattern_that_does_not_compile_is_refused(path):
    with pytest.raises(VocabularyError, match="pattern"):
        load(path.with_name("pattern"), small_ranks(), pattern="(")
    for pattern in b"a", None:
        with pytest.raises(TypeError, match="pattern must be str"):
            load(path.with_name("pattern"), small_ranks(), pattern=pattern)


# In the manner of Kimi K2: letters but for those of Han, by an intersection of sets.
WITH_SETS = r"\p{Han}+|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}&&[^\p{Han}]]+(?i:'s|'ss)?|\p{N}{1,3}|[^\p{L}]"


@pytest.fixture(scope="module")
def with_sets(path):
    ours = load(path.with_name("sets"), small_ranks(), pattern=WITH_SETS, special_tokens={})
    return ours, tiktoken_twin(small_ranks(), pattern=WITH_SETS, special_tokens={})


@given(st.text("a\u017fsSTtß'&[]今日 1\n", max_size=12))
def test_sets_within_sets(with_sets, text):
    ours, twin = with_sets
    assert_same_ids(text, ours.encode_ordinary(text), twin.encode_ordinary(text))


@pytest.mark.parametrize("pattern", [r"\p{L}+", "x*", "(?<=a)b"])
def test_text_that_the_pattern_leaves_out_is_an_error(path, pattern):
    """tiktoken drops such text without a word; here what would be lost does not go unnoticed."""
    gappy = load(path.with_name("gappy"), small_ranks(), pattern=pattern)
    with pytest.raises(harmony.HarmonyError, match="pattern"):
        gappy.encode("the 1")


# Identity and pickles


def test_equality(path, small):
    again = load(path, small_ranks())
    assert again == small
    assert hash(again) == hash(small)
    assert load(path, small_ranks(), name="other") != small
    assert load(path, small_ranks(), special_tokens={}) != small
    assert load(path, small_ranks(), pattern=ALL_OF_IT) != small
    assert load(path.with_name("elsewhere"), small_ranks()) != small


def test_pickle(small):
    again = pickle.loads(pickle.dumps(small))
    assert again == small
    assert again.encode("the[SEP]ring", allowed_special="all") == [258, 777, 114, 261]


def test_a_file_that_changed_is_not_unpickled(tmp_path):
    path = tmp_path / "changing.tiktoken"
    pickled = pickle.dumps(load(path, small_ranks()))
    write(path, small_ranks() | {b"zz": 500})
    with pytest.raises(VocabularyError, match=r"changing\.tiktoken"):
        pickle.loads(pickled)
    os.remove(path)
    with pytest.raises((VocabularyError, FileNotFoundError), match=r"changing\.tiktoken"):
        pickle.loads(pickled)
