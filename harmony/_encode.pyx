"""Text -> ids: segments are looked up, many at a time; those that nothing knows are merged.

What this module owes its callers is what _bpe.pyx owes its own. How a text becomes ids, about a
kilobyte at a time:

    1. `next_segment_ends` cuts it into segments (_segments.pyx).
    2. Each is looked up in a cache of short segments. No branch depends on what is found: the
       record that was met goes into `values`, found or not, and the number of the segment onto a
       list if not (`look_up`).
    3. Those on the list are looked up in the vocabulary, then in a cache of longer segments, and
       merged if they are in neither (`resolve`).
    4. The ids of all are written, two for each, the second over by the next (`emit`).

Both caches have a fixed size, and a new entry takes the place of an old one: hostile text can only
make them useless. Their entries are whole results, so they change no id. The first has the records
of the vocabulary (rank_tables.py), with room for two ids.
"""

import os

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from harmony._bpe cimport (
    MULTIPLIER_1, MULTIPLIER_2, NO_ID, NO_RECORD_ID, OK, RECORD_ID_BITS, RECORD_KEY, SHORT_LENGTH,
    BAD_TABLES, INTERRUPTED, Key, Sink, Status, Tables, find_long, find_record,
    make_key, merge_piece, must_stop, reserve,
)
from harmony._segments cimport next_segment_ends

cdef extern from "_memory.h" nogil:
    uint64_t load_u64(const uint8_t* bytes) noexcept
    void prefetch(const void* address) noexcept
    void check_index(size_t index, size_t length, const char* what) noexcept
    void count_steps(size_t n) noexcept

cdef enum:
    SEGMENTS_AT_ONCE = 256
    RECORD_BITS = 15                # 32,768 records of 16 bytes
    LINE_BITS = 12                  # 4,096 lines of 64 bytes
    LINE_BYTES = 30
    LINE_IDS = 8
    # Segments of more bytes go straight to the sink: their ids would be in memory twice.
    LONG_SEGMENT = 512
    # A key reads 16 bytes.
    KEY_BYTES = 16


cdef struct Record:
    uint64_t word_0
    uint64_t word_1


cdef struct Line:
    # One cache line: a segment of at most LINE_BYTES bytes and LINE_IDS ids.
    uint8_t n_bytes                 # 0: none
    uint8_t n_ids
    uint8_t bytes[LINE_BYTES]
    uint32_t ids[LINE_IDS]


cdef struct Missed:
    # A segment that the first cache does not have.
    Key key
    uint64_t line
    const uint8_t* bytes
    size_t n_bytes
    uint32_t segment


cdef struct Aside:
    # A segment whose ids are among those set aside.
    uint32_t segment
    uint32_t n_ids


cdef struct Context:
    Record* records
    Line* lines
    int record_shift
    int line_shift
    Py_ssize_t ends[SEGMENTS_AT_ONCE]
    uint64_t values[SEGMENTS_AT_ONCE]
    uint32_t missed_segments[SEGMENTS_AT_ONCE]
    Missed missed[SEGMENTS_AT_ONCE]
    Aside asides[SEGMENTS_AT_ONCE]
    uint32_t n_asides
    Sink aside_ids
    bint remembers                  # the caches are written to
    Context* next                   # in the list of those not in use
    void* line_memory               # what `lines` lies in
    unsigned int generation


cdef inline uint64_t look_up(
    const Context* c, const uint8_t* bytes, size_t n_bytes, uint64_t* value,
) noexcept nogil:
    """The record met in place of this segment's, and 0 if it is the segment's own."""
    cdef Key key
    cdef const Record* record
    make_key(bytes, n_bytes, &key)
    record = c.records + (key.hash >> c.record_shift)
    value[0] = record.word_1
    return (record.word_0 ^ key.word_0) | ((record.word_1 ^ key.word_1) & RECORD_KEY)


cdef Status encode_segments(
    const Tables* t, Context* c, const Text* text, Py_ssize_t start, Py_ssize_t n_segments,
    Sink* sink,
) noexcept nogil:
    """Append the ids of the segments from `start` on that `c.ends` ends."""
    cdef const uint8_t* bytes = text.bytes
    # Segments that begin after this one are read from a copy that zeros follow.
    cdef Py_ssize_t last_safe = text.n_bytes - KEY_BYTES
    cdef uint8_t tail[2 * KEY_BYTES]
    cdef Py_ssize_t at = start
    cdef Py_ssize_t tail_start = text.n_bytes - min(text.n_bytes, <Py_ssize_t>KEY_BYTES)
    cdef Py_ssize_t k = 0
    cdef size_t n_missed = 0
    cdef Missed* missed
    cdef size_t i
    count_steps(n_segments)
    while k < n_segments and at <= last_safe:
        c.missed_segments[n_missed] = <uint32_t>k
        n_missed += look_up(c, bytes + at, c.ends[k] - at, &c.values[k]) != 0
        at = c.ends[k]
        k += 1
    if k < n_segments:
        memset(tail, 0, sizeof(tail))
        memcpy(tail, bytes + tail_start, text.n_bytes - tail_start)
        while k < n_segments:
            c.missed_segments[n_missed] = <uint32_t>k
            n_missed += look_up(c, tail + (at - tail_start), c.ends[k] - at, &c.values[k]) != 0
            at = c.ends[k]
            k += 1
    c.n_asides = 0
    c.aside_ids.n_ids = 0
    if n_missed == 0:
        return emit(c, 0, n_segments, sink)
    for i in range(n_missed):
        missed = &c.missed[i]
        k = c.missed_segments[i]
        at = c.ends[k - 1] if k else start
        missed.segment = <uint32_t>k
        missed.bytes = bytes + at
        missed.n_bytes = c.ends[k] - at
        if at <= last_safe:
            make_key(bytes + at, missed.n_bytes, &missed.key)
        else:
            make_key(tail + (at - tail_start), missed.n_bytes, &missed.key)
        missed.line = missed.key.hash
        if missed.n_bytes <= t.longest_short:
            prefetch(t.short_records + (missed.key.hash >> t.short_shift) * 8)
        elif missed.n_bytes <= LINE_BYTES:
            if missed.n_bytes > SHORT_LENGTH:
                missed.line = line_hash(missed.bytes, missed.n_bytes)
            prefetch(c.lines + (missed.line >> c.line_shift))
    return resolve(t, c, n_missed, n_segments, sink)


cdef inline uint64_t line_hash(const uint8_t* bytes, size_t n_bytes) noexcept nogil:
    """A hash of SHORT_LENGTH + 1 to LINE_BYTES bytes: of the first and last 16, which overlap."""
    cdef uint64_t value = load_u64(bytes) * MULTIPLIER_1 + load_u64(bytes + n_bytes - 8) + n_bytes
    if n_bytes > 16:
        value += (load_u64(bytes + 8) * MULTIPLIER_2) ^ load_u64(bytes + n_bytes - 16)
    return (value ^ value >> 32) * MULTIPLIER_2


cdef inline void remember(Context* c, const Key* key, uint64_t value) noexcept nogil:
    cdef Record* record = c.records + (key.hash >> c.record_shift)
    if c.remembers:
        record.word_0 = key.word_0
        record.word_1 = value


cdef Status resolve(
    const Tables* t, Context* c, size_t n_missed, Py_ssize_t n_segments, Sink* sink,
) noexcept nogil:
    """Find the ids of the missed segments, and append those of all."""
    cdef Status status
    cdef const Missed* missed
    cdef Line* line
    cdef uint64_t value
    cdef uint32_t token, first_id
    cdef size_t i, n_ids
    cdef Py_ssize_t emitted = 0
    for i in range(n_missed):
        missed = &c.missed[i]
        if missed.n_bytes <= t.longest_short:
            value = find_record(t, &missed.key)
            if value:
                c.values[missed.segment] = value
                remember(c, &missed.key, value)
                continue
        elif missed.n_bytes > LONG_SEGMENT:
            status = emit(c, emitted, missed.segment, sink)
            if status == OK:
                status = merge_piece(t, missed.bytes, missed.n_bytes, sink)
            if status != OK:
                return status
            c.n_asides = 0
            c.aside_ids.n_ids = 0
            emitted = missed.segment + 1
            continue
        line = NULL
        first_id = <uint32_t>c.aside_ids.n_ids
        status = reserve(&c.aside_ids, LINE_IDS)
        if status != OK:
            return status
        if missed.n_bytes <= LINE_BYTES:
            line = c.lines + (missed.line >> c.line_shift)
            if line.n_bytes == missed.n_bytes and (
                    memcmp(line.bytes, missed.bytes, missed.n_bytes) == 0):
                memcpy(c.aside_ids.ids + first_id, line.ids, sizeof(line.ids))
                c.aside_ids.n_ids += line.n_ids
                set_aside(c, missed.segment, line.n_ids)
                continue
        token = NO_ID
        if t.longest_short < missed.n_bytes <= t.longest:
            token = find_long(t, missed.bytes, missed.n_bytes)
        if token != NO_ID:
            c.aside_ids.ids[first_id] = token
            c.aside_ids.n_ids += 1
        else:
            status = merge_piece(t, missed.bytes, missed.n_bytes, &c.aside_ids)
            if status != OK:
                return status
        n_ids = c.aside_ids.n_ids - first_id
        if n_ids == 2 and missed.n_bytes <= t.longest_short:
            value = (missed.key.word_1 | <uint64_t>c.aside_ids.ids[first_id] << 28
                     | <uint64_t>c.aside_ids.ids[first_id + 1] << (28 + RECORD_ID_BITS))
            c.values[missed.segment] = value
            remember(c, &missed.key, value)
            c.aside_ids.n_ids = first_id
            continue
        set_aside(c, missed.segment, <uint32_t>n_ids)
        if line and n_ids <= LINE_IDS and c.remembers:
            line.n_bytes = <uint8_t>missed.n_bytes
            line.n_ids = <uint8_t>n_ids
            memcpy(line.bytes, missed.bytes, missed.n_bytes)
            memcpy(line.ids, c.aside_ids.ids + first_id, n_ids * sizeof(uint32_t))
    return emit(c, emitted, n_segments, sink)


cdef inline void set_aside(Context* c, uint32_t segment, uint32_t n_ids) noexcept nogil:
    c.asides[c.n_asides].segment = segment
    c.asides[c.n_asides].n_ids = n_ids
    c.n_asides += 1


cdef Status emit(Context* c, Py_ssize_t first, Py_ssize_t stop, Sink* sink) noexcept nogil:
    """Append the ids of the segments from `first` up to `stop`."""
    cdef Status status = reserve(sink, 2 * (stop - first) + c.aside_ids.n_ids)
    cdef uint32_t* out
    cdef const uint32_t* aside = c.aside_ids.ids
    cdef uint64_t value
    cdef Py_ssize_t k = first
    cdef Py_ssize_t until
    cdef uint32_t i
    if status != OK:
        return status
    out = sink.ids + sink.n_ids
    for i in range(c.n_asides + 1):
        until = c.asides[i].segment if i < c.n_asides else stop
        while k < until:
            # The second id is written in any case, and counted if there is one.
            value = c.values[k]
            out[0] = value >> 28 & NO_RECORD_ID
            out[1] = <uint32_t>(value >> (28 + RECORD_ID_BITS))
            out += 1 + (out[1] != NO_RECORD_ID)
            k += 1
        if i < c.n_asides:
            memcpy(out, aside, c.asides[i].n_ids * sizeof(uint32_t))
            out += c.asides[i].n_ids
            aside += c.asides[i].n_ids
            k += 1
    sink.n_ids = out - sink.ids
    check_index(sink.n_ids, sink.capacity + 1, "the ids of a call")
    return OK


cdef Status encode_stretch(
    const Tables* t, Context* c, const Text* text, Py_ssize_t start, Py_ssize_t stop,
    Py_ssize_t* next_given, Sink* sink,
) noexcept nogil:
    """Append the ids of text[start:stop], which holds no special token, as a text of its own."""
    cdef Py_ssize_t n_ends
    cdef Status status
    while start < stop:
        if text.piece_ends:
            n_ends = 0
            while (n_ends < SEGMENTS_AT_ONCE and next_given[0] < text.n_piece_ends
                   and text.piece_ends[next_given[0]] <= stop):
                c.ends[n_ends] = text.piece_ends[next_given[0]]
                next_given[0] += 1
                n_ends += 1
            if n_ends == 0:
                return BAD_TABLES       # the face gives ends that cover every stretch
        else:
            n_ends = next_segment_ends(
                t.cut_filter, text.bytes, stop, start, c.ends, SEGMENTS_AT_ONCE)
        status = encode_segments(t, c, text, start, n_ends, sink)
        if status != OK:
            return status
        start = c.ends[n_ends - 1]
        if start < stop and must_stop(sink):
            return INTERRUPTED
    return OK


cdef Status encode_text(
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
cdef int record_bits, line_bits
cdef bint remembers
cdef unsigned int generation = 0
cdef int most_unused = os.cpu_count() or 1


cdef Context* new_context() noexcept:
    """A context with empty caches, or NULL."""
    cdef Context* c = <Context*>calloc(1, sizeof(Context))
    if not c:
        return NULL
    # Room for one more line: the first begins at the next multiple of its size.
    c.records = <Record*>calloc(<size_t>1 << record_bits, sizeof(Record))
    c.line_memory = calloc((<size_t>1 << line_bits) + 1, sizeof(Line))
    if not c.records or not c.line_memory:
        delete_context(c)
        return NULL
    c.lines = <Line*>(<size_t>c.line_memory + sizeof(Line) - 1 & ~<size_t>(sizeof(Line) - 1))
    c.record_shift = 64 - record_bits
    c.line_shift = 64 - line_bits
    c.remembers = remembers
    c.generation = generation
    return c


cdef void delete_context(Context* c) noexcept:
    free(c.records)
    free(c.line_memory)
    free(c.aside_ids.ids)
    free(c)


@cython.final
cdef class Contexts:
    """The contexts of one vocabulary that are not in use: one for each core at most."""

    def __dealloc__(self):
        cdef Context* c
        while self.unused:
            c = self.unused
            self.unused = c.next
            delete_context(c)

    cdef Context* take(self) except NULL:
        """A context for one call. The caller holds the interpreter lock and gives it back."""
        cdef Context* c = self.unused
        if c:
            self.unused = c.next
            self.n_unused -= 1
            if c.generation == generation:
                c.aside_ids.next_look = 0
                return c
            delete_context(c)
        c = new_context()
        if not c:
            raise MemoryError()
        return c

    cdef void give_back(self, Context* c) noexcept:
        if self.n_unused >= most_unused or c.generation != generation:
            delete_context(c)
            return
        c.next = self.unused
        self.unused = c
        self.n_unused += 1


CACHES = {"": (RECORD_BITS, LINE_BITS, True), "tiny": (1, 1, True), "off": (1, 1, False)}


def use_caches(str size):
    """Encode with caches of this size from now on: "tiny", "off", or "" for the full size. No
    size changes any id."""
    global record_bits, line_bits, remembers, generation
    if size not in CACHES:
        raise ValueError(f"caches {size!r}: expected one of {', '.join(filter(None, CACHES))}")
    record_bits, line_bits, remembers = CACHES[size]
    generation += 1


use_caches(os.environ.get("HARMONY_CACHES", ""))
