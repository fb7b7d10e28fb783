"""The perfect hash tables of pairs and of borders: every item has its place, and nothing else."""

import random
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

import harmony
from harmony import VocabularyError, rank_tables
from harmony._bpe import RankTables
from harmony._codec import Codec
from harmony.rank_tables import (
    EMPTY,
    ID_BITS,
    LOWEST_REGION,
    MULTIPLIER_1,
    MULTIPLIER_2,
    NO_ID,
    NO_RECORD_ID,
    NUMBER_BITS,
    RECORD_ID_BITS,
    build_rank_tables,
)

IDS = 2**ID_BITS


@pytest.fixture(scope="module")
def tables():
    return harmony.get_tokenizer("o200k_base")._ranks.arrays


def merges_of(tables) -> dict[tuple[int, int], int]:
    records = tables["pair_records"]
    used = [int(record) for record in records[records != np.uint64(EMPTY)]]
    return {divmod(record >> ID_BITS, IDS): record % IDS for record in used}


def place_in(pilots, n_places, key) -> int:
    mixed = key * MULTIPLIER_1 % 2**64
    mixed ^= int(pilots[(mixed >> 32) * len(pilots) >> 32])
    return (mixed * MULTIPLIER_2 % 2**64 >> 32) * n_places >> 32


def place_of(tables, left, right) -> int:
    """Where the record of a pair belongs, in Python's own integers."""
    bits = max((left | right).bit_length() - 1, LOWEST_REGION)
    first_place, n_places, first_pilot, n_pilots = tables["pair_regions"][bits].tolist()
    pilots = tables["pair_pilots"][first_pilot : first_pilot + n_pilots]
    return first_place + place_in(pilots, n_places, left << ID_BITS | right)


def test_every_merge_of_o200k_has_a_record(tables):
    left, right = tables["split_left"].tolist(), tables["split_right"].tolist()
    expected = {(left[i], right[i]): i for i in range(256, len(left))}
    assert merges_of(tables) == expected
    assert len(tables["pair_records"]) < 1.03 * len(expected)


def test_every_record_is_where_its_pair_is_looked_for(tables):
    records = tables["pair_records"]
    for place in np.flatnonzero(records != np.uint64(EMPTY))[::7].tolist():
        left, right = divmod(int(records[place]) >> ID_BITS, IDS)
        assert place_of(tables, left, right) == place


def test_regions_follow_each_other_and_cover_the_tables(tables):
    regions = tables["pair_regions"][LOWEST_REGION:]
    for first, length, table in ((0, 1, "pair_records"), (2, 3, "pair_pilots")):
        ends = np.cumsum(regions[:, length])
        np.testing.assert_array_equal(regions[1:, first], ends[:-1])
        assert regions[0, first] == 0 and ends[-1] == len(tables[table])


def test_other_vocabularies_have_all_ways_to_split_a_token():
    tokens = [bytes([i]) for i in range(256)] + [b"ab", b"abc", b"bc"]
    tables = build_rank_tables(tokens)
    assert merges_of(tables) == {(97, 98): 256, (97, 258): 257, (256, 99): 257, (98, 99): 258}


def test_the_table_grows_until_pilots_are_found(monkeypatch):
    """With no place to spare, the last pairs find none that is free."""
    sizes = []
    find_pilots = rank_tables._find_pilots

    def find_later(hashes, n_places):
        sizes.append(n_places)
        return None if len(sizes) == 1 else find_pilots(hashes, n_places)

    monkeypatch.setattr(rank_tables, "_find_pilots", find_later)
    tables = build_rank_tables([bytes([i]) for i in range(256)] + [b"ab", b"abc"])
    assert sizes[1] > sizes[0]
    assert merges_of(tables) == {(97, 98): 256, (256, 99): 257}
    for left, right in merges_of(tables):
        assert tables["pair_records"][place_of(tables, left, right)] != np.uint64(EMPTY)


def test_pilots_are_not_tried_in_vain_for_a_few_tokens(monkeypatch):
    rng = random.Random(3)
    n_tried = 0
    scale = rank_tables._scale

    def counting(hashes, n):
        nonlocal n_tried
        n_tried += hashes.ndim == 2
        return scale(hashes, n)

    monkeypatch.setattr(rank_tables, "_scale", counting)
    for n_tokens in range(1, 41):
        words = {bytes(rng.choices(range(97, 101), k=rng.randint(2, 9))) for _ in range(n_tokens)}
        build_rank_tables([*(bytes([b]) for b in range(256)), *sorted(words)])
    # One table that cannot be filled took all 65,536 before.
    assert n_tried < 40 * 8_000


def test_tokens_made_to_have_the_same_hash_are_refused():
    """9 bytes each: what the last byte adds to the hash, the first eight take away."""
    undo = pow(MULTIPLIER_1, -1, 2**64)
    first_eight = int.from_bytes(b"harmony ", "little")
    other = (first_eight - MULTIPLIER_2 * undo) % 2**64
    tokens = [b"harmony a", other.to_bytes(8, "little") + b"b"]
    with pytest.raises(VocabularyError, match="hashes collide"):
        build_rank_tables([bytes([i]) for i in range(256)] + tokens)
    assert build_rank_tables([bytes([i]) for i in range(256)] + tokens[:1])


def border_of(tables, left: str, right: str) -> tuple[int, int]:
    """What the tables say of two characters that are tokens: the first token that holds the border
    between them, and the one that is both; NO_RECORD_ID: none."""
    numbers = [int(tables["characters"][ord(each)]) >> RECORD_ID_BITS for each in (left, right)]
    records = tables["border_records"]
    key = numbers[0] << ID_BITS | numbers[1]
    record = int(records[place_in(tables["border_pilots"], len(records), key)])
    if record >> 2 * RECORD_ID_BITS != numbers[0] << NUMBER_BITS | numbers[1]:
        return NO_RECORD_ID, NO_RECORD_ID
    return record >> RECORD_ID_BITS & NO_RECORD_ID, record & NO_RECORD_ID


def holds_border(token: bytes, left: bytes, right: bytes) -> bool:
    """Whether the token may be made of a text in which these two characters are neighbours, of a
    byte of either at least."""
    return any(
        (token[:at].endswith(left) or left.endswith(token[:at]))
        and (token[at:].startswith(right) or right.startswith(token[at:]))
        for at in range(1, len(token))
    )


def test_characters_are_the_tokens_of_one_character(tables, base_tokenizer):
    characters = tables["characters"].tolist()
    for code_point, entry in enumerate(characters):
        if not 0xD800 <= code_point < 0xE000:
            ids = base_tokenizer.encode_ordinary(chr(code_point))
            found = [] if entry == NO_ID else [entry & NO_RECORD_ID]
            assert found == (ids if len(ids) == 1 else [])
    numbers = [entry >> RECORD_ID_BITS for entry in characters if entry != NO_ID]
    assert sorted(numbers) == list(range(len(numbers)))


def test_borders_know_the_first_token_that_holds_them(tables, ranks, token_texts):
    rng = random.Random(5)
    holders = defaultdict(list)  # by the bytes at a border, lowest rank first
    for token, rank in ranks.items():
        for junction in dict.fromkeys(pairwise(token)):
            holders[junction].append((rank, token))
    known = dict.fromkeys(map(chr, np.flatnonzero(tables["characters"] != NO_ID)))
    wide = [
        text for text in token_texts if len(text) >= 2 and text[0] in known and text[1] in known
    ]
    pairs = [text[:2] for text in rng.sample([t for t in wide if not t.isascii()], 100)]
    pairs += [text[:2] for text in rng.sample(wide, 20)]
    pairs += ["".join(rng.choices(list(known), k=2)) for _ in range(60)]
    pairs += [" " + rng.choice(list(known)) for _ in range(20)]
    n_none = 0
    for pair in pairs:
        left, right = pair[0].encode(), pair[1].encode()
        candidates = holders[left[-1], right[0]]
        first = next((i for i, t in candidates if holds_border(t, left, right)), NO_RECORD_ID)
        both = ranks.get(left + right, NO_RECORD_ID)
        assert border_of(tables, *pair) == (first, both), pair
        n_none += first == NO_RECORD_ID
    assert 20 < n_none < 120


DAMAGES = {
    "byte_ids": [(0, 1), (65, 200_000), (255, NO_ID)],
    "byte_pairs": [((5, 0), 199_998), ((5, 1), NO_ID - 1)],
    "pair_records": [(3, 1 << 42 | 2 << 21 | 199_998)],
    "split_left": [(300, 301)],
    "split_right": [(300, NO_ID)],
    "shorter_prefix": [(300, 300), (300, 199_998), (0, 1)],
    "sorted_ids": [(7, 199_998), (7, 0)],
    "prefix_starts": [(0, 1), (0x6161, 0), (65536, 199_999)],
    "characters": [(97, 199_998)],
    "short_tokens": [((300, 15), 14), ((199_000, 15), 255)],
}


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [(name, at, value) for name, given in DAMAGES.items() for at, value in given],
)
def test_damaged_tables_are_refused(name, at, value, tables):
    """Compiled code follows what they say."""
    RankTables(tables)
    damaged = tables[name].copy()
    assert damaged[at] != value
    damaged[at] = value
    with pytest.raises(VocabularyError):
        RankTables({**tables, name: damaged})


def test_borders_serve_only_with_the_merge_of_every_token(tables, base_tokenizer):
    """Without it characters are not looked up, whatever the tables hold."""
    names = ("split_left", "split_right", "shorter_prefix", "sorted_ids", "prefix_starts")
    partial = {**tables, **{name: tables[name][:0] for name in (*names, "characters")}}
    text = " необъяснимостями" * 3
    assert Codec(RankTables(partial), {}).encode_list(
        text, None, None
    ) == base_tokenizer.encode_ordinary(text)
