"""The lines of pairs: they and the slots hold the one merge of every token of o200k, and no other."""

import numpy as np
import pytest

import harmony
from harmony.rank_tables import (
    EMPTY_SLOT,
    ID_BITS,
    PAIR_ID_BITS,
    PAIR_MULTIPLIER,
    PAIRS_IN_LINE,
    build_rank_tables,
)

HASHES = 2 ** (2 * PAIR_ID_BITS)


@pytest.fixture(scope="module")
def tables():
    return harmony.get_tokenizer("o200k_base")._ranks.arrays


def merges_in_lines(lines) -> dict[int, tuple[int, int]]:
    """Merged id -> pair, with each hash undone: from what a line has and which line it is."""
    undo = pow(PAIR_MULTIPLIER, -1, HASHES)
    low = lines[:, : 4 * PAIRS_IN_LINE].copy().view(np.uint32)
    high = lines[:, 4 * PAIRS_IN_LINE : 5 * PAIRS_IN_LINE]
    merges = {}
    for line, place in zip(*np.nonzero(low), strict=True):
        rest = int(low[line, place]) >> PAIR_ID_BITS | int(high[line, place]) << 14
        first = -(-int(line) * HASHES // len(lines))
        pair = (first + (rest - first) % 2**22) * undo % HASHES
        merges[int(low[line, place]) % 2**PAIR_ID_BITS] = divmod(pair, 2**PAIR_ID_BITS)
    return merges


def merges_in_slots(slots) -> dict[int, tuple[int, int]]:
    used = [int(slot) for slot in slots[slots != np.uint64(EMPTY_SLOT)]]
    return {slot % 2**ID_BITS: divmod(slot >> ID_BITS, 2**ID_BITS) for slot in used}


def test_lines_and_slots_hold_every_merge(tables):
    in_lines = merges_in_lines(tables["pair_lines"])
    in_slots = merges_in_slots(tables["pair_slots"])
    left, right = tables["split_left"].tolist(), tables["split_right"].tolist()
    assert not in_lines.keys() & in_slots.keys()
    assert in_lines | in_slots == {i: (left[i], right[i]) for i in range(256, len(left))}
    assert len(in_slots) < 0.05 * len(left)


def test_a_line_says_which_pairs_are_in_the_slots(tables):
    lines = tables["pair_lines"]
    wanted = np.zeros(len(lines), dtype=np.uint8)
    for left, right in merges_in_slots(tables["pair_slots"]).values():
        pair_hash = (left << PAIR_ID_BITS | right) * PAIR_MULTIPLIER % HASHES
        wanted[pair_hash * len(lines) // HASHES] |= 1 << (pair_hash & 7)
    np.testing.assert_array_equal(lines[:, 5 * PAIRS_IN_LINE], wanted)


def test_other_vocabularies_have_slots_only():
    tokens = [bytes([i]) for i in range(256)] + [b"ab", b"abc", b"bc"]
    tables = build_rank_tables(tokens)
    assert tables["pair_lines"].shape == (0, 64)
    slots = tables["pair_slots"]
    pairs = [
        (97 << ID_BITS | 98, 256),
        (97 << ID_BITS | 258, 257),
        (256 << ID_BITS | 99, 257),
        (98 << ID_BITS | 99, 258),
    ]
    assert sorted(slots[slots != np.uint64(EMPTY_SLOT)].tolist()) == sorted(
        pair << ID_BITS | merged for pair, merged in pairs
    )
