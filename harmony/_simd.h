/* The loops of _tier.h, each up to three times: for any processor, for AVX2 and for AVX-512.
 *
 * The file is compiled without flags that ask for a newer processor; `best_tier` looks at run time.
 * All tiers give the same pieces and ids (tests/test_segments.py, tests/test_ways.py); one may cut a piece
 * where another does not. What not all have has its twin elsewhere: `find_ends` in _segments.pyx, `begin_merging`
 * and `fill_lanes` in `begin_merging` of _bpe.pyx.
 */
#pragma once
#include "_tier.h"
#include "_unicode_classes.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HARMONY_X86 1
#include <immintrin.h>
#else
#define HARMONY_X86 0
#endif

enum { TIER_PORTABLE, TIER_AVX2, TIER_AVX512 };

/* By code point >> 7, as in rank_tables.py: the scripts in which pieces are cut. */
static uint8_t cut_group[512];

/* The length of 's 't 're 've 'm 'll 'd in any case, by the two bytes behind the apostrophe; 0: it is none of
 * these. */
static inline int contraction_width(uint8_t first, uint8_t second) {
    if (first == 0xC5) return second == 0xBF ? 3 : 0;       /* U+017F folds to s */
    first |= 0x20;
    second |= 0x20;
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    if ((first == 'r' || first == 'v') && second == 'e') return 3;
    return first == 'l' && second == 'l' ? 3 : 0;
}

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

/* Whether the cut filter has the bit of the two characters, 6 bytes, of which the second begins at `start`: the
 * hash of their key as in rank_tables.py. */
static inline uint64_t is_held(const uint64_t *cut_filter, const uint8_t *start) {
    uint64_t hash = load_u64(start - 3) * (MULTIPLIER_1 << 16);
    uint64_t word = u64_at(cut_filter, hash >> (64 - CUT_BITS + 6), 1 << (CUT_BITS - 6));
    return word >> (hash >> (64 - CUT_BITS) & 63) & 1;
}

static inline uint64_t find_cuts_portable(const uint64_t *cut_filter, const uint8_t *bytes,
                                          uint64_t candidates) {
    uint64_t held = 0;
    for (uint64_t rest = candidates; rest; rest &= rest - 1) {
        int at = lowest_bit(rest);
        count_steps(1);
        held |= is_held(cut_filter, bytes + at) << at;
    }
    return candidates & ~held;
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
static inline void make_keys_from(size_t i, const Record *records, uint64_t last,
                                  const uint8_t *text, const ptrdiff_t *borders, size_t n,
                                  Keys *keys) {
    for (; i < n; i++) {
        Key key;
        make_key(text + borders[i], borders[i + 1] - borders[i], &key);
        keys->words_0[i] = key.word_0;
        keys->words_1[i] = key.word_1;
        keys->offsets[i] = offset_of_record(key.word_0, key.word_1, last);
        prefetch(RECORD_AT(keys->offsets[i]));
    }
}

static void make_keys_portable(const Record *records, uint64_t last, const uint8_t *text,
                               const ptrdiff_t *borders, size_t n, Keys *keys) {
    make_keys_from(0, records, last, text, borders, n, keys);
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

static size_t merged_ids_portable(const Lanes *piece, uint32_t *ids) {
    size_t n = 0;
    uint64_t live = piece->live & (piece->live - 1);        /* without the guards */
    for (; live & (live - 1); live &= live - 1) ids[n++] = piece->ids[lowest_bit(live)];
    return n;
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
    NULL, classify_portable, find_cjk_portable, find_cuts_portable, find_letters_portable,
    write_ends_portable, make_keys_portable, look_up_portable, write_ids_portable,
    find_first_merges_portable, find_late_portable, NULL, NULL, find_places_portable,
    find_merges_portable, merged_ids_portable, skip_to_pair_portable,
    utf8_of_latin1_portable, utf8_of_ucs2_portable, utf8_of_ucs4_portable,
};

#if HARMONY_X86

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

/* For each of 16 kinds a range of bytes. Less 128 they can be compared as signed numbers: a byte less that
 * of `firsts` is below that of `counts` if it is in the range. */
typedef struct {
    uint8_t firsts[16], counts[16];
} Ranges;

enum { NO_RANGE = 14 };         /* the kind that has none */

static void add_range(Ranges *ranges, int kind, int first, int last) {
    ranges->firsts[kind] = (uint8_t)(first ^ 0x80);
    ranges->counts[kind] = (uint8_t)((last - first + 1) ^ 0x80);
}

AVX2 static inline __m256i of_kinds(const uint8_t table[16], __m256i kinds) {
    return _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table)), kinds);
}

AVX2 static inline __m256i are_in(const Ranges *ranges, __m256i kinds, __m256i bytes) {
    __m256i places = _mm256_sub_epi8(bytes, of_kinds(ranges->firsts, kinds));
    return _mm256_cmpgt_epi8(of_kinds(ranges->counts, kinds), places);
}

/* Of characters of three bytes: the second byte, by the lower half of the first one. Where that is 0xE3: the
 * third byte, by the lower half of the second one. What else is a letter is looked up. */
static Ranges cjk_seconds, kana_thirds, more_kana_thirds;
/* Of characters of two bytes: the second byte, by the first one, and U+00D7, U+00F7 and U+03A2, which are
 * no letters among letters: their second byte with bit 0x20. */
static Ranges upper_seconds, lower_seconds, caseless_seconds;
static uint8_t excepted_seconds[16];
enum { LEAD_OF_KIND_0 = 0xCE };         /* and so on; of the last kind is 0xC3 */

static void make_ranges(void) {
    Ranges *all[] = {&cjk_seconds, &kana_thirds, &more_kana_thirds,
                     &upper_seconds, &lower_seconds, &caseless_seconds};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        memset(all[i]->counts, 0x80, sizeof(all[i]->counts));

    add_range(&cjk_seconds, 0x4, 0xB8, 0xBF);                   /* U+4E00 ... */
    for (int kind = 0x5; kind <= 0x9; kind++)
        add_range(&cjk_seconds, kind, 0x80, 0xBF);              /* 9FFF */
    add_range(&cjk_seconds, 0xA, 0xB0, 0xBF);                   /* U+AC00 ... */
    add_range(&cjk_seconds, 0xB, 0x80, 0xBF);
    add_range(&cjk_seconds, 0xC, 0x80, 0xBF);
    add_range(&cjk_seconds, 0xD, 0x80, 0x9D);                   /* D77F */
    add_range(&kana_thirds, 0x1, 0x81, 0xBF);                   /* U+3041 ... */
    add_range(&kana_thirds, 0x2, 0x80, 0x96);                   /* 3096 */
    add_range(&more_kana_thirds, 0x2, 0xA1, 0xBF);              /* U+30A1 ... */
    add_range(&kana_thirds, 0x3, 0x80, 0xBA);                   /* 30FA */
    add_range(&more_kana_thirds, 0x3, 0xBC, 0xBF);              /* U+30FC ... 30FF */

#define KIND(lead) ((lead) == 0xC3 ? NO_RANGE + 1 : (lead) - LEAD_OF_KIND_0)
    add_range(&upper_seconds, KIND(0xC3), 0x80, 0x9E);          /* U+00C0 ... 00DE */
    add_range(&lower_seconds, KIND(0xC3), 0x9F, 0xBF);          /* U+00DF ... 00FF */
    add_range(&upper_seconds, KIND(0xCE), 0x91, 0xA9);          /* U+0391 ... 03A9 */
    add_range(&lower_seconds, KIND(0xCE), 0xAC, 0xBF);          /* U+03AC ... */
    add_range(&lower_seconds, KIND(0xCF), 0x80, 0x8E);          /* 03CE */
    add_range(&upper_seconds, KIND(0xD0), 0x80, 0xAF);          /* U+0400 ... 042F */
    add_range(&lower_seconds, KIND(0xD0), 0xB0, 0xBF);          /* U+0430 ... */
    add_range(&lower_seconds, KIND(0xD1), 0x80, 0x9F);          /* 045F */
    add_range(&upper_seconds, KIND(0xD4), 0xB1, 0xBF);          /* U+0531 ... */
    add_range(&upper_seconds, KIND(0xD5), 0x80, 0x96);          /* 0556 */
    add_range(&lower_seconds, KIND(0xD5), 0xA0, 0xBF);          /* U+0560 ... */
    add_range(&lower_seconds, KIND(0xD6), 0x80, 0x88);          /* 0588 */
    add_range(&caseless_seconds, KIND(0xD7), 0x90, 0xAA);       /* U+05D0 ... 05EA */
    add_range(&caseless_seconds, KIND(0xD8), 0xA0, 0xBF);       /* U+0620 ... */
    add_range(&caseless_seconds, KIND(0xD9), 0x80, 0x8A);       /* 064A */
    add_range(&caseless_seconds, KIND(0xDA), 0x80, 0xBF);       /* U+0680 ... */
    add_range(&caseless_seconds, KIND(0xDB), 0x80, 0x93);       /* 06D3 */
    excepted_seconds[KIND(0xC3)] = 0xB7;
    excepted_seconds[KIND(0xCE)] = 0xA2;
#undef KIND
}

AVX2 static inline __m256i load_256(const uint8_t *bytes) {
    return _mm256_loadu_si256((const __m256i *)bytes);
}

/* Which of 32 bytes are first bytes of such letters. */
AVX2 static inline __m256i cjk_256(const uint8_t *bytes) {
    const __m256i no_range = _mm256_set1_epi8(NO_RANGE);
    __m256i firsts = load_256(bytes), seconds = load_256(bytes + 1), thirds = load_256(bytes + 2);
    __m256i kinds = _mm256_min_epu8(_mm256_xor_si256(firsts, _mm256_set1_epi8((char)0xE0)), no_range);
    __m256i kana_kinds = _mm256_min_epu8(
        _mm256_xor_si256(seconds, _mm256_set1_epi8((char)0x80)), no_range);
    __m256i kana = _mm256_and_si256(
        _mm256_cmpeq_epi8(firsts, _mm256_set1_epi8((char)0xE3)),
        _mm256_or_si256(are_in(&kana_thirds, kana_kinds, thirds),
                        are_in(&more_kana_thirds, kana_kinds, thirds)));
    return _mm256_or_si256(are_in(&cjk_seconds, kinds, seconds), kana);
}

AVX2 static uint64_t find_cjk_avx2(const uint8_t *bytes) {
    __m256i wide = _mm256_or_si256(IN_256(load_256(bytes), 0xE3, 0xED),
                                   IN_256(load_256(bytes + 32), 0xE3, 0xED));
    return _mm256_testz_si256(wide, wide) ? 0 : BITS_256(cjk_256(bytes), cjk_256(bytes + 32));
}

/* The same with instructions for bits. */
AVX2 static uint64_t find_cuts_avx2(const uint64_t *cut_filter, const uint8_t *bytes,
                                    uint64_t candidates) {
    return find_cuts_portable(cut_filter, bytes, candidates);
}

typedef struct {
    __m256i upper, lower, caseless;
} Letters;

AVX2 static inline Letters letters_256(const uint8_t *bytes) {
    const __m256i no_range = _mm256_set1_epi8(NO_RANGE);
    __m256i firsts = load_256(bytes), seconds = load_256(bytes + 1);
    __m256i is_c3 = _mm256_cmpeq_epi8(firsts, _mm256_set1_epi8((char)0xC3));
    __m256i kinds = _mm256_min_epu8(
        _mm256_sub_epi8(firsts, _mm256_set1_epi8((char)LEAD_OF_KIND_0)), no_range);
    kinds = _mm256_sub_epi8(kinds, is_c3);
    __m256i are_excepted = _mm256_cmpeq_epi8(
        _mm256_or_si256(seconds, _mm256_set1_epi8(0x20)), of_kinds(excepted_seconds, kinds));
    return (Letters){
        _mm256_andnot_si256(are_excepted, are_in(&upper_seconds, kinds, seconds)),
        _mm256_andnot_si256(are_excepted, are_in(&lower_seconds, kinds, seconds)),
        are_in(&caseless_seconds, kinds, seconds),
    };
}

AVX2 static void find_letters_avx2(const uint8_t *bytes, LetterMasks *letters) {
    __m256i wide = _mm256_or_si256(IN_256(load_256(bytes), 0xC3, 0xDB),
                                   IN_256(load_256(bytes + 32), 0xC3, 0xDB));
    letters->upper = letters->lower = letters->caseless = 0;
    if (_mm256_testz_si256(wide, wide)) return;
    Letters a = letters_256(bytes), b = letters_256(bytes + 32);
    letters->upper = BITS_256(a.upper, b.upper);
    letters->lower = BITS_256(a.lower, b.lower);
    letters->caseless = BITS_256(a.caseless, b.caseless);
}

/* What a shuffle needs to move chosen items to the front, by the bits of those that are chosen.
 * Behind them come zeros: the first item again. */
static uint8_t chosen_quarters[16][16];     /* of 16 bytes, four at a time */
static uint32_t chosen_ids[16][8];          /* of four pairs: all firsts, and the chosen seconds */
/* The numbers of the bits that are set, and how many are set before each bit. */
static uint8_t chosen_eighths[256][8], set_before[256][8];
/* Of four lanes of four bytes the first one; two where the lower half of the index has a bit, three
 * where the upper half has it, too. */
static uint8_t chosen_utf8[256][16];
/* Of eight lanes of two bytes the first one; both where the index has a bit. */
static uint8_t chosen_halves[256][16];

static void make_shuffles(void) {
    for (int index = 0; index < 256; index++) {
        uint8_t *utf8 = chosen_utf8[index], *halves = chosen_halves[index];
        uint8_t n = 0;
        for (uint8_t k = 0; k < 8; k++) {
            set_before[index][k] = n;
            *halves++ = 2 * k;
            if (!(index >> k & 1)) continue;
            *halves++ = 2 * k + 1;
            chosen_eighths[index][n++] = k;
        }
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

/* Of four keys what offset_of_record says of each. */
AVX2 static inline __m256i offsets_of_records(__m256i low, __m256i high, uint64_t last) {
#define TIMES(numbers, factor) _mm256_mul_epu32(numbers, _mm256_set1_epi64x(factor))
    __m256i sum = _mm256_add_epi64(
        _mm256_add_epi64(TIMES(low, RECORD_MULTIPLIER_0),
                         TIMES(_mm256_srli_epi64(low, 32), RECORD_MULTIPLIER_1)),
        TIMES(high, RECORD_MULTIPLIER_2));
#undef TIMES
    return _mm256_and_si256(_mm256_srli_epi64(sum, RECORD_SHIFT),
                            _mm256_set1_epi64x((int64_t)last));
}

/* Four keys at a time: of eight offsets that are stored at once each would be read back as a part of them. */
AVX2 static void make_keys_avx2(const Record *records, uint64_t last, const uint8_t *text,
                                const ptrdiff_t *borders, size_t n, Keys *keys) {
    const __m256i ones = _mm256_set1_epi64x(-1);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const ptrdiff_t *start = borders + i;
        __m256i starts = _mm256_loadu_si256((const __m256i *)start);
        __m256i stops = _mm256_loadu_si256((const __m256i *)(start + 1));
        Quad quad = load_quad(text + start[0], text + start[1], text + start[2], text + start[3]);
        /* A shift by 64 or more leaves nothing. */
        __m256i lengths = _mm256_sub_epi64(stops, starts);
        __m256i rest = _mm256_subs_epu16(lengths, _mm256_set1_epi64x(8));
        __m256i low = _mm256_andnot_si256(
            _mm256_sllv_epi64(ones, _mm256_slli_epi64(lengths, 3)), quad.words_0);
        __m256i high = _mm256_andnot_si256(
            _mm256_sllv_epi64(ones, _mm256_slli_epi64(rest, 3)), quad.words_1);
        high = _mm256_or_si256(high, _mm256_slli_epi64(lengths, 24));
        _mm256_storeu_si256((__m256i *)(keys->words_0 + i), low);
        _mm256_storeu_si256((__m256i *)(keys->words_1 + i), high);
        uint64_t *offsets = keys->offsets + i;
        _mm256_storeu_si256((__m256i *)offsets, offsets_of_records(low, high, last));
        for (int k = 0; k < 4; k++) prefetch(RECORD_AT(offsets[k]));
    }
    make_keys_from(i, records, last, text, borders, n, keys);
}

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

/* All ones where a bit is set. */
AVX2 static inline __m256i mask_of_8(uint64_t bits) {
    __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), each), each);
}

AVX2 static size_t fill_lanes_avx2(const uint32_t *tokens, const uint32_t *pairs, size_t n,
                                   uint64_t starts, uint64_t known, Lanes *lanes,
                                   uint32_t first_lane, uint16_t *wanted, size_t *n_wanted) {
    const __m256i none = _mm256_set1_epi32(-1);     /* NO_RANK */
    uint64_t seconds = ~starts & ((1ull << n) - 1);
    size_t lane = 0;
    for (size_t i = 0; i < n; i += 8) {
        unsigned here = starts >> i & 0xFF;
        unsigned unknown = ~(known >> i) & here;
        __m256i pair = _mm256_loadu_si256((const __m256i *)(pairs + i));
        __m256i token = _mm256_blendv_epi8(
            _mm256_loadu_si256((const __m256i *)(tokens + i)),
            _mm256_loadu_si256((const __m256i *)(pairs + i + 1)), mask_of_8(seconds >> 1 >> i));
        __m256i rank = _mm256_blendv_epi8(none, pair, mask_of_8(known >> i));
        __m128i order = _mm_loadl_epi64((const __m128i *)chosen_eighths[here]);
        __m256i to_front = _mm256_cvtepu8_epi32(order);
        _mm256_storeu_si256((__m256i *)(lanes->ids + 1 + lane),
                            _mm256_permutevar8x32_epi32(token, to_front));
        _mm256_storeu_si256((__m256i *)(lanes->ranks + lane),
                            _mm256_permutevar8x32_epi32(rank, to_front));
        __m128i which = _mm_shuffle_epi8(
            _mm_loadl_epi64((const __m128i *)set_before[here]),
            _mm_loadl_epi64((const __m128i *)chosen_eighths[unknown]));
        _mm_storeu_si128((__m128i *)(wanted + *n_wanted), _mm_add_epi16(
            _mm_cvtepu8_epi16(which), _mm_set1_epi16((short)(first_lane + lane))));
        *n_wanted += (size_t)_mm_popcnt_u32(unknown);
        lane += (size_t)_mm_popcnt_u32(here);
    }
    _mm256_storeu_si256((__m256i *)(lanes->ranks + lane), none);
    return lane;
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

/* The lowest rank of a piece and its lane, of which the first counts, in one number: rank << 6 | lane. That of
 * a lane without a rank is at least LOWEST_NONE. */
#define LOWEST_NONE ((uint32_t)NO_RANK << 6)

/* Numbers of which the least is that of a piece. */
AVX2 static inline __m256i ranks_and_lanes_8(const Lanes *piece) {
    __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i least = _mm256_set1_epi32(-1);
    uint32_t lane = 0;
    /* Nearly all have no more lanes than are looked at in the first turn. */
    do {
        for (int k = 0; k < LANES_AT_ONCE; k += 8) {
            __m256i ranks = _mm256_loadu_si256((const __m256i *)(piece->ranks + lane + k));
            least = _mm256_min_epu32(least, _mm256_or_si256(_mm256_slli_epi32(ranks, 6), lanes));
            lanes = _mm256_add_epi32(lanes, _mm256_set1_epi32(8));
        }
        lane += LANES_AT_ONCE;
    } while (lane < piece->n_lanes);
    return least;
}

/* Of eight pieces at once: each step has half as many vectors, with the least of twice as many. */
AVX2 static size_t find_merges_avx2(const Lanes *pieces, uint8_t *open, size_t n, uint8_t *lanes) {
    size_t n_merges = 0;
    for (size_t i = 0; i < n; i += 8) {
        size_t n_here = n - i < 8 ? n - i : 8;
        uint8_t numbers[8] = {0};
        uint32_t lowest[8];
        __m256i least[8];
        memcpy(numbers, open + i, n_here);
        for (int k = 0; k < 8; k++) least[k] = ranks_and_lanes_8(pieces + numbers[k]);
#define JOINED(k, step, low, high) \
    least[k] = _mm256_min_epu32(low(least[k], least[k + step]), high(least[k], least[k + step]));
#define LOW(a, b) _mm256_permute2x128_si256(a, b, 0x20)
#define HIGH(a, b) _mm256_permute2x128_si256(a, b, 0x31)
        for (int k = 0; k < 8; k += 2) {
            JOINED(k, 1, _mm256_unpacklo_epi32, _mm256_unpackhi_epi32)
        }
        for (int k = 0; k < 8; k += 4) {
            JOINED(k, 2, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64)
        }
        JOINED(0, 4, LOW, HIGH)
#undef JOINED
#undef LOW
#undef HIGH
        _mm256_storeu_si256((__m256i *)lowest, least[0]);
        for (size_t k = 0; k < n_here; k++) {
            open[n_merges] = numbers[k];
            lanes[n_merges] = lowest[k] & 63;
            n_merges += lowest[k] < LOWEST_NONE;
        }
    }
    return n_merges;
}

AVX2 static size_t skip_to_pair_avx2(const uint8_t *text, size_t n_bytes, uint8_t first,
                                     uint8_t second) {
    const __m256i firsts = _mm256_set1_epi8((char)first);
    const __m256i seconds = _mm256_set1_epi8((char)second);
#define ARE(at, wanted) _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(at)), wanted)
#define PAIR(is_second, at) _mm256_and_si256(is_second, ARE(at, firsts))
    size_t at = 0;
    for (; at + 64 < n_bytes; at += 64) {
        const uint8_t *block = text + at;
        __m256i a = ARE(block + 1, seconds), b = ARE(block + 33, seconds);
        __m256i found = _mm256_or_si256(a, b);
        /* Most blocks do not even hold the second one. */
        if (_mm256_testz_si256(found, found)) continue;
        found = _mm256_or_si256(PAIR(a, block), PAIR(b, block + 32));
        if (!_mm256_testz_si256(found, found)) break;
    }
    return at;
#undef ARE
#undef PAIR
}

/* Eight code points below U+10000. */
AVX2 static inline uint8_t *write_8(__m256i codes, uint8_t *utf8) {
#define BITS(shifted, mask) _mm256_and_si256(shifted, _mm256_set1_epi32(mask))
#define ABOVE(code) _mm256_cmpgt_epi32(codes, _mm256_set1_epi32(code))
#define SIGNS(lanes) (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(lanes))
    __m256i is_two = ABOVE(0x7F), is_three = ABOVE(0x7FF);
    __m256i two = _mm256_or_si256(
        _mm256_or_si256(_mm256_srli_epi32(codes, 6), BITS(_mm256_slli_epi32(codes, 8), 0x3F00)),
        _mm256_set1_epi32(0x80C0));
    __m256i three = _mm256_or_si256(
        _mm256_or_si256(_mm256_srli_epi32(codes, 12), BITS(_mm256_slli_epi32(codes, 2), 0x3F00)),
        _mm256_or_si256(BITS(_mm256_slli_epi32(codes, 16), 0x3F0000),
                        _mm256_set1_epi32(0x8080E0)));
    __m256i lanes = _mm256_blendv_epi8(_mm256_blendv_epi8(codes, two, is_two), three, is_three);
    unsigned twos = SIGNS(is_two), threes = SIGNS(is_three);
    unsigned low = (twos & 15) | (threes & 15) << 4, high = twos >> 4 | (threes & 0xF0);
#define WRITE(four, index) do { \
    __m128i order = _mm_loadu_si128((const __m128i *)chosen_utf8[index]); \
    _mm_storeu_si128((__m128i *)utf8, _mm_shuffle_epi8(four, order)); \
    utf8 += 4 + _mm_popcnt_u32(index); \
} while (0)
    WRITE(_mm256_castsi256_si128(lanes), low);
    WRITE(_mm256_extracti128_si256(lanes, 1), high);
    return utf8;
#undef BITS
#undef ABOVE
#undef SIGNS
#undef WRITE
}

/* 16 code points below U+0800. */
AVX2 static inline uint8_t *write_16_short(__m256i codes, uint8_t *utf8) {
    __m256i are_two = _mm256_cmpgt_epi16(codes, _mm256_set1_epi16(0x7F));
    __m256i seconds = _mm256_slli_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(0x3F)), 8);
    __m256i two = _mm256_or_si256(_mm256_or_si256(_mm256_srli_epi16(codes, 6), seconds),
                                  _mm256_set1_epi16((short)0x80C0));
    __m256i lanes = _mm256_blendv_epi8(codes, two, are_two);
    unsigned twos = (unsigned)_mm256_movemask_epi8(_mm256_packs_epi16(are_two, are_two));
#define WRITE(eight, index) do { \
    __m128i order = _mm_loadu_si128((const __m128i *)chosen_halves[index]); \
    _mm_storeu_si128((__m128i *)utf8, _mm_shuffle_epi8(eight, order)); \
    utf8 += 8 + _mm_popcnt_u32(index); \
} while (0)
    WRITE(_mm256_castsi256_si128(lanes), twos & 0xFF);
    WRITE(_mm256_extracti128_si256(lanes, 1), twos >> 24);
    return utf8;
#undef WRITE
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
        utf8 = write_16_short(_mm256_cvtepu8_epi16(_mm256_castsi256_si128(bytes)), utf8);
        utf8 = write_16_short(_mm256_cvtepu8_epi16(_mm256_extracti128_si256(bytes, 1)), utf8);
    }
    return utf8_of_latin1_portable(text + i, n - i, utf8);
}

/* 16 code points below U+10000; NULL if there are surrogates. */
AVX2 static inline uint8_t *write_16_of_ucs2(__m256i codes, uint8_t *utf8) {
    const __m256i above_short = _mm256_set1_epi16((short)0xF800);
    const __m256i surrogates = _mm256_set1_epi16((short)0xD800);
    if (_mm256_testz_si256(codes, above_short)) return write_16_short(codes, utf8);
    if (_mm256_movemask_epi8(_mm256_cmpeq_epi16(_mm256_and_si256(codes, above_short), surrogates)))
        return NULL;
    utf8 = write_8(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(codes)), utf8);
    return write_8(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(codes, 1)), utf8);
}

AVX2 static uint8_t *utf8_of_ucs2_avx2(const uint16_t *text, size_t n, uint8_t *utf8) {
    const __m256i above_ascii = _mm256_set1_epi16((short)0xFF80);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i low = _mm256_loadu_si256((const __m256i *)(text + i));
        __m256i high = _mm256_loadu_si256((const __m256i *)(text + i + 16));
        if (_mm256_testz_si256(_mm256_or_si256(low, high), above_ascii)) {
            __m256i packed = _mm256_packus_epi16(low, high);
            _mm256_storeu_si256((__m256i *)utf8, _mm256_permute4x64_epi64(packed, 0xD8));
            utf8 += 32;
            continue;
        }
        utf8 = write_16_of_ucs2(low, utf8);
        if (utf8) utf8 = write_16_of_ucs2(high, utf8);
        if (!utf8) return NULL;
    }
    return utf8_of_ucs2_portable(text + i, n - i, utf8);
}

AVX2 static uint8_t *utf8_of_ucs4_avx2(const uint32_t *text, size_t n, uint8_t *utf8) {
    const __m256i above_ascii = _mm256_set1_epi32((int)0xFFFFFF80);
    const __m256i above_ucs2 = _mm256_set1_epi32((int)0xFFFF0000);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i low = _mm256_loadu_si256((const __m256i *)(text + i));
        __m256i high = _mm256_loadu_si256((const __m256i *)(text + i + 8));
        __m256i all = _mm256_or_si256(low, high);
        __m256i codes = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8);
        if (_mm256_testz_si256(all, above_ascii)) {
            __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(codes, codes), 0x08);
            _mm_storeu_si128((__m128i *)utf8, _mm256_castsi256_si128(packed));
            utf8 += 16;
        } else if (_mm256_testz_si256(all, above_ucs2)) {
            utf8 = write_16_of_ucs2(codes, utf8);
        } else {
            utf8 = utf8_of_ucs4_portable(text + i, 16, utf8);
        }
        if (!utf8) return NULL;
    }
    return utf8_of_ucs4_portable(text + i, n - i, utf8);
}

static const Tier avx2_tier = {
    NULL, classify_avx2, find_cjk_avx2, find_cuts_avx2, find_letters_avx2,
    write_ends_avx2, make_keys_avx2, look_up_avx2, write_ids_avx2,
    find_first_merges_avx2, find_late_avx2, NULL, fill_lanes_avx2, find_places_avx2,
    find_merges_avx2, merged_ids_portable, skip_to_pair_avx2,
    utf8_of_latin1_avx2, utf8_of_ucs2_avx2, utf8_of_ucs4_avx2,
};

/* --- AVX-512 --- */

#define AVX512 __attribute__((target( \
    "avx2,bmi,bmi2,popcnt,gfni,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")))

#define BYTES_8(first) \
    7 + first, 6 + first, 5 + first, 4 + first, 3 + first, 2 + first, 1 + first, first
#define BYTES_64 BYTES_8(56), BYTES_8(48), BYTES_8(40), BYTES_8(32), BYTES_8(24), BYTES_8(16), \
    BYTES_8(8), BYTES_8(0)

enum { ENDS_AT_ONCE = 24 };
_Static_assert((64 + ENDS_AT_ONCE - 1) / ENDS_AT_ONCE * ENDS_AT_ONCE <= 64 + SLACK,
               "ENDS_PER_WINDOW is room for all that is written of 64 bits");

AVX512 static size_t write_ends_avx512(uint64_t bits, ptrdiff_t base, ptrdiff_t *ends) {
    size_t n = _mm_popcnt_u64(bits);
    __m512i positions = _mm512_maskz_compress_epi8(bits, _mm512_set_epi8(BYTES_64));
    __m512i base_8 = _mm512_set1_epi64(base);
    size_t done = 0;
    /* Hardly a window has more than are written at once. */
    do {
        for (int k = 0; k < ENDS_AT_ONCE / 8; k++) {
            __m512i eight = _mm512_cvtepu8_epi64(_mm512_castsi512_si128(positions));
            _mm512_storeu_si512(ends + done, _mm512_add_epi64(eight, base_8));
            positions = _mm512_alignr_epi64(positions, positions, 1);
            done += 8;
        }
    } while (done < n);
    return n;
}

/* --- pieces of 512 bytes at once --- */

/* What _segments.pyx does with masks of 64 bits is done here with vectors of 512, and for wide
 * characters without a branch on what they are. Bit i stands for byte i, as it does there. */
enum {
    BYTES_AT_ONCE = 512,
    WIDE_AT_ONCE = BYTES_AT_ONCE / 2,           /* characters, of at least two bytes */
    READ_BEHIND = 8,                            /* bytes that may be read behind those */
    /* As in _segments.pyx: borders so near the end wait. */
    LOOK_AHEAD = 4, WIDE_LOOK_AHEAD = 9,
    /* In the class of a wide character, where NEWLINE is in others: no token may hold the border before it,
     * if the character before is wide, too. */
    MAY_BE_CUT = 1 << 2
};

#define NONE _mm512_setzero_si512()
#define IS_ANY(bits) (_mm512_test_epi64_mask(bits, bits) != 0)
/* Bits moved by n < 64 bytes, on or back. */
#define MOVED_ON(bits, n) _mm512_shldi_epi64(bits, _mm512_alignr_epi64(bits, NONE, 7), n)
#define MOVED_BACK(bits, n) _mm512_shrdi_epi64(bits, _mm512_alignr_epi64(NONE, bits, 1), n)

/* The sum of two numbers of 512 bits. */
AVX512 static inline __m512i sum_512(__m512i a, __m512i b) {
    __m512i sum = _mm512_add_epi64(a, b);
    unsigned carries = _mm512_cmplt_epu64_mask(sum, b);
    unsigned full = _mm512_cmpeq_epi64_mask(sum, _mm512_set1_epi64(-1));
    /* A carry goes on through words that are full. */
    unsigned carried = (2 * carries + full) ^ full;
    return _mm512_mask_sub_epi64(sum, (__mmask8)carried, sum, _mm512_set1_epi64(-1));
}

/* The bytes of characters from those that are given to the last one of each. */
AVX512 static inline __m512i whole_512(__m512i bits, __m512i inside) {
    for (int k = 0; k < 3; k++) bits |= MOVED_ON(bits, 1) & inside;
    return bits;
}

/* The first bytes of the characters that follow those whose first bytes are given. */
AVX512 static inline __m512i next_512(__m512i bits, __m512i inside) {
    return MOVED_ON(whole_512(bits, inside), 1) & ~inside;
}

/* The first bytes of the characters whose last bytes are given. */
AVX512 static inline __m512i first_512(__m512i bits, __m512i inside) {
    for (int k = 0; k < 3; k++) bits = (bits & ~inside) | MOVED_BACK(bits & inside, 1);
    return bits;
}

/* 512 bytes, 64 in each row, -> 512 first bits, 512 second bits .... */
AVX512 static inline void transpose(__m512i rows[8]) {
    const __m512i each = _mm512_set1_epi64(0x8040201008040201);
    const __m512i by_place = _mm512_set_epi64(
        0x3F372F271F170F07, 0x3E362E261E160E06, 0x3D352D251D150D05, 0x3C342C241C140C04,
        0x3B332B231B130B03, 0x3A322A221A120A02, 0x3931292119110901, 0x3830282018100800);
    __m512i pairs[8], quads[8];
    /* In each row, the product gathers bits of eight bytes in one, the last byte's first. */
    for (int k = 0; k < 8; k++) {
        rows[k] = _mm512_permutexvar_epi8(
            by_place, _mm512_gf2p8affine_epi64_epi8(each, rows[k], 0));
    }
    /* Now the words of each row become a column. */
    for (int k = 0; k < 8; k += 2) {
        pairs[k] = _mm512_unpacklo_epi64(rows[k], rows[k + 1]);
        pairs[k + 1] = _mm512_unpackhi_epi64(rows[k], rows[k + 1]);
    }
    for (int k = 0; k < 8; k += 4) {
        for (int i = 0; i < 2; i++) {
            quads[k + i] = _mm512_shuffle_i64x2(pairs[k + i], pairs[k + 2 + i], 0x88);
            quads[k + 2 + i] = _mm512_shuffle_i64x2(pairs[k + i], pairs[k + 2 + i], 0xDD);
        }
    }
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm512_shuffle_i64x2(quads[i], quads[4 + i], 0x88);
        rows[4 + i] = _mm512_shuffle_i64x2(quads[i], quads[4 + i], 0xDD);
    }
    /* And bits of each byte change places, so that the first byte's are first. */
    for (int k = 0; k < 8; k++) rows[k] = _mm512_gf2p8affine_epi64_epi8(rows[k], each, 0);
}

/* Bits 0 of 512 bytes, bits 1 ..., bits 7; returns whether there are any of the last. */
AVX512 static inline int bits_by_place(const uint8_t *bytes, __m512i bits[8]) {
    __m512i all = NONE;
    for (int k = 0; k < 8; k++) {
        bits[k] = _mm512_loadu_si512(bytes + 64 * k);
        all |= bits[k];
    }
    transpose(bits);
    return _mm512_movepi8_mask(all) != 0;
}

/* All bytes of a character have its class, but for upper case, marks and `wide_number`: there the first
 * stands for all. */
typedef struct {
    __m512i upper, lower, letter;
    __m512i caseless;                   /* letters without case, and marks; wide ones */
    __m512i number, wide_number, space;
    __m512i blank;                      /* white space but newlines: `space`, too */
    __m512i newline, other, slash, apostrophe;
    __m512i inside;                     /* bytes of a character after its first */
    __m512i cuts, doubt;
} Classes;

/* Of all that is ASCII, by the bits of the bytes. `known`: those that are text. */
AVX512 static inline void classify_ascii(const __m512i bits[8], __m512i known, Classes *c) {
    __m512i b0 = bits[0], b1 = bits[1], b2 = bits[2], b3 = bits[3], b4 = bits[4], b5 = bits[5];
    __m512i b6 = bits[6] & ~bits[7];
    __m512i high = bits[6] | bits[7];
    __m512i low_three = b2 | b1 | b0;
    __m512i low_five = b4 | b3 | low_three;
    __m512i from_0x20 = b5 & ~high;                             /* to 0x3F */
    __m512i to_0x0F = ~(high | b5 | b4);
    /* A to Z are 0x41 ... 0x5A, a to z 0x61 ... 0x7A. */
    __m512i from_0x1B = b4 & b3 & (b2 | (b1 & b0));
    c->letter = b6 & low_five & ~from_0x1B;
    c->lower = c->letter & b5;
    c->upper = c->letter & ~b5;
    c->number = (from_0x20 & b4) & ~(b3 & (b2 | b1));
    c->space = from_0x20 & ~low_five;
    __m512i control = (to_0x0F & b3) & low_three & ~(b2 & b1);  /* 9 ... 13 */
    c->newline = control & ((b2 & ~b1 & b0) | (~b2 & b1 & ~b0));
    c->blank = c->space | (control & ~c->newline);
    __m512i either = from_0x20 & ~b4 & (b2 & b1 & b0);
    c->slash = either & b3;
    c->apostrophe = either & ~b3;
    c->other = ~(c->letter | c->number | (c->space | control | bits[7])) & known;
    c->caseless = c->wide_number = c->inside = c->cuts = c->doubt = NONE;
}

/* By code point >> 7: the class of all these characters, 0 if they are of several. */
static uint8_t row_class[512];

static void make_row_classes(void) {
    for (int row = 0; row < 512; row++) {
        const uint8_t *classes = UNICODE_CLASSES + 128u * UNICODE_ROW[row];
        row_class[row] = memcmp(classes, classes + 1, 127) == 0 ? classes[0] : 0;
    }
}

/* Of these characters, whose code points follow one another: their classes, and whether a piece may be
 * cut before them as far as their groups tell. */
AVX512 static inline void classify_code_points(const uint16_t *code_points, size_t n,
                                               int with_cuts, uint8_t *classes) {
    uint8_t groups[1 + WIDE_AT_ONCE + 64];
    groups[0] = 0;
    for (size_t i = 0; i < n; i += 64) {
        size_t n_here = n - i < 64 ? n - i : 64;
        __m512i rows_0 = _mm512_srli_epi16(_mm512_loadu_si512(code_points + i), 7);
        __m512i rows_1 = _mm512_srli_epi16(_mm512_loadu_si512(code_points + i + 32), 7);
        __m512i rows = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(rows_0)),
                                          _mm512_cvtepi16_epi8(rows_1), 1);
        const __m512i top_bit = _mm512_set1_epi16(0x100);
        __mmask64 high = _mm512_movepi8_mask(rows);
        __mmask64 top = _mm512_test_epi16_mask(rows_0, top_bit)
            | (__mmask64)_mm512_test_epi16_mask(rows_1, top_bit) << 32;
#define OF_QUARTER(table, k) _mm512_permutex2var_epi8( \
    _mm512_loadu_si512(table + 128 * (k)), rows, _mm512_loadu_si512(table + 128 * (k) + 64))
#define OF_ROWS(table) _mm512_mask_mov_epi8( \
    _mm512_mask_mov_epi8(OF_QUARTER(table, 0), high, OF_QUARTER(table, 1)), top, \
    _mm512_mask_mov_epi8(OF_QUARTER(table, 2), high, OF_QUARTER(table, 3)))
        __m512i class_of_row = OF_ROWS(row_class);
        _mm512_storeu_si512(classes + i, class_of_row);
        uint64_t mixed = _bzhi_u64(_mm512_testn_epi8_mask(class_of_row, class_of_row),
                                   (unsigned)n_here);
        if (_mm_popcnt_u64(mixed) > 32) {
            for (size_t k = i; k < i + n_here; k++) classes[k] = class_of(code_points[k]);
        } else {
            for (; mixed; mixed &= mixed - 1) {
                size_t k = i + (size_t)lowest_bit(mixed);
                classes[k] = class_of(code_points[k]);
            }
        }
        if (!with_cuts) continue;
        __m512i here = OF_ROWS(cut_group);
#undef OF_QUARTER
#undef OF_ROWS
        _mm512_storeu_si512(groups + 1 + i, here);
        __m512i before = _mm512_loadu_si512(groups + i) & _mm512_set1_epi8(7);
        __mmask64 may_be_cut = _mm512_mask_cmpeq_epi8_mask(
            _mm512_test_epi8_mask(here, here), here, before);
        _mm512_storeu_si512(classes + i, _mm512_loadu_si512(classes + i)
                                        | _mm512_maskz_set1_epi8(may_be_cut, MAY_BE_CUT));
    }
}

/* Of these first bytes of characters of three bytes, behind others of three, those before which no token
 * holds the border. `is_first`: nothing before `bytes` is read, and there is no candidate in the
 * first three. */
AVX512 static inline uint64_t find_cuts_avx512(const uint64_t *cut_filter, const uint8_t *bytes,
                                               int is_first, uint64_t candidates) {
    /* Of each of eight candidates: its place, in all bytes of a lane; from there, that of each byte of the
     * two characters, which are the upper six bytes of their key. */
    const __m512i in_all = _mm512_set_epi64(
        0x0707070707070707, 0x0606060606060606, 0x0505050505050505, 0x0404040404040404,
        0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m512i around = _mm512_set1_epi64(0x0504030201000000);
    const __m512i multiplier = _mm512_set1_epi64((long long)MULTIPLIER_1);
    unsigned n = (unsigned)_mm_popcnt_u64(candidates);
    uint64_t places_of = is_first ? candidates >> 3 : candidates;
    const uint8_t *start = is_first ? bytes : bytes - 3;
    __m512i text = _mm512_loadu_si512(start);
    __m512i more = _mm512_zextsi128_si512(_mm_loadl_epi64((const __m128i *)(start + 64)));
    __m512i places = _mm512_maskz_compress_epi8(places_of, _mm512_set_epi8(BYTES_64));
    uint64_t cuts = 0;
    for (unsigned done = 0; done < n; done += 8) {
        count_steps(8);
        __m512i at = _mm512_add_epi8(_mm512_permutexvar_epi8(in_all, places), around);
        __m512i keys = _mm512_maskz_permutex2var_epi8(0xFCFCFCFCFCFCFCFC, text, at, more);
        __m512i hashes = _mm512_srli_epi64(_mm512_mullo_epi64(keys, multiplier), 64 - CUT_BITS);
        __m512i words = _mm512_i64gather_epi64(_mm512_srli_epi64(hashes, 6), cut_filter, 8);
        __m512i bits = _mm512_srlv_epi64(words, hashes & _mm512_set1_epi64(63));
        cuts |= (uint64_t)_mm512_testn_epi64_mask(bits, _mm512_set1_epi64(1)) << done;
        places = _mm512_alignr_epi64(places, places, 1);
    }
    return _pdep_u64(cuts, candidates);
}

/* Adds the classes of wide characters to those of ASCII; false if they are not UTF-8. */
AVX512 static inline int add_wide(const uint8_t *bytes, const __m512i bits[8],
                                  const uint64_t *cut_filter, Classes *c) {
    __m512i lead = bits[7] & bits[6];
    __m512i of_three = lead & bits[5];              /* bytes or four */
    __m512i of_four = of_three & bits[4];
    __m512i inside = bits[7] & ~bits[6];
    __m512i expected = MOVED_ON(lead, 1) | MOVED_ON(of_three, 2) | MOVED_ON(of_four, 3);
    __m512i malformed = (expected ^ inside) | (of_four & bits[3]);
    if (IS_ANY(malformed)) return 0;

    /* The characters one after another: their bytes, code points, classes. */
    uint8_t bytes_0[WIDE_AT_ONCE + 64], bytes_1[WIDE_AT_ONCE + 64], bytes_2[WIDE_AT_ONCE + 64];
    uint16_t code_points[WIDE_AT_ONCE + 64];
    uint8_t classes[WIDE_AT_ONCE + 64];
    uint64_t leads[8];
    size_t firsts[8];                                   /* of each 64 bytes, the first one's number */
    size_t n = 0;
    _mm512_storeu_si512(leads, lead);
    for (int k = 0; k < 8; k++) {
#define COPY(list, at) _mm512_storeu_si512(list + n, _mm512_maskz_compress_epi8( \
    leads[k], _mm512_loadu_si512(bytes + 64 * k + (at))))
        COPY(bytes_0, 0);
        COPY(bytes_1, 1);
        COPY(bytes_2, 2);
#undef COPY
        firsts[k] = n;
        n += (size_t)_mm_popcnt_u64(leads[k]);
    }
    for (size_t i = 0; i < n; i += 32) {
#define EACH(list) _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(list + i)))
#define JOIN(upper, lower) (_mm512_slli_epi16(upper, 6) | (lower & _mm512_set1_epi16(0x3F)))
        __m512i first = EACH(bytes_0);
        __m512i two = JOIN(first & _mm512_set1_epi16(0x1F), EACH(bytes_1));
        __mmask32 is_of_three = _mm512_cmpge_epu16_mask(first, _mm512_set1_epi16(0xE0));
        _mm512_storeu_si512(code_points + i,
                            _mm512_mask_mov_epi16(two, is_of_three, JOIN(two, EACH(bytes_2))));
#undef EACH
#undef JOIN
    }
    classify_code_points(
        code_points, n, cut_filter && IS_ANY(of_three & MOVED_ON(of_three, 3)), classes);
    if (IS_ANY(of_four)) {
        uint64_t words[8];
        _mm512_storeu_si512(words, of_four);
        for (int k = 0; k < 8; k++) {
            for (uint64_t rest = words[k]; rest; rest &= rest - 1) {
                unsigned at = (unsigned)lowest_bit(rest);
                const uint8_t *four = bytes + 64 * k + at;
                uint32_t code_point = (four[0] & 0x07u) << 18 | (four[1] & 0x3Fu) << 12
                    | (four[2] & 0x3Fu) << 6 | (four[3] & 0x3Fu);
                if (code_point > 0x10FFFF) return 0;
                classes[firsts[k] + (size_t)_mm_popcnt_u64(_bzhi_u64(leads[k], at))] =
                    class_of(code_point);
            }
        }
    }

    __m512i by_class[8];
    for (int k = 0; k < 8; k++) {
        by_class[k] = _mm512_maskz_expand_epi8(
            leads[k], _mm512_loadu_si512(classes + firsts[k]));
    }
    transpose(by_class);
    __m512i blank = by_class[1], number = by_class[3], upper = by_class[4], mark = by_class[7];
    __m512i caseless = by_class[6] | mark;
    c->inside = inside;
    c->wide_number = number;
    c->upper |= upper;
    c->lower |= whole_512(by_class[5], inside);
    c->caseless = whole_512(caseless, inside);
    c->letter |= whole_512(upper | by_class[5] | caseless, inside);
    c->other |= whole_512(by_class[0], inside);
    c->blank |= whole_512(blank, inside);
    c->number |= whole_512(number, inside);
    c->doubt = mark & ~MOVED_ON(c->letter, 1);
    c->doubt |= c->upper & MOVED_ON(c->caseless, 1);

    __m512i candidates = by_class[2] & of_three & MOVED_ON(of_three, 3);
    /* Without a filter only what is no UTF-8 has that bit, a newline in three bytes. */
    if (cut_filter && IS_ANY(candidates)) {
        uint64_t words[8];
        _mm512_storeu_si512(words, candidates);
        for (int k = 0; k < 8; k++) {
            if (words[k]) words[k] = find_cuts_avx512(cut_filter, bytes + 64 * k, k == 0, words[k]);
        }
        c->cuts = _mm512_loadu_si512(words);
    }
    return 1;
}

/* Puts contractions behind the letters that end at these apostrophes, up to place `last`: what
 * with_contractions does. */
AVX512 static void add_contractions(const uint8_t *bytes, __m512i apostrophes, size_t last,
                                    uint64_t starts[8]) {
    uint64_t words[8];
    size_t done = 0;                                    /* the end of the contraction before */
    _mm512_storeu_si512(words, apostrophes);
    for (size_t word = 0; word < 8; word++) {
        for (uint64_t rest = words[word]; rest; rest &= rest - 1) {
            size_t at = 64 * word + (size_t)lowest_bit(rest);
            count_steps(1);
            if ((done && at <= done) || at > last) continue;    /* a piece starts at `done` */
            size_t width = (size_t)contraction_width(bytes[at + 1], bytes[at + 2]);
            if (width == 0) continue;
            done = at + width;
            for (size_t k = at; k < done && k < BYTES_AT_ONCE; k++)
                starts[k / 64] &= ~(1ull << k % 64);
            if (done < BYTES_AT_ONCE) starts[done / 64] |= 1ull << done % 64;
        }
    }
}

/* The last of the first n bits that are set, plus one; 0: none. */
static inline size_t behind_last_bit(const uint64_t words[8], size_t n) {
    size_t word = n / 64;
    uint64_t here = n % 64 ? words[word] & ((1ull << n % 64) - 1) : 0;
    while (!here && word) here = words[--word];
    return here ? 64 * word + (size_t)highest_bit(here) + 1 : 0;
}

/* The starts of pieces in n_bytes <= BYTES_AT_ONCE bytes, as far as they are certain; returns how far that
 * is, 0 if nowhere. `is_wide` is known where this is compiled. */
AVX512 __attribute__((always_inline)) static inline size_t find_starts(
    const uint8_t *bytes, size_t n_bytes, int ends_here, int is_wide, const Classes *c,
    __m512i known, uint64_t words[8]) {
    /* As piece_starts does, which says why. */
    __m512i white = c->blank | c->newline;
    __m512i after_letter = MOVED_ON(c->letter, 1);
    __m512i starts = c->upper & MOVED_ON(c->lower, 1);

    __m512i after_other = MOVED_ON(c->other, 1);
    __m512i absorbed = c->newline & after_other;
    absorbed = c->newline & ~sum_512(c->newline, absorbed);
    __m512i after_absorbed = MOVED_ON(absorbed, 1);
    __m512i doubt = c->doubt | (after_absorbed & c->slash);
    white &= ~absorbed;
    __m512i prefix = c->other & ~after_other & ~MOVED_ON(c->space, 1);
    starts |= after_absorbed & ~absorbed;
    starts |= prefix;
    if (is_wide) prefix = whole_512(prefix, c->inside);
    starts |= c->letter & ~after_letter & ~MOVED_ON(prefix | c->blank, 1);

    __m512i after_number = MOVED_ON(c->number, 1);
    __m512i third = c->number & ~after_number;
    if (is_wide && IS_ANY(c->wide_number)) {
        do {
            starts |= third;
            for (int k = 0; k < 3; k++) third = next_512(third, c->inside) & c->number;
        } while (IS_ANY(third));
    } else {
        __m512i within = c->number & after_number & MOVED_ON(c->number, 2);
        do {
            starts |= third;
            third = MOVED_ON(third, 3) & within;
        } while (IS_ANY(third));
    }

    starts |= white & ~MOVED_ON(white, 1);
    __m512i newline_ends = c->newline & ~absorbed;
    __m512i tails = MOVED_ON(newline_ends, 1) & c->blank;
    starts |= tails;
    /* Which newline of white space is the last one is rarely a question, and left open here. */
    doubt |= sum_512(c->blank, tails) & newline_ends;
    __m512i last_blank = MOVED_BACK(c->letter | c->number | c->other, 1) & c->blank;
    if (is_wide) last_blank = first_512(last_blank, c->inside);
    starts |= last_blank;
    _mm512_storeu_si512(words, starts);

    size_t last = n_bytes;
    uint64_t solid[8];
    _mm512_storeu_si512(solid, known & ~white);
    if (!ends_here) {
        last = n_bytes - (is_wide ? WIDE_LOOK_AHEAD : LOOK_AHEAD);
        /* White space that reaches the end may go on. */
        size_t end = behind_last_bit(solid, n_bytes);
        if (end < last) last = end;
    }
    if (IS_ANY(doubt)) {
        uint64_t doubts[8];
        size_t word = 0;
        _mm512_storeu_si512(doubts, doubt);
        while (!doubts[word]) word++;
        /* So may that before a place in doubt, which need not be a border itself. */
        size_t first = 64 * word + (size_t)lowest_bit(doubts[word]);
        size_t end = behind_last_bit(solid, first);
        end = end ? end - 1 : 0;
        if (end < last) last = end;
    }
    __m512i apostrophes = c->apostrophe & after_letter;
    if (IS_ANY(apostrophes)) add_contractions(bytes, apostrophes, last, words);
    return last;
}

/* What find_ends_avx512 does, once it has the bits of the bytes. */
AVX512 __attribute__((always_inline)) static inline size_t find_ends_in(
    const uint64_t *cut_filter, const uint8_t *bytes, size_t n_bytes, int ends_here, int is_wide,
    const __m512i bits[8], __m512i known, ptrdiff_t base, ptrdiff_t *ends, size_t max_ends) {
    Classes c;
    uint64_t borders[8], cuts[8];
    classify_ascii(bits, known, &c);
    if (is_wide) {
        if (!add_wide(bytes, bits, cut_filter, &c)) return 0;
        _mm512_storeu_si512(cuts, c.cuts);
    }
    size_t stop = find_starts(bytes, n_bytes, ends_here, is_wide, &c, known, borders);
    borders[0] &= ~1ull;
    if (stop < n_bytes) {
        stop = behind_last_bit(borders, stop + 1);
        if (stop == 0) return 0;
        stop--;
    }
    size_t n = 0;
    for (size_t word = 0; 64 * word < stop; word++) {
        if (n + 64 + SLACK > max_ends) {
            /* The next window begins at the last of them, which has to be a border: where a piece is
             * cut, not everything can be found without what is before. */
            ptrdiff_t last = base + (ptrdiff_t)behind_last_bit(borders, 64 * word) - 1;
            while (n && ends[n - 1] > last) n--;
            return n;
        }
        uint64_t here = is_wide ? borders[word] | cuts[word] : borders[word];
        if (stop < 64 * word + 64) here &= (1ull << stop % 64) - 1;
        if (here) n += write_ends_avx512(here, base + 64 * (ptrdiff_t)word, ends + n);
    }
    ends[n] = base + (ptrdiff_t)stop;
    return n + 1;
}

AVX512 static size_t find_ends_avx512(const uint64_t *cut_filter, const uint8_t *bytes,
                                      size_t n_bytes, ptrdiff_t base, ptrdiff_t *ends,
                                      size_t max_ends) {
    uint8_t copy[BYTES_AT_ONCE + 64];
    uint64_t words[8 + 1] = {0};
    int ends_here = n_bytes <= BYTES_AT_ONCE;
    if (n_bytes < BYTES_AT_ONCE + READ_BEHIND) {
        size_t whole = n_bytes / 64 * 64;
        memset(copy + whole, 0, sizeof(copy) - whole);
        memcpy(copy, bytes, n_bytes);
        bytes = copy;
    }
    if (!ends_here) n_bytes = BYTES_AT_ONCE;
    count_steps(n_bytes);
    __m512i bits[8];
    int is_wide = bits_by_place(bytes, bits);
    __m512i known = ~NONE;
    if (ends_here) {
        memset(words, 0xFF, n_bytes / 64 * 8);
        words[n_bytes / 64] = (1ull << n_bytes % 64) - 1;
        known = _mm512_loadu_si512(words);
    }
    /* Twice the same, so that compilers leave out of it what is 0 in ASCII. */
    if (!is_wide) {
        return find_ends_in(
            cut_filter, bytes, n_bytes, ends_here, 0, bits, known, base, ends, max_ends);
    }
    return find_ends_in(
        cut_filter, bytes, n_bytes, ends_here, 1, bits, known, base, ends, max_ends);
}
#undef NONE
#undef IS_ANY
#undef MOVED_ON
#undef MOVED_BACK

/* The places of eight pairs, in 64 bits each, as `place_of_pair` says. */
AVX512 static inline __m512i places_of_8(const Pairs *pairs, __m512i left, __m512i right) {
    uint32_t indices[8];
    __m512i bits = _mm512_or_si512(_mm512_or_si512(left, right),
                                   _mm512_set1_epi64(1 << LOWEST_REGION));
    __m512i region = _mm512_sub_epi64(_mm512_set1_epi64(63 - LOWEST_REGION),
                                      _mm512_lzcnt_epi64(bits));
    /* first + (upper half of hash * n) */
#define SCALED(hash, n, first) _mm512_add_epi64( \
    _mm512_srli_epi64(_mm512_mul_epu32( \
        _mm512_srli_epi64(hash, 32), \
        _mm512_permutexvar_epi32(region, _mm512_loadu_si512(n))), 32), \
    _mm512_maskz_permutexvar_epi32(0x5555, region, _mm512_loadu_si512(first)))
    __m512i hash = _mm512_mullo_epi64(_mm512_or_si512(_mm512_slli_epi64(left, ID_BITS), right),
                                      _mm512_set1_epi64(MULTIPLIER_1));
    __m512i index = SCALED(hash, pairs->n_pilots, pairs->first_pilot);
    _mm256_storeu_si256((__m256i *)indices, _mm512_cvtepi64_epi32(index));
    __m128i pilots = load_pilots(pairs->pilots, indices);
    hash = _mm512_mullo_epi64(_mm512_xor_si512(hash, _mm512_cvtepu16_epi64(pilots)),
                              _mm512_set1_epi64(MULTIPLIER_2));
    return SCALED(hash, pairs->n_places, pairs->first_place);
#undef SCALED
}

AVX512 static void find_places_avx512(const Pairs *pairs, const uint32_t *lefts,
                                      const uint32_t *rights, size_t n, uint32_t *places) {
    for (size_t i = 0; i < n; i += 8) {
        __m512i place = places_of_8(
            pairs, _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(lefts + i))),
            _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(rights + i))));
        _mm256_storeu_si256((__m256i *)(places + i), _mm512_cvtepi64_epi32(place));
        for (int k = 0; k < 8; k++) prefetch(pairs->records + places[i + k]);
    }
}

/* --- the first merges of a piece of few units --- */

enum { FEW_UNITS = 16 };
#define NOTHING _mm512_set1_epi32(-1)           /* NO_RANK in each lane */
#define LANE_NUMBERS _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)

/* The units of a piece, as _bpe.pyx has them: what they are as tokens, and of the border before each, the
 * token that both units make and the first token that holds it. */
typedef struct {
    __m512i tokens, pairs, holders;
} FewUnits;

/* 2 * 8 of 64 bits -> the lower or the upper halves of all. */
AVX512 static inline __m512i halves(__m512i first, __m512i second, int which) {
    const __m512i lower = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_epi32(
        first, _mm512_add_epi32(lower, _mm512_set1_epi32(which)), second);
}

AVX512 static inline void read_few_bytes(const UnitTables *units, const uint8_t *piece,
                                         __mmask16 here, FewUnits *few) {
    __m128i bytes = _mm_maskz_loadu_epi8(here, piece);
    __m512i each = _mm512_cvtepu8_epi32(bytes);
    __m512i keys = _mm512_or_si512(
        _mm512_slli_epi32(each, 8), _mm512_cvtepu8_epi32(_mm_bslli_si128(bytes, 1)));
    __mmask16 inner = here & ~1u;
    __m512i first = _mm512_mask_i32gather_epi64(
        NOTHING, (__mmask8)inner, _mm512_castsi512_si256(keys), units->byte_pairs, 8);
    __m512i second = _mm512_mask_i32gather_epi64(
        NOTHING, (__mmask8)(inner >> 8), _mm512_extracti64x4_epi64(keys, 1), units->byte_pairs, 8);
    few->tokens = _mm512_mask_i32gather_epi32(NOTHING, here, each, units->byte_ids, 4);
    few->pairs = halves(first, second, 0);
    few->holders = halves(first, second, 1);
}

/* The records of the borders between eight characters and those before them. */
AVX512 static inline __m512i find_borders(const Pairs *borders, __m256i before, __m256i numbers,
                                          __mmask8 inner) {
    __m512i left = _mm512_cvtepu32_epi64(before), right = _mm512_cvtepu32_epi64(numbers);
    __m512i records = _mm512_mask_i64gather_epi64(
        NOTHING, inner, places_of_8(borders, left, right), borders->records, 8);
    __m512i key = _mm512_or_si512(_mm512_slli_epi64(left, NUMBER_BITS), right);
    return _mm512_mask_mov_epi64(NOTHING, _mm512_cmpeq_epi64_mask(
        _mm512_srli_epi64(records, 2 * RECORD_ID_BITS), key), records);
}

/* Returns how many units there are, or 0 if there are more or one of them is no token. */
AVX512 static inline size_t read_few_characters(const UnitTables *units, const uint8_t *piece,
                                                size_t n_bytes, FewUnits *few) {
    const __m512i byte_numbers = _mm512_set_epi8(BYTES_64);
    uint64_t all = (1ull << n_bytes) - 1;
    __m512i bytes = _mm512_maskz_loadu_epi8(all, piece);
    uint64_t firsts = all & ~_mm512_cmplt_epi8_mask(bytes, _mm512_set1_epi8((char)0xC0));
    size_t n = _mm_popcnt_u64(firsts);
    if (n > FEW_UNITS) return 0;
    __mmask16 here = (__mmask16)((1u << n) - 1);
    /* Where each character starts; behind the last one, where that ends. */
    __m512i starts = _mm512_mask_compress_epi8(
        _mm512_set1_epi8((char)n_bytes), firsts, byte_numbers);
    __m128i start = _mm512_castsi512_si128(starts);
    __m128i lengths = _mm_sub_epi8(
        _mm_alignr_epi8(_mm512_extracti32x4_epi32(starts, 1), start, 1), start);
#define BYTES_OF(k) _mm512_castsi512_si128(_mm512_permutexvar_epi8( \
    _mm512_add_epi8(starts, _mm512_set1_epi8(k)), bytes))
    __m128i first = BYTES_OF(0);
    __m512i second = _mm512_cvtepu8_epi32(_mm_and_si128(BYTES_OF(1), _mm_set1_epi8(0x3F)));
    __m512i third = _mm512_cvtepu8_epi32(_mm_and_si128(BYTES_OF(2), _mm_set1_epi8(0x3F)));
#undef BYTES_OF
    __mmask16 are_2 = _mm_cmpge_epu8_mask(first, _mm_set1_epi8((char)0xC2));
    __mmask16 are_3 = _mm_cmpge_epu8_mask(first, _mm_set1_epi8((char)0xE0));
    __m128i expected = _mm_mask_mov_epi8(_mm_set1_epi8(1), are_2, _mm_set1_epi8(2));
    expected = _mm_mask_mov_epi8(expected, are_3, _mm_set1_epi8(3));
    __m512i codes = _mm512_cvtepu8_epi32(first);
    __m512i two = _mm512_or_si512(_mm512_slli_epi32(codes, 6), second);
    __m512i three = _mm512_or_si512(_mm512_slli_epi32(two, 6), third);
    codes = _mm512_mask_and_epi32(codes, are_2, two, _mm512_set1_epi32(0x7FF));
    codes = _mm512_mask_and_epi32(codes, are_3, three, _mm512_set1_epi32(0xFFFF));
    __m512i characters = _mm512_mask_i32gather_epi32(NOTHING, here, codes, units->characters, 4);
    unsigned wrong = _mm_cmpneq_epi8_mask(lengths, expected)
        | _mm_cmpge_epu8_mask(first, _mm_set1_epi8((char)0xF0))
        | _mm512_mask_cmplt_epu32_mask(are_3, codes, _mm512_set1_epi32(0x800))
        | _mm512_cmpeq_epi32_mask(characters, NOTHING)
        | (_mm_cmpge_epu8_mask(first, _mm_set1_epi8((char)0x80)) & ~are_2);
    if ((wrong & here) || !here) return 0;
    few->tokens = _mm512_and_si512(characters, _mm512_set1_epi32(NO_RECORD_ID));
    __m512i numbers = _mm512_srli_epi32(characters, RECORD_ID_BITS);
    __m512i before = _mm512_alignr_epi32(numbers, numbers, 15);
    __mmask16 inner = here & ~1u;
    __m512i low = find_borders(&units->borders, _mm512_castsi512_si256(before),
                               _mm512_castsi512_si256(numbers), (__mmask8)inner);
    __m512i high = find_borders(&units->borders, _mm512_extracti64x4_epi64(before, 1),
                                _mm512_extracti64x4_epi64(numbers, 1), (__mmask8)(inner >> 8));
#define IDS(records) _mm512_and_si512(halves(records(low), records(high), 0), _mm512_set1_epi32(NO_RECORD_ID))
#define SECOND_ID(records) (records)
#define FIRST_ID(records) _mm512_srli_epi64(records, RECORD_ID_BITS)
    few->holders = _mm512_mask_mov_epi32(NOTHING, inner, IDS(FIRST_ID));
    few->pairs = IDS(SECOND_ID);
    few->pairs = _mm512_mask_mov_epi32(
        few->pairs, _mm512_cmpeq_epi32_mask(few->pairs, _mm512_set1_epi32(NO_RECORD_ID)), NOTHING);
#undef IDS
#undef SECOND_ID
#undef FIRST_ID
    return n;
}

AVX512 static int begin_merging_avx512(const UnitTables *units, const uint8_t *piece,
                                       size_t n_bytes, int by_characters, Lanes *lanes,
                                       uint32_t first_lane, uint16_t *wanted) {
    const __m512i numbers = LANE_NUMBERS;
    FewUnits few;
    size_t n = n_bytes;
    if (by_characters) {
        if (n_bytes > 3 * FEW_UNITS) return -1;
        n = read_few_characters(units, piece, n_bytes, &few);
        if (n == 0) return -1;
    } else {
        if (n_bytes > FEW_UNITS) return -1;
        read_few_bytes(units, piece, (__mmask16)((1u << n) - 1), &few);
    }
    count_steps(n);
    /* What is said of the border behind each unit, and of that before the one before it. */
    __m512i next_pairs = _mm512_alignr_epi32(NOTHING, few.pairs, 1);
    __m512i next_holders = _mm512_alignr_epi32(NOTHING, few.holders, 1);
    __m512i last_holders = _mm512_alignr_epi32(few.holders, NOTHING, 15);
    unsigned seconds = _mm512_mask_cmplt_epu32_mask(
        _mm512_cmplt_epu32_mask(few.pairs, last_holders), few.pairs, next_holders);
    unsigned starts = ((1u << n) - 1) & ~seconds;
    unsigned alone = starts & ~(seconds >> 1);
    if (by_characters) {
        unsigned late = _mm512_cmpge_epu32_mask(few.tokens, few.holders)
            | _mm512_cmpge_epu32_mask(few.tokens, next_holders);
        if (late & alone) return -1;
    }
    unsigned known = (alone & alone << 1) | 1;
    unsigned n_lanes = (unsigned)_mm_popcnt_u32(starts);
    __m512i tokens = _mm512_mask_mov_epi32(few.tokens, (__mmask16)(seconds >> 1), next_pairs);
    __m512i ranks = _mm512_mask_mov_epi32(NOTHING, (__mmask16)known, few.pairs);
    lanes->ids[0] = GUARD;
    _mm512_storeu_si512(lanes->ids + 1, _mm512_mask_compress_epi32(
        _mm512_set1_epi32(GUARD), (__mmask16)starts, tokens));
    lanes->ids[FEW_UNITS + 1] = GUARD;
    _mm512_storeu_si512(lanes->ranks, _mm512_mask_compress_epi32(NOTHING, (__mmask16)starts, ranks));
    _mm512_storeu_si512(lanes->ranks + LANES_AT_ONCE, NOTHING);
    lanes->live = (4ull << n_lanes) - 1;
    lanes->n_lanes = (n_lanes + 1 + LANES_AT_ONCE) & ~(uint32_t)(LANES_AT_ONCE - 1);
    lanes->n_bytes = (uint32_t)n_bytes;
    lanes->piece = piece;
    unsigned unknown = _pext_u32(~known, starts);
    __m512i which = _mm512_add_epi32(_mm512_set1_epi32((int)first_lane), numbers);
    _mm256_storeu_si256((__m256i *)wanted, _mm512_cvtepi32_epi16(
        _mm512_maskz_compress_epi32((__mmask16)unknown, which)));
    return _mm_popcnt_u32(unknown);
}

/* --- the other merges --- */

/* Numbers of which the least is that of a piece (ranks_and_lanes_8). */
AVX512 static inline __m512i ranks_and_lanes_16(const Lanes *piece) {
    __m512i lanes = LANE_NUMBERS;
#define READ(lane) _mm512_or_si512( \
    _mm512_slli_epi32(_mm512_loadu_si512(piece->ranks + lane), 6), lanes)
    __m512i least = READ(0);
    /* Nearly all have no more lanes than that. */
    for (uint32_t lane = LANES_AT_ONCE; lane < piece->n_lanes; lane += LANES_AT_ONCE) {
        lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(LANES_AT_ONCE));
        least = _mm512_min_epu32(least, READ(lane));
    }
#undef READ
    return least;
}

/* Of sixteen pieces at once: each step has half as many vectors, with the lowest of twice as many. */
AVX512 static size_t find_merges_avx512(const Lanes *pieces, uint8_t *open, size_t n,
                                        uint8_t *lanes) {
    size_t n_merges = 0;
    for (size_t i = 0; i < n; i += 16) {
        uint8_t numbers[16];
        __m512i least[16];
        __mmask16 here = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xFFFF);
        __m128i sixteen = _mm_maskz_loadu_epi8(here, open + i);
        _mm_storeu_si128((__m128i *)numbers, sixteen);
        for (int k = 0; k < 16; k++) least[k] = ranks_and_lanes_16(pieces + numbers[k]);
#define JOINED(k, step, low, high) \
    least[k] = _mm512_min_epu32(low(least[k], least[k + step]), high(least[k], least[k + step]));
#define LOW(a, b) _mm512_shuffle_i32x4(a, b, 0x88)
#define HIGH(a, b) _mm512_shuffle_i32x4(a, b, 0xDD)
        for (int k = 0; k < 16; k += 2) {
            JOINED(k, 1, _mm512_unpacklo_epi32, _mm512_unpackhi_epi32)
        }
        for (int k = 0; k < 16; k += 4) {
            JOINED(k, 2, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64)
        }
        for (int k = 0; k < 16; k += 8) JOINED(k, 4, LOW, HIGH)
        JOINED(0, 8, LOW, HIGH)
#undef JOINED
#undef LOW
#undef HIGH
        here = _mm512_mask_cmplt_epu32_mask(here, least[0], _mm512_set1_epi32((int)LOWEST_NONE));
        __m128i at = _mm512_cvtepi32_epi8(_mm512_and_si512(least[0], _mm512_set1_epi32(63)));
        _mm_storeu_si128((__m128i *)(open + n_merges), _mm_maskz_compress_epi8(here, sixteen));
        _mm_storeu_si128((__m128i *)(lanes + n_merges), _mm_maskz_compress_epi8(here, at));
        n_merges += (size_t)_mm_popcnt_u32(here);
    }
    return n_merges;
}

AVX512 static size_t merged_ids_avx512(const Lanes *piece, uint32_t *ids) {
    uint64_t live = piece->live & (piece->live - 1);        /* without the guards */
    size_t n = 0;
    live ^= 1ull << highest_bit(live);
    for (uint32_t lane = 0; lane < piece->n_lanes; lane += LANES_AT_ONCE) {
        __mmask16 here = (__mmask16)(live >> lane);
        _mm512_storeu_si512(ids + n, _mm512_maskz_compress_epi32(
            here, _mm512_loadu_si512(piece->ids + lane)));
        n += (size_t)_mm_popcnt_u32(here);
    }
    return n;
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

AVX512 static size_t skip_to_pair_avx512(const uint8_t *text, size_t n_bytes, uint8_t first,
                                         uint8_t second) {
    const __m512i firsts = _mm512_set1_epi8((char)first);
    const __m512i seconds = _mm512_set1_epi8((char)second);
#define ARE(at, wanted) _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(at), wanted)
    size_t at = 0;
    for (; at + 128 < n_bytes; at += 128) {
        const uint8_t *block = text + at;
        uint64_t a = ARE(block + 1, seconds), b = ARE(block + 65, seconds);
        /* Most blocks do not even hold the second one. */
        if (!(a | b)) continue;
        if ((a & ARE(block, firsts)) | (b & ARE(block + 64, firsts))) break;
    }
    return at;
#undef ARE
}

/* Of each lane the bytes that are UTF-8: the last, and all from 0x80 on. */
AVX512 static inline uint8_t *write_utf8(__m512i lanes, uint64_t last_bytes, uint8_t *utf8) {
    uint64_t used = last_bytes | _mm512_movepi8_mask(lanes);
    _mm512_storeu_si512(utf8, _mm512_maskz_compress_epi8(used, lanes));
    return utf8 + _mm_popcnt_u64(used);
}

/* Of each code point what each byte of the longest character there may be has of it, and the bits
 * that are the same in all of these. */
#define SPREAD(codes, places, mask, fixed) ( \
    (_mm512_multishift_epi64_epi8(_mm512_set1_epi64(places), codes) \
     & _mm512_set1_epi32((int)(mask))) | _mm512_set1_epi32((int)(fixed)))

/* 32 code points below U+0800. */
AVX512 static inline uint8_t *write_32(__m512i codes, __mmask32 is_wide, uint8_t *utf8) {
    __m512i lanes = SPREAD(codes, 0x3036202610160006, 0x3F1F3F1F, 0x80C080C0);
    lanes = _mm512_mask_slli_epi16(lanes, ~is_wide, codes, 8);
    return write_utf8(lanes, 0xAAAAAAAAAAAAAAAA, utf8);
}

/* 16 code points, below U+10000 unless `are_all`, which is known where this is compiled. */
AVX512 static inline uint8_t *write_16(__m512i codes, int are_all, uint8_t *utf8) {
#define BELOW(code) _mm512_cmplt_epu32_mask(codes, _mm512_set1_epi32(code))
#define CHANGED(lanes, code, bits) _mm512_mask_xor_epi32( \
    lanes, BELOW(code), lanes, _mm512_set1_epi32((int)(bits)))
    const long long places = 0x20262C3200060C12;
    __m512i lanes;
    if (are_all) {
        lanes = SPREAD(codes, places, 0x3F3F3F07, 0x808080F0);
        lanes = CHANGED(lanes, 0x10000, 0x000060F0);    /* the bits that three bytes have fixed */
    } else {
        lanes = SPREAD(codes, places, 0x3F3F0F00, 0x8080E000);
    }
    lanes = CHANGED(lanes, 0x800, 0x0040E000);
    lanes = _mm512_mask_slli_epi32(lanes, BELOW(0x80), codes, 24);
    return write_utf8(lanes, 0x8888888888888888, utf8);
#undef BELOW
#undef CHANGED
}
#undef SPREAD

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
            utf8 = write_16(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(codes)), 0, utf8);
            utf8 = write_16(
                _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(codes, 1)), 0, utf8);
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
        utf8 = write_16(codes, 1, utf8);
    }
    return utf8_of_ucs4_portable(text + i, n - i, utf8);
}

static const Tier avx512_tier = {
    find_ends_avx512, classify_avx2, find_cjk_avx2, find_cuts_avx2, find_letters_avx2,
    write_ends_avx512, make_keys_avx2, look_up_avx2, write_ids_avx512,
    find_first_merges_avx2, find_late_avx2, begin_merging_avx512, fill_lanes_avx2,
    find_places_avx512, find_merges_avx512, merged_ids_avx512, skip_to_pair_avx512,
    utf8_of_latin1_avx512, utf8_of_ucs2_avx512, utf8_of_ucs4_avx512,
};

static int best_tier(void) {
#define HAS(feature) __builtin_cpu_supports(feature)
    if (!(HAS("avx2") && HAS("bmi") && HAS("bmi2") && HAS("popcnt"))) return TIER_PORTABLE;
    /* AVX-512 without VBMI is no faster here, and slows down what runs beside it. */
    return HAS("avx512bw") && HAS("avx512cd") && HAS("avx512dq") && HAS("avx512vl")
        && HAS("avx512vbmi") && HAS("avx512vbmi2") && HAS("gfni") ? TIER_AVX512 : TIER_AVX2;
#undef HAS
}

static void make_tables(void) {
    make_class_lanes();
    make_ranges();
    make_shuffles();
    make_row_classes();
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
