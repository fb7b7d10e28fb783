/* The loops of _tier.h, each up to three times: for any processor, for AVX2 and for AVX-512.
 *
 * The file is compiled without flags that ask for a newer processor; `best_tier` looks at run time.
 * All tiers give the same results (tests/test_segments.py, tests/test_ways.py).
 */
#pragma once
#include "_tier.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HARMONY_X86 1
#include <immintrin.h>
#else
#define HARMONY_X86 0
#endif

enum { TIER_PORTABLE, TIER_AVX2, TIER_AVX512 };

/* --- any processor --- */

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

static uint64_t find_cjk_portable(const uint8_t *bytes) {
    (void)bytes;
    return 0;       /* all are looked up one by one */
}

static uint64_t find_cuts_portable(const uint64_t *cut_filter, const uint8_t *bytes,
                                   uint64_t candidates) {
    uint64_t cuts = 0;
    for (uint64_t rest = candidates; rest; rest &= rest - 1) {
        int at = lowest_bit(rest);
        count_steps(1);
        /* Two characters: 6 bytes, as the key of the pair in rank_tables.py. */
        uint64_t bit = (load_u64(bytes + at - 3) << 16) * MULTIPLIER_1 >> (64 - CUT_BITS);
        uint64_t word = u64_at(cut_filter, bit >> 6, 1 << (CUT_BITS - 6));
        cuts |= (~(word >> (bit & 63)) & 1) << at;
    }
    return cuts;
}

/* All letters of two bytes, in tables of 64 bytes: by the kind of letter and two bits of the first
 * byte, at the last six bits of the second one, a bit for each of eight first bytes. */
enum { LETTERS_UPPER, LETTERS_LOWER, LETTERS_CASELESS, LETTER_KINDS };
static uint8_t letter_tables[LETTER_KINDS][4][64];

static void set_letter(int kind, uint8_t first, uint8_t second) {
    letter_tables[kind][first >> 3 & 3][second & 63] |= (uint8_t)(1 << (first & 7));
}

static void find_letters_portable(const uint8_t *bytes, LetterMasks *letters) {
    (void)bytes;
    letters->upper = letters->lower = letters->caseless = 0;    /* they are looked up, too */
}

static size_t write_ends_portable(uint64_t bits, ptrdiff_t base, ptrdiff_t *ends) {
    size_t n = 0;
    for (; bits; bits &= bits - 1) ends[n++] = base + lowest_bit(bits);
    return n;
}

#define RECORD_AT(offset) ((const Record *)((const uint8_t *)records + (offset)))

/* From segment `i` on. */
static inline void make_keys_from(size_t i, const Record *records, int shift, const uint8_t *text,
                                  const ptrdiff_t *borders, size_t n, Keys *keys) {
    for (; i < n; i++) {
        Key key;
        make_key(text + borders[i], borders[i + 1] - borders[i], &key);
        const Record *record = records + (key.hash >> shift);
        prefetch(record);
        keys->words_0[i] = key.word_0;
        keys->words_1[i] = key.word_1;
        keys->offsets[i] = (const uint8_t *)record - (const uint8_t *)records;
    }
}

static void make_keys_portable(const Record *records, int shift, const uint8_t *text,
                               const ptrdiff_t *borders, size_t n, Keys *keys) {
    make_keys_from(0, records, shift, text, borders, n, keys);
}

static inline size_t look_up_from(size_t i, const Record *records, const Keys *keys, size_t n,
                                  size_t number, uint64_t *values, uint32_t *missed) {
    size_t n_missed = 0;
    for (; i < n; i++) {
        const Record *record = RECORD_AT(keys->offsets[i]);
        values[i] = record->word_1;
        /* No branch depends on what is found: the number is written, and counted if it is missed. */
        missed[n_missed] = (uint32_t)(number + i);
        n_missed += ((record->word_0 ^ keys->words_0[i])
                     | ((record->word_1 ^ keys->words_1[i]) & RECORD_KEY)) != 0;
    }
    return n_missed;
}

static size_t look_up_portable(const Record *records, const Keys *keys, size_t n, size_t number,
                               uint64_t *values, uint32_t *missed) {
    return look_up_from(0, records, keys, n, number, values, missed);
}

static uint32_t *write_ids_portable(const uint64_t *values, size_t n, uint32_t *ids) {
    for (size_t i = 0; i < n; i++) {
        ids[0] = values[i] >> ID_SHIFT & NO_RECORD_ID;
        ids[1] = (uint32_t)(values[i] >> SECOND_ID_SHIFT);
        ids += 1 + (ids[1] != NO_RECORD_ID);
    }
    return ids;
}

static uint64_t find_first_merges_portable(const uint32_t *pairs, const uint32_t *holders,
                                           size_t n) {
    uint64_t merged = 0;
    /* A token that holds the borders before and behind two units takes one of them away. */
    for (size_t i = 1; i < n; i++)
        merged |= (uint64_t)((pairs[i] < holders[i - 1]) & (pairs[i] < holders[i + 1])) << i;
    return merged;
}

static uint64_t find_late_portable(const uint32_t *tokens, const uint32_t *holders, size_t n) {
    uint64_t late = 0;
    for (size_t i = 0; i < n; i++)
        late |= (uint64_t)((tokens[i] >= holders[i]) | (tokens[i] >= holders[i + 1])) << i;
    return late;
}

static void find_places_portable(const Pairs *pairs, const uint32_t *lefts, const uint32_t *rights,
                                 size_t n, uint32_t *places) {
    for (size_t i = 0; i < n; i++) {
        places[i] = place_of_pair(pairs, lefts[i], rights[i]);
        prefetch(pairs->records + places[i]);
    }
}

static size_t find_merges_portable(const Lanes *pieces, uint8_t *open, size_t n, uint8_t *lanes) {
    size_t n_merges = 0;
    for (size_t i = 0; i < n; i++) {
        const Lanes *piece = pieces + open[i];
        uint32_t lowest = NO_RANK;
        uint8_t at = 0;
        for (uint32_t lane = 0; lane < piece->n_lanes; lane++) {
            if (piece->ranks[lane] >= lowest) continue;
            lowest = piece->ranks[lane];
            at = (uint8_t)lane;
        }
        open[n_merges] = open[i];
        lanes[n_merges] = at;
        n_merges += lowest != NO_RANK;
    }
    return n_merges;
}

static size_t skip_to_pair_portable(const uint8_t *text, size_t n_bytes, uint8_t first,
                                    uint8_t second) {
    enum { AT_ONCE = 64 };
    size_t at = 0;
    for (; at + AT_ONCE < n_bytes; at += AT_ONCE) {
        uint8_t found = 0;
        /* No branch inside a block, so that compilers make vectors of it. */
        for (int i = 0; i < AT_ONCE; i++)
            found |= (text[at + i] == first) & (text[at + i + 1] == second);
        if (found) break;
    }
    return at;
}

static inline uint8_t *write_code_point(uint32_t code, uint8_t *utf8) {
    if (code < 0x80) {
        *utf8++ = (uint8_t)code;
        return utf8;
    }
    if (code < 0x800) {
        *utf8++ = (uint8_t)(0xC0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *utf8++ = (uint8_t)(0xE0 | code >> 12);
        } else {
            *utf8++ = (uint8_t)(0xF0 | code >> 18);
            *utf8++ = (uint8_t)(0x80 | (code >> 12 & 0x3F));
        }
        *utf8++ = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    }
    *utf8++ = (uint8_t)(0x80 | (code & 0x3F));
    return utf8;
}

#define UTF8_OF_PORTABLE(name, type) \
    static uint8_t *name(const type *text, size_t n, uint8_t *utf8) { \
        for (size_t i = 0; i < n; i++) { \
            if ((text[i] & ~0x7FFu) == 0xD800) return NULL; \
            utf8 = write_code_point(text[i], utf8); \
        } \
        return utf8; \
    }

UTF8_OF_PORTABLE(utf8_of_latin1_portable, uint8_t)
UTF8_OF_PORTABLE(utf8_of_ucs2_portable, uint16_t)
UTF8_OF_PORTABLE(utf8_of_ucs4_portable, uint32_t)

static const Tier portable_tier = {
    classify_portable, find_cjk_portable, find_cuts_portable, find_letters_portable,
    write_ends_portable, make_keys_portable, look_up_portable, write_ids_portable,
    find_first_merges_portable, find_late_portable, find_places_portable,
    find_merges_portable, skip_to_pair_portable,
    utf8_of_latin1_portable, utf8_of_ucs2_portable, utf8_of_ucs4_portable,
};

#if HARMONY_X86

/* By the second and third byte; the masks say where a byte is in a range.
 *
 *     U+4E00 ... 9FFF    E4 B8 80 ... E9 BF BF
 *     U+AC00 ... CFFF    EA B0 80 ... EC BF BF
 *     U+3041 ... 3096    E3 81 81 ... E3 82 96
 *     U+309D ... 309F    E3 82 9D ... E3 82 9F
 *     U+30A1 ... 30FF    E3 82 A1 ... E3 83 BF but U+30FB, E3 83 BB
 */
#define CJK_LEADS(IN) ( \
    IN(0xE5, 0xE9) | IN(0xEB, 0xEC) | (IN(0xE4, 0xE4) & IN(0xB8, 0xBF) >> 1) \
    | (IN(0xEA, 0xEA) & IN(0xB0, 0xBF) >> 1) \
    | (IN(0xE3, 0xE3) & ((IN(0x81, 0x81) >> 1 & IN(0x81, 0xBF) >> 2) \
                         | (IN(0x82, 0x82) >> 1 \
                            & (IN(0x80, 0x96) | IN(0x9D, 0x9F) | IN(0xA1, 0xBF)) >> 2) \
                         | (IN(0x83, 0x83) >> 1 & ~IN(0xBB, 0xBB) >> 2))))

/* --- AVX2 --- */

#define AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define IN_256(half, low, high) is_at_most_256( \
    _mm256_sub_epi8(half, _mm256_set1_epi8((char)(low))), (char)((high) - (low)))
#define BITS_256(a, b) ((uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32 \
                        | (uint32_t)_mm256_movemask_epi8(a))

AVX2 static inline __m256i is_at_most_256(__m256i half, char highest) {
    return _mm256_cmpeq_epi8(_mm256_min_epu8(half, _mm256_set1_epi8(highest)), half);
}

/* The classes of 32 bytes, a bit for each. A byte is of a class if both its halves are of it, which two
 * tables of 16 bytes tell. Letters are two classes: all upper and lower halves of A to O go together,
 * and all of P to Z. Bytes from 0x80 on are of none. */
enum {
    A_TO_O = 1 << 7, P_TO_Z = 1 << 6, NUMBER = 1 << 5, SPACE = 1 << 4, BLANK = 1 << 3,
    NEWLINE = 1 << 2, SLASH = 1 << 1, APOSTROPHE = 1 << 0
};

#define A_TO_Z_OR_NUMBER (A_TO_O | P_TO_Z | NUMBER)
static const uint8_t classes_of_lower_half[16] = {
    P_TO_Z | NUMBER | SPACE, A_TO_Z_OR_NUMBER, A_TO_Z_OR_NUMBER, A_TO_Z_OR_NUMBER,
    A_TO_Z_OR_NUMBER, A_TO_Z_OR_NUMBER, A_TO_Z_OR_NUMBER, A_TO_Z_OR_NUMBER | APOSTROPHE,
    A_TO_Z_OR_NUMBER, A_TO_Z_OR_NUMBER | BLANK, A_TO_O | P_TO_Z | NEWLINE, A_TO_O | BLANK,
    A_TO_O | BLANK, A_TO_O | NEWLINE, A_TO_O, A_TO_O | SLASH,
};
#undef A_TO_Z_OR_NUMBER
static const uint8_t classes_of_upper_half[16] = {
    BLANK | NEWLINE, 0, SPACE | SLASH | APOSTROPHE, NUMBER, A_TO_O, P_TO_Z, A_TO_O, P_TO_Z,
};

AVX2 static inline __m256i classes_256(__m256i bytes) {
#define TABLE(bytes) _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(bytes)))
    __m256i upper_halves = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
    return _mm256_and_si256(_mm256_shuffle_epi8(TABLE(classes_of_lower_half), bytes),
                            _mm256_shuffle_epi8(TABLE(classes_of_upper_half), upper_halves));
#undef TABLE
}

AVX2 static void classify_avx2(const uint8_t *bytes, ByteMasks *masks) {
    __m256i a = _mm256_loadu_si256((const __m256i *)bytes);
    __m256i b = _mm256_loadu_si256((const __m256i *)(bytes + 32));
    __m256i classes_a = classes_256(a), classes_b = classes_256(b);
    /* One bit of each byte: shifted to the top, where those of its neighbours do not matter. */
#define TOP_BITS(a, b, shift) BITS_256(_mm256_slli_epi16(a, shift), _mm256_slli_epi16(b, shift))
#define BYTES_OF(class_bit) TOP_BITS(classes_a, classes_b, 7 - __builtin_ctz(class_bit))
    uint64_t letter = BITS_256(classes_a, classes_b) | BYTES_OF(P_TO_Z);
    uint64_t lower = TOP_BITS(a, b, 2);             /* 0x20, which tells a from A */
    masks->upper = letter & ~lower;
    masks->lower = letter & lower;
    masks->number = BYTES_OF(NUMBER);
    masks->space = BYTES_OF(SPACE);
    masks->blank = BYTES_OF(BLANK);
    masks->newline = BYTES_OF(NEWLINE);
    masks->slash = BYTES_OF(SLASH);
    masks->apostrophe = BYTES_OF(APOSTROPHE);
    masks->wide = BITS_256(a, b);
#undef TOP_BITS
#undef BYTES_OF
}

AVX2 static uint64_t find_cjk_avx2(const uint8_t *bytes) {
    __m256i a = _mm256_loadu_si256((const __m256i *)bytes);
    __m256i b = _mm256_loadu_si256((const __m256i *)(bytes + 32));
#define IN(low, high) \
    BITS_256(IN_256(a, low, high), IN_256(b, low, high))
    return IN(0xE3, 0xEC) ? CJK_LEADS(IN) : 0;
}

/* By the second byte; both may lie anywhere in their row.
 *
 *     upper       U+0400 ... 042F    D0 80 ... AF
 *                 U+00C0 ... 00DE    C3 80 ... 9E but U+00D7, C3 97
 *                 U+0391 ... 03A9    CE 91 ... A9 but U+03A2, CE A2
 *     lower       U+0430 ... 045F    D0 B0 ... BF, D1 80 ... 9F
 *                 U+00DF ... 00FF    C3 9F ... BF but U+00F7, C3 B7
 *                 U+03AC ... 03CE    CE AC ... BF, CF 80 ... 8E
 *     caseless    U+05D0 ... 05EA    D7 90 ... AA
 *                 U+0620 ... 064A    D8 A0 ... BF, D9 80 ... 8A
 */
#define UPPER_LEADS(IN) ( \
    (IN(0xD0, 0xD0) & IN(0x80, 0xAF) >> 1) \
    | (IN(0xC3, 0xC3) & (IN(0x80, 0x9E) & ~IN(0x97, 0x97)) >> 1) \
    | (IN(0xCE, 0xCE) & (IN(0x91, 0xA9) & ~IN(0xA2, 0xA2)) >> 1))
#define LOWER_LEADS(IN) ( \
    (IN(0xD0, 0xD0) & IN(0xB0, 0xBF) >> 1) | (IN(0xD1, 0xD1) & IN(0x80, 0x9F) >> 1) \
    | (IN(0xC3, 0xC3) & (IN(0x9F, 0xBF) & ~IN(0xB7, 0xB7)) >> 1) \
    | (IN(0xCE, 0xCE) & IN(0xAC, 0xBF) >> 1) | (IN(0xCF, 0xCF) & IN(0x80, 0x8E) >> 1))
#define CASELESS_LEADS(IN) ( \
    (IN(0xD7, 0xD7) & IN(0x90, 0xAA) >> 1) \
    | (IN(0xD8, 0xD8) & IN(0xA0, 0xBF) >> 1) | (IN(0xD9, 0xD9) & IN(0x80, 0x8A) >> 1))

AVX2 static void find_letters_avx2(const uint8_t *bytes, LetterMasks *letters) {
    __m256i a = _mm256_loadu_si256((const __m256i *)bytes);
    __m256i b = _mm256_loadu_si256((const __m256i *)(bytes + 32));
    letters->upper = letters->lower = letters->caseless = 0;
    if (!IN(0xC3, 0xD9)) return;
    letters->upper = UPPER_LEADS(IN);
    letters->lower = LOWER_LEADS(IN);
    letters->caseless = CASELESS_LEADS(IN);
#undef IN
}

/* What a shuffle needs to move chosen items to the front, by the bits of those that are chosen.
 * Behind them come zeros: the first item again. */
static uint8_t chosen_quarters[16][16];     /* of 16 bytes, four at a time */
static uint32_t chosen_ids[16][8];          /* of four pairs: all firsts, and the chosen seconds */
/* Of four lanes of four bytes the first one; two where the lower half of the index has a bit, three
 * where the upper half has it, too. */
static uint8_t chosen_utf8[256][16];

static void make_shuffles(void) {
    for (int index = 0; index < 256; index++) {
        uint8_t *utf8 = chosen_utf8[index];
        for (int lane = 0; lane < 4; lane++) {
            int width = 1 + (index >> lane & 1) + (index >> (lane + 4) & 1);
            for (int k = 0; k < width; k++) *utf8++ = (uint8_t)(4 * lane + k);
        }
    }
    for (int index = 0; index < 16; index++) {
        uint8_t *quarters = chosen_quarters[index];
        uint32_t *ids = chosen_ids[index];
        for (int lane = 0; lane < 4; lane++) {
            *ids++ = 2 * lane;
            if (!(index >> lane & 1)) continue;
            *ids++ = 2 * lane + 1;
            for (int k = 0; k < 4; k++) *quarters++ = (uint8_t)(4 * lane + k);
        }
    }
}

AVX2 static uint32_t *write_ids_avx2(const uint64_t *values, size_t n, uint32_t *ids) {
    const __m256i first_mask = _mm256_set1_epi64x(NO_RECORD_ID);
    const __m256i second_mask = _mm256_set1_epi64x((int64_t)NO_RECORD_ID << 32);
    for (size_t i = 0; i < n; i += 4) {
        __m256i four = _mm256_loadu_si256((const __m256i *)(values + i));
        __m256i firsts = _mm256_and_si256(_mm256_srli_epi64(four, ID_SHIFT), first_mask);
        __m256i seconds = _mm256_and_si256(
            _mm256_srli_epi64(four, SECOND_ID_SHIFT - 32), second_mask);
        __m256i absent = _mm256_cmpeq_epi64(seconds, second_mask);
        unsigned present = ~(unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(absent)) & 15;
        __m256i order = _mm256_loadu_si256((const __m256i *)chosen_ids[present]);
        __m256i both = _mm256_or_si256(firsts, seconds);
        _mm256_storeu_si256((__m256i *)ids, _mm256_permutevar8x32_epi32(both, order));
        /* Behind the last one there are others, or slack. */
        unsigned n_here = n - i < 4 ? (unsigned)(n - i) : 4;
        ids += n_here + _mm_popcnt_u32(present & (15u >> (4 - n_here)));
    }
    return ids;
}

AVX2 static size_t write_ends_avx2(uint64_t bits, ptrdiff_t base, ptrdiff_t *ends) {
    size_t n = _mm_popcnt_u64(bits);
    size_t done = 0;
    /* As many as most windows have, and then as many again, so that few branches depend on their number:
     * what is written behind the last one does no harm. */
    do {
        for (int k = 0; k < 16; k++) {
            ends[done + k] = base + (ptrdiff_t)_tzcnt_u64(bits);
            bits = _blsr_u64(bits);
        }
        done += 16;
    } while (done < n);
    return n;
}

/* 16 bytes from each of four places: all first words, all second words. */
typedef struct {
    __m256i words_0, words_1;
} Quad;

AVX2 static inline Quad load_quad(const void *a, const void *b, const void *c, const void *d) {
#define PART(at) _mm_loadu_si128((const __m128i *)(at))
#define TWO(x, y) _mm256_inserti128_si256(_mm256_castsi128_si256(PART(x)), PART(y), 1)
    __m256i even = TWO(a, c), odd = TWO(b, d);
    return (Quad){_mm256_unpacklo_epi64(even, odd), _mm256_unpackhi_epi64(even, odd)};
#undef PART
#undef TWO
}

/* low * MULTIPLIER_1 + high * MULTIPLIER_2 of four keys, if `high` is below 1 << 32: that of every record
 * is. */
AVX2 static inline __m256i hashes_avx2(__m256i low, __m256i high) {
    const __m256i low_1 = _mm256_set1_epi64x(MULTIPLIER_1 & 0xFFFFFFFF);
    const __m256i high_1 = _mm256_set1_epi64x(MULTIPLIER_1 >> 32);
    const __m256i low_2 = _mm256_set1_epi64x(MULTIPLIER_2 & 0xFFFFFFFF);
    const __m256i high_2 = _mm256_set1_epi64x(MULTIPLIER_2 >> 32);
    __m256i upper = _mm256_add_epi64(
        _mm256_add_epi64(_mm256_mul_epu32(low, high_1),
                         _mm256_mul_epu32(_mm256_srli_epi64(low, 32), low_1)),
        _mm256_mul_epu32(high, high_2));
    return _mm256_add_epi64(
        _mm256_slli_epi64(upper, 32),
        _mm256_add_epi64(_mm256_mul_epu32(low, low_1), _mm256_mul_epu32(high, low_2)));
}

/* Four keys at a time, whose hashes each tier has its own way to make. */
#define MAKE_KEYS_256(TARGET, make_keys, hashes) \
    TARGET static void make_keys(const Record *records, int shift, const uint8_t *text, \
                                 const ptrdiff_t *borders, size_t n, Keys *keys) { \
        const __m256i ones = _mm256_set1_epi64x(-1); \
        const __m128i right = _mm_cvtsi32_si128(shift); \
        size_t i = 0; \
        for (; i + 4 <= n; i += 4) { \
            const ptrdiff_t *start = borders + i; \
            __m256i starts = _mm256_loadu_si256((const __m256i *)start); \
            __m256i stops = _mm256_loadu_si256((const __m256i *)(start + 1)); \
            Quad quad = load_quad(text + start[0], text + start[1], text + start[2], \
                                  text + start[3]); \
            /* A shift by 64 or more leaves nothing. */ \
            __m256i lengths = _mm256_sub_epi64(stops, starts); \
            __m256i rest = _mm256_subs_epu16(lengths, _mm256_set1_epi64x(8)); \
            __m256i low = _mm256_andnot_si256( \
                _mm256_sllv_epi64(ones, _mm256_slli_epi64(lengths, 3)), quad.words_0); \
            __m256i high = _mm256_andnot_si256( \
                _mm256_sllv_epi64(ones, _mm256_slli_epi64(rest, 3)), quad.words_1); \
            high = _mm256_or_si256(high, _mm256_slli_epi64(lengths, 24)); \
            _mm256_storeu_si256((__m256i *)(keys->words_0 + i), low); \
            _mm256_storeu_si256((__m256i *)(keys->words_1 + i), high); \
            uint64_t *offsets = keys->offsets + i; \
            _mm256_storeu_si256( \
                (__m256i *)offsets, \
                _mm256_slli_epi64(_mm256_srl_epi64(hashes(low, high), right), 4)); \
            for (int k = 0; k < 4; k++) prefetch(RECORD_AT(offsets[k])); \
        } \
        make_keys_from(i, records, shift, text, borders, n, keys); \
    }

MAKE_KEYS_256(AVX2, make_keys_avx2, hashes_avx2)

AVX2 static size_t look_up_avx2(const Record *records, const Keys *keys, size_t n, size_t number,
                                uint64_t *values, uint32_t *missed) {
    const __m256i key_bits = _mm256_set1_epi64x(RECORD_KEY);
    const __m128i numbers = _mm_set_epi32(3, 2, 1, 0);
    size_t n_missed = 0;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const uint64_t *offsets = keys->offsets + i;
        Quad found = load_quad(RECORD_AT(offsets[0]), RECORD_AT(offsets[1]),
                               RECORD_AT(offsets[2]), RECORD_AT(offsets[3]));
        _mm256_storeu_si256((__m256i *)(values + i), found.words_1);
        __m256i low = _mm256_loadu_si256((const __m256i *)(keys->words_0 + i));
        __m256i high = _mm256_loadu_si256((const __m256i *)(keys->words_1 + i));
        __m256i is_found = _mm256_and_si256(
            _mm256_cmpeq_epi64(found.words_0, low),
            _mm256_cmpeq_epi64(_mm256_and_si256(found.words_1, key_bits), high));
        unsigned is_missed = ~(unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(is_found)) & 15;
        __m128i four = _mm_add_epi32(numbers, _mm_set1_epi32((int)(number + i)));
        __m128i order = _mm_loadu_si128((const __m128i *)chosen_quarters[is_missed]);
        _mm_storeu_si128((__m128i *)(missed + n_missed), _mm_shuffle_epi8(four, order));
        n_missed += _mm_popcnt_u32(is_missed);
    }
    return n_missed + look_up_from(i, records, keys, n, number, values, missed + n_missed);
}

/* Which of eight numbers are at least as large as the other eight. */
AVX2 static inline uint64_t at_least(const uint32_t *numbers, const uint32_t *others) {
    __m256i a = _mm256_loadu_si256((const __m256i *)numbers);
    __m256i b = _mm256_loadu_si256((const __m256i *)others);
    __m256i is_so = _mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a);
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(is_so));
}

AVX2 static uint64_t find_first_merges_avx2(const uint32_t *pairs, const uint32_t *holders,
                                            size_t n) {
    uint64_t others = 1;
    for (size_t i = 1; i < n; i += 8)
        others |= (at_least(pairs + i, holders + i - 1) | at_least(pairs + i, holders + i + 1)) << i;
    return ~others & (((uint64_t)1 << (n - 1) << 1) - 1);
}

AVX2 static uint64_t find_late_avx2(const uint32_t *tokens, const uint32_t *holders, size_t n) {
    uint64_t late = 0;
    for (size_t i = 0; i < n; i += 8)
        late |= (at_least(tokens + i, holders + i) | at_least(tokens + i, holders + i + 1)) << i;
    return late & (((uint64_t)1 << (n - 1) << 1) - 1);
}

/* a * b: of each 64 bits the whole product, or only the upper half of it, in the lower half. */
AVX2 static inline __m256i cross_products(__m256i a, uint64_t b) {
    return _mm256_add_epi64(
        _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_set1_epi64x(b & 0xFFFFFFFF)),
        _mm256_mul_epu32(a, _mm256_set1_epi64x(b >> 32)));
}

AVX2 static inline __m256i times(__m256i a, uint64_t b) {
    __m256i low = _mm256_mul_epu32(a, _mm256_set1_epi64x(b & 0xFFFFFFFF));
    return _mm256_add_epi64(low, _mm256_slli_epi64(cross_products(a, b), 32));
}

AVX2 static inline __m256i upper_half_times(__m256i a, uint64_t b) {
    __m256i low = _mm256_mul_epu32(a, _mm256_set1_epi64x(b & 0xFFFFFFFF));
    return _mm256_add_epi64(_mm256_srli_epi64(low, 32), cross_products(a, b));
}

/* Eight of 16 numbers; `is_high`: the index is 8 or more. */
AVX2 static inline __m256i choose_8(const uint32_t *numbers, __m256i index, __m256i is_high) {
    __m256i low = _mm256_loadu_si256((const __m256i *)numbers);
    __m256i high = _mm256_loadu_si256((const __m256i *)(numbers + 8));
    return _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(low, index),
                              _mm256_permutevar8x32_epi32(high, index), is_high);
}

AVX2 static inline __m128i load_pilots(const uint16_t *pilots, const uint32_t *places) {
    __m128i eight = _mm_setzero_si128();
#define ADD(k) eight = _mm_insert_epi16(eight, pilots[places[k]], k);
    ADD(0) ADD(1) ADD(2) ADD(3) ADD(4) ADD(5) ADD(6) ADD(7)
#undef ADD
    return eight;
}

/* first + (upper half of hash * n), for four of eight regions. */
#define FOUR(eight, half) _mm256_cvtepu32_epi64(_mm256_extracti128_si256(eight, half))
#define SCALED(upper, n, first, half) _mm256_add_epi64( \
    _mm256_srli_epi64(_mm256_mul_epu32(upper, FOUR(n, half)), 32), FOUR(first, half))
/* The lower halves of two times four numbers. */
#define JOINED(a, b) _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps( \
    _mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88)), 0xD8)

AVX2 static void find_places_avx2(const Pairs *pairs, const uint32_t *lefts, const uint32_t *rights,
                                  size_t n, uint32_t *places) {
    for (size_t i = 0; i < n; i += 8) {
        __m256i left = _mm256_loadu_si256((const __m256i *)(lefts + i));
        __m256i right = _mm256_loadu_si256((const __m256i *)(rights + i));
        /* The exponent of a number is its highest bit. */
        __m256i bits = _mm256_or_si256(_mm256_or_si256(left, right),
                                       _mm256_set1_epi32(1 << LOWEST_REGION));
        __m256i exponent = _mm256_srli_epi32(_mm256_castps_si256(_mm256_cvtepi32_ps(bits)), 23);
        __m256i region = _mm256_sub_epi32(exponent, _mm256_set1_epi32(127 + LOWEST_REGION));
        __m256i is_high = _mm256_cmpgt_epi32(region, _mm256_set1_epi32(7));
        __m256i n_pilots = choose_8(pairs->n_pilots, region, is_high);
        __m256i first_pilot = choose_8(pairs->first_pilot, region, is_high);
        __m256i n_places = choose_8(pairs->n_places, region, is_high);
        __m256i first_place = choose_8(pairs->first_place, region, is_high);
#define HASH(half) times(_mm256_or_si256( \
    _mm256_slli_epi64(FOUR(left, half), ID_BITS), FOUR(right, half)), MULTIPLIER_1)
        __m256i hash_0 = HASH(0), hash_1 = HASH(1);
#undef HASH
        __m256i index_0 = SCALED(_mm256_srli_epi64(hash_0, 32), n_pilots, first_pilot, 0);
        __m256i index_1 = SCALED(_mm256_srli_epi64(hash_1, 32), n_pilots, first_pilot, 1);
        _mm256_storeu_si256((__m256i *)(places + i), JOINED(index_0, index_1));
        __m128i pilots = load_pilots(pairs->pilots, places + i);
        hash_0 = _mm256_xor_si256(hash_0, _mm256_cvtepu16_epi64(pilots));
        hash_1 = _mm256_xor_si256(hash_1, _mm256_cvtepu16_epi64(_mm_srli_si128(pilots, 8)));
        __m256i place_0 = SCALED(upper_half_times(hash_0, MULTIPLIER_2), n_places, first_place, 0);
        __m256i place_1 = SCALED(upper_half_times(hash_1, MULTIPLIER_2), n_places, first_place, 1);
        _mm256_storeu_si256((__m256i *)(places + i), JOINED(place_0, place_1));
        for (int k = 0; k < 8; k++) prefetch(pairs->records + places[i + k]);
    }
}
#undef FOUR
#undef SCALED
#undef JOINED

AVX2 static size_t find_merges_avx2(const Lanes *pieces, uint8_t *open, size_t n, uint8_t *lanes) {
    size_t n_merges = 0;
    for (size_t i = 0; i < n; i++) {
        const Lanes *piece = pieces + open[i];
        uint32_t lowest = NO_RANK;
        unsigned at = 0;
        unsigned lane = 0;
        /* Nearly all have no more lanes than are looked at in the first turn. */
        do {
            __m256i a = _mm256_loadu_si256((const __m256i *)(piece->ranks + lane));
            __m256i b = _mm256_loadu_si256((const __m256i *)(piece->ranks + lane + 8));
            __m256i least = _mm256_min_epu32(a, b);
            least = _mm256_min_epu32(least, _mm256_permute2x128_si256(least, least, 1));
            least = _mm256_min_epu32(least, _mm256_shuffle_epi32(least, 0x4E));
            least = _mm256_min_epu32(least, _mm256_shuffle_epi32(least, 0xB1));
            uint32_t rank = (uint32_t)_mm256_cvtsi256_si32(least);
            unsigned found = (unsigned)_mm256_movemask_ps(
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, least)));
            found |= (unsigned)_mm256_movemask_ps(
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(b, least))) << 8;
            at = rank < lowest ? lane + (unsigned)lowest_bit(found) : at;
            lowest = rank < lowest ? rank : lowest;
            lane += LANES_AT_ONCE;
        } while (lane < piece->n_lanes);
        open[n_merges] = open[i];
        lanes[n_merges] = (uint8_t)at;
        n_merges += lowest != NO_RANK;
    }
    return n_merges;
}

AVX2 static size_t skip_to_pair_avx2(const uint8_t *text, size_t n_bytes, uint8_t first,
                                     uint8_t second) {
    const __m256i firsts = _mm256_set1_epi8((char)first);
    const __m256i seconds = _mm256_set1_epi8((char)second);
#define PAIRS(at) _mm256_and_si256( \
    _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(at)), firsts), \
    _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)((at) + 1)), seconds))
    size_t at = 0;
    for (; at + 64 < n_bytes; at += 64) {
        __m256i found = _mm256_or_si256(PAIRS(text + at), PAIRS(text + at + 32));
        if (!_mm256_testz_si256(found, found)) break;
    }
    return at;
#undef PAIRS
}

/* Four code points below U+10000. */
AVX2 static inline uint8_t *write_4(__m128i codes, uint8_t *utf8) {
#define BITS(shifted, mask) _mm_and_si128(shifted, _mm_set1_epi32(mask))
#define ABOVE(code) _mm_cmpgt_epi32(codes, _mm_set1_epi32(code))
#define SIGNS(lanes) (unsigned)_mm_movemask_ps(_mm_castsi128_ps(lanes))
    __m128i is_two = ABOVE(0x7F), is_three = ABOVE(0x7FF);
    __m128i two = _mm_or_si128(
        _mm_or_si128(_mm_srli_epi32(codes, 6), BITS(_mm_slli_epi32(codes, 8), 0x3F00)),
        _mm_set1_epi32(0x80C0));
    __m128i three = _mm_or_si128(
        _mm_or_si128(_mm_srli_epi32(codes, 12), BITS(_mm_slli_epi32(codes, 2), 0x3F00)),
        _mm_or_si128(BITS(_mm_slli_epi32(codes, 16), 0x3F0000), _mm_set1_epi32(0x8080E0)));
    __m128i lanes = _mm_blendv_epi8(_mm_blendv_epi8(codes, two, is_two), three, is_three);
    unsigned index = SIGNS(is_two) | SIGNS(is_three) << 4;
    __m128i order = _mm_loadu_si128((const __m128i *)chosen_utf8[index]);
    _mm_storeu_si128((__m128i *)utf8, _mm_shuffle_epi8(lanes, order));
    return utf8 + 4 + _mm_popcnt_u32(index);
#undef BITS
#undef ABOVE
#undef SIGNS
}

AVX2 static uint8_t *utf8_of_latin1_avx2(const uint8_t *text, size_t n, uint8_t *utf8) {
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(text + i));
        if (!_mm256_movemask_epi8(bytes)) {
            _mm256_storeu_si256((__m256i *)utf8, bytes);
            utf8 += 32;
            continue;
        }
        for (int k = 0; k < 32; k += 4) {
            int four;
            memcpy(&four, text + i + k, 4);
            utf8 = write_4(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)), utf8);
        }
    }
    return utf8_of_latin1_portable(text + i, n - i, utf8);
}

AVX2 static uint8_t *utf8_of_ucs2_avx2(const uint16_t *text, size_t n, uint8_t *utf8) {
    const __m256i surrogate_bits = _mm256_set1_epi16((short)0xF800);
    const __m256i surrogates = _mm256_set1_epi16((short)0xD800);
    const __m256i above_ascii = _mm256_set1_epi16((short)0xFF80);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i codes = _mm256_loadu_si256((const __m256i *)(text + i));
        if (_mm256_testz_si256(codes, above_ascii)) {
            __m256i packed = _mm256_packus_epi16(codes, codes);
            packed = _mm256_permute4x64_epi64(packed, 0x08);
            _mm_storeu_si128((__m128i *)utf8, _mm256_castsi256_si128(packed));
            utf8 += 16;
            continue;
        }
        if (_mm256_movemask_epi8(_mm256_cmpeq_epi16(_mm256_and_si256(codes, surrogate_bits),
                                                    surrogates))) {
            return NULL;
        }
        for (int k = 0; k < 16; k += 4) {
            utf8 = write_4(_mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)(text + i + k))),
                           utf8);
        }
    }
    return utf8_of_ucs2_portable(text + i, n - i, utf8);
}

AVX2 static uint8_t *utf8_of_ucs4_avx2(const uint32_t *text, size_t n, uint8_t *utf8) {
    const __m128i surrogate_bits = _mm_set1_epi32((int)0xFFFFF800);
    const __m128i surrogates = _mm_set1_epi32(0xD800);
    const __m128i above_ucs2 = _mm_set1_epi32((int)0xFFFF0000);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m128i codes = _mm_loadu_si128((const __m128i *)(text + i));
        if (!_mm_testz_si128(codes, above_ucs2)) {
            utf8 = utf8_of_ucs4_portable(text + i, 4, utf8);
            if (!utf8) return NULL;
            continue;
        }
        if (_mm_movemask_epi8(_mm_cmpeq_epi32(_mm_and_si128(codes, surrogate_bits), surrogates))) {
            return NULL;
        }
        utf8 = write_4(codes, utf8);
    }
    return utf8_of_ucs4_portable(text + i, n - i, utf8);
}

static const Tier avx2_tier = {
    classify_avx2, find_cjk_avx2, find_cuts_portable, find_letters_avx2,
    write_ends_avx2, make_keys_avx2, look_up_avx2, write_ids_avx2,
    find_first_merges_avx2, find_late_avx2, find_places_avx2, find_merges_avx2, skip_to_pair_avx2,
    utf8_of_latin1_avx2, utf8_of_ucs2_avx2, utf8_of_ucs4_avx2,
};

/* --- AVX-512 --- */

#define AVX512 __attribute__((target( \
    "avx2,bmi,bmi2,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")))
#define IS_512(all, byte) _mm512_cmpeq_epi8_mask(all, _mm512_set1_epi8(byte))
#define IN_512(all, low, high) _mm512_cmple_epu8_mask( \
    _mm512_sub_epi8(all, _mm512_set1_epi8((char)(low))), \
    _mm512_set1_epi8((char)((high) - (low))))

AVX512 static void classify_avx512(const uint8_t *bytes, ByteMasks *masks) {
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

AVX512 static uint64_t find_cjk_avx512(const uint8_t *bytes) {
    __m512i all = _mm512_loadu_si512(bytes);
#define IN(low, high) ((uint64_t)IN_512(all, low, high))
    return IN(0xE3, 0xEC) ? CJK_LEADS(IN) : 0;
#undef IN
}

#define BYTES_8(first) \
    7 + first, 6 + first, 5 + first, 4 + first, 3 + first, 2 + first, 1 + first, first
#define BYTES_64 BYTES_8(56), BYTES_8(48), BYTES_8(40), BYTES_8(32), BYTES_8(24), BYTES_8(16), \
    BYTES_8(8), BYTES_8(0)

AVX512 static uint64_t find_cuts_avx512(const uint64_t *cut_filter, const uint8_t *bytes,
                                        uint64_t candidates) {
    /* Of each of eight candidates: its place, in all bytes of a lane; from there, that of each byte of the
     * two characters, which are the upper six bytes of their key. */
    const __m512i in_all = _mm512_set_epi64(
        0x0707070707070707, 0x0606060606060606, 0x0505050505050505, 0x0404040404040404,
        0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m512i around = _mm512_set1_epi64(0x020100FFFEFD0000);
    const __m512i multiplier = _mm512_set1_epi64((long long)MULTIPLIER_1);
    __m512i text = _mm512_loadu_si512(bytes);
    __m512i places = _mm512_maskz_compress_epi8(candidates, _mm512_set_epi8(BYTES_64));
    unsigned n = (unsigned)_mm_popcnt_u64(candidates);
    uint64_t cuts = 0;
    for (unsigned done = 0; done < n; done += 8) {
        count_steps(8);
        __m512i at = _mm512_add_epi8(_mm512_permutexvar_epi8(in_all, places), around);
        __m512i keys = _mm512_maskz_permutexvar_epi8(0xFCFCFCFCFCFCFCFC, at, text);
        __m512i bits = _mm512_srli_epi64(_mm512_mullo_epi64(keys, multiplier), 64 - CUT_BITS);
        __m512i words = _mm512_i64gather_epi64(_mm512_srli_epi64(bits, 6), cut_filter, 8);
        __m512i shifted = _mm512_srlv_epi64(words, _mm512_and_si512(bits, _mm512_set1_epi64(63)));
        cuts |= (uint64_t)_mm512_testn_epi64_mask(shifted, _mm512_set1_epi64(1)) << done;
        places = _mm512_alignr_epi64(places, places, 1);
    }
    return _pdep_u64(cuts, candidates);
}

AVX512 static void find_letters_avx512(const uint8_t *bytes, LetterMasks *letters) {
    __m512i firsts = _mm512_loadu_si512(bytes);
    __m512i seconds = _mm512_loadu_si512(bytes + 1);
    uint64_t is_pair = IN_512(firsts, 0xC2, 0xDF) & IN_512(seconds, 0x80, 0xBF);
    letters->upper = letters->lower = letters->caseless = 0;
    if (!is_pair) return;
    const __m512i rows = _mm512_set1_epi64(0x8040201008040201);
    __m512i row = _mm512_permutexvar_epi8(firsts, rows);
#define FIND(mask, kind, group, within) \
    mask |= _mm512_mask_test_epi8_mask(within, row, _mm512_permutexvar_epi8( \
        seconds, _mm512_loadu_si512(letter_tables[kind][group])))
#define FIND_IN(group, low, high) do { \
    __mmask64 within = is_pair & IN_512(firsts, low, high); \
    if (!within) break; \
    FIND(letters->upper, LETTERS_UPPER, group, within); \
    FIND(letters->lower, LETTERS_LOWER, group, within); \
    FIND(letters->caseless, LETTERS_CASELESS, group, within); \
} while (0)
    FIND_IN(0, 0xC2, 0xC7);
    FIND_IN(1, 0xC8, 0xCF);
    FIND_IN(2, 0xD0, 0xD7);
    FIND_IN(3, 0xD8, 0xDF);
#undef FIND_IN
#undef FIND
}

AVX512 static size_t write_ends_avx512(uint64_t bits, ptrdiff_t base, ptrdiff_t *ends) {
    size_t n = _mm_popcnt_u64(bits);
    __m512i positions = _mm512_maskz_compress_epi8(bits, _mm512_set_epi8(BYTES_64));
    __m512i base_8 = _mm512_set1_epi64(base);
    size_t done = 0;
    /* 16 at once, as most windows have no more. */
    do {
        __m128i here = _mm512_castsi512_si128(positions);
        __m512i first = _mm512_cvtepu8_epi64(here);
        __m512i second = _mm512_cvtepu8_epi64(_mm_srli_si128(here, 8));
        _mm512_storeu_si512(ends + done, _mm512_add_epi64(first, base_8));
        _mm512_storeu_si512(ends + done + 8, _mm512_add_epi64(second, base_8));
        positions = _mm512_alignr_epi64(positions, positions, 2);
        done += 16;
    } while (done < n);
    return n;
}

/* In 256 bits: of eight offsets that are stored at once each would be read back as a part of them. */
AVX512 static inline __m256i hashes_avx512(__m256i low, __m256i high) {
    return _mm256_add_epi64(_mm256_mullo_epi64(low, _mm256_set1_epi64x(MULTIPLIER_1)),
                            _mm256_mullo_epi64(high, _mm256_set1_epi64x(MULTIPLIER_2)));
}

MAKE_KEYS_256(AVX512, make_keys_avx512, hashes_avx512)

AVX512 static void find_places_avx512(const Pairs *pairs, const uint32_t *lefts,
                                      const uint32_t *rights, size_t n, uint32_t *places) {
    const __m512i n_pilots = _mm512_loadu_si512(pairs->n_pilots);
    const __m512i first_pilot = _mm512_loadu_si512(pairs->first_pilot);
    const __m512i n_places = _mm512_loadu_si512(pairs->n_places);
    const __m512i first_place = _mm512_loadu_si512(pairs->first_place);
    for (size_t i = 0; i < n; i += 8) {
        __m512i left = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(lefts + i)));
        __m512i right = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(rights + i)));
        __m512i bits = _mm512_or_si512(_mm512_or_si512(left, right),
                                       _mm512_set1_epi64(1 << LOWEST_REGION));
        __m512i region = _mm512_sub_epi64(_mm512_set1_epi64(63 - LOWEST_REGION),
                                          _mm512_lzcnt_epi64(bits));
        /* first + (upper half of hash * n) */
#define SCALED(hash, n, first) _mm512_add_epi64( \
    _mm512_srli_epi64(_mm512_mul_epu32(_mm512_srli_epi64(hash, 32), \
                                       _mm512_permutexvar_epi32(region, n)), 32), \
    _mm512_maskz_permutexvar_epi32(0x5555, region, first))
        __m512i hash = _mm512_mullo_epi64(
            _mm512_or_si512(_mm512_slli_epi64(left, ID_BITS), right),
            _mm512_set1_epi64(MULTIPLIER_1));
        __m512i index = SCALED(hash, n_pilots, first_pilot);
        _mm256_storeu_si256((__m256i *)(places + i), _mm512_cvtepi64_epi32(index));
        __m128i pilots = load_pilots(pairs->pilots, places + i);
        hash = _mm512_mullo_epi64(_mm512_xor_si512(hash, _mm512_cvtepu16_epi64(pilots)),
                                  _mm512_set1_epi64(MULTIPLIER_2));
        __m512i place = SCALED(hash, n_places, first_place);
#undef SCALED
        _mm256_storeu_si256((__m256i *)(places + i), _mm512_cvtepi64_epi32(place));
        for (int k = 0; k < 8; k++) prefetch(pairs->records + places[i + k]);
    }
}

AVX512 static uint32_t *write_ids_avx512(const uint64_t *values, size_t n, uint32_t *ids) {
    const __m512i first_mask = _mm512_set1_epi64(NO_RECORD_ID);
    const __m512i second_mask = _mm512_set1_epi64((int64_t)NO_RECORD_ID << 32);
    for (size_t i = 0; i < n; i += 8) {
        __m512i eight = _mm512_loadu_si512(values + i);
        __m512i firsts = _mm512_and_si512(_mm512_srli_epi64(eight, ID_SHIFT), first_mask);
        __m512i seconds = _mm512_and_si512(
            _mm512_srli_epi64(eight, SECOND_ID_SHIFT - 32), second_mask);
        unsigned present = _mm512_cmpneq_epi32_mask(seconds, second_mask) | 0x5555;
        /* Behind the last one there are others, or slack. */
        present = _bzhi_u32(present, n - i < 8 ? 2 * (unsigned)(n - i) : 16);
        _mm512_storeu_si512(ids, _mm512_maskz_compress_epi32(
            (__mmask16)present, _mm512_or_si512(firsts, seconds)));
        ids += _mm_popcnt_u32(present);
    }
    return ids;
}

/* Of each lane the bytes that are UTF-8: the first, and all from 0x80 on. */
AVX512 static inline uint8_t *write_utf8(__m512i lanes, uint64_t first_bytes, uint8_t *utf8) {
    uint64_t used = first_bytes | _mm512_movepi8_mask(lanes);
    _mm512_storeu_si512(utf8, _mm512_maskz_compress_epi8(used, lanes));
    return utf8 + _mm_popcnt_u64(used);
}

/* 32 code points below U+0800. */
AVX512 static inline uint8_t *write_32(__m512i codes, __mmask32 is_wide, uint8_t *utf8) {
    __m512i last = _mm512_slli_epi16(_mm512_and_si512(codes, _mm512_set1_epi16(0x3F)), 8);
    __m512i two = _mm512_or_si512(_mm512_or_si512(_mm512_srli_epi16(codes, 6), last),
                                  _mm512_set1_epi16((short)0x80C0));
    return write_utf8(_mm512_mask_mov_epi16(codes, is_wide, two), 0x5555555555555555, utf8);
}

/* 16 code points. */
AVX512 static inline uint8_t *write_16(__m512i codes, uint8_t *utf8) {
#define BITS(shifted, mask) _mm512_and_si512(shifted, _mm512_set1_epi32(mask))
#define AT_LEAST(code) _mm512_cmpge_epu32_mask(codes, _mm512_set1_epi32(code))
#define JOIN(a, b, c, fixed) \
    _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, _mm512_set1_epi32((int)(fixed))))
    const __m512i none = _mm512_setzero_si512();
    __m512i two = JOIN(_mm512_srli_epi32(codes, 6), BITS(_mm512_slli_epi32(codes, 8), 0x3F00),
                       none, 0x80C0);
    __m512i three = JOIN(_mm512_srli_epi32(codes, 12), BITS(_mm512_slli_epi32(codes, 2), 0x3F00),
                         BITS(_mm512_slli_epi32(codes, 16), 0x3F0000), 0x8080E0);
    __m512i four = JOIN(_mm512_or_si512(_mm512_srli_epi32(codes, 18),
                                        BITS(_mm512_srli_epi32(codes, 4), 0x3F00)),
                        BITS(_mm512_slli_epi32(codes, 10), 0x3F0000),
                        BITS(_mm512_slli_epi32(codes, 24), 0x3F000000), 0x808080F0);
    __m512i lanes = _mm512_mask_mov_epi32(codes, AT_LEAST(0x80), two);
    lanes = _mm512_mask_mov_epi32(lanes, AT_LEAST(0x800), three);
    lanes = _mm512_mask_mov_epi32(lanes, AT_LEAST(0x10000), four);
    return write_utf8(lanes, 0x1111111111111111, utf8);
#undef BITS
#undef AT_LEAST
#undef JOIN
}

AVX512 static uint8_t *utf8_of_latin1_avx512(const uint8_t *text, size_t n, uint8_t *utf8) {
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(text + i));
        __mmask32 is_wide = _mm256_movepi8_mask(bytes);
        if (is_wide) {
            utf8 = write_32(_mm512_cvtepu8_epi16(bytes), is_wide, utf8);
        } else {
            _mm256_storeu_si256((__m256i *)utf8, bytes);
            utf8 += 32;
        }
    }
    return utf8_of_latin1_portable(text + i, n - i, utf8);
}

AVX512 static uint8_t *utf8_of_ucs2_avx512(const uint16_t *text, size_t n, uint8_t *utf8) {
    const __m512i surrogate_bits = _mm512_set1_epi16((short)0xF800);
    const __m512i surrogates = _mm512_set1_epi16((short)0xD800);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m512i codes = _mm512_loadu_si512(text + i);
        __mmask32 is_wide = _mm512_cmpge_epu16_mask(codes, _mm512_set1_epi16(0x80));
        if (!is_wide) {
            _mm256_storeu_si256((__m256i *)utf8, _mm512_cvtepi16_epi8(codes));
            utf8 += 32;
        } else if (!_mm512_cmpge_epu16_mask(codes, _mm512_set1_epi16(0x800))) {
            utf8 = write_32(codes, is_wide, utf8);
        } else {
            if (_mm512_cmpeq_epi16_mask(_mm512_and_si512(codes, surrogate_bits), surrogates)) {
                return NULL;
            }
            utf8 = write_16(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(codes)), utf8);
            utf8 = write_16(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(codes, 1)), utf8);
        }
    }
    return utf8_of_ucs2_portable(text + i, n - i, utf8);
}

AVX512 static uint8_t *utf8_of_ucs4_avx512(const uint32_t *text, size_t n, uint8_t *utf8) {
    const __m512i surrogate_bits = _mm512_set1_epi32((int)0xFFFFF800);
    const __m512i surrogates = _mm512_set1_epi32(0xD800);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i codes = _mm512_loadu_si512(text + i);
        if (_mm512_cmpeq_epi32_mask(_mm512_and_si512(codes, surrogate_bits), surrogates)) {
            return NULL;
        }
        utf8 = write_16(codes, utf8);
    }
    return utf8_of_ucs4_portable(text + i, n - i, utf8);
}

static const Tier avx512_tier = {
    classify_avx512, find_cjk_avx512, find_cuts_avx512, find_letters_avx512,
    write_ends_avx512, make_keys_avx512, look_up_avx2, write_ids_avx512,
    find_first_merges_avx2, find_late_avx2, find_places_avx512, find_merges_avx2,
    skip_to_pair_avx2,
    utf8_of_latin1_avx512, utf8_of_ucs2_avx512, utf8_of_ucs4_avx512,
};

static int best_tier(void) {
#define HAS(feature) __builtin_cpu_supports(feature)
    if (!(HAS("avx2") && HAS("bmi") && HAS("bmi2") && HAS("popcnt"))) return TIER_PORTABLE;
    /* AVX-512 without VBMI is no faster here, and slows down what runs beside it. */
    return HAS("avx512bw") && HAS("avx512cd") && HAS("avx512dq") && HAS("avx512vl")
        && HAS("avx512vbmi") && HAS("avx512vbmi2") ? TIER_AVX512 : TIER_AVX2;
#undef HAS
}

static void make_tables(void) {
    make_class_lanes();
    make_shuffles();
}

static const Tier *tier_of(int tier) {
    if (tier == TIER_AVX512) return &avx512_tier;
    return tier == TIER_AVX2 ? &avx2_tier : &portable_tier;
}

#else

static void make_tables(void) { make_class_lanes(); }
static int best_tier(void) { return TIER_PORTABLE; }
static const Tier *tier_of(int tier) { (void)tier; return &portable_tier; }

#endif
