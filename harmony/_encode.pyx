"""Text -> ids: segments are looked up, many at a time; those that nothing knows are merged.

What this module owes its callers is what _bpe.pyx owes its own. How a text becomes ids, about four
kilobytes at a time:

    1. `next_segment_ends` cuts it into segments (_segments.pyx).
    2. Each is looked up in a cache of short segments. No branch depends on what is found: the
       record that was met goes into `values`, found or not, and the number of the segment onto a
       list if not (`look_up` of _simd.h).
    3. Those on the list are looked up in the vocabulary, then in a cache of spellings, and merged,
       many together, if they are in neither. What a look-up needs is asked for while others are
       under way (`encode_segments`, `search`, `merge_unknown`).
    4. The ids of all are written, one or two for each record (`emit`).

Both caches have a fixed size, and a new entry takes the place of an old one: hostile text can only
make them useless. Their entries are whole results, so they change no id. The first has the records
of the vocabulary (rank_tables.py), with room for two ids. A spelling is ids and nothing else: what
they are the encoding of is what they spell, and that is compared with the segment.
"""

import os

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memmove, memset

from harmony._bpe cimport (
    BAD_TABLES, INTERRUPTED, IS_LONG, MERGED_BYTES, MULTIPLIER_1, MULTIPLIER_2, NO_ID, NO_MEMORY,
    OK, RECORD_KEY, SHORT_LENGTH, TOKEN_BYTES, Key, Lanes, Merging, Sink, Status, Tables,
    begin_merging, end_merging, find_long, find_record, hash_of_long, is_full, make_careful_key,
    merge_piece, must_stop, pilot_of, place_of_long, place_of_short, reserve,
)
from harmony._segments cimport (
    ID_SHIFT, KEY_BYTES, LANES, LOOKED_UP_AT_ONCE, NO_RECORD_ID, RECORD_ID_BITS, SECOND_ID_SHIFT,
    PADDING, SEGMENTS_AT_ONCE, SLACK, Keys, Record, next_segment_ends, tier,
)

cdef extern from "_tier.h" nogil:
    uint64_t hash_of_key(uint64_t word_0, uint64_t word_1) noexcept
    uint64_t offset_of_record(uint64_t word_0, uint64_t word_1, uint64_t last) noexcept
    bint are_equal(const uint8_t* a, const uint8_t* b, size_t n) noexcept
    bint are_equal_to_32(const uint8_t* a, const uint8_t* b, size_t n) noexcept

cdef extern from "_spellings.h" nogil:
    const uint32_t TAG
    const uint32_t CONTINUES
    const uint32_t NO_SPELLING
    enum:
        TAG_AND_CONTINUES
        SPELLINGS_AT_PLACE
        LINE_BYTES
    ctypedef struct Spellings:
        uint64_t words[SPELLINGS_AT_PLACE]
    uint32_t find_words(const Spellings* spellings, uint32_t bits, uint32_t mask) noexcept
    bint has_room(const Spellings* spellings, uint32_t n_words) noexcept

cdef extern from "_memory.h" nogil:
    uint64_t load_u64(const uint8_t* bytes) noexcept
    void prefetch(const void* address) noexcept
    void* provide_zeros(size_t n_bytes) noexcept
    int lowest_bit(uint64_t bits) noexcept
    void check_index(size_t index, size_t length, const char* what) noexcept
    void count_steps(size_t n) noexcept

cdef enum:
    # Segments that are merged together if nothing knows them.
    MISSED_AT_ONCE = 256
    # Of so many together or a few more, what the next step needs is asked for in each step.
    SEARCHED_AT_ONCE = 64
    # Of so few, spellings are asked for together with tokens, needed or not: to wait twice would
    # take longer than all the rest.
    FEW_MISSED = 16
    RECORD_BITS = 15                # 32,768 records of 16 bytes
    SPELLING_PLACES = 21560         # of eight words of 8 bytes; both caches take 1.9 MB
    SPELLED_BYTES = 128             # of the longest segment that is kept as a spelling
    WORD_IDS = 3                    # in a word of a spelling
    SPELLED_IDS = WORD_IDS * SPELLINGS_AT_PLACE
    # Instead of a place of spellings: there is none.
    NOWHERE = 0xFFFFFFFF
    # log2 of the places to look whether a segment is already being merged.
    WAITING_BITS = 7
    # Segments of more bytes, that are no token, go straight to the sink: their ids would be in
    # memory twice.
    LONG_SEGMENT = 512
    KEPT_IDS = 6                    # of a missed segment, beside it
    # Instead of the number of a missed segment's ids: more than these, or yet to come.
    MORE_IDS = KEPT_IDS + 1
    STRAIGHT_TO_SINK = MORE_IDS + 1
    # Texts of so many bytes are copied, with zeros behind them.
    PADDED_TEXT = 256
    # So many bytes of text need most pages of the caches.
    PROVIDED_ABOVE = 1 << 12


cdef uint8_t no_token[TOKEN_BYTES]          # the record of no bytes


cdef struct Missed:
    # A segment that the first cache does not have, in one line of the processor's caches. Of what
    # may be a long token, `word_0` and `spelling` are its hash and place once spellings are read.
    uint64_t word_0                 # of its key
    uint64_t word_1
    const uint8_t* bytes
    uint32_t n_bytes                # or the highest number, if it has more
    uint32_t place                  # where it is looked up next: that of a record or of spellings
    uint32_t spelling               # of the hash of its spelling, what its tag is made of
    uint16_t segment
    uint8_t found                   # words of spellings with its tag, a bit each
    uint8_t n_ids                   # of those in `ids`; 0: they are in the segment's value
    uint32_t ids[KEPT_IDS]          # of MORE_IDS: where they begin in `more_ids`, and how many


cdef struct Context:
    Missed missed[MISSED_AT_ONCE]   # first: they begin with a line of the processor's caches
    # Behind the context, in the same memory:
    Spellings* spellings            # n_places of them, each in one line, too
    Record* records
    uint8_t* used                   # of each place, the words in use: see `word_to_go`
    uint64_t last_record            # where it is, in bytes from the first one
    uint64_t n_places
    uint32_t turn                   # which of the words of a place is next to go if all are in use
    Py_ssize_t borders[1 + SEGMENTS_AT_ONCE + SLACK]    # of segments, with the first one's start
    Keys keys
    uint64_t values[SEGMENTS_AT_ONCE + SLACK]
    uint32_t missed_segments[MISSED_AT_ONCE + SLACK]
    size_t n_short                          # of those described, not yet searched for
    size_t n_open
    uint8_t short_ones[MISSED_AT_ONCE]      # numbers of missed segments that may be short tokens
    uint8_t open[MISSED_AT_ONCE]            # and of those that are none
    uint8_t elsewhere[MISSED_AT_ONCE]       # and of those whose spelling may be in the other place
    uint8_t unknown[MISSED_AT_ONCE]         # and of those that are to be merged
    Merging merging
    uint8_t short_text[PADDED_TEXT + PADDING]
    uint8_t waiting[1 << WAITING_BITS]      # by the hash of a segment: piece of `merging`, plus one
    Sink more_ids                   # of missed segments of more than KEPT_IDS
    bint remembers                  # the caches are written to
    void* memory                    # that all of this lies in
    bint is_provided                # all of it
    Py_ssize_t n_bytes              # of text so far
    Context* next                   # in the list of those not in use
    unsigned int generation


cdef size_t look_up(
    Context* c, const Text* text, size_t first, size_t stop, uint32_t* missed,
) noexcept nogil:
    """Look up segments first ... stop, at most LOOKED_UP_AT_ONCE; returns how many are missed."""
    # Behind segments that begin after this place too little may be read.
    cdef Py_ssize_t last_safe = text.n_bytes if text.is_padded else text.n_bytes - KEY_BYTES
    cdef const Py_ssize_t* borders = c.borders + first
    cdef size_t n = stop - first
    cdef size_t safe = n
    cdef size_t i
    cdef Key key
    while safe and borders[safe - 1] > last_safe:
        safe -= 1
    tier.make_keys(c.records, c.last_record, text.bytes, borders, safe, &c.keys)
    for i in range(safe, n):
        make_careful_key(text.bytes, text.n_bytes, borders[i], borders[i + 1] - borders[i], &key)
        c.keys.words_0[i] = key.word_0
        c.keys.words_1[i] = key.word_1
        c.keys.offsets[i] = offset_of_record(key.word_0, key.word_1, c.last_record)
    return tier.look_up(c.records, &c.keys, n, first, c.values + first, missed)


cdef inline uint32_t first_place(const Context* c, uint64_t hash) noexcept nogil:
    return <uint32_t>((hash >> 32) * c.n_places >> 32)


cdef inline uint32_t second_place(const Context* c, uint32_t spelling) noexcept nogil:
    """Where a spelling is if the first place was full: of the hash what its tag leaves."""
    return <uint32_t>(<uint64_t><uint32_t>(spelling << TAG_AND_CONTINUES) * c.n_places >> 32)


cdef inline uint64_t key_hash_of(const Missed* missed) noexcept nogil:
    return hash_of_key(missed.word_0, missed.word_1)


cdef inline uint64_t hash_of(const Missed* missed) noexcept nogil:
    """A hash of a segment of at most SPELLED_BYTES, of other bits than that of its key: what meets
    among records does not meet here, too."""
    cdef const uint8_t* bytes = missed.bytes
    cdef size_t n_bytes = missed.n_bytes
    cdef uint64_t value = key_hash_of(missed)
    if n_bytes > SHORT_LENGTH:
        # The first 32 and the last 16.
        value = load_u64(bytes) * MULTIPLIER_1 + load_u64(bytes + n_bytes - 8) + n_bytes
        if n_bytes > 16:
            value += (load_u64(bytes + 8) * MULTIPLIER_2) ^ load_u64(bytes + n_bytes - 16)
        if n_bytes > 32:
            value += (load_u64(bytes + 16) * MULTIPLIER_1) ^ load_u64(bytes + 24)
    value = (value ^ value >> 32) * MULTIPLIER_2
    return value ^ TAG if value & TAG == TAG else value     # no segment has that tag


cdef inline void ask_for_spellings(const Tables* t, Context* c, Missed* missed) noexcept nogil:
    """Find where a segment's spelling is first looked for, and ask for that."""
    cdef uint64_t hash
    missed.place = NOWHERE
    if missed.n_bytes <= SPELLED_BYTES and t.longest_short:
        hash = hash_of(missed)
        missed.spelling = <uint32_t>hash
        missed.place = first_place(c, hash)
        prefetch(c.spellings + missed.place)


cdef void describe_missed(
    const Tables* t, Context* c, const Text* text, size_t first, size_t stop, size_t first_segment,
) noexcept nogil:
    """Fill these of `c.missed`, and put each of them on one of two lists. The keys of segments from
    `first_segment` on are still in `c.keys`."""
    cdef Missed* missed
    cdef Py_ssize_t start, n_bytes
    cdef size_t i
    cdef uint32_t k
    cdef bint is_short
    for i in range(first, stop):
        missed = &c.missed[i]
        k = c.missed_segments[i]
        start = c.borders[k]
        n_bytes = c.borders[k + 1] - start
        missed.word_0 = c.keys.words_0[k - first_segment]
        missed.word_1 = c.keys.words_1[k - first_segment]
        prefetch(pilot_of(&t.short_region, t.short_pilots, key_hash_of(missed)))
        missed.bytes = text.bytes + start
        missed.n_bytes = <uint32_t>min(n_bytes, <Py_ssize_t>NO_ID)
        missed.segment = <uint16_t>k
        # How long they are is hard to guess: no branch depends on it.
        is_short = missed.n_bytes <= t.longest_short
        c.short_ones[c.n_short] = <uint8_t>i
        c.n_short += is_short
        c.open[c.n_open] = <uint8_t>i
        c.n_open += not is_short


cdef Status encode_segments(
    const Tables* t, Context* c, const Text* text, size_t n_segments, Sink* sink,
) noexcept nogil:
    """Append the ids of the segments that `c.borders` are the borders of."""
    cdef size_t start, stop, next_stop, n_missed, n_new, n_searched, n_unknown
    cdef Status status
    count_steps(n_segments)
    stop = 0
    while stop < n_segments:
        start = stop
        n_missed = n_searched = n_unknown = 0
        c.more_ids.n_ids = 0
        while stop < n_segments and n_missed + LOOKED_UP_AT_ONCE <= MISSED_AT_ONCE:
            next_stop = min(stop + LOOKED_UP_AT_ONCE, n_segments)
            n_new = look_up(c, text, stop, next_stop, c.missed_segments + n_missed)
            describe_missed(t, c, text, n_missed, n_missed + n_new, stop)
            n_missed += n_new
            stop = next_stop
            if n_missed - n_searched >= SEARCHED_AT_ONCE:
                n_unknown = search(t, c, text, n_searched, n_missed, n_unknown)
                n_searched = n_missed
        status = OK
        if n_missed:
            n_unknown = search(t, c, text, n_searched, n_missed, n_unknown)
            status = merge_unknown(t, c, n_unknown)
        if status == OK:
            status = emit(t, c, n_missed, start, stop, sink)
        if status != OK:
            return status
    return OK


cdef inline size_t match(
    const Tables* t, uint32_t token, const uint8_t* bytes, size_t n_bytes, const uint8_t* text_end,
) noexcept nogil:
    """The length of a token, if these n_bytes <= SPELLED_BYTES bytes start with it, else 0."""
    cdef const uint8_t* record = t.short_tokens + <size_t>token * TOKEN_BYTES
    cdef uint64_t place
    cdef size_t length = record[TOKEN_BYTES - 1]
    count_steps(1)
    if length < TOKEN_BYTES <= text_end - bytes:
        return length if length <= n_bytes and are_equal(record, bytes, length) else 0
    if length == IS_LONG:
        place = load_u64(record)
        length = place >> 32
        record = t.token_bytes + <uint32_t>place
        if length <= 32:
            return length if length <= n_bytes and are_equal_to_32(record, bytes, length) else 0
    return length if length <= n_bytes and memcmp(record, bytes, length) == 0 else 0


cdef inline bint read_word(const Tables* t, Missed* missed, uint64_t word) noexcept nogil:
    """Whether a segment is the tokens of this word, at most three short ones; its ids are then in
    `missed`. No branch depends on how many they are or how long: that is hard to guess."""
    cdef const uint8_t* none = no_token
    cdef const uint8_t* record
    cdef size_t done = 0
    cdef uint32_t n_ids = 0
    cdef bint differs = False
    cdef size_t length
    cdef uint32_t token
    cdef int k
    count_steps(WORD_IDS)
    for k in range(WORD_IDS):
        token = word & NO_RECORD_ID
        record = t.short_tokens + <size_t>token * TOKEN_BYTES
        record = none if token == NO_RECORD_ID else record
        length = record[TOKEN_BYTES - 1]
        differs |= not are_equal(record, missed.bytes + min(done, missed.n_bytes), length % 16)
        done += length
        missed.ids[k] = token
        n_ids += token != NO_RECORD_ID
        word >>= RECORD_ID_BITS
    missed.n_ids = <uint8_t>n_ids
    return not (differs | (done != missed.n_bytes))


cdef inline void mark_used(
    Context* c, uint32_t place, uint32_t i, uint32_t n_words, uint32_t n_ids,
) noexcept nogil:
    """A spelling of so many words, which begins with word i, was written or found. One of one id
    is never in use: it takes least to find that again."""
    c.used[place] |= <uint8_t>(((1 << n_words) - 1) * (n_ids > 1) << i)


cdef bint keep_ids(Context* c, Missed* missed, const uint32_t* ids, size_t n_ids) noexcept nogil:
    """Have a missed segment have these ids, or return False: there is no memory. KEPT_IDS of them
    may be read."""
    cdef Sink* sink = &c.more_ids
    if n_ids <= KEPT_IDS:
        missed.n_ids = <uint8_t>n_ids
        memcpy(missed.ids, ids, KEPT_IDS * sizeof(uint32_t))
        return True
    if reserve(sink, n_ids) != OK:
        return False
    memmove(sink.ids + sink.n_ids, ids, n_ids * sizeof(uint32_t))   # they may be there already
    missed.n_ids = MORE_IDS
    missed.ids[0] = <uint32_t>sink.n_ids
    missed.ids[1] = <uint32_t>n_ids
    sink.n_ids += n_ids
    return True


cdef bint read_words(
    const Tables* t, Context* c, const uint8_t* text_end, Missed* missed, int first,
) noexcept nogil:
    """The same for any number of tokens of any length, three of them in each word from this one
    on."""
    cdef const uint64_t* words = c.spellings[missed.place].words
    cdef uint32_t ids[SPELLED_IDS]
    cdef uint32_t n_ids = 0
    cdef size_t done = 0
    cdef int i = first
    cdef size_t length
    cdef uint64_t word
    cdef uint32_t token
    cdef int _k
    while True:
        word = ~words[i]
        for _k in range(WORD_IDS):
            token = word & NO_RECORD_ID
            if token == NO_RECORD_ID:
                break
            length = match(t, token, missed.bytes + done, missed.n_bytes - done, text_end)
            if length == 0:
                return False
            ids[n_ids] = token
            n_ids += 1
            done += length
            word >>= RECORD_ID_BITS
        if not ~words[i] >> 32 & CONTINUES:
            break
        i += 1
        check_index(i, SPELLINGS_AT_PLACE, "a place of spellings")
        if ~words[i] >> 32 & TAG != TAG:
            return False                # the rest of it is gone
    if done != missed.n_bytes or not keep_ids(c, missed, ids, n_ids):
        return False
    mark_used(c, missed.place, first, i - first + 1, n_ids)
    return True


cdef inline bint read_spelling(
    const Tables* t, Context* c, const uint8_t* text_end, Missed* missed,
) noexcept nogil:
    """Whether the cache has the ids of this segment; they are then in `missed`."""
    cdef uint32_t found = missed.found
    cdef uint64_t word
    cdef int i
    while found:
        i = lowest_bit(found)
        found &= found - 1
        word = ~c.spellings[missed.place].words[i]
        if not word >> 32 & CONTINUES and (
                text_end - missed.bytes >= <Py_ssize_t>missed.n_bytes + TOKEN_BYTES):
            if read_word(t, missed, word):
                mark_used(c, missed.place, i, 1, missed.n_ids)
                return True
        if read_words(t, c, text_end, missed, i):
            return True
    return False


cdef inline void prefetch_tokens(const Tables* t, const Context* c, Missed* missed) noexcept nogil:
    """Find the spellings that may be its own, and ask for what the first one's ids are compared
    with."""
    cdef const Spellings* spellings = c.spellings + missed.place
    cdef uint64_t word
    cdef int _k
    missed.found = <uint8_t>find_words(spellings, missed.spelling, TAG)
    # If there is none, for anything: which is hard to guess.
    word = ~spellings.words[lowest_bit(missed.found | 1 << (SPELLINGS_AT_PLACE - 1))]
    for _k in range(WORD_IDS):
        # That of no id may be asked for, too.
        prefetch(t.short_tokens + (word & NO_RECORD_ID) * TOKEN_BYTES)
        word >>= RECORD_ID_BITS


cdef inline uint32_t unused(
    const Context* c, uint32_t place, uint32_t n_words,
) noexcept nogil:
    """Where in a place so many words in a row are not in use, a bit for each."""
    cdef uint32_t words = ~<uint32_t>c.used[place] & ((1 << SPELLINGS_AT_PLACE) - 1)
    while n_words > 1:
        words &= words >> 1
        n_words -= 1
    return words


cdef inline uint32_t word_to_go(
    Context* c, uint32_t place, uint32_t n_words,
) noexcept nogil:
    """The first of so many words of a full place that others take the place of: words that are not
    in use. In use is what was written or found, until there is nothing else in its place: then all
    are no more, but one of them has to go, which says nothing about it. They take turns, as of text
    that is seen again and again and is a little too much, nothing would be left if the oldest one
    went."""
    cdef uint32_t words = unused(c, place, n_words)
    if not words:
        c.used[place] = 0
        c.turn += 1
        return c.turn % (SPELLINGS_AT_PLACE + 1 - n_words)
    return lowest_bit(words)


cdef inline void write_spelling(
    Context* c, const Missed* missed, const uint32_t* ids, size_t n_ids,
) noexcept nogil:
    """Keep the ids of a segment where there is room, or else in the place of any others."""
    cdef uint64_t hash = hash_of(missed)
    cdef uint32_t place = first_place(c, hash)
    cdef uint32_t second = second_place(c, <uint32_t>hash)
    cdef uint64_t tag = hash & TAG
    cdef uint32_t n_words = <uint32_t>((n_ids + WORD_IDS - 1) // WORD_IDS)
    cdef uint64_t* words
    cdef uint64_t word
    cdef size_t k
    cdef uint32_t i
    # Where the first place has its tag, or room for two words, nobody looks at the second.
    if n_words <= 2 and not has_room(&c.spellings[place], n_words) and not find_words(
            &c.spellings[place], <uint32_t>hash, TAG):
        if has_room(&c.spellings[second], n_words) or (
                not unused(c, place, n_words) and unused(c, second, n_words)):
            place = second
    if has_room(&c.spellings[place], n_words):
        i = lowest_bit(find_words(&c.spellings[place], NO_SPELLING, NO_SPELLING))
    else:
        i = word_to_go(c, place, n_words)
    mark_used(c, place, i, n_words, n_ids)
    words = c.spellings[place].words + i
    while n_ids:
        word = 0
        for k in range(WORD_IDS):
            word |= <uint64_t>(ids[k] if k < n_ids else NO_RECORD_ID) << RECORD_ID_BITS * k
        if n_ids > WORD_IDS:
            tag |= CONTINUES
            n_ids -= WORD_IDS
            ids += WORD_IDS
        else:
            n_ids = 0
        words[0] = ~(word | tag << 32)
        words += 1
        tag = TAG


cdef inline void remember(Context* c, const Missed* missed, uint64_t value) noexcept nogil:
    """Keep a value, if it is not 0: which is hard to guess, so no branch depends on it."""
    cdef Record* record = <Record*>(<char*>c.records + offset_of_record(
        missed.word_0, missed.word_1, c.last_record))
    cdef uint64_t is_one = -<uint64_t>(value != 0)
    if c.remembers:
        record.word_0 ^= (record.word_0 ^ missed.word_0) & is_one
        record.word_1 ^= (record.word_1 ^ value) & is_one


cdef inline void settle(const Tables* t, Context* c, Missed* missed) noexcept nogil:
    """Have the ids of a segment, if they are few, in its value and remembered."""
    cdef uint64_t value
    if missed.n_ids <= 2 and t.longest_short:
        if missed.n_ids == 1:
            missed.ids[1] = NO_RECORD_ID
        value = (missed.word_1 & RECORD_KEY | <uint64_t>missed.ids[0] << ID_SHIFT
                 | <uint64_t>missed.ids[1] << SECOND_ID_SHIFT)
        c.values[missed.segment] = value
        if missed.n_bytes <= t.longest_short:
            remember(c, missed, value)
        missed.n_ids = 0


cdef inline void settle_new(
    const Tables* t, Context* c, Missed* missed, const uint32_t* ids, size_t n_ids,
) noexcept nogil:
    """The same for a segment that has these ids, which the cache of spellings does not have."""
    if missed.place != NOWHERE and n_ids <= SPELLED_IDS and c.remembers:
        write_spelling(c, missed, ids, n_ids)
    settle(t, c, missed)


cdef uint32_t add_to_merging(const Tables* t, Context* c, Missed* missed) noexcept nogil:
    """Which of the pieces that are merged together a segment is, or NO_ID if it is too long. One
    that occurs again before its ids are known is merged once."""
    cdef uint8_t* place = &c.waiting[key_hash_of(missed) >> (64 - WAITING_BITS)]
    cdef const Lanes* lanes
    if place[0]:
        lanes = &c.merging.pieces[place[0] - 1]
        if lanes.n_bytes == missed.n_bytes and memcmp(
                lanes.piece, missed.bytes, missed.n_bytes) == 0:
            missed.place = NOWHERE          # the first one's is enough
            return place[0] - 1
    if not begin_merging(t, &c.merging, missed.bytes, missed.n_bytes):
        return NO_ID
    place[0] = <uint8_t>c.merging.n
    return <uint32_t>c.merging.n - 1


cdef Status merge_together(
    const Tables* t, Context* c, const uint8_t* unknown, size_t n_unknown,
) noexcept nogil:
    """Find the ids of these missed segments, which nothing knows. Of those that `c.merging` has,
    the first of `ids` says where."""
    cdef Sink* sink = &c.more_ids
    cdef Status status
    cdef Missed* missed
    cdef uint32_t ids[LANES]
    cdef size_t n_long = 0
    cdef size_t first, n_ids, i
    end_merging(t, &c.merging)
    memset(c.waiting, 0, sizeof(c.waiting))
    for i in range(n_unknown):
        missed = &c.missed[unknown[i]]
        if missed.ids[0] == NO_ID:
            n_long += 1
            continue
        n_ids = tier.merged_ids(&c.merging.pieces[missed.ids[0]], ids)
        if not keep_ids(c, missed, ids, n_ids):
            return NO_MEMORY
        settle_new(t, c, missed, ids, n_ids)
    # Then `c.merging` is free for those that are too long for it as a whole.
    i = 0
    while n_long:
        missed = &c.missed[unknown[i]]
        i += 1
        if missed.ids[0] != NO_ID:
            continue
        n_long -= 1
        first = sink.n_ids
        status = merge_piece(t, &c.merging, missed.bytes, missed.n_bytes, sink)
        if status == OK:
            status = reserve(sink, KEPT_IDS)
        if status != OK:
            return status
        n_ids = sink.n_ids - first
        sink.n_ids = first
        keep_ids(c, missed, sink.ids + first, n_ids)    # where there is room for them
        settle_new(t, c, missed, sink.ids + first, n_ids)
    return OK


cdef Status merge_unknown(const Tables* t, Context* c, size_t n_unknown) noexcept nogil:
    """Find the ids of all missed segments in `c.unknown`."""
    cdef Missed* missed
    cdef Status status
    cdef size_t i
    cdef size_t first = 0
    for i in range(n_unknown):
        missed = &c.missed[c.unknown[i]]
        missed.ids[0] = (
            add_to_merging(t, c, missed) if missed.n_bytes <= MERGED_BYTES else NO_ID)
        if i + 1 == n_unknown or is_full(&c.merging):
            status = merge_together(t, c, c.unknown + first, i + 1 - first)
            if status != OK:
                return status
            first = i + 1
    return OK


cdef size_t search(
    const Tables* t, Context* c, const Text* text, size_t first, size_t stop, size_t n_unknown,
) noexcept nogil:
    """Find the ids of missed segments first ... stop in the vocabulary or among the spellings.
    Those that are in neither go on the list `c.unknown`, which has n_unknown; returns how many it
    has then."""
    cdef const uint8_t* text_end = text.bytes + text.n_bytes
    cdef Missed* missed
    cdef size_t n_elsewhere = 0
    cdef size_t n_new = 0
    cdef size_t n_short = c.n_short
    cdef size_t n_open = c.n_open
    cdef size_t i
    cdef uint64_t value
    cdef uint32_t token
    c.n_short = c.n_open = 0
    if stop - first <= FEW_MISSED:
        for i in range(first, stop):
            ask_for_spellings(t, c, &c.missed[i])
    for i in range(n_short):
        missed = &c.missed[c.short_ones[i]]
        missed.place = place_of_short(t, key_hash_of(missed))
        prefetch(t.short_records + 2 * <size_t>missed.place)
    for i in range(n_short):
        missed = &c.missed[c.short_ones[i]]
        missed.n_ids = 0
        value = find_record(t, missed.word_0, missed.word_1, missed.place)
        c.values[missed.segment] = value
        remember(c, missed, value)
        c.open[n_open] = c.short_ones[i]
        n_open += value == 0
    # Of few once more: where the record is took the place of where the spellings are.
    for i in range(n_open):
        ask_for_spellings(t, c, &c.missed[c.open[i]])
    for i in range(n_open):
        missed = &c.missed[c.open[i]]
        if missed.place != NOWHERE:
            prefetch_tokens(t, c, missed)
            if not missed.found and not has_room(c.spellings + missed.place, 2):
                missed.place = second_place(c, missed.spelling)
                prefetch(c.spellings + missed.place)
                c.elsewhere[n_elsewhere] = c.open[i]
                n_elsewhere += 1
    for i in range(n_elsewhere):
        prefetch_tokens(t, c, &c.missed[c.elsewhere[i]])
    # Lists are read ahead of where they are written.
    for i in range(n_open):
        missed = &c.missed[c.open[i]]
        if missed.n_bytes > max(<size_t>LONG_SEGMENT, t.longest):
            missed.n_ids = STRAIGHT_TO_SINK
            continue
        if missed.place != NOWHERE and read_spelling(t, c, text_end, missed):
            settle(t, c, missed)
            continue
        c.open[n_new] = c.open[i]
        n_new += 1
        if t.longest_short < missed.n_bytes <= t.longest:
            missed.word_0 = hash_of_long(missed.bytes, missed.n_bytes)
            missed.spelling = place_of_long(t, missed.word_0)
            prefetch(t.long_records + missed.spelling)
    for i in range(n_new):
        missed = &c.missed[c.open[i]]
        if t.longest_short < missed.n_bytes <= t.longest:
            token = find_long(t, missed.bytes, missed.n_bytes, missed.word_0, missed.spelling)
            if token != NO_ID:
                missed.ids[0] = token
                missed.n_ids = 1
                settle_new(t, c, missed, missed.ids, 1)
                continue
        c.unknown[n_unknown] = c.open[i]
        n_unknown += 1
    return n_unknown


cdef Status emit(
    const Tables* t, Context* c, size_t n_missed, size_t start, size_t stop, Sink* sink,
) noexcept nogil:
    """Append the ids of the segments start ... stop."""
    cdef Status status = reserve(
        sink, 2 * (stop - start) + KEPT_IDS * n_missed + c.more_ids.n_ids + SLACK)
    cdef uint32_t* out
    cdef size_t k = start
    cdef size_t i
    cdef const Missed* missed
    if status != OK:
        return status
    out = sink.ids + sink.n_ids
    for i in range(n_missed):
        missed = &c.missed[i]
        if missed.n_ids == 0:
            continue
        if missed.segment > k:
            out = tier.write_ids(c.values + k, missed.segment - k, out)
        k = missed.segment + 1
        if missed.n_ids <= KEPT_IDS:
            memcpy(out, missed.ids, KEPT_IDS * sizeof(uint32_t))
            out += missed.n_ids
        elif missed.n_ids == MORE_IDS:
            memcpy(out, c.more_ids.ids + missed.ids[0], missed.ids[1] * sizeof(uint32_t))
            out += missed.ids[1]
        else:
            sink.n_ids = out - sink.ids
            status = merge_piece(
                t, &c.merging, missed.bytes, c.borders[k] - c.borders[k - 1], sink)
            if status == OK:
                status = reserve(sink, 2 * (stop - k) + KEPT_IDS * (n_missed - i)
                                 + c.more_ids.n_ids + SLACK)
            if status != OK:
                return status
            out = sink.ids + sink.n_ids
    out = tier.write_ids(c.values + k, stop - k, out)
    sink.n_ids = out - sink.ids
    check_index(sink.n_ids, sink.capacity, "the ids of a call")
    return OK


cdef Status encode_stretch(
    const Tables* t, Context* c, const Text* text, Py_ssize_t start, Py_ssize_t stop,
    Py_ssize_t* next_given, Sink* sink,
) noexcept nogil:
    """Append the ids of text[start:stop], which holds no special token, as a text of its own."""
    cdef Py_ssize_t* ends = c.borders + 1
    cdef Py_ssize_t n_ends
    cdef Status status
    while start < stop:
        c.borders[0] = start
        if text.piece_ends:
            n_ends = 0
            while (n_ends < SEGMENTS_AT_ONCE and next_given[0] < text.n_piece_ends
                   and text.piece_ends[next_given[0]] <= stop):
                ends[n_ends] = text.piece_ends[next_given[0]]
                next_given[0] += 1
                n_ends += 1
            if n_ends == 0 or ends[0] <= start:
                return BAD_TABLES       # the face gives ends that cover every stretch
        else:
            n_ends = next_segment_ends(
                t.cut_filter, text.bytes, stop, text.is_padded and stop == text.n_bytes, start,
                ends, SEGMENTS_AT_ONCE)
        status = encode_segments(t, c, text, n_ends, sink)
        if status != OK:
            return status
        start = ends[n_ends - 1]
        if start < stop and must_stop(sink):
            return INTERRUPTED
    return OK


cdef Status encode_text(
    const Tables* t, Context* context, const Text* text, Sink* sink,
) noexcept nogil:
    cdef Text padded
    if not 0 < text.n_bytes <= PADDED_TEXT:
        return encode_all(t, context, text, sink)
    # So little is copied once, instead of its last bytes for each segment.
    padded = text[0]
    padded.bytes = context.short_text
    padded.is_padded = True
    memcpy(context.short_text, text.bytes, text.n_bytes)
    memset(context.short_text + text.n_bytes, 0, PADDING)
    return encode_all(t, context, &padded, sink)


cdef Status encode_all(
    const Tables* t, Context* context, const Text* text, Sink* sink,
) noexcept nogil:
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t next_given = 0
    cdef Py_ssize_t k
    cdef Status status
    for k in range(text.n_specials):
        status = encode_stretch(
            t, context, text, at, text.specials[k].start, &next_given, sink)
        if status == OK:
            status = reserve(sink, 1)
        if status != OK:
            return status
        sink.ids[sink.n_ids] = text.specials[k].token
        sink.n_ids += 1
        at = text.specials[k].stop
    return encode_stretch(t, context, text, at, text.n_bytes, &next_given, sink)


# --- contexts -----------------------------------------------------------------------------------

# What `use_caches` set; contexts made before it are not used again.
cdef int record_bits
cdef size_t n_places
cdef bint remembers
cdef unsigned int generation = 0
cdef int most_unused = os.cpu_count() or 1


cdef size_t memory_of_context(size_t places, int bits) noexcept nogil:
    return (sizeof(Context) + 2 * LINE_BYTES + places * sizeof(Spellings)
            + (sizeof(Record) << bits) + places)


cdef inline uintptr_t next_line(uintptr_t address) noexcept nogil:
    return (address + LINE_BYTES - 1) & -<uintptr_t>LINE_BYTES


cdef Context* new_context(bint provided) noexcept nogil:
    """A context with empty caches, or NULL. `provided`: with all of its memory, at once."""
    cdef Context* c
    cdef int bits = record_bits
    cdef size_t places = n_places
    cdef size_t n_bytes = memory_of_context(places, bits)
    cdef void* memory = provide_zeros(n_bytes) if provided else calloc(n_bytes, 1)
    if not memory:
        return NULL
    c = <Context*>next_line(<uintptr_t>memory)
    c.memory = memory
    c.is_provided = provided
    c.spellings = <Spellings*>next_line(<uintptr_t>(c + 1))
    c.records = <Record*>(c.spellings + places)
    c.used = <uint8_t*>(c.records + (<size_t>1 << bits))
    c.last_record = ((<uint64_t>1 << bits) - 1) * sizeof(Record)
    c.n_places = places
    c.remembers = remembers
    c.generation = generation
    return c


cdef void delete_context(Context* c) noexcept:
    free(c.more_ids.ids)
    free(c.memory)


@cython.final
cdef class Contexts:
    """The contexts of one vocabulary that are not in use: one for each core at most."""

    def __dealloc__(self):
        cdef Context* c
        while self.unused:
            c = self.unused
            self.unused = c.next
            delete_context(c)

    cdef Context* take(self, Py_ssize_t n_bytes) except NULL:
        """A context for one call on about so many bytes of text. The caller holds the interpreter
        lock and gives it back."""
        cdef Context* c = self.unused
        if c:
            self.unused = c.next
            self.n_unused -= 1
            c.n_bytes += n_bytes
            if c.generation == generation and (c.is_provided or c.n_bytes <= PROVIDED_ABOVE):
                c.more_ids.next_look = 0
                return c
            # What little it has seen may be forgotten.
            n_bytes = c.n_bytes
            delete_context(c)
        if n_bytes > PROVIDED_ABOVE:
            with nogil:
                c = new_context(True)
        else:
            c = new_context(False)
        if not c:
            raise MemoryError()
        c.n_bytes = n_bytes
        return c

    cdef void give_back(self, Context* c) noexcept:
        if self.n_unused >= most_unused or c.generation != generation:
            delete_context(c)
            return
        c.next = self.unused
        self.unused = c
        self.n_unused += 1


def context_bytes():
    """Memory that the caches and the scratch of one call may take, in bytes."""
    return memory_of_context(n_places, record_bits)


CACHES = {"": (RECORD_BITS, SPELLING_PLACES, True), "tiny": (1, 1, True), "off": (1, 1, False)}


def use_caches(str size):
    """Encode with caches of this size from now on: "tiny", "off", or "" for the full size. No
    size changes any id."""
    global record_bits, n_places, remembers, generation
    if size not in CACHES:
        raise ValueError(f"caches {size!r}: expected one of {', '.join(filter(None, CACHES))}")
    record_bits, n_places, remembers = CACHES[size]
    generation += 1


use_caches(os.environ.get("HARMONY_CACHES", ""))
