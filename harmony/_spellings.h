/* A place in the cache of spellings: which of its words are those of a segment? */
#pragma once
#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { SPELLINGS_AT_PLACE = 8, LINE_BYTES = 64 };

/* Words, each for up to three ids of a segment, of RECORD_ID_BITS; NO_RECORD_ID: no more. Above them
 * nine bits of the segment's hash, its tag, and one that tells whether the next word has more of them. That
 * one has all bits for a tag, which no segment has, so that it is found by nobody and what took its place
 * is not taken for it. All bits are kept the other way round: 0 is no spelling, and memory that nobody
 * wrote to. */
#define TAG (0x1FFu << 22)
#define CONTINUES (1u << 31)
enum { TAG_AND_CONTINUES = 10 };        /* how many bits these are: the upper ones of 32 */
#define NO_SPELLING 0xFFFFFFFFu

typedef struct {
    uint64_t words[SPELLINGS_AT_PLACE];
} Spellings;

/* Bit i: the upper half of word i is `bits`, where `mask` has ones, the other way round. */
static inline uint32_t find_words(const Spellings *spellings, uint32_t bits, uint32_t mask) {
    uint32_t wanted = ~bits & mask;
#if defined(__SSE2__)
    const __m128 *pairs = (const __m128 *)spellings->words;
    __m128i masks = _mm_set1_epi32((int)mask), all_wanted = _mm_set1_epi32((int)wanted);
    __m128i a = _mm_castps_si128(_mm_shuffle_ps(pairs[0], pairs[1], _MM_SHUFFLE(3, 1, 3, 1)));
    __m128i b = _mm_castps_si128(_mm_shuffle_ps(pairs[2], pairs[3], _MM_SHUFFLE(3, 1, 3, 1)));
    a = _mm_cmpeq_epi32(_mm_and_si128(a, masks), all_wanted);
    b = _mm_cmpeq_epi32(_mm_and_si128(b, masks), all_wanted);
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(a, b), _mm_setzero_si128()));
#else
    uint32_t found = 0;
    for (int i = 0; i < SPELLINGS_AT_PLACE; i++)
        found |= (uint32_t)(((uint32_t)(spellings->words[i] >> 32) & mask) == wanted) << i;
    return found;
#endif
}

/* Whether so many words in a row are free. They are taken from the first one on, and never freed. */
static inline int has_room(const Spellings *spellings, uint32_t n_words) {
    return !spellings->words[SPELLINGS_AT_PLACE - n_words];
}
