"""Token byte strings by rank -> the arrays that _bpe.pyx merges with.

One layout for every vocabulary. The build makes the tables of o200k with it, once, and puts them
in a file (vocabulary.py maps it); `Tokenizer.from_tiktoken_file` makes the tables of other rank
files with it at load time. Only numpy is used here, so the build can run it before anything is
compiled.

Ids are ranks: id i is the token of rank i. An id without a token (a gap in the ranks) has an empty
byte string. `NO_ID` marks "none". Hash tables are filled to at most about 70 %, and an item whose
bucket is full goes to the next one, so a look-up ends at the first bucket that is not full.

==============  =========================  =========================================================
array           dtype, shape               meaning
==============  =========================  =========================================================
token_bytes     uint8 [n_bytes]            all tokens, one after the other
token_starts    uint32 [n_ids + 1]         token i is token_bytes[starts[i]:starts[i + 1]]
short_tokens    uint8 [n_ids, 16]          the bytes of token i, then zeros, its length last; 255
                                           there if it has more than 15 bytes
byte_ids        uint32 [256]               id of each single byte
byte_pairs      uint32 [65536]             id of the two-byte token (first << 8 | second), or NO_ID
border_ranks    uint32 [65536]             rank of the first token that holds these two bytes next
                                           to each other (first << 8 | second), or NO_ID
short_records   uint64 [buckets, 4, 2]     tokens of at most 11 bytes: (bytes 0-7 little-endian),
                                           (bytes 8-10 | length << 24 | id << 28 | ~0 << 46);
                                           0, 0: empty. None at all if ids need over 18 bits
long_slots      uint64 [slots]             other tokens: hash & 0xFFFFFFFF << 32 | id; ~0: empty
pair_lines      uint8 [lines, 64] or       12 pairs of two tokens and the token they merge into:
                [0, 64]                    uint32 [12], 14 bits of the pair's hash and the merged
                                           id, uint8 [12], 8 more bits of the hash; from the left,
                                           then zeros; then a byte with bit (hash & 7) set for
                                           each pair that had no room and is in pair_slots
pair_slots      uint64 [slots]             pairs that are in no line:
                                           left id << 42 | right id << 21 | merged id; ~0: empty
pair_filter     uint64 [words]             one bit for each value of the top bits of a pair's hash,
                                           set if some pair has it: most pairs asked for are none
split_left      uint32 [n_ids] or [0]      left half of the one merge that makes the token; a
split_right     the same                   single byte has itself here
shorter_prefix  uint32 [n_ids] or [0]      longest other token that is a prefix of this one
sorted_ids      uint32 [n_ids] or [0]      ids in the order of their bytes
prefix_starts   uint32 [65537] or [0]      place in sorted_ids of the first token whose first
                                           two bytes (0 if missing) are at least the index
character_ids   uint32 [65536] or [0]      id of the token that is this character of three bytes, by
                                           code point, or NO_ID
cut_filter      uint64 [4096] or [0]       one bit for each hash of two characters, set if a token
                                           may hold the border between them
==============  =========================  =========================================================

pair_lines and the last seven are only made when the one merge of every token is given: they serve
shortcuts for o200k; scripts/make_rank_tables.py proves what these rest on.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

NO_ID = 0xFFFFFFFF
ID_BITS = 21
MAX_IDS = 2**ID_BITS - 1
SHORT_LENGTH = 11  # longest token kept inside its hash record
RECORD_ID_BITS = 18  # of each of the two ids of a record; all ones: none
NO_RECORD_ID = 2**RECORD_ID_BITS - 1
IS_LONG = 255  # in place of the length of a token that has more than 15 bytes
BUCKET = 4  # short records in a bucket: 64 bytes, one cache line
CUT_BITS = 18  # log2 of the bits of the cut filter
PAIR_ID_BITS = 18  # of each of the two ids of a pair in a line
PAIRS_IN_LINE = 12  # there is room for
PAIRS_PER_LINE = 9.75  # on average: 3 % of them have to go to the slots
FILTER_PAIRS_PER_WORD = 9  # at 70 %: at most one bit in ten is set
EMPTY_SLOT = 0xFFFFFFFFFFFFFFFF

# Odd multipliers that spread bits well; _bpe.pyx uses the same.
MULTIPLIER_1 = 0x9E3779B97F4A7C15
MULTIPLIER_2 = 0xC2B2AE3D27D4EB4F
PAIR_MULTIPLIER = 0x9E3779B97
_MASK_64 = 0xFFFFFFFFFFFFFFFF

# Where pieces are cut: between two characters of the same group. These are the scripts that do not
# put spaces between words. The bit 0x80 keeps a character from being the second of the two.
NO_CUT = 0x80
CUT_GROUPS = {
    (0x3000, 0xD800): 1,  # Chinese, Japanese, Korean
    (0xFF00, 0x10000): 1 | NO_CUT,  # their punctuation in full width
    (0x0E00, 0x0F00): 2,  # Thai, Lao
    (0x1000, 0x1080): 3,  # Burmese
    (0x1780, 0x1800): 4,  # Khmer
}

Tables = dict[str, np.ndarray]


def build_rank_tables(
    tokens: Sequence[bytes], final_pairs: dict[int, tuple[int, int]] | None = None
) -> Tables:
    """The arrays listed above for these tokens.

    `tokens[i]` is the token of rank i, b"" where there is none; all 256 single bytes must be there.
    `final_pairs` maps the id of every longer token to the ids of the one pair whose merge makes it;
    None stands for a vocabulary of which that is not known: then every split of a token into two
    tokens is a pair.
    """
    id_of = {token: i for i, token in enumerate(tokens) if token}
    short_length = SHORT_LENGTH if len(tokens) < NO_RECORD_ID else 0
    lengths = np.fromiter(map(len, tokens), dtype=np.int64, count=len(tokens))
    starts = np.zeros(len(tokens) + 1, dtype=np.uint32)
    np.cumsum(lengths, out=starts[1:])
    if final_pairs is None:
        lines, others = _pair_lines([])[0], _all_splits(id_of)
    else:
        lines, others = _pair_lines([(*pair, merged) for merged, pair in final_pairs.items()])
    tables: Tables = {
        "token_bytes": np.frombuffer(b"".join(tokens), dtype=np.uint8),
        "token_starts": starts,
        "short_tokens": _short_tokens(tokens),
        "byte_ids": np.array([id_of[bytes([b])] for b in range(256)], dtype=np.uint32),
        "byte_pairs": _byte_pairs(id_of),
        "border_ranks": _border_ranks(tokens),
        "short_records": _short_records(id_of, short_length),
        "long_slots": _long_slots(id_of, short_length),
        "pair_lines": lines,
        "pair_slots": _pair_slots(others),
        "pair_filter": _pair_filter(others),
    }
    tables.update(_long_piece_tables(tokens, id_of, final_pairs))
    tables["character_ids"] = _character_ids(id_of if final_pairs else {})
    tables["cut_filter"] = _cut_filter(tokens) if final_pairs else np.empty(0, dtype=np.uint64)
    return tables


def _all_splits(id_of: dict[bytes, int]) -> list[tuple[int, int, int]]:
    """(left, right, merged) for every way to cut a token into two tokens."""
    pairs = []
    for token, merged in id_of.items():
        for cut in range(1, len(token)):
            left = id_of.get(token[:cut])
            if left is not None:
                right = id_of.get(token[cut:])
                if right is not None:
                    pairs.append((left, right, merged))
    return pairs


def _short_tokens(tokens: Sequence[bytes]) -> np.ndarray:
    records = bytearray()
    for token in tokens:
        records += token[:15].ljust(15, b"\0")
        records.append(len(token) if len(token) <= 15 else IS_LONG)
    return np.frombuffer(records, dtype=np.uint8).reshape(-1, 16)


def _byte_pairs(id_of: dict[bytes, int]) -> np.ndarray:
    ids = np.full(65536, NO_ID, dtype=np.uint32)
    for token, i in id_of.items():
        if len(token) == 2:
            ids[token[0] << 8 | token[1]] = i
    return ids


def _border_ranks(tokens: Sequence[bytes]) -> np.ndarray:
    ranks = np.full(65536, NO_ID, dtype=np.uint32)
    content = np.frombuffer(b"".join(tokens), dtype=np.uint8).astype(np.uint16)
    ids = np.repeat(np.arange(len(tokens), dtype=np.uint32), [len(token) for token in tokens])
    within = ids[1:] == ids[:-1]
    # From the last rank to the first: what is written last stays.
    ranks[(content[:-1] << 8 | content[1:])[within][::-1]] = ids[1:][within][::-1]
    return ranks


def _table_size(n_items: int, per_bucket: int) -> int:
    """Number of buckets, a power of two, at least 2, that n_items fill to 70 % at most."""
    n_buckets = 2
    while n_buckets * per_bucket * 0.7 < n_items:
        n_buckets *= 2
    return n_buckets


def _place(hashes: np.ndarray, n_buckets: int, per_bucket: int) -> np.ndarray:
    """Slot of each item: in the bucket its top hash bits name, or in the next with room."""
    shift = np.uint64(64 - (n_buckets.bit_length() - 1))
    bucket = (hashes >> shift).astype(np.int64)
    slot = np.empty(len(hashes), dtype=np.int64)
    fill = np.zeros(n_buckets, dtype=np.int64)
    waiting = np.arange(len(hashes))
    while len(waiting):
        order = waiting[np.argsort(bucket[waiting], kind="stable")]
        sorted_buckets = bucket[order]
        first = np.searchsorted(sorted_buckets, sorted_buckets, side="left")
        position = fill[sorted_buckets] + np.arange(len(order)) - first
        fits = position < per_bucket
        slot[order[fits]] = sorted_buckets[fits] * per_bucket + position[fits]
        np.add.at(fill, sorted_buckets[fits], 1)
        waiting = order[~fits]
        bucket[waiting] = (bucket[waiting] + 1) % n_buckets
    return slot


def _place_in_two(first: np.ndarray, second: np.ndarray, n_buckets: int) -> np.ndarray:
    """Slot of each item, in one of two buckets, in the second only if the first is full.

    Items that do not fit go to their other bucket, again and again, in random order. Of buckets of
    four that are 70 % full, a few dozen rounds find a place for all.
    """
    random = np.random.default_rng(0)
    n_items = len(first)
    in_second = np.zeros(n_items, dtype=bool)
    while True:
        bucket = np.where(in_second, second, first)
        order = random.permutation(n_items)
        order = order[np.argsort(bucket[order], kind="stable")]
        in_order = bucket[order]
        position = np.arange(n_items) - np.searchsorted(in_order, in_order)
        too_many = order[position >= BUCKET]
        if len(too_many):
            in_second[too_many] ^= True
            continue
        # Where the first bucket has room, one item a round may return to it.
        fill = np.bincount(bucket, minlength=n_buckets)
        may_return = np.flatnonzero(in_second & (fill[first] < BUCKET))
        if not len(may_return):
            slot = np.empty(n_items, dtype=np.int64)
            slot[order] = in_order * BUCKET + position
            return slot
        in_second[may_return[np.unique(first[may_return], return_index=True)[1]]] = False


def _short_records(id_of: dict[bytes, int], short_length: int) -> np.ndarray:
    short = [token for token in id_of if len(token) <= short_length]
    word_0 = np.array([int.from_bytes(t[:8], "little") for t in short], dtype=np.uint64)
    key_1 = np.array(
        [int.from_bytes(t[8:], "little") | len(t) << 24 for t in short], dtype=np.uint64
    )
    ids = np.array([id_of[token] for token in short], dtype=np.uint64)
    hashes = word_0 * np.uint64(MULTIPLIER_1) + key_1 * np.uint64(MULTIPLIER_2)
    n_buckets = _table_size(len(short), BUCKET)
    shift = np.uint64(64 - (n_buckets.bit_length() - 1))
    first = (hashes >> shift).astype(np.int64)
    second = (hashes * np.uint64(MULTIPLIER_1) >> shift).astype(np.int64)
    records = np.zeros((n_buckets * BUCKET, 2), dtype=np.uint64)
    slot = _place_in_two(first, second, n_buckets)
    records[slot, 0] = word_0
    records[slot, 1] = key_1 | ids << np.uint64(28) | np.uint64(NO_RECORD_ID << 46)
    return records.reshape(n_buckets, BUCKET, 2)


def hash_of_long(token: bytes) -> int:
    """The 64-bit hash of a token that is in no short record."""
    value = len(token) * MULTIPLIER_1 & _MASK_64
    for i in range(0, len(token), 8):
        word = int.from_bytes(token[i : i + 8], "little")
        value = (value ^ word) * MULTIPLIER_2 & _MASK_64
        value ^= value >> 32
    return value


def _long_slots(id_of: dict[bytes, int], short_length: int) -> np.ndarray:
    long = [token for token in id_of if len(token) > short_length]
    hashes = np.array([hash_of_long(token) for token in long], dtype=np.uint64)
    ids = np.array([id_of[token] for token in long], dtype=np.uint64)
    n_slots = _table_size(len(long), 1)
    slots = np.full(n_slots, EMPTY_SLOT, dtype=np.uint64)
    slots[_place(hashes, n_slots, 1)] = hashes << np.uint64(32) | ids
    return slots


def _keys_and_merged(
    pairs: list[tuple[int, int, int]], id_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    left, right, merged = np.array(pairs, dtype=np.uint64).reshape(-1, 3).T
    return left << np.uint64(id_bits) | right, merged


def _pair_filter(pairs: list[tuple[int, int, int]]) -> np.ndarray:
    n_bits = 64 * _table_size(max(1, len(pairs)), FILTER_PAIRS_PER_WORD)
    bits = np.zeros(n_bits, dtype=np.uint8)
    keys, _ = _keys_and_merged(pairs, ID_BITS)
    bits[(keys * np.uint64(MULTIPLIER_2)) >> np.uint64(64 - (n_bits.bit_length() - 1))] = 1
    return np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64)


def _pair_lines(
    pairs: list[tuple[int, int, int]],
) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Lines of pairs, and the pairs that are in none.

    The hash of a pair is its two ids, mixed so that they could be found again. A line has all pairs
    of a range of hashes, which differ in the low 22 bits as long as there are 2**14 lines.
    """
    line_type = np.dtype([("low", "u4", PAIRS_IN_LINE), ("high", "u1", PAIRS_IN_LINE + 4)])
    n_lines = int(len(pairs) / PAIRS_PER_LINE)
    keys, merged = _keys_and_merged(pairs, PAIR_ID_BITS)
    if n_lines < 2 ** (2 * PAIR_ID_BITS - 22) or merged.max() >> np.uint64(PAIR_ID_BITS):
        return np.empty((0, line_type.itemsize), dtype=np.uint8), pairs
    hashes = keys * np.uint64(PAIR_MULTIPLIER) & np.uint64(2 ** (2 * PAIR_ID_BITS) - 1)
    line = (hashes * np.uint64(n_lines) >> np.uint64(2 * PAIR_ID_BITS)).astype(np.int64)
    order = np.argsort(line, kind="stable")
    place = np.empty(len(pairs), dtype=np.int64)
    place[order] = np.arange(len(pairs)) - np.searchsorted(line[order], line[order])
    fits = place < PAIRS_IN_LINE
    lines = np.zeros(n_lines, dtype=line_type)
    at = line[fits], place[fits]
    low = (hashes & np.uint64(0x3FFF)) << np.uint64(PAIR_ID_BITS) | merged
    lines["low"][at] = low[fits]
    lines["high"][at] = (hashes >> np.uint64(14) & np.uint64(0xFF))[fits]
    elsewhere = (1 << (hashes[~fits] & np.uint64(7)).astype(np.uint8)).astype(np.uint8)
    np.bitwise_or.at(lines["high"][:, PAIRS_IN_LINE], line[~fits], elsewhere)
    return lines.view(np.uint8).reshape(n_lines, -1), [pairs[i] for i in np.flatnonzero(~fits)]


def _pair_slots(pairs: list[tuple[int, int, int]]) -> np.ndarray:
    keys, merged = _keys_and_merged(pairs, ID_BITS)
    n_slots = _table_size(len(pairs), 1)
    slots = np.full(n_slots, EMPTY_SLOT, dtype=np.uint64)
    hashes = keys * np.uint64(MULTIPLIER_2)
    slots[_place(hashes, n_slots, 1)] = keys << np.uint64(ID_BITS) | merged
    return slots


def _long_piece_tables(
    tokens: Sequence[bytes],
    id_of: dict[bytes, int],
    final_pairs: dict[int, tuple[int, int]] | None,
) -> Tables:
    if final_pairs is None:
        names = ("split_left", "split_right", "shorter_prefix", "sorted_ids", "prefix_starts")
        return {name: np.empty(0, dtype=np.uint32) for name in names}
    ids = np.arange(len(tokens), dtype=np.uint32)
    split_left, split_right = ids.copy(), ids.copy()
    for merged, (left, right) in final_pairs.items():
        split_left[merged] = left
        split_right[merged] = right

    shorter_prefix = np.full(len(tokens), NO_ID, dtype=np.uint32)
    for token, i in id_of.items():
        for length in range(len(token) - 1, 0, -1):
            prefix = id_of.get(token[:length])
            if prefix is not None:
                shorter_prefix[i] = prefix
                break

    in_order = sorted(id_of)
    first_two = np.array([int.from_bytes(t[:2].ljust(2, b"\0"), "big") for t in in_order])
    return {
        "split_left": split_left,
        "split_right": split_right,
        "shorter_prefix": shorter_prefix,
        "sorted_ids": np.array([id_of[token] for token in in_order], dtype=np.uint32),
        "prefix_starts": np.searchsorted(first_two, np.arange(65537)).astype(np.uint32),
    }


def _character_ids(id_of: dict[bytes, int]) -> np.ndarray:
    if not id_of:
        return np.empty(0, dtype=np.uint32)
    ids = np.full(65536, NO_ID, dtype=np.uint32)
    for token, i in id_of.items():
        if len(token) == 3 and 0xE0 <= token[0] <= 0xEF:
            with contextlib.suppress(UnicodeDecodeError):
                ids[ord(token.decode())] = i
    return ids


def cut_groups() -> np.ndarray:
    """The group of each code point from U+0000 to U+FFFF: uint8 [512], by code point >> 7."""
    groups = np.full(512, NO_CUT, dtype=np.uint8)
    for (first, stop), group in CUT_GROUPS.items():
        groups[first >> 7 : stop >> 7] = group
    return groups


def _three_bytes(code_points: np.ndarray) -> np.ndarray:
    """UTF-8 of code points from U+0800 to U+FFFF, as little-endian numbers."""
    first, second, third = code_points >> 12, code_points >> 6 & 0x3F, code_points & 0x3F
    return (0x8080E0 | first | second << 8 | third << 16).astype(np.uint64)


def _cut_filter(tokens: Sequence[bytes]) -> np.ndarray:
    """Bits of all pairs of characters that might be cut but whose border a token may hold.

    A token may begin or end inside a character; then every character counts that ends or begins
    so. Where no token holds a border no merge crosses it, because a merge makes a token.
    """
    ending: dict[bytes, list[int]] = defaultdict(list)
    starting: dict[bytes, list[int]] = defaultdict(list)
    for code_points in CUT_GROUPS:
        for code_point in range(*code_points):
            character = chr(code_point).encode()
            for n_bytes in (1, 2, 3):
                ending[character[-n_bytes:]].append(code_point)
                starting[character[:n_bytes]].append(code_point)
    borders = {
        (token[max(0, at - 3) : at], token[at : at + 3])
        for token in tokens
        for at in range(1, len(token))
        if token[at] >= 0xE0
    }
    groups = cut_groups()
    bits = np.zeros(2**CUT_BITS, dtype=np.uint8)
    for end, start in borders:
        if end in ending and start in starting:
            left, right = np.array(ending[end])[:, None], np.array(starting[start])
            may_be_cut = groups[left >> 7] & (NO_CUT - 1) == groups[right >> 7]
            keys = (_three_bytes(left) | _three_bytes(right) << np.uint64(24))[may_be_cut]
            hashes = (keys << np.uint64(16)) * np.uint64(MULTIPLIER_1)
            bits[hashes >> np.uint64(64 - CUT_BITS)] = 1
    return np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64)
