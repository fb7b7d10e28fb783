/* Pairs of tokens in lines of 64 bytes, one line for all pairs of a range of hashes, so that a
 * look-up waits for memory once. rank_tables.py makes the lines and says what is in them.
 *
 * Vectors of 16 bytes belong to every x86-64 processor: this needs no look at run time. The debug
 * build does without, so that the tests see the loop for other processors too.
 */
#pragma once
#include "_memory.h"

#if defined(__SSE2__) && defined(__GNUC__) && !HARMONY_BUILD_IS_DEBUG
#define HARMONY_SSE2 1
#include <emmintrin.h>
#else
#define HARMONY_SSE2 0
#endif

/* The same as in rank_tables.py. */
enum {
    PAIR_ID_BITS = 18,
    PAIR_HASH_BITS = 2 * PAIR_ID_BITS,
    PAIRS_IN_LINE = 12,
};
#define PAIR_MULTIPLIER 0x9E3779B97ull

typedef struct {
    uint32_t low[PAIRS_IN_LINE];    /* 14 bits of the hash, id of the merged token */
    uint8_t high[PAIRS_IN_LINE];    /* 8 more bits of the hash */
    uint8_t elsewhere;              /* bits of pairs for which there was no room */
    uint8_t unused[3];
} PairLine;

/* Multiplying by an odd number modulo a power of two can be undone: as many hashes as pairs. */
static inline uint64_t hash_of_pair(uint32_t left, uint32_t right) {
    uint64_t pair = (uint64_t)left << PAIR_ID_BITS | right;
    return pair * PAIR_MULTIPLIER & ((1ull << PAIR_HASH_BITS) - 1);
}

static inline size_t line_of_hash(uint64_t hash, uint64_t n_lines) {
    return (size_t)(hash * n_lines >> PAIR_HASH_BITS);
}

/* Whether a pair of this hash may have found no room in its line. */
static inline int may_be_elsewhere(const PairLine *line, uint64_t hash) {
    return line->elsewhere >> (hash & 7) & 1;
}

/* What the pair of this hash merges into, or `none` if the line does not have it. The hashes of a
 * line differ in their low 22 bits. Whether there is such a pair is hard to guess, so that no
 * branch depends on it. */
static inline uint32_t merged_in_line(const PairLine *line, uint64_t hash, uint32_t none) {
    const uint32_t low = hash & 0x3FFF;
    const uint8_t high = hash >> 14 & 0xFF;
#if HARMONY_SSE2
    const __m128i *lows = (const __m128i *)line;
    const __m128i wanted = _mm_set1_epi32((int)low);
#define IS_LOW(k) _mm_cmpeq_epi32(_mm_srli_epi32(_mm_loadu_si128(lows + (k)), PAIR_ID_BITS), wanted)
    __m128i found = _mm_packs_epi16(_mm_packs_epi32(IS_LOW(0), IS_LOW(1)),
                                    _mm_packs_epi32(IS_LOW(2), _mm_setzero_si128()));
#undef IS_LOW
    found = _mm_and_si128(
        found, _mm_cmpeq_epi8(_mm_loadu_si128(lows + 3), _mm_set1_epi8((char)high)));
    unsigned places = (unsigned)_mm_movemask_epi8(found);
    uint32_t merged = line->low[__builtin_ctz(places | 1u << (PAIRS_IN_LINE - 1))];
    merged &= (1u << PAIR_ID_BITS) - 1;
    /* Empty places, which the hash 0 finds, have the id 0: no merge makes it. */
    return (places != 0) & (merged != 0) ? merged : none;
#else
    uint32_t merged = 0;
    for (int k = 0; k < PAIRS_IN_LINE; k++)
        if (line->low[k] >> PAIR_ID_BITS == low && line->high[k] == high)
            merged |= line->low[k] & ((1u << PAIR_ID_BITS) - 1);
    return merged ? merged : none;
#endif
}
