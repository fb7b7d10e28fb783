"""Every way the encoder can work gives the ids of the plain way, and that gives tiktoken's.

Each tier of the segment finder, caches of full size, tiny and off, pieces cut and whole
(ways.py). The plain way, the scanner without caches and cuts, is merging by definition.
"""

import itertools
import platform
import random
import re
import sys

import pytest
from compare import assert_same_ids
from contexts import CONTEXTS, code_point_texts
from families import FAMILIES
from hypothesis import given
from processes import run
from scale import scaled
from strategies import random_texts, texts
from ways import WAYS, working

from harmony._encode import use_caches
from harmony._segments import tiers, use_tier

LINUX = re.match(r"(\d+)\.(\d+)", platform.release()) if sys.platform == "linux" else None
FAST = [way for way in WAYS if way != "plain"]


@pytest.fixture(params=FAST)
def way(request):
    """Tests make expected ids in the plain way, then work in this one."""
    return request.param


def ids_of(tokenizer, way, several):
    with working(way):
        return [tokenizer.encode_ordinary(text) for text in several]


def assert_same_as_plain(tokenizer, way, several):
    plain = ids_of(tokenizer, "plain", several)
    for text, ids, expected in zip(several, ids_of(tokenizer, way, several), plain, strict=True):
        assert_same_ids(text, ids, expected)


def long_texts(token_texts):
    """Texts of some kilobytes: many windows, several batches of segments, full caches."""
    rng = random.Random(31)
    short = list(random_texts(scaled(4000), seed=32, vocabulary=token_texts))
    for _ in range(scaled(150)):
        yield "".join(rng.choices(short, k=rng.randint(20, 400)))


def test_plain_is_tiktoken(tokenizer, tiktoken_harmony, token_texts):
    several = [*long_texts(token_texts), *random_texts(scaled(10_000), 33, vocabulary=token_texts)]
    for text, ids in zip(several, ids_of(tokenizer, "plain", several), strict=True):
        assert_same_ids(text, ids, tiktoken_harmony.encode_ordinary(text))


def test_long_texts(tokenizer, token_texts, way):
    assert_same_as_plain(tokenizer, way, list(long_texts(token_texts)))


def test_random_texts(tokenizer, token_texts, way):
    assert_same_as_plain(
        tokenizer, way, list(random_texts(scaled(20_000), seed=34, vocabulary=token_texts))
    )


@pytest.mark.parametrize("context", ["between lower-case letters", "four in a row"])
def test_every_code_point(tokenizer, way, context):
    assert context in CONTEXTS
    assert_same_as_plain(tokenizer, way, list(code_point_texts(context)))


def test_every_token_as_text(tokenizer, token_texts, way):
    """Alone, and after a space: what the vocabulary's tables hold, found through each cache."""
    assert_same_as_plain(tokenizer, way, [*token_texts, " ".join(token_texts)])


@pytest.mark.parametrize("family", FAMILIES)
def test_families(tokenizer, way, family):
    assert_same_as_plain(tokenizer, way, [FAMILIES[family](size) for size in (300, 5_000, 40_000)])


def test_every_length_and_place(tokenizer, way):
    """Texts of 0 to 300 characters, and the same text after 0 to 63 others."""
    pattern = "It's 12,345 words\n\n  of 日本語、中文。 naïve <|end|> \t/* x */ Привет мир "
    text = pattern * 6
    several = [text[:length] for length in range(301)]
    several += ["." * shift + text for shift in range(64)]
    assert_same_as_plain(tokenizer, way, several)


@given(texts())
def test_any_text(tokenizer, text):
    for way in FAST:
        assert_same_as_plain(tokenizer, way, [text])


# Letters of two and three bytes. Some are no token, and some come late.
SCRIPTS = {
    "Cyrillic": (0x430, 0x44F),
    "Armenian": (0x561, 0x586),
    "Arabic": (0x620, 0x64A),
    "Devanagari": (0x904, 0x94D),
    "Tamil": (0xB85, 0xBCD),
    "Thai": (0xE01, 0xE3A),
    "Georgian": (0x10D0, 0x10F0),
    "Ethiopic": (0x1200, 0x135A),
    "kana": (0x3041, 0x30FA),
    "Hangul": (0xAC00, 0xD7A3),
    "Han": (0x4E00, 0x9FFF),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_long_words(tokenizer, way, script):
    """Around 62 and 186 bytes: up to there words are merged by characters, many together."""
    first, last = SCRIPTS[script]
    rng = random.Random(script)
    common = rng.sample(range(first, last + 1), min(20, last + 1 - first))
    several = []
    for n in range(15, 80):
        for letters in (common, range(first, last + 1)):
            word = "".join(map(chr, rng.choices(letters, k=n)))
            several += [word, f" {word}", f" {word}q"]
    assert_same_as_plain(tokenizer, way, several)


@pytest.mark.parametrize("tier", tiers())
def test_a_piece_in_the_place_of_a_longer_one(tokenizer, tier):
    """What the longer one left behind its tokens is not merged with them."""
    signs = "\"'()<abzé—яあ"
    several = [sign * n for sign in signs for n in (40, *range(33, 7, -1))]
    expected = ids_of(tokenizer, "plain", several)
    with working("no caches"):
        use_tier(tier)
        for text, ids in zip(several, expected, strict=True):
            for longer in (text[0] * 17, text[0] * 34):
                tokenizer.encode_ordinary(longer)
                assert_same_ids(text, tokenizer.encode_ordinary(text), ids)


def test_segments_that_share_a_place_in_a_cache(tokenizer):
    """Tiny caches have two places each: every segment meets what another one left there."""
    words = ["a", "ab", "zq", "qzx", "zxqw", "xqzjwvk", "abcdefghijk", "qzqzqzqzqzqz", "日本", "語"]
    several = ["".join(pair) for pair in itertools.product([" ", "."], words)]
    several = ["".join(three) for three in itertools.product(several, repeat=3)]
    assert_same_as_plain(tokenizer, "tiny caches", several)


def test_a_spelling_of_which_half_was_thrown_out(tokenizer):
    """A spelling of two words loses the second one to another. What the first one and that other
    spell together is a text, too, of which they need not be the ids."""
    rng = random.Random(36)

    def word(low, high):
        return "".join(rng.choices("bcdfghjklmnpqrstvwxyz", k=rng.randint(low, high)))

    with working("plain"):
        ids = tokenizer.encode_ordinary
        # Three tokens and at most three that follow, where the border is not between tokens.
        start, other = next(
            (start, other)
            for start, other in ((f" {word(4, 8)}", word(3, 5)) for _ in range(100_000))
            if len(ids(start)) == 3
            and len(ids(other)) == 3
            and ids(start + other)[:3] != ids(start)
            and len(ids(start + other)) > 3
        )
        fillers = [text for text in (f" {word(4, 8)}" for _ in range(1_000)) if len(ids(text)) == 3]
        longer = [f"{start}{word(3, 6)}" for _ in range(40_000)]
        longer = [text for text in longer if ids(text)[:3] == ids(start) and len(ids(text)) <= 6]
        expected = ids(start + other)
    assert len(longer) > 1_500, "one in 512 has the hash that it takes"
    for text in longer:
        with working("tiny caches"):
            # One place of eight words: these fill it, and then the second one is the first to go.
            for each in [text, *fillers[:6], other]:
                tokenizer.encode_ordinary(each)
            assert tokenizer.encode_ordinary(start + other) == expected


def test_a_text_of_distinct_pieces(tokenizer):
    """Nothing is ever found in a cache, and what it holds is thrown out all the time."""
    rng = random.Random(35)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = {"".join(rng.choices(letters, k=rng.randint(4, 14))) for _ in range(scaled(60_000))}
    for way in FAST:
        assert_same_as_plain(tokenizer, way, [" ".join(sorted(words))])


def test_unknown_caches():
    with pytest.raises(ValueError, match="caches 'huge': expected one of tiny, off"):
        use_caches("huge")


@pytest.mark.skipif(
    LINUX is None or tuple(map(int, LINUX.groups())) < (5, 14),
    reason="Linux 5.14 is the first that provides memory when asked to",
)
def test_memory_of_caches_is_provided_once():
    """Not as a page of zeros first, when a cache is read, and again when it is written to."""
    program = """
import resource
import harmony
from harmony._encode import context_bytes, use_caches
tokenizer = harmony.get_tokenizer("o200k_harmony")
text = " ".join(f"word{number:x}ly" for number in range(40_000))
use_caches("off")
tokenizer.count_tokens(text)  # the pages of the tables are there
use_caches("")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
tokenizer.count_tokens(text)  # takes no memory but that of a context
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(context_bytes() / resource.getpagesize())
"""
    faults, pages = map(float, run(program).split())
    assert faults < 1.25 * pages
