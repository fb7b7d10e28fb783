# UTF-8 bytes -> ends of segments, 64 bytes at a time. See _segments.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    # Zeros behind a text with which none of it needs to be copied.
    PADDING = 64 + 8
    # Room for ends that `next_segment_ends` needs at least: for those of one window, and slack.
    ENDS_PER_WINDOW = 64 + 16

cdef extern from "_tier.h" nogil:
    enum:
        RECORD_ID_BITS
        NO_RECORD_ID
        ID_SHIFT
        SECOND_ID_SHIFT
        KEY_BYTES
        SEGMENTS_AT_ONCE
        LOOKED_UP_AT_ONCE
        SLACK
        UTF8_SLACK
        LANES
        LANES_AT_ONCE
        FILLED_AT_ONCE
        GUARD
        ID_BITS
        LOWEST_REGION
        CUT_BITS
        NUMBER_BITS
    ctypedef struct ByteMasks:
        uint64_t upper, lower, number, space, blank, newline, wide, slash, apostrophe
    ctypedef struct LetterMasks:
        uint64_t upper, lower, caseless
    ctypedef struct Record:
        uint64_t word_0, word_1
    ctypedef struct Keys:
        uint64_t* words_0
        uint64_t* words_1
        uint64_t* offsets
    ctypedef struct Lanes:
        uint32_t* ids
        uint32_t* ranks
        uint64_t live
        uint32_t n_lanes
        uint32_t n_bytes
        const uint8_t* piece
    ctypedef struct Pairs:
        const uint64_t* records
        uint64_t n_records
        const uint16_t* pilots
        uint32_t* first_place
        uint32_t* n_places
        uint32_t* first_pilot
        uint32_t* n_pilots
    ctypedef struct UnitTables:
        const uint32_t* byte_ids
        const uint32_t* byte_pairs
        const uint32_t* characters
        Pairs borders
    ctypedef struct Tier:
        size_t (*find_ends)(
            const uint64_t* cut_filter, const uint8_t* bytes, size_t n_bytes, Py_ssize_t base,
            Py_ssize_t* ends, size_t max_ends) noexcept nogil
        void classify_bytes(const uint8_t* bytes, ByteMasks* masks) noexcept nogil
        uint64_t find_cjk(const uint8_t* bytes) noexcept nogil
        uint64_t find_cuts(
            const uint64_t* cut_filter, const uint8_t* bytes, uint64_t candidates) noexcept nogil
        void find_letters(const uint8_t* bytes, LetterMasks* letters) noexcept nogil
        size_t write_ends(uint64_t bits, Py_ssize_t base, Py_ssize_t* ends) noexcept nogil
        void make_keys(
            const Record* records, uint64_t last, const uint8_t* text, const Py_ssize_t* borders,
            size_t n, Keys* keys) noexcept nogil
        size_t look_up(
            const Record* records, const Keys* keys, size_t n, size_t number,
            uint64_t* values, uint32_t* missed) noexcept nogil
        uint32_t* write_ids(const uint64_t* values, size_t n, uint32_t* ids) noexcept nogil
        uint64_t find_first_merges(
            const uint32_t* pairs, const uint32_t* holders, size_t n) noexcept nogil
        uint64_t find_late(
            const uint32_t* tokens, const uint32_t* holders, size_t n) noexcept nogil
        int (*begin_merging)(
            const UnitTables* units, const uint8_t* piece, size_t n_bytes, bint by_characters,
            Lanes* lanes, uint32_t first_lane, uint16_t* wanted) noexcept nogil
        size_t (*fill_lanes)(
            const uint32_t* tokens, const uint32_t* pairs, size_t n, uint64_t starts,
            uint64_t known, Lanes* lanes, uint32_t first_lane, uint16_t* wanted,
            size_t* n_wanted) noexcept nogil
        void find_places(
            const Pairs* pairs, const uint32_t* lefts, const uint32_t* rights, size_t n,
            uint32_t* places) noexcept nogil
        size_t find_merges(
            const Lanes* pieces, uint8_t* open, size_t n, uint8_t* lanes) noexcept nogil
        size_t merged_ids(const Lanes* piece, uint32_t* ids) noexcept nogil
        size_t skip_to_pair(
            const uint8_t* text, size_t n_bytes, uint8_t first, uint8_t second) noexcept nogil
        uint8_t* utf8_of_latin1(const uint8_t* text, size_t n, uint8_t* utf8) noexcept nogil
        uint8_t* utf8_of_ucs2(const uint16_t* text, size_t n, uint8_t* utf8) noexcept nogil
        uint8_t* utf8_of_ucs4(const uint32_t* text, size_t n, uint8_t* utf8) noexcept nogil

# The loops for this processor, or those that `use_tier` chose.
cdef const Tier* tier

# Writes the ends of the segments that follow `start` (itself a segment boundary that an earlier
# call gave, or 0) into `ends`, about `max_ends`, never more, and returns how many: at least one if
# text is left and max_ends > ENDS_PER_WINDOW. `cut_filter` NULL: segments are pieces. `is_padded`:
# PADDING zeros follow the text.
cdef Py_ssize_t next_segment_ends(
    const uint64_t* cut_filter, const uint8_t* text, Py_ssize_t n_bytes, bint is_padded,
    Py_ssize_t start, Py_ssize_t* ends, Py_ssize_t max_ends,
) noexcept nogil

# Steps counted in this thread by the debug build (windows, wide characters); 0 in a release build.
cdef uint64_t segment_steps() noexcept nogil
cdef void forget_segment_steps() noexcept nogil
