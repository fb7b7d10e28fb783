"""The perfect hash table of pairs: every merge of a vocabulary has its place, and nothing else."""

import numpy as np
import pytest

import harmony
from harmony import VocabularyError, rank_tables
from harmony.rank_tables import (
    EMPTY,
    ID_BITS,
    LOWEST_REGION,
    MULTIPLIER_1,
    MULTIPLIER_2,
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


def place_of(tables, left, right) -> int:
    """Where the record of a pair belongs, in Python's own integers."""
    bits = max((left | right).bit_length() - 1, LOWEST_REGION)
    first_place, n_places, first_pilot, n_pilots = tables["pair_regions"][bits].tolist()
    mixed = (left << ID_BITS | right) * MULTIPLIER_1 % 2**64
    mixed ^= int(tables["pair_pilots"][first_pilot + ((mixed >> 32) * n_pilots >> 32)])
    return first_place + ((mixed * MULTIPLIER_2 % 2**64 >> 32) * n_places >> 32)


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


def test_tokens_made_to_have_the_same_hash_are_refused():
    """9 bytes each: what the last byte adds to the hash, the first eight take away."""
    undo = pow(MULTIPLIER_1, -1, 2**64)
    first_eight = int.from_bytes(b"harmony ", "little")
    other = (first_eight - MULTIPLIER_2 * undo) % 2**64
    tokens = [b"harmony a", other.to_bytes(8, "little") + b"b"]
    with pytest.raises(VocabularyError, match="hashes collide"):
        build_rank_tables([bytes([i]) for i in range(256)] + tokens)
    assert build_rank_tables([bytes([i]) for i in range(256)] + tokens[:1])
