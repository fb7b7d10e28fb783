/* What a segment of text is looked up by: its bytes and its length in two words, and their hash.
 * rank_tables.py makes the same of tokens. */
#pragma once
#include "_memory.h"

#define MULTIPLIER_1 0x9E3779B97F4A7C15ull
#define MULTIPLIER_2 0xC2B2AE3D27D4EB4Full

/* By length, 12 standing for more than 11: the bits of each word to keep, and the length in its
 * place. No record has the length 15. */
static const uint64_t KEY_MASKS[13][3] = {
#define LOW(n) (n >= 8 ? ~0ull : (1ull << 8 * (n & 7)) - 1)
#define HIGH(n) (n <= 8 ? 0 : (1ull << 8 * ((n - 8) & 7)) - 1)
#define ROW(n) {LOW(n), HIGH(n), (uint64_t)(n) << 24}
    ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10),
    ROW(11), {~0ull, HIGH(11), 15ull << 24},
#undef LOW
#undef HIGH
#undef ROW
};

typedef struct {
    uint64_t word_0, word_1, hash;
} Key;

static inline void make_key(const uint8_t *bytes, size_t n_bytes, Key *key) {
    const uint64_t *mask = KEY_MASKS[n_bytes < 12 ? n_bytes : 12];
    key->word_0 = load_u64(bytes) & mask[0];
    key->word_1 = (load_u64(bytes + 8) & mask[1]) | mask[2];
    key->hash = key->word_0 * MULTIPLIER_1 + key->word_1 * MULTIPLIER_2;
}
