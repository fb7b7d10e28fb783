"""A str becomes UTF-8, is searched for special tokens and becomes ints: each a loop of our own,
judged by what CPython says."""

import random
import sys

import numpy as np
import pytest
from processes import run
from scale import scaled
from ways import WAYS, working

import harmony
from harmony._codec import to_utf8
from harmony._encode import context_bytes
from harmony._segments import tiers

# Characters at both ends of what one, two, three and four bytes of UTF-8 can say, by the bytes
# that CPython keeps of each character: its widest decides.
KINDS = {
    "latin-1": "a\x7f\x80\0\xff",
    "two bytes": "a\0\x7f\x80\u07ff\u0800\ud7ff\ue000\uffffж中",
    "only wide": "中한あ",
    "four bytes": "a\0\x80\u07ff\u0800\uffff\U00010000\U0010ffff😀",
}


@pytest.mark.parametrize("tier", tiers())
@pytest.mark.parametrize("kind", KINDS)
def test_utf8_of_every_kind(tier, kind):
    rng = random.Random(41)
    with working(tier):
        for n in [*range(140), *(rng.randrange(5000) for _ in range(scaled(40)))]:
            text = "".join(rng.choices(KINDS[kind], k=n)) + KINDS[kind][-1]
            assert to_utf8(text) == text.encode()


@pytest.mark.parametrize("tier", tiers())
@pytest.mark.parametrize("filling", ["a", "é", "中", "😀"])
@pytest.mark.parametrize("surrogate", ["\ud800", "\udbff", "\udc00", "\udfff", "\ud83d\ude00"])
def test_surrogates_anywhere(tier, filling, surrogate):
    with working(tier):
        for before in [0, 1, 14, 15, 16, 31, 32, 33, 70]:
            text = filling * before + surrogate + filling * (70 - before)
            repaired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            assert to_utf8(text) == repaired.encode()


@pytest.mark.parametrize("tier", tiers())
def test_special_tokens_are_found_anywhere(encoding, tier):
    with working(tier):
        for filling in ["a", "<", "|", "é", "<|end|", "中"]:
            for n in range(280):
                text = filling * n + "<|end|>" + "x" * (n % 70)
                with pytest.raises(harmony.HarmonyError, match="disallowed special token"):
                    encoding.encode(text)
                with pytest.raises(harmony.HarmonyError, match="disallowed special token"):
                    encoding.encode_to_numpy(text)


def test_what_begins_like_a_special_token_is_text(encoding):
    for filling in ["a", "<", "|", "< |", "<|", "<|end|"]:
        for n in [1, 31, 63, 64, 65, 127, 128]:
            text = filling * n
            assert encoding.decode(encoding.encode(text)) == text
            assert encoding.encode_to_numpy(text).tolist() == encoding.encode_ordinary(text)


def test_ints_are_ints(tokenizer):
    """Every id as an int that a list got is like any other int, and outlives its lists."""
    array = np.array([tokenizer.n_vocab - 1, 0, 1, 255, 256, 257, 199_997, 200_006], np.uint32)
    text = tokenizer.decode(array)
    for _ in range(3):
        ids = tokenizer.encode(text, allowed_special="all")
        assert all(type(each) is int for each in ids)
        assert ids == tokenizer.encode_to_numpy(text, allowed_special="all").tolist()
        assert [each + 0 for each in ids] == ids and [hash(each) for each in ids] == ids
        assert str(ids) == str(tokenizer.encode_to_numpy(text, allowed_special="all").tolist())
        del ids
    zero = tokenizer.encode("!")
    assert zero == [0] and not zero[0] and zero[0] - 1 == -1 and sys.getsizeof(zero[0])


def test_the_first_lists_of_a_process_and_later_ones():
    """The first ones have ints of their own, later ones share them: all are the same numbers."""
    program = """
import harmony
tokenizer = harmony.get_tokenizer("o200k_harmony")
texts = ["!", "a!", " ".join(map(str, range(2_000))), "!", "a!", "".join(map(chr, range(1, 9_000)))]
kept = [tokenizer.encode_ordinary(text) for text in texts]
for text, ids in zip(texts, kept):
    assert ids == tokenizer.encode_to_numpy(text).tolist() == tokenizer.encode_ordinary(text)
    assert [each + 1 for each in ids] == (tokenizer.encode_to_numpy(text) + 1).tolist()
last, again = kept[-1], tokenizer.encode_ordinary(texts[-1])
print(sum(a is b for a, b in zip(last, again)) == len(last) > 5_000)
"""
    assert run(program).split() == ["True"]


def test_decoding_takes_every_kind_of_int(tokenizer):
    class Index:
        def __index__(self):
            return 24912

    own = tokenizer.encode("hello")
    for ids in (own, [24912], [np.int64(24912)], [Index()], (24912,), np.array([24912], np.uint16)):
        assert tokenizer.decode(ids) == "hello"
    for kind in (np.uint32, np.int64, ">u4", "<u8"):
        strided = np.array([24912, 1, 24912, 1], kind)[::2]
        assert tokenizer.decode(strided) == "hellohello"
    unaligned = np.frombuffer(b"x" + np.array([24912] * 2, np.uint32).tobytes(), np.uint32, 2, 1)
    assert tokenizer.decode(unaligned) == "hellohello"
    assert tokenizer.decode([True]) == tokenizer.decode([1])
    for wrong in (2**30, 2**32 - 1):
        with pytest.raises(harmony.HarmonyError, match=str(wrong)):
            tokenizer.decode([wrong])


def test_the_memory_of_a_call():
    """Beside the output, and n / 8 bytes for a long piece."""
    assert context_bytes() <= 2_000_000


@pytest.mark.parametrize("way", WAYS)
def test_words_that_share_a_place(tokenizer, way):
    """With a cache of one place every spelling meets every other: none may come out as another."""
    rng = random.Random(43)
    syllables = ["ka", "zu", "blor", "x", "qq", "ñu", "жук", "ой", "ing", "ʃ"]
    # Of up to some 60 ids, of which three are in a word and 24 in a place.
    lengths = [rng.randint(2, 7) for _ in range(40)] + [rng.randint(8, 30) for _ in range(40)]
    words = ["".join(rng.choices(syllables, k=length)) for length in lengths]
    expected = [tokenizer.encode_ordinary(f" {word}") for word in words]
    assert len({len(ids) for ids in expected if 6 < len(ids) <= 24}) > 12
    assert max(map(len, expected)) > 24
    with working(way):
        for _ in range(scaled(200)):
            chosen = rng.choices(range(len(words)), k=rng.randint(1, 30))
            ids = tokenizer.encode_ordinary("".join(f" {words[k]}" for k in chosen))
            assert ids == [token for k in chosen for token in expected[k]]


class Tagged(str):
    """A str with methods of its own, which must not be asked for anything."""

    def __len__(self):
        return 1

    def encode(self, *arguments, **more):
        return b"not the text"


@pytest.mark.parametrize("kind", [np.str_, Tagged])
@pytest.mark.parametrize(
    "text", ["plain", "caf\xe9", "\u4e2d\u6587 and more", "\U0001f600", "lone \ud800 surrogate"]
)
def test_subclasses_of_str(encoding, kind, text):
    """Arrays of texts hold numpy's."""
    expected = encoding.encode(text)
    assert encoding.encode(kind(text)) == expected
    assert encoding.encode_ordinary(kind(text)) == expected
    assert encoding.encode_to_numpy(kind(text)).tolist() == expected
    assert encoding.encode(kind(text), allowed_special="all") == expected
    assert encoding.encode_batch([kind(text), text]) == [expected, expected]
    assert encoding.count_tokens(kind(text)) == len(expected)
    assert encoding.count_tokens_batch([kind(text)]).tolist() == [len(expected)]


def test_an_array_of_texts(encoding):
    texts = ["abc", "caf\xe9", "\u4e2d"]
    assert encoding.encode_batch(np.array(texts)) == encoding.encode_batch(texts)
