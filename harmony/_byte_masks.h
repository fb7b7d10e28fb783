/* Which of 64 bytes are letters, digits, white space …: one bit per byte and class.
 *
 * The same function three times: for any processor, for AVX2 and for AVX-512BW. The file is
 * compiled without flags that ask for a newer processor; `best_tier` looks at run time. All tiers
 * give the same bits (tests/test_segments.py).
 */
#pragma once
#include "_memory.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HARMONY_X86 1
#include <immintrin.h>
#else
#define HARMONY_X86 0
#endif

enum { TIER_PORTABLE, TIER_AVX2, TIER_AVX512 };

/* Bit i stands for byte i. What is in none of the first seven is ASCII of class OTHER. */
typedef struct {
    uint64_t upper, lower, number;
    uint64_t space;         /* U+0020 */
    uint64_t blank;         /* the other white space but CR and LF */
    uint64_t newline;       /* CR, LF */
    uint64_t wide;          /* from 0x80 on: part of a character of several bytes */
    uint64_t slash, apostrophe;
} ByteMasks;

typedef void (*ClassifyBytes)(const uint8_t *bytes, ByteMasks *masks);

/* Eight classes at once: in the word of a byte, lane k (8 bits) is 1 if the byte is of class k.
 * Shifting the words of eight bytes into each other makes eight bits of each class. */
#define LANE(k) (1ull << 8 * (k))
static uint64_t class_lanes[256];

static void make_class_lanes(void) {
    for (int byte = 'A'; byte <= 'Z'; byte++) {
        class_lanes[byte] = LANE(0);
        class_lanes[byte + 32] = LANE(1);
    }
    for (int byte = '0'; byte <= '9'; byte++) class_lanes[byte] = LANE(2);
    class_lanes[' '] = LANE(3);
    class_lanes['\t'] = class_lanes['\v'] = class_lanes['\f'] = LANE(4);
    class_lanes['\r'] = class_lanes['\n'] = LANE(5);
    class_lanes['/'] = LANE(6);
    class_lanes['\''] = LANE(7);
}

static void classify_portable(const uint8_t *bytes, ByteMasks *masks) {
    uint64_t classes[8] = {0};
    uint64_t wide = 0;
    for (int group = 0; group < 8; group++) {
        const uint8_t *eight = bytes + 8 * group;
        uint64_t lanes = 0;
        for (int i = 7; i >= 0; i--) lanes = lanes << 1 | class_lanes[eight[i]];
        for (int k = 0; k < 8; k++) classes[k] |= (lanes >> 8 * k & 0xFF) << 8 * group;
        /* The product gathers the top bits of the eight bytes in its own top byte. */
        uint64_t top_bits = load_u64(eight) >> 7 & 0x0101010101010101ull;
        wide |= (top_bits * 0x0102040810204080ull >> 56) << 8 * group;
    }
    masks->upper = classes[0];
    masks->lower = classes[1];
    masks->number = classes[2];
    masks->space = classes[3];
    masks->blank = classes[4];
    masks->newline = classes[5];
    masks->slash = classes[6];
    masks->apostrophe = classes[7];
    masks->wide = wide;
}

#if HARMONY_X86

/* Signed comparison: bytes from 0x80 on are below every limit used here. */
#define IS_256(half, byte) _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte))
#define IN_256(half, low, high) _mm256_and_si256( \
    _mm256_cmpgt_epi8(half, _mm256_set1_epi8((low) - 1)), \
    _mm256_cmpgt_epi8(_mm256_set1_epi8((high) + 1), half))
#define BITS_256(a, b) ((uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32 \
                        | (uint32_t)_mm256_movemask_epi8(a))

__attribute__((target("avx2")))
static void classify_avx2(const uint8_t *bytes, ByteMasks *masks) {
    __m256i a = _mm256_loadu_si256((const __m256i *)bytes);
    __m256i b = _mm256_loadu_si256((const __m256i *)(bytes + 32));
    uint64_t newline = BITS_256(_mm256_or_si256(IS_256(a, '\n'), IS_256(a, '\r')),
                                _mm256_or_si256(IS_256(b, '\n'), IS_256(b, '\r')));
    masks->upper = BITS_256(IN_256(a, 'A', 'Z'), IN_256(b, 'A', 'Z'));
    masks->lower = BITS_256(IN_256(a, 'a', 'z'), IN_256(b, 'a', 'z'));
    masks->number = BITS_256(IN_256(a, '0', '9'), IN_256(b, '0', '9'));
    masks->space = BITS_256(IS_256(a, ' '), IS_256(b, ' '));
    masks->blank = BITS_256(IN_256(a, '\t', '\r'), IN_256(b, '\t', '\r')) & ~newline;
    masks->newline = newline;
    masks->slash = BITS_256(IS_256(a, '/'), IS_256(b, '/'));
    masks->apostrophe = BITS_256(IS_256(a, '\''), IS_256(b, '\''));
    masks->wide = BITS_256(a, b);
}

#define IS_512(all, byte) _mm512_cmpeq_epi8_mask(all, _mm512_set1_epi8(byte))
#define IN_512(all, low, high) _mm512_cmple_epu8_mask( \
    _mm512_sub_epi8(all, _mm512_set1_epi8(low)), _mm512_set1_epi8((high) - (low)))

__attribute__((target("avx512f,avx512bw")))
static void classify_avx512(const uint8_t *bytes, ByteMasks *masks) {
    __m512i all = _mm512_loadu_si512(bytes);
    uint64_t newline = IS_512(all, '\n') | IS_512(all, '\r');
    masks->upper = IN_512(all, 'A', 'Z');
    masks->lower = IN_512(all, 'a', 'z');
    masks->number = IN_512(all, '0', '9');
    masks->space = IS_512(all, ' ');
    masks->blank = IN_512(all, '\t', '\r') & ~newline;
    masks->newline = newline;
    masks->slash = IS_512(all, '/');
    masks->apostrophe = IS_512(all, '\'');
    masks->wide = _mm512_movepi8_mask(all);
}

static int best_tier(void) {
    if (__builtin_cpu_supports("avx512bw")) return TIER_AVX512;
    return __builtin_cpu_supports("avx2") ? TIER_AVX2 : TIER_PORTABLE;
}

static ClassifyBytes classifier_of(int tier) {
    if (tier == TIER_AVX512) return classify_avx512;
    return tier == TIER_AVX2 ? classify_avx2 : classify_portable;
}

#else

static int best_tier(void) { return TIER_PORTABLE; }
static ClassifyBytes classifier_of(int tier) { (void)tier; return classify_portable; }

#endif

/* Position of the lowest and of the highest bit that is set; `bits` is not 0. */
static inline int lowest_bit(uint64_t bits) {
#if defined(__GNUC__)
    return __builtin_ctzll(bits);
#else
    int at = 0;
    while (!(bits >> at & 1)) at++;
    return at;
#endif
}

static inline int highest_bit(uint64_t bits) {
#if defined(__GNUC__)
    return 63 - __builtin_clzll(bits);
#else
    int at = 63;
    while (!(bits >> at & 1)) at--;
    return at;
#endif
}
