"""Token byte strings by rank -> the arrays that _bpe.pyx merges with.

One layout for every vocabulary. The build makes the tables of o200k with it, once, and puts them
in a file (vocabulary.py maps it); `Tokenizer.from_tiktoken_file` makes the tables of other rank
files with it at load time. Only numpy is used here, so the build can run it before anything is
compiled.

Ids are ranks: id i is the token of rank i. An id without a token (a gap in the ranks) has an empty
byte string. `NO_ID` marks "none".

Hash tables are perfect: each item has a place of its own, and one look there decides. The top bits
of its hash say which pilot is its own; the pilot, mixed into the hash, leads to the place.

==============  =========================  =========================================================
array           dtype, shape               meaning
==============  =========================  =========================================================
token_bytes     uint8 [n_bytes]            all tokens, one after the other
token_starts    uint32 [n_ids + 1]         token i is token_bytes[starts[i]:starts[i + 1]]
short_tokens    uint8 [n_ids, 16]          the bytes of token i, then zeros, its length last; if it
                                           has more than 15 bytes: where they start in token_bytes,
                                           their number (4 bytes each, little-endian), zeros, 255
byte_ids        uint32 [256]               id of each single byte
byte_pairs      uint32 [65536, 2]          by two bytes (first | second << 8): id of the token that
                                           they are, or NO_ID; rank of the first token that holds
                                           them next to each other, or NO_ID
short_records   uint64 [places, 2]         tokens of at most 11 bytes: (bytes 0-7 little-endian),
                                           (bytes 8-10 | length << 24 | id << 28 | ~0 << 46);
                                           0, 0: empty. None at all if ids need over 18 bits
short_pilots    uint16 [pilots]            of their hashes
long_records    uint64 [places]            other tokens: hash & 0xFFFFFFFF << 32 | id; ~0: empty
long_pilots     uint16 [pilots]            of their hashes
pair_records    uint64 [places]            left id << 42 | right id << 21 | merged id; ~0: empty
pair_pilots     uint16 [pilots]            of their hashes
pair_regions    uint32 [21, 4]             by the highest bit of (left id | right id | 256): first
                                           place, places, first pilot, pilots of such pairs
split_left      uint32 [n_ids] or [0]      left half of the one merge that makes the token; a
split_right     the same                   single byte has itself here
shorter_prefix  uint32 [n_ids] or [0]      longest other token that is a prefix of this one
sorted_ids      uint32 [n_ids] or [0]      ids in the order of their bytes
prefix_starts   uint32 [65537] or [0]      place in sorted_ids of the first token whose first
                                           two bytes (0 if missing) are at least the index
characters      uint32 [65536] or [0]      of the token that is this character, by code point: its
                                           number among such tokens << 18 | its id; or NO_ID
border_records  uint64 [places] or [0]     number of a character << 49 | number of the next << 36 |
                                           first token that holds the border between them << 18 |
                                           token that is the two (~0: none); ~0: empty. No record:
                                           no token holds the border
border_pilots   uint16 [pilots] or [0]     of their hashes
cut_filter      uint64 [4096] or [0]       one bit for each hash of two characters, set if a token
                                           may hold the border between them
==============  =========================  =========================================================

The last nine are only made when the one merge of every token is given: they serve shortcuts for
o200k; scripts/make_rank_tables.py proves what these rest on.
"""

from __future__ import annotations

import contextlib
import struct
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from operator import itemgetter

import numpy as np

from harmony.errors import VocabularyError

NO_ID = 0xFFFFFFFF
ID_BITS = 21
MAX_IDS = 2**ID_BITS - 1
SHORT_LENGTH = 11  # longest token kept inside its hash record
RECORD_ID_BITS = 18  # of each of the two ids of a record; all ones: none
NO_RECORD_ID = 2**RECORD_ID_BITS - 1
NUMBER_BITS = 13  # of a character that is a token
IS_LONG = 255  # in place of the length of a token that has more than 15 bytes
CUT_BITS = 18  # log2 of the bits of the cut filter
FILLED = 0.98  # of the places of a hash table
ITEMS_PER_PILOT = 3  # on average: pilots of two bytes are enough
LOWEST_REGION = 8  # highest bit of the ids of the first region of pairs
EMPTY = 0xFFFFFFFFFFFFFFFF

# Odd multipliers that spread bits well; _bpe.pyx uses the same.
MULTIPLIER_1 = 0x9E3779B97F4A7C15
MULTIPLIER_2 = 0xC2B2AE3D27D4EB4F
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
        pairs = _all_splits(id_of)
    else:
        pairs = [(*pair, merged) for merged, pair in final_pairs.items()]
    tables: Tables = {
        "token_bytes": np.frombuffer(b"".join(tokens), dtype=np.uint8),
        "token_starts": starts,
        "short_tokens": _short_tokens(tokens),
        "byte_ids": np.array([id_of[bytes([b])] for b in range(256)], dtype=np.uint32),
        "byte_pairs": _byte_pairs(tokens),
    }
    tables.update(_short_tables(id_of, short_length))
    tables.update(_long_tables(id_of, short_length))
    tables.update(_pair_tables(pairs))
    tables.update(_long_piece_tables(tokens, id_of, final_pairs))
    tables.update(_character_tables(id_of if final_pairs else {}))
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
    start = 0
    for token in tokens:
        is_long = len(token) > 15
        content = struct.pack("<II", start, len(token)) if is_long else token
        records += content.ljust(15, b"\0")
        records.append(IS_LONG if is_long else len(token))
        start += len(token)
    return np.frombuffer(records, dtype=np.uint8).reshape(-1, 16)


def _byte_pairs(tokens: Sequence[bytes]) -> np.ndarray:
    pairs = np.full((65536, 2), NO_ID, dtype=np.uint32)
    for i, token in enumerate(tokens):
        if len(token) == 2:
            pairs[token[0] | token[1] << 8, 0] = i
    content = np.frombuffer(b"".join(tokens), dtype=np.uint8).astype(np.uint16)
    ids = np.repeat(np.arange(len(tokens), dtype=np.uint32), [len(token) for token in tokens])
    within = ids[1:] == ids[:-1]
    # From the last rank to the first: what is written last stays.
    pairs[(content[:-1] | content[1:] << 8)[within][::-1], 1] = ids[1:][within][::-1]
    return pairs


def _scale(hashes: np.ndarray, n: int) -> np.ndarray:
    """The top bits of hashes as indices of n items."""
    return ((hashes >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int64)


def _find_pilots(hashes: np.ndarray, n_places: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Pilots that lead each of these hashes to a place of its own, and these places; None: there
    are no such pilots.

    Hashes with the same top bits share a pilot, the first that leads all of them to places that are
    free. Those who share it with most others choose first.
    """
    pilots = np.zeros(len(hashes) // ITEMS_PER_PILOT + 1, dtype=np.uint16)
    # Of a few items, too many may share a pilot; more places help them sooner than more pilots.
    n_pilots = min(2**16, 1024 + 8 * n_places)
    place_of = np.empty(len(hashes), dtype=np.int64)
    is_free = np.ones(n_places, dtype=bool)
    group = _scale(hashes, len(pilots))
    order = np.argsort(group, kind="stable")
    n_members = np.bincount(group, minlength=len(pilots))
    first_member = np.cumsum(n_members) - n_members
    for size in range(n_members.max(), 0, -1):
        waiting = np.flatnonzero(n_members == size)
        for pilot in range(n_pilots):
            if not len(waiting):
                break
            members = order[first_member[waiting][:, None] + np.arange(size)]
            mixed = (hashes[members] ^ np.uint64(pilot)) * np.uint64(MULTIPLIER_2)
            places = _scale(mixed, n_places)
            # Whoever is the last to write to a place may have it.
            numbers = np.arange(places.size).reshape(places.shape)
            taker = np.empty(n_places, dtype=np.int64)
            taker[places] = numbers
            fits = (is_free[places] & (taker[places] == numbers)).all(axis=1)
            place_of[members[fits]] = places[fits]
            is_free[places[fits]] = False
            pilots[waiting[fits]] = pilot
            waiting = waiting[~fits]
        if len(waiting):
            return None
    return pilots, place_of


def _spread(hashes: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """How many places these hashes need, their pilots, and the place of each."""
    n_places = int(len(hashes) / FILLED) + 1
    # Equal hashes have the same place, whatever the pilot.
    most_places = 2 * len(hashes) + 2 if len(np.unique(hashes)) == len(hashes) else 0
    while n_places <= most_places:
        found = _find_pilots(hashes, n_places)
        if found is not None:
            return n_places, *found
        n_places += n_places // 8 + 1
    raise VocabularyError(
        f"no hash table tells these {len(hashes)} tokens or merges apart; "
        "the vocabulary was made so that their hashes collide"
    )


def _short_tables(id_of: dict[bytes, int], short_length: int) -> Tables:
    short = [token for token in id_of if len(token) <= short_length]
    word_0 = np.array([int.from_bytes(t[:8], "little") for t in short], dtype=np.uint64)
    key_1 = np.array(
        [int.from_bytes(t[8:], "little") | len(t) << 24 for t in short], dtype=np.uint64
    )
    ids = np.array([id_of[token] for token in short], dtype=np.uint64)
    hashes = word_0 * np.uint64(MULTIPLIER_1) + key_1 * np.uint64(MULTIPLIER_2)
    n_places, pilots, place = _spread(hashes)
    records = np.zeros((n_places, 2), dtype=np.uint64)
    records[place, 0] = word_0
    records[place, 1] = key_1 | ids << np.uint64(28) | np.uint64(NO_RECORD_ID << 46)
    return {"short_records": records, "short_pilots": pilots}


def hash_of_long(token: bytes) -> int:
    """The 64-bit hash of a token that is in no short record."""
    value = len(token) * MULTIPLIER_1 & _MASK_64
    starts = list(range(0, len(token) - 8, 8))
    # The last word ends where the token does.
    for at in [*starts, max(len(token) - 8, 0)]:
        word = int.from_bytes(token[at : at + 8], "little")
        value = (value ^ word) * MULTIPLIER_2 & _MASK_64
        value ^= value >> 32
    return value


def _long_tables(id_of: dict[bytes, int], short_length: int) -> Tables:
    long = [token for token in id_of if len(token) > short_length]
    hashes = np.array([hash_of_long(token) for token in long], dtype=np.uint64)
    ids = np.array([id_of[token] for token in long], dtype=np.uint64)
    n_places, pilots, place = _spread(hashes)
    records = np.full(n_places, EMPTY, dtype=np.uint64)
    records[place] = hashes << np.uint64(32) | ids
    return {"long_records": records, "long_pilots": pilots}


def _pair_tables(pairs: list[tuple[int, int, int]]) -> Tables:
    """Pairs of low ids are asked for far more often than others, so they lie together: less of the
    table falls out of the processor's caches."""
    left, right, merged = np.array(pairs, dtype=np.uint64).reshape(-1, 3).T
    keys = left << np.uint64(ID_BITS) | right
    regions = np.zeros((ID_BITS, 4), dtype=np.uint32)
    records: list[np.ndarray] = []
    pilots: list[np.ndarray] = []
    for highest_bit in range(LOWEST_REGION, ID_BITS):
        lowest = 2**highest_bit if highest_bit > LOWEST_REGION else 0
        here = ((left | right) >= lowest) & ((left | right) < 2 * 2**highest_bit)
        hashes = keys[here] * np.uint64(MULTIPLIER_1)
        n_places, its_pilots, place = _spread(hashes)
        its_records = np.full(n_places, EMPTY, dtype=np.uint64)
        its_records[place] = keys[here] << np.uint64(ID_BITS) | merged[here]
        regions[highest_bit, 0] = sum(len(table) for table in records)
        regions[highest_bit, 1] = n_places
        regions[highest_bit, 2] = sum(len(table) for table in pilots)
        regions[highest_bit, 3] = len(its_pilots)
        records.append(its_records)
        pilots.append(its_pilots)
    return {
        "pair_records": np.concatenate(records),
        "pair_pilots": np.concatenate(pilots),
        "pair_regions": regions,
    }


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


def _character_tables(id_of: dict[bytes, int]) -> Tables:
    """Of the characters below U+10000 that are tokens, and of the borders between two of them.

    A token may begin or end inside a character; then every character counts that ends or begins so.
    """
    characters = np.full(65536 if id_of else 0, NO_ID, dtype=np.uint32)
    ending: dict[bytes, list[bytes]] = defaultdict(list)
    starting: dict[bytes, list[bytes]] = defaultdict(list)
    number_of: dict[bytes, int] = {}
    for token, i in id_of.items():
        with contextlib.suppress(UnicodeDecodeError, TypeError):
            code_point = ord(token.decode())
            # U+FFFF stands for what is no character.
            if code_point < len(characters) - 1 and len(number_of) < 2**NUMBER_BITS:
                number = number_of[token] = len(number_of)
                characters[code_point] = number << RECORD_ID_BITS | i
                for at in range(len(token)):
                    ending[token[at:]].append(token)
                    starting[token[: at + 1]].append(token)
    first_holder: dict[tuple[bytes, bytes], int] = {}
    for token, i in sorted(id_of.items(), key=itemgetter(1)):
        starts = [at for at, byte in enumerate(token) if byte & 0xC0 != 0x80]
        stops = [*starts[1:], len(token)]
        for before, at, behind in zip([0, *starts], starts, stops, strict=False):
            if at > 0:
                first_holder.setdefault((token[before:at], token[at:behind]), i)
    holders: dict[tuple[bytes, bytes], int] = {}
    for (end, start), i in first_holder.items():
        for pair in product(ending.get(end, ()), starting.get(start, ())):
            holders[pair] = min(i, holders.get(pair, i))
    records = np.empty(0, dtype=np.uint64)
    pilots = np.empty(0, dtype=np.uint16)
    if holders:
        left, right, holder, both = np.array(
            [
                (number_of[a], number_of[b], i, id_of.get(a + b, NO_RECORD_ID))
                for (a, b), i in holders.items()
            ],
            dtype=np.uint64,
        ).T
        hashes = (left << np.uint64(ID_BITS) | right) * np.uint64(MULTIPLIER_1)
        n_places, pilots, place = _spread(hashes)
        records = np.full(n_places, EMPTY, dtype=np.uint64)
        key = left << np.uint64(NUMBER_BITS) | right
        ids = holder << np.uint64(RECORD_ID_BITS) | both
        records[place] = key << np.uint64(2 * RECORD_ID_BITS) | ids
    return {"characters": characters, "border_records": records, "border_pilots": pilots}


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
