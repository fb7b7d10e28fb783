"""Segments against the scanner, which defines pieces, in every tier that this processor has."""

import random
import unicodedata
from itertools import pairwise, product

import numpy
import pytest
from contexts import CONTEXTS, code_point_texts
from families import FAMILIES
from hypothesis import given
from hypothesis import strategies as st
from processes import run
from scale import SHRINK, scaled
from strategies import damaged_utf8, random_texts, texts
from ways import working

from harmony._pretokenize import piece_ends
from harmony._segments import segment_ends, tiers, use_cuts, use_tier
from harmony.rank_tables import CUT_BITS, MULTIPLIER_1, NO_CUT, cut_groups

TIERS = tiers()


@pytest.fixture(params=TIERS)
def tier(request):
    with working(request.param):
        yield request.param


@pytest.fixture(scope="module")
def cut_filter(base_tokenizer):
    return base_tokenizer._codec.ranks.arrays["cut_filter"]


def assert_pieces(encoded):
    got, expected = segment_ends(encoded).tolist(), piece_ends(encoded).tolist()
    if got != expected:
        at = min(set(got) ^ set(expected))
        raise AssertionError(
            f"byte {at} is {'an end' if at in got else 'no end'} of a piece, "
            f"in {encoded[max(0, at - 70) : at]!r} | {encoded[at : at + 70]!r}"
        )


def in_every_tier(encoded):
    for tier in TIERS:
        with working(tier):
            assert_pieces(encoded)


def test_the_best_tier_is_the_default():
    assert TIERS[:2] == ["scalar", "portable"]
    with pytest.raises(ValueError, match="tier 'mmx': expected one of scalar, portable"):
        use_tier("mmx")


def test_result(tier):
    ends = segment_ends(b"Hello, world")
    assert ends.dtype == numpy.int64
    assert ends.tolist() == [5, 6, 12]
    assert segment_ends(b"").tolist() == []
    with pytest.raises(ValueError, match="a cut filter has 262144 bits"):
        segment_ends(b"a", numpy.zeros(1, numpy.uint64))


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS.keys())
def test_every_code_point(tier, context):
    for text in code_point_texts(context):
        assert_pieces(text.encode())


def test_random_texts(tier):
    for text in random_texts(scaled(50_000), seed=21):
        assert_pieces(text.encode())


def test_random_texts_that_fill_windows(tier):
    """Several texts in a row: what reaches out of a window of 64 bytes, and into the next."""
    several = list(random_texts(scaled(60_000), seed=22))
    for at in range(0, len(several), 6):
        assert_pieces("".join(several[at : at + 6]).encode())


def test_every_place_in_a_window(tier):
    """Everything the pattern can do, at each distance from the end of a window."""
    for text in random_texts(scaled(300), seed=23):
        encoded = text.encode()
        for shift in range(64):
            assert_pieces(b"x" * shift + b" " + encoded + b" and more text that follows")


@pytest.mark.parametrize("filler", ["x", "\u00e9", "\u4e2d"], ids=["ascii", "two", "three"])
def test_every_place_in_a_large_window(tier, filler):
    """The same with windows of 512 bytes, which may hold wide characters before it or not."""
    for text in random_texts(scaled(60), seed=27):
        for n_before in range(400, 520):
            before = (filler * 600).encode()[: n_before - n_before % len(filler.encode())]
            assert_pieces(before + b" " + text.encode() + b" and more text" * 40)


def test_every_length_of_a_large_window(tier):
    for text in random_texts(scaled(20), seed=28):
        encoded = ("Some text, then: " * 40 + text).encode()
        for n_left_out in range(len(encoded) - 100):
            assert_pieces(encoded[n_left_out:])


def test_random_texts_that_fill_large_windows(tier):
    """Hundreds of characters out of a few that are hard to tell apart."""
    rng = random.Random(29)
    pools = [
        "abc ABC'stSD\n\t/;-.0123456789",
        "  \n\r/;a1'",
        "aZ' \u00a0\u2028\u017f'",
        "1\u0663\u00b2\u0e52\U0001d7ce a",
        "a'sltrevdmSLTREVDM",
        "\n\t \u3000 a",
        "\u4e2d\u3002A a\u0301!",
        "\U0001f600\ufe0fa! \u00e9\u0410\u0430",
    ]
    pools.append("".join(pools) + "\u01c5\u2160\u0e01\u0e31\u1000")
    for _ in range(scaled(6000)):
        pool = rng.choice(pools)
        runs = (
            rng.choice(pool) * rng.choice((1, 1, 1, 2, 3, 4, 60, 64, 130))
            for _ in range(rng.choice((5, 100, 400)))
        )
        assert_pieces("".join(runs).encode())
        assert_pieces("".join(rng.choice(pool) for _ in range(rng.randint(100, 1500))).encode())


def test_every_short_text_over_one_character_of_each_class(tier):
    alphabet = ["A", "a", "\u4e2d", "\u0301", "1", " ", "\n", "'", "s", "/", "\u3000"]
    for length in range(1, 5):
        for characters in product(alphabet, repeat=length):
            assert_pieces("".join(characters).encode())


@given(texts())
def test_any_text(text):
    in_every_tier(text.encode())


@given(st.text(alphabet="aAsStTlLrReEvVdDmM'\u017f\u0131\u212a \u0301\u4e2d", max_size=200))
def test_contractions(text):
    in_every_tier(text.encode())


@given(st.text(alphabet=" \t\r\n\x0b\x1c\x85\xa0\u2028\u3000\u200ba./", max_size=200))
def test_white_space(text):
    in_every_tier(text.encode())


@pytest.mark.parametrize("family", FAMILIES)
def test_long_runs(tier, family):
    assert_pieces(FAMILIES[family](3000).encode())


def assert_ends_cover(encoded):
    ends = segment_ends(encoded).tolist()
    assert all(before < after for before, after in pairwise([0, *ends]))
    assert (ends[-1] if ends else 0) == len(encoded)


@given(damaged_utf8())
def test_malformed_bytes_are_covered(encoded):
    for tier in TIERS:
        with working(tier):
            assert_ends_cover(encoded)


def test_random_bytes_are_covered(tier):
    rng = random.Random(24)
    for _ in range(scaled(10_000)):
        assert_ends_cover(rng.randbytes(rng.randint(1, 200)))
        assert_ends_cover(rng.randbytes(600))
        damaged = bytearray("A few \u00e9\u4e2d\U0001f600 ".encode() * 50)
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        assert_ends_cover(bytes(damaged))


def test_every_truncation_is_covered(tier):
    for text in random_texts(scaled(100), seed=25):
        encoded = text.encode()
        for end in range(len(encoded)):
            assert_ends_cover(encoded[:end])
            assert_ends_cover(encoded[end:])


# cuts


def cut_texts():
    """Text in the scripts that are cut, among others."""
    rng = random.Random(26)
    ranges = [
        (0x4E00, 0x9FFF),
        (0x3040, 0x30FF),
        (0xAC00, 0xD7A3),
        (0xE01, 0xE5B),
        (0x1000, 0x104F),
    ]
    for _ in range(scaled(3000)):
        first, last = rng.choice(ranges)
        pool = [chr(rng.randint(first, last)) for _ in range(rng.choice((2, 20, 200)))]
        pool += rng.sample(
            ["a", "B", "\u3002", "\uff0c", " ", "\n", "'s", "1", "\u3000", "\u0301"], 3
        )
        yield "".join(rng.choice(pool) for _ in range(rng.randint(1, 150)))


def test_cuts_only_add_ends(tier, cut_filter):
    n_cuts = 0
    for text in cut_texts():
        encoded = text.encode()
        with_cuts = segment_ends(encoded, cut_filter).tolist()
        assert all(before < after for before, after in pairwise([0, *with_cuts]))
        assert set(piece_ends(encoded).tolist()) <= set(with_cuts)
        n_cuts += len(with_cuts) - len(piece_ends(encoded))
    assert (n_cuts > 0) == (tier != "scalar")


def places_to_cut(text, cut_filter):
    """Where the cut rule allows to cut, as byte offsets: the definition, character by character."""
    groups = cut_groups()
    at = 0
    before = ""
    for character in text:
        encoded = (before + character).encode()
        if len(encoded) == 6 and len(before) == 1:
            group = groups[ord(character) >> 7]
            key = int.from_bytes(encoded, "little") << 16
            bit = key * MULTIPLIER_1 % 2**64 >> (64 - CUT_BITS)
            is_same = group == groups[ord(before) >> 7] & (NO_CUT - 1)
            if group and is_same and not int(cut_filter[bit >> 6]) >> (bit & 63) & 1:
                yield at
        at += len(character.encode())
        before = character


def is_plain(character):
    """Whether no tier leaves a long piece with this character to the scanner, which does not cut."""
    return (
        unicodedata.category(character) in ("Lo", "Lm", "Zs", "Cc") or character in "\u3002\uff0c"
    )


@pytest.mark.parametrize("n_texts", [1, 20])
def test_pieces_are_cut_where_no_token_holds_the_border(tier, n_texts, cut_filter):
    several = list(cut_texts())
    n_cuts = 0
    for at in range(0, len(several), n_texts):
        text = "".join(several[at : at + n_texts])
        allowed = set(places_to_cut(text, cut_filter))
        cuts = set(segment_ends(text.encode(), cut_filter)) - set(piece_ends(text.encode()))
        assert cuts <= allowed
        if tier == "scalar":
            continue
        text = "".join(filter(is_plain, text))
        expected = {*places_to_cut(text, cut_filter), *piece_ends(text.encode()).tolist()}
        assert segment_ends(text.encode(), cut_filter).tolist() == sorted(expected)
        n_cuts += len(cuts)
    assert (n_cuts > 0) == (tier != "scalar")


def assert_cuts_change_no_id(tokenizer, text):
    with_cuts = tokenizer.encode_ordinary(text)
    use_cuts(False)
    try:
        assert tokenizer.encode_ordinary(text) == with_cuts
    finally:
        use_cuts(True)


def test_cuts_change_no_id(base_tokenizer):
    for text in cut_texts():
        assert_cuts_change_no_id(base_tokenizer, text)


def test_cuts_change_no_id_of_long_texts(tier, base_tokenizer):
    several = [*cut_texts(), *random_texts(scaled(2000), seed=30)]
    random.Random(31).shuffle(several)
    for at in range(0, len(several), 100):
        assert_cuts_change_no_id(base_tokenizer, "".join(several[at : at + 100]))


@pytest.mark.parametrize(
    "unit", ["\u0e51\u0e521234 ", "\u4e16\u3002\u300d\u30011\u3021\u3022123 ", "\u3021\u30221234"]
)
def test_a_call_for_segments_ends_at_a_border(tier, unit, base_tokenizer):
    """A thousand segments are asked for at once, and the next window begins behind the last: it
    counts digits anew there."""
    for n_before in range(0, 80, SHRINK):
        assert_cuts_change_no_id(base_tokenizer, "b" * n_before + unit * 700)


@pytest.mark.parametrize("newline", [b"\xe0\x80\x8a", b"\xf0\x80\x80\x8d"])
def test_what_would_be_newlines(tier, newline):
    """Characters with more bytes than they need are no UTF-8."""
    assert_ends_cover("\u4e00".encode() + newline + b" a" * 100)


def test_no_token_holds_a_border_that_may_be_cut(ranks, cut_filter):
    """The cut rule, from the side of the tokens: what stands in a token whole is not cut."""
    for token in ranks:
        # Bytes of a character at either end are completed in one of the ways there are.
        encoded = token.decode("utf-8", "ignore").encode()
        if encoded and encoded in token:
            pieces = piece_ends(encoded).tolist()
            if len(pieces) == 1:
                assert segment_ends(encoded, cut_filter).tolist() == pieces, token


def test_the_environment_chooses_for_a_process():
    program = (
        "import harmony; from harmony._segments import segment_ends;"
        "ids = harmony.get_tokenizer('o200k_base').encode_ordinary('\u4e2d\u6587 Hello');"
        "print(ids)"
    )
    plain = run(program)
    variables = {"HARMONY_TIER": "scalar", "HARMONY_CACHES": "off", "HARMONY_CUTS": "off"}
    assert run(program, **variables) == plain
    for name in ("HARMONY_TIER", "HARMONY_CACHES"):
        with pytest.raises(AssertionError, match="expected one of"):
            run(program, **{name: "none"})
