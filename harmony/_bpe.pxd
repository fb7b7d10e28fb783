# Pieces -> ids (merging) over the rank arrays. See _bpe.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from harmony._segments cimport LANES, Lanes, Pairs, UnitTables

cdef extern from *:
    """
    #define NO_ID 0xFFFFFFFFu
    """
    const uint32_t NO_ID                # no such token

# The same as in rank_tables.py, which describes the tables.
cdef enum:
    SHORT_LENGTH = 11
    TOKEN_BYTES = 16                    # of a record of short_tokens
    IS_LONG = 255

cdef enum:
    # Above this many bytes, or characters of up to three bytes, the square of the length costs
    # more than the other engines do.
    SHORT_PIECE = LANES - 2
    MERGED_BYTES = 3 * SHORT_PIECE
    # Longer pieces are merged in windows of so many bytes, each so far behind the one before, or
    # closer where two cannot be joined; at first few of them.
    WINDOW_BYTES = SHORT_PIECE
    WINDOW_STEP = 46
    SHORT_STEP = 28
    FEW_WINDOWS = 4
    # Pieces that are merged together, a multiple of 16 (find_merges), and ranks that are looked up
    # together before that.
    MERGED_AT_ONCE = 64
    WANTED_AT_ONCE = 512


cdef enum Status:
    OK
    NO_MEMORY           # an allocation failed
    INTERRUPTED         # a signal handler raised; its exception is set
    BAD_TABLES          # the tables contradict themselves


cdef struct Sink:
    # Where ids go.
    uint32_t* ids
    size_t n_ids
    size_t capacity
    bint on_heap        # `ids` came from malloc (else from the caller's stack)
    bint counting       # ids are only counted: those of finished pieces may be forgotten
    uint64_t forgotten
    int64_t next_look   # when to look at signals again, in milliseconds; 0: not begun


cdef struct Region:
    # Of a hash table: where the records and the pilots are of some of its items, or of all.
    uint32_t first_place, n_places, first_pilot, n_pilots

cdef struct Tables:
    # Pointers into the arrays that rank_tables.py describes, and their lengths.
    const uint8_t* token_bytes
    size_t n_token_bytes
    const uint32_t* token_starts        # n_ids + 1
    const uint8_t* short_tokens         # n_ids * 16
    uint32_t n_ids
    size_t longest                      # bytes of the longest token
    size_t longest_short                # bytes of the longest that short_records may hold
    UnitTables units                    # no characters in vocabularies whose merges are not proven
    const uint64_t* short_records       # of two words each
    const uint16_t* short_pilots
    Region short_region
    const uint64_t* long_records
    const uint16_t* long_pilots
    Region long_region
    Pairs pairs
    # Only for vocabularies whose merges are proven; NULL otherwise.
    const uint32_t* split_left          # n_ids
    const uint32_t* split_right         # n_ids
    const uint32_t* shorter_prefix      # n_ids
    const uint32_t* sorted_ids          # n_sorted
    uint32_t n_sorted
    const uint32_t* prefix_starts       # 65537
    const uint64_t* cut_filter          # 1 << CUT_BITS bits


cdef extern from "_tier.h" nogil:
    const uint64_t MULTIPLIER_1
    const uint64_t MULTIPLIER_2
    enum:
        RECORD_KEY                      # the bits of a record's second word beside its ids
    ctypedef struct Key:
        # What a segment is looked up by. One of more than SHORT_LENGTH bytes has a key that no
        # record has.
        uint64_t word_0
        uint64_t word_1
        uint64_t hash
    # Of the n_bytes bytes from text + at on, in a text of n_text.
    void make_careful_key(
        const uint8_t* text, size_t n_text, size_t at, size_t n_bytes, Key* key) noexcept


cdef Status reserve(Sink* sink, size_t n_more) noexcept nogil
cdef bint must_stop(Sink* sink) noexcept nogil

cdef extern from "_memory.h" nogil:
    void check_index(size_t index, size_t length, const char* what) noexcept
    void count_steps(size_t n) noexcept
    uint32_t u32_at(const uint32_t* values, size_t index, size_t length) noexcept


cdef inline size_t token_length(const Tables* t, uint32_t token) noexcept nogil:
    return u32_at(t.token_starts, <size_t>token + 1, <size_t>t.n_ids + 1) - t.token_starts[token]


# The pilot of an item of this hash, and the one place where such an item may be.
cdef inline const uint16_t* pilot_of(
    const Region* region, const uint16_t* pilots, uint64_t hash,
) noexcept nogil:
    return pilots + region.first_pilot + ((hash >> 32) * region.n_pilots >> 32)
cdef inline uint32_t place_in(
    const Region* region, const uint16_t* pilots, uint64_t hash,
) noexcept nogil:
    hash = (hash ^ pilot_of(region, pilots, hash)[0]) * MULTIPLIER_2
    return <uint32_t>(region.first_place + ((hash >> 32) * region.n_places >> 32))

# Where the record of a short token is, by the hash of its key, and its second word, or 0.
cdef inline uint32_t place_of_short(const Tables* t, uint64_t key_hash) noexcept nogil:
    return place_in(&t.short_region, t.short_pilots, key_hash)
cdef inline uint64_t find_record(
    const Tables* t, uint64_t word_0, uint64_t word_1, uint32_t place,
) noexcept nogil:
    cdef const uint64_t* record = t.short_records + 2 * <size_t>place
    check_index(place, t.short_region.n_places, "the records of short tokens")
    count_steps(1)
    # Whether it is there is hard to guess.
    return record[1] & -<uint64_t>(
        ((record[0] ^ word_0) | (record[1] & RECORD_KEY ^ word_1)) == 0)

# The hash of a token that is in no such record, where it may be, and the token, or NO_ID.
cdef uint64_t hash_of_long(const uint8_t* piece, size_t n_bytes) noexcept nogil
cdef inline uint32_t place_of_long(const Tables* t, uint64_t hash) noexcept nogil:
    return place_in(&t.long_region, t.long_pilots, hash)
cdef uint32_t find_long(
    const Tables* t, const uint8_t* piece, size_t n_bytes, uint64_t hash, uint32_t place,
) noexcept nogil

cdef struct Merging:
    # Pieces that are merged together.
    Lanes pieces[MERGED_AT_ONCE]
    size_t n
    # Lanes, of all pieces, whose ranks are yet to be looked up.
    uint16_t wanted_lanes[WANTED_AT_ONCE + SHORT_PIECE]
    size_t n_wanted

# Whether there is no room for one more.
cdef inline bint is_full(const Merging* m) noexcept nogil:
    return m.n == MERGED_AT_ONCE or m.n_wanted > WANTED_AT_ONCE

# Add a piece of at most MERGED_BYTES, or return False: if it may need more than SHORT_PIECE lanes.
cdef bint begin_merging(
    const Tables* t, Merging* m, const uint8_t* piece, size_t n_bytes) noexcept nogil
# Merge all pieces.
cdef void end_merging(const Tables* t, Merging* m) noexcept nogil

# Append the ids of a piece that is no token and has no place among these; `m` is free for that.
cdef Status merge_piece(
    const Tables* t, Merging* m, const uint8_t* piece, size_t n_bytes, Sink* sink) noexcept nogil


cdef class RankTables:
    # Read-only after the constructor, shared by all threads and codecs of one vocabulary.
    cdef Tables tables
    cdef readonly dict arrays           # the numpy arrays the pointers point into
    cdef object contexts                # what _encode.pyx keeps between calls
