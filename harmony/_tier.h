/* What the encoder's loops over segments and merges work on, and the loops that are worth a
 * processor's own instructions (_simd.h has them). */
#pragma once
#include "_memory.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* --- what a segment of text is looked up by --- */

/* Its bytes and its length in two words, and their hash. rank_tables.py makes the same of tokens. */
#define MULTIPLIER_1 0x9E3779B97F4A7C15ull
#define MULTIPLIER_2 0xC2B2AE3D27D4EB4Full

/* By length, 15 standing for more: the bits of each word to keep, and the length in its place. No
 * record is longer than 11 bytes, so none has the key of what is. */
static const uint64_t KEY_MASKS[16][3] = {
#define LOW(n) (n >= 8 ? ~0ull : (1ull << 8 * (n & 7)) - 1)
#define HIGH(n) (n <= 8 ? 0 : (1ull << 8 * ((n - 8) & 7)) - 1)
#define ROW(n) {LOW(n), HIGH(n), (uint64_t)(n) << 24}
    ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10),
    ROW(11), ROW(12), ROW(13), ROW(14), ROW(15),
#undef LOW
#undef HIGH
#undef ROW
};

typedef struct {
    uint64_t word_0, word_1, hash;
} Key;

enum { KEY_BYTES = 16 };        /* read of each segment, whatever its length */

static inline uint64_t hash_of_key(uint64_t word_0, uint64_t word_1) {
    return word_0 * MULTIPLIER_1 + word_1 * MULTIPLIER_2;
}

static inline void make_key_of(uint64_t low, uint64_t high, size_t n_bytes, Key *key) {
    const uint64_t *mask = KEY_MASKS[n_bytes < 15 ? n_bytes : 15];
    key->word_0 = low & mask[0];
    key->word_1 = (high & mask[1]) | mask[2];
    key->hash = hash_of_key(key->word_0, key->word_1);
}

static inline void make_key(const uint8_t *bytes, size_t n_bytes, Key *key) {
    make_key_of(load_u64(bytes), load_u64(bytes + 8), n_bytes, key);
}

/* The key of the n_bytes from text + at on. Behind the n_text bytes of the text nothing is read. */
static inline void make_careful_key(const uint8_t *text, size_t n_text, size_t at, size_t n_bytes,
                                    Key *key) {
    const uint8_t *bytes = text + at;
    size_t n_readable = n_text - at;
    if (n_readable >= KEY_BYTES) {
        make_key(bytes, n_bytes, key);
    } else if (n_text >= KEY_BYTES) {
        /* The last bytes of the text, without those before the segment. */
        uint64_t low = load_u64(text + n_text - KEY_BYTES), high = load_u64(text + n_text - 8);
        unsigned n_bits = 8 * (unsigned)(KEY_BYTES - n_readable);
        if (n_bits < 64) {
            make_key_of(low >> n_bits | high << (64 - n_bits), high >> n_bits, n_bytes, key);
        } else {
            make_key_of(high >> (n_bits - 64), 0, n_bytes, key);
        }
    } else {
        uint8_t copy[KEY_BYTES] = {0};
        memcpy(copy, bytes, n_readable);
        make_key(copy, n_bytes, key);
    }
}

/* Whether two byte strings of n < 16 bytes are equal; 16 bytes of both may be read. No branch depends
 * on the length, which is hard to guess. */
static inline int are_equal(const uint8_t *a, const uint8_t *b, size_t n) {
#if defined(__SSE2__)
    __m128i same = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)a), _mm_loadu_si128((const __m128i *)b));
    return (~(uint32_t)_mm_movemask_epi8(same) & ((1u << n) - 1)) == 0;
#else
    const uint64_t *mask = KEY_MASKS[n];
    uint64_t low = (load_u64(a) ^ load_u64(b)) & mask[0];
    uint64_t high = (load_u64(a + 8) ^ load_u64(b + 8)) & mask[1];
    return (low | high) == 0;
#endif
}

/* The same for 8 <= n <= 32, of which no more is read: in words from both ends on. */
static inline int are_equal_to_32(const uint8_t *a, const uint8_t *b, size_t n) {
    size_t from_start = n < 16 ? 0 : 8, from_end = n < 16 ? 8 : 16;
    uint64_t differs = (load_u64(a) ^ load_u64(b)) | (load_u64(a + from_start) ^ load_u64(b + from_start));
    a += n;
    b += n;
    differs |= load_u64(a - from_end) ^ load_u64(b - from_end);
    return (differs | (load_u64(a - 8) ^ load_u64(b - 8))) == 0;
}

/* --- where a piece may be cut --- */

/* log2 of the bits of a cut filter, one for each hash of two characters: as in rank_tables.py. */
enum { CUT_BITS = 18 };

/* --- how much is done at once --- */

enum {
    SEGMENTS_AT_ONCE = 1024,
    LOOKED_UP_AT_ONCE = 64,     /* segments whose keys and records stay in the first-level cache */
    SLACK = 16,                 /* items that may be written past the end of a result */
    UTF8_SLACK = 64             /* the same for bytes of UTF-8 */
};

/* Keys of some segments; of those of more than 11 bytes, something that no record has. And where the
 * record of each may be, in bytes from the first one. */
typedef struct {
    uint64_t words_0[LOOKED_UP_AT_ONCE + SLACK];
    uint64_t words_1[LOOKED_UP_AT_ONCE + SLACK];
    uint64_t offsets[LOOKED_UP_AT_ONCE + SLACK];
} Keys;

/* Bit i stands for byte i. What is in none of the first seven is ASCII of class OTHER. */
typedef struct {
    uint64_t upper, lower, number;
    uint64_t space;         /* U+0020 */
    uint64_t blank;         /* the other white space but CR and LF */
    uint64_t newline;       /* CR, LF */
    uint64_t wide;          /* from 0x80 on: part of a character of several bytes */
    uint64_t slash, apostrophe;
} ByteMasks;

/* First bytes of letters of two bytes. */
typedef struct {
    uint64_t upper, lower, caseless;
} LetterMasks;

/* What a cache of short segments holds: as in rank_tables.py, with room for two ids. */
typedef struct {
    uint64_t word_0, word_1;
} Record;

/* Where the record of a segment may be, in bytes from the first one; `last` is where the last of all is, whose
 * number is a power of two. Three products of 32 bits take less than the hash of the key, and every bit of
 * the words reaches the middle of their sum. */
#define RECORD_MULTIPLIER_0 0x9E3779B1u
#define RECORD_MULTIPLIER_1 0x85EBCA77u
#define RECORD_MULTIPLIER_2 0xC2B2AE3Du
enum { RECORD_SHIFT = 20 };

static inline uint64_t offset_of_record(uint64_t word_0, uint64_t word_1, uint64_t last) {
    uint64_t sum = (uint64_t)(uint32_t)word_0 * RECORD_MULTIPLIER_0
        + (word_0 >> 32) * RECORD_MULTIPLIER_1
        + (uint64_t)(uint32_t)word_1 * RECORD_MULTIPLIER_2;
    return sum >> RECORD_SHIFT & last;
}

enum {
    RECORD_ID_BITS = 18,
    NO_RECORD_ID = 0x3FFFF,
    RECORD_KEY = 0xFFFFFFF,     /* the 28 bits of the second word beside the ids */
    ID_SHIFT = 28,              /* of the first id */
    SECOND_ID_SHIFT = ID_SHIFT + RECORD_ID_BITS
};

/* --- what a piece is merged in --- */

/* Where the merges of two tokens are looked up: in regions, by the highest bit of their ids, as
 * rank_tables.py lays them out. What a region does not have is 0. */
enum { ID_BITS = 21, LOWEST_REGION = 8, REGIONS = 16 };
typedef struct {
    const uint64_t *records;
    uint64_t n_records;
    const uint16_t *pilots;
    uint32_t first_place[REGIONS], n_places[REGIONS], first_pilot[REGIONS], n_pilots[REGIONS];
} Pairs;

/* The one place where the record of a pair may be. */
static inline uint32_t place_of_pair(const Pairs *pairs, uint32_t left, uint32_t right) {
    int region = highest_bit(left | right | 1 << LOWEST_REGION) - LOWEST_REGION;
    uint64_t hash = ((uint64_t)left << ID_BITS | right) * MULTIPLIER_1;
    uint64_t pilot = pairs->first_pilot[region] + ((hash >> 32) * pairs->n_pilots[region] >> 32);
    hash = (hash ^ pairs->pilots[pilot]) * MULTIPLIER_2;
    return pairs->first_place[region] + (uint32_t)((hash >> 32) * pairs->n_places[region] >> 32);
}

enum { LANES = 64, LANES_AT_ONCE = 16, FILLED_AT_ONCE = 48 };
#define NO_RANK 0xFFFFFFFFu
/* An id that no token has: before and behind the tokens of a piece. */
enum { GUARD = (1 << ID_BITS) - 1 };

/* A piece of at most LANES - 2 bytes or characters while it is merged. Its tokens are in the lanes
 * whose bits are set in `live`, from left to right, with a guard before and behind them. The rank of
 * a lane is that of the merge of its token with the next one: the id that this makes, or NO_RANK. */
typedef struct {
    uint32_t ids[LANES];
    uint32_t ranks[LANES];
    uint64_t live;
    uint32_t n_lanes;           /* in use, a multiple of LANES_AT_ONCE */
    uint32_t n_bytes;
    const uint8_t *piece;
} Lanes;

/* What a piece is merged from, bytes or characters, as rank_tables.py describes it. */
typedef struct {
    const uint32_t *byte_ids;       /* 256 */
    const uint32_t *byte_pairs;     /* 65536 of two */
    const uint32_t *characters;     /* 65536; NULL: pieces are merged by bytes */
    Pairs borders;                  /* of characters, by their numbers */
} UnitTables;

enum { NUMBER_BITS = 13 };

/* --- the loops, as each kind of processor has them --- */

typedef struct {
    /* The ends of segments in the first 512 of n_bytes bytes, or up to the end of the text, which is that of
     * the bytes; they begin at a border, or at a cut that is as good (next_segment_ends says which are),
     * and the last end is a border. Each is `base` more than its place here. Returns how many, never
     * more than max_ends > ENDS_PER_WINDOW; 0 if that is for the masks of 64 bytes to find out. NULL:
     * always. `cut_filter` NULL: segments are pieces. */
    size_t (*find_ends)(const uint64_t *cut_filter, const uint8_t *bytes, size_t n_bytes,
                        ptrdiff_t base, ptrdiff_t *ends, size_t max_ends);

    /* Which of 64 bytes are letters, digits, white space …. */
    void (*classify_bytes)(const uint8_t *bytes, ByteMasks *masks);

    /* Of 64 bytes, the first bytes of most Chinese, Japanese and Korean letters (three bytes each,
     * none of them has a case). Two more bytes may be read; for the last two no answer counts. */
    uint64_t (*find_cjk)(const uint8_t *bytes);

    /* Of these first bytes of characters of three bytes, behind others of three, those before which a
     * piece may be cut: no token holds the border. */
    uint64_t (*find_cuts)(const uint64_t *cut_filter, const uint8_t *bytes, uint64_t candidates);

    /* Of 64 bytes, the first bytes of letters of two bytes: at least of the commonest, Cyrillic,
     * Greek, those of Latin-1, Hebrew, Arabic. One more byte may be read; for the last one no answer
     * counts. */
    void (*find_letters)(const uint8_t *bytes, LetterMasks *letters);

    /* Bits -> positions: `base` + that of each bit that is set; returns how many. What is behind them, up to
     * the next multiple of 24, may be written to. */
    size_t (*write_ends)(uint64_t bits, ptrdiff_t base, ptrdiff_t *ends);

    /* For `n` segments of `text`, each from its place in `borders` to the next: their keys, and the records
     * in their places asked for, up to the one at `last`. KEY_BYTES may be read from each start. */
    void (*make_keys)(const Record *records, uint64_t last, const uint8_t *text,
                      const ptrdiff_t *borders, size_t n, Keys *keys);

    /* For `n` segments: the second word of the record in each one's place, and the numbers, counted from
     * `number` on, of those whose own it is not; returns how many those are. */
    size_t (*look_up)(const Record *records, const Keys *keys, size_t n, size_t number,
                      uint64_t *values, uint32_t *missed);

    /* The ids, one or two, in the second words of `n` records; returns where they end. */
    uint32_t *(*write_ids)(const uint64_t *values, size_t n, uint32_t *ids);

    /* Of `n` units of a piece, at most LANES: which of them are merged with the one before, whatever
     * is done first. `pairs` and `holders` are of the border before each unit and of that behind the
     * last one: the token that this merge makes, and the first token that holds the border, or
     * NO_RANK; LANES + LANES_AT_ONCE of either may be read. */
    uint64_t (*find_first_merges)(const uint32_t *pairs, const uint32_t *holders, size_t n);

    /* Of `n` such units: which of the tokens come behind one that holds a border of theirs. */
    uint64_t (*find_late)(const uint32_t *tokens, const uint32_t *holders, size_t n);

    /* `begin_merging` of _bpe.pyx for a piece of few units, bytes or characters: fills `lanes` and writes the
     * numbers of those whose ranks are yet to be looked up, counted from `first_lane` on. Returns how many
     * these are; less than 0 if the piece is left to that. 16 numbers may be written. NULL: all are. */
    int (*begin_merging)(const UnitTables *units, const uint8_t *piece, size_t n_bytes,
                         int by_characters, Lanes *lanes, uint32_t first_lane, uint16_t *wanted);

    /* Put `n` <= FILLED_AT_ONCE units, none of them late, in lanes: a token for each that is in `starts`, made
     * of two if the next one is not. Where `known` has its bit, what it would make with the token before it is
     * what `pairs` says; else the number of the lane of that token, counted from `first_lane` on, is added to
     * `wanted`, behind which 8 more may be written. Returns how many tokens there are. `lanes->ranks` hold no
     * ranks before. NULL: that is for `begin_merging` of _bpe.pyx. */
    size_t (*fill_lanes)(const uint32_t *tokens, const uint32_t *pairs, size_t n, uint64_t starts,
                         uint64_t known, Lanes *lanes, uint32_t first_lane, uint16_t *wanted,
                         size_t *n_wanted);

    /* The places of `n` pairs of ids, and their records asked for. LANES_AT_ONCE more of each may be read
     * or written. */
    void (*find_places)(const Pairs *pairs, const uint32_t *lefts, const uint32_t *rights, size_t n,
                        uint32_t *places);

    /* Of the `n` pieces whose numbers are in `open`: those that have a merge, to the front, and the lane
     * of the lowest rank of each, the first if there are several; returns how many they are. Of both, items up
     * to the next multiple of 16 may be written. */
    size_t (*find_merges)(const Lanes *pieces, uint8_t *open, size_t n, uint8_t *lanes);

    /* The ids of a merged piece, at most SHORT_PIECE; returns how many. As many as it has lanes may be written. */
    size_t (*merged_ids)(const Lanes *piece, uint32_t *ids);

    /* Where in `text` to begin to look for these two bytes in a row: it holds none before. */
    size_t (*skip_to_pair)(const uint8_t *text, size_t n_bytes, uint8_t first, uint8_t second);

    /* UTF-8 of a text of so many code points, of one, two or four bytes each; returns where it
     * ends, or NULL if there are surrogates. What is behind the end is written to, too. */
    uint8_t *(*utf8_of_latin1)(const uint8_t *text, size_t n, uint8_t *utf8);
    uint8_t *(*utf8_of_ucs2)(const uint16_t *text, size_t n, uint8_t *utf8);
    uint8_t *(*utf8_of_ucs4)(const uint32_t *text, size_t n, uint8_t *utf8);
} Tier;

