"""Pieces -> ids (merging by rank) over the rank arrays, and ids -> bytes.

What this module owes its callers: arguments are checked before any pointer is used, every read
stays inside its table, a failed call leaves nothing behind, long calls run without the interpreter
lock and stop on Ctrl-C. Inner functions are `noexcept nogil`, take pointers and lengths, and
return a `Status`; the methods of `Codec` allocate, release the lock and raise.

How a piece becomes ids:

    1. The piece is a token: one look-up in a hash table (`find_token`).
    2. At most SHORT_PIECE bytes: merge the adjacent pair of lowest rank, leftmost first, until
       none is left, over two small arrays (`merge_short`).
    3. Longer, in o200k: backtracking (`encode_long`), linear in the piece.
    4. Longer, in any other vocabulary: the merging of 2 with a heap (`merge_heap`), n log n.

2 and 4 are the definition of byte-pair encoding. 3 rests on facts about o200k that the build
proves (scripts/make_rank_tables.py): every token is made by exactly one merge, whose result has a
higher rank than its halves. Then a sequence of tokens is the encoding of its text exactly when
each adjacent pair is, and `is_valid_pair` decides that for two tokens alone.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.number cimport PyNumber_Index
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from harmony._pretokenize cimport (
    find_malformed, forget_scanner_steps, next_piece_ends, scanner_steps,
)

from harmony.errors import (
    HarmonyError, InvalidUtf8Error, UnknownTokenError, VocabularyError, name_row,
)

cdef extern from "_memory.h" nogil:
    int HARMONY_BUILD_IS_DEBUG
    uint8_t byte_at(const uint8_t* values, size_t index, size_t length) noexcept
    uint32_t u32_at(const uint32_t* values, size_t index, size_t length) noexcept
    uint64_t u64_at(const uint64_t* values, size_t index, size_t length) noexcept
    uint64_t load_u64(const uint8_t* bytes) noexcept
    void prefetch(const void* address) noexcept
    void step_aside() noexcept
    void check_index(size_t index, size_t length, const char* what) noexcept
    void count_steps(size_t n) noexcept
    uint64_t steps_counted() noexcept
    void forget_steps() noexcept

cdef extern from "string.h" nogil:
    void* memmem(const void* content, size_t n_content, const void* wanted, size_t n_wanted)

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept       # unlike Cython's own, leaves the exception set
    void PyObject_GC_Track(PyObject* container)
    void PyObject_GC_UnTrack(PyObject* container)
    bint PyUnicode_IS_ASCII(object text)
    void* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

# The same as in rank_tables.py, which describes the tables.
cdef enum:
    ID_BITS = 21
    ID_MASK = 0x1FFFFF
    SHORT_LENGTH = 11
    BUCKET = 4
    RECORD_KEY = 0xFFFFFFF          # the 28 bits of a short record beside the id
cdef extern from *:
    """
    #define NO_ID 0xFFFFFFFFu
    #define EMPTY_SLOT 0xFFFFFFFFFFFFFFFFull
    #define MULTIPLIER_1 0x9E3779B97F4A7C15ull
    #define MULTIPLIER_2 0xC2B2AE3D27D4EB4Full
    """
    const uint32_t NO_ID
    const uint64_t EMPTY_SLOT
    const uint64_t MULTIPLIER_1
    const uint64_t MULTIPLIER_2

cdef enum:
    # Above this many bytes the square of the length costs more than the other engines do.
    SHORT_PIECE = 64
    # Piece ends found per call of the scanner.
    ENDS_AT_ONCE = 256
    # Ids that fit the stack: a call on a short text allocates nothing but its result.
    STACK_IDS = 512
    # Texts of more bytes than this are encoded without the interpreter lock.
    RELEASE_LOCK_ABOVE = 16384
    # Ids put into a list between two moments in which other threads may run: a power of two. Such
    # a moment takes longer than 10,000 ids do.
    IDS_BETWEEN_TURNS = 1 << 16
    # Time between two looks at pending signals. A look takes the interpreter lock, which another
    # thread may be slow to give up; looking at the clock costs next to nothing.
    MILLISECONDS_BETWEEN_SIGNALS = 50
    # Merges of a long piece between two looks at the clock.
    MERGES_BETWEEN_CLOCKS = 1 << 12

cdef enum Status:
    OK
    NO_MEMORY           # an allocation failed
    INTERRUPTED         # a signal handler raised; its exception is set
    BAD_TABLES          # the tables contradict themselves


# --- where ids go -------------------------------------------------------------------------------

cdef struct Sink:
    uint32_t* ids
    size_t n_ids
    size_t capacity
    bint on_heap        # `ids` came from malloc (else from the caller's stack)
    bint counting       # ids are only counted: those of finished pieces may be forgotten
    uint64_t forgotten
    int64_t next_look   # when to look at signals again, in milliseconds; 0: not begun


cdef Status grow(Sink* sink, size_t n_more) noexcept nogil:
    cdef size_t capacity = sink.capacity + sink.capacity // 2
    cdef uint32_t* ids
    if capacity < sink.n_ids + n_more:
        capacity = sink.n_ids + n_more
    if sink.on_heap:
        ids = <uint32_t*>realloc(sink.ids, capacity * sizeof(uint32_t))
    else:
        ids = <uint32_t*>malloc(capacity * sizeof(uint32_t))
        if ids:
            memcpy(ids, sink.ids, sink.n_ids * sizeof(uint32_t))
    if not ids:
        return NO_MEMORY
    sink.ids = ids
    sink.capacity = capacity
    sink.on_heap = True
    return OK


cdef inline Status reserve(Sink* sink, size_t n_more) noexcept nogil:
    """Room for `n_more` ids, at a point where no piece is open."""
    if sink.capacity - sink.n_ids >= n_more:
        return OK
    if sink.counting and sink.capacity >= n_more:
        sink.forgotten += sink.n_ids
        sink.n_ids = 0
        return OK
    return grow(sink, n_more)


cdef inline void push(Sink* sink, uint32_t token) noexcept nogil:
    check_index(sink.n_ids, sink.capacity, "the ids of a call")
    sink.ids[sink.n_ids] = token
    sink.n_ids += 1


cdef int signal_raised() noexcept with gil:
    """Whether a signal handler raised; its exception is then set."""
    return PyErr_CheckSignals() != 0


cdef bint must_stop(Sink* sink) noexcept nogil:
    """Now and then, whether a signal handler raised."""
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    cdef int64_t now = time.tv_sec * 1000 + time.tv_nsec // 1000000
    if now < sink.next_look:
        return False
    cdef bint is_first = sink.next_look == 0
    sink.next_look = now + MILLISECONDS_BETWEEN_SIGNALS
    return not is_first and signal_raised()


# --- tables -------------------------------------------------------------------------------------

cdef inline size_t token_length(const Tables* t, uint32_t token) noexcept nogil:
    return u32_at(t.token_starts, <size_t>token + 1, <size_t>t.n_ids + 1) - t.token_starts[token]


cdef inline uint32_t find_pair(const Tables* t, uint32_t left, uint32_t right) noexcept nogil:
    """Id of the token that merging these two makes, or NO_ID."""
    cdef uint64_t key = (<uint64_t>left) << ID_BITS | right
    cdef uint64_t value = key * MULTIPLIER_2
    cdef uint64_t at = value >> t.filter_shift
    cdef uint64_t slot
    count_steps(1)
    if not u64_at(t.pair_filter, at >> 6, t.n_filter_words) >> (at & 63) & 1:
        return NO_ID
    at = value >> t.pair_shift
    while True:
        count_steps(1)
        slot = u64_at(t.pair_slots, at, t.n_pair_slots)
        if slot >> ID_BITS == key:
            return slot & ID_MASK
        if slot == EMPTY_SLOT:
            return NO_ID
        at = (at + 1) & (t.n_pair_slots - 1)


cdef struct ShortKey:
    # What a piece of at most SHORT_LENGTH bytes is looked up by, as in rank_tables.py.
    uint64_t word_0
    uint64_t key_1
    uint64_t bucket


cdef inline void make_short_key(
    const Tables* t, const uint8_t* piece, size_t n_bytes, size_t n_readable, ShortKey* key,
) noexcept nogil:
    """The key of a piece. `n_readable` bytes may be read."""
    cdef uint8_t copy[16]
    if n_readable < 16:
        memcpy(copy, piece, n_bytes)
        piece = copy
    key.key_1 = <uint64_t>n_bytes << 24
    if n_bytes >= 8:
        key.word_0 = load_u64(piece)
        if n_bytes > 8:
            key.key_1 |= load_u64(piece + 8) & ((<uint64_t>1 << 8 * (n_bytes - 8)) - 1)
    else:
        key.word_0 = load_u64(piece) & ((<uint64_t>1 << 8 * n_bytes) - 1)
    key.bucket = (key.word_0 ^ key.key_1 * MULTIPLIER_1) * MULTIPLIER_2 >> t.short_shift


cdef inline uint32_t find_short(const Tables* t, const ShortKey* key) noexcept nogil:
    cdef uint64_t bucket = key.bucket
    cdef const uint64_t* record
    cdef int _k
    while True:
        check_index(bucket, t.n_short_buckets, "the buckets of short tokens")
        record = t.short_records + bucket * (2 * BUCKET)
        for _k in range(BUCKET):
            count_steps(1)
            if record[0] == key.word_0 and record[1] & RECORD_KEY == key.key_1:
                return <uint32_t>(record[1] >> 28)
            record += 2
        if (record - 1)[0] == 0:
            return NO_ID        # the last record of the bucket is free: nothing went further
        bucket = (bucket + 1) & (t.n_short_buckets - 1)


cdef uint32_t find_long(const Tables* t, const uint8_t* piece, size_t n_bytes) noexcept nogil:
    cdef uint64_t value = <uint64_t>n_bytes * MULTIPLIER_1
    cdef uint64_t slot, at
    cdef uint8_t tail[8]
    cdef size_t done = 0
    cdef uint32_t token
    count_steps(n_bytes // 8)
    while n_bytes - done >= 8:
        value = (value ^ load_u64(piece + done)) * MULTIPLIER_2
        value ^= value >> 32
        done += 8
    if done < n_bytes:
        (<uint64_t*>tail)[0] = 0
        memcpy(tail, piece + done, n_bytes - done)
        value = (value ^ load_u64(tail)) * MULTIPLIER_2
        value ^= value >> 32
    at = value >> t.long_shift
    while True:
        count_steps(1)
        slot = u64_at(t.long_slots, at, t.n_long_slots)
        if slot == EMPTY_SLOT:
            return NO_ID
        token = <uint32_t>slot
        if ((slot >> 32) == <uint32_t>value and token < t.n_ids
                and token_length(t, token) == n_bytes):
            count_steps(n_bytes // 8)
            if memcmp(t.token_bytes + t.token_starts[token], piece, n_bytes) == 0:
                return token
        at = (at + 1) & (t.n_long_slots - 1)


cdef inline uint32_t find_token(
    const Tables* t, const uint8_t* piece, size_t n_bytes, const ShortKey* key,
) noexcept nogil:
    """Id of the token with exactly these bytes, or NO_ID. `key` is the piece's if it is short."""
    if n_bytes <= SHORT_LENGTH:
        return find_short(t, key)
    return find_long(t, piece, n_bytes) if n_bytes <= t.longest else NO_ID


# --- merging by rank ----------------------------------------------------------------------------

cdef void merge_short(
    const Tables* t, const uint8_t* piece, size_t n_bytes, Sink* sink,
) noexcept nogil:
    """Byte-pair encoding as it is defined, for 2 to SHORT_PIECE bytes; room is reserved.

    Invariant: ids[0:n] covers the piece; ranks[i] is the id that ids[i] and ids[i + 1] merge
    into, which is also the rank of that merge, or NO_ID.
    """
    cdef uint32_t ids[SHORT_PIECE]
    cdef uint32_t ranks[SHORT_PIECE]
    cdef uint32_t lowest
    cdef size_t i, at
    cdef size_t n = n_bytes
    for i in range(n):
        ids[i] = u32_at(t.byte_ids, piece[i], 256)
    for i in range(n - 1):
        ranks[i] = u32_at(t.byte_pairs, <size_t>piece[i] << 8 | piece[i + 1], 65536)
    while n > 1:
        lowest = NO_ID
        at = 0
        count_steps(n)
        for i in range(n - 1):
            if ranks[i] < lowest:
                lowest = ranks[i]
                at = i
        if lowest == NO_ID:
            break
        ids[at] = lowest
        n -= 1
        for i in range(at + 1, n):
            ids[i] = ids[i + 1]
        for i in range(at, n - 1):
            ranks[i] = ranks[i + 1]
        if at > 0:
            ranks[at - 1] = find_pair(t, ids[at - 1], lowest)
        if at + 1 < n:
            ranks[at] = find_pair(t, lowest, ids[at + 1])
    for i in range(n):
        push(sink, ids[i])


cdef struct Heap:
    uint64_t* entries       # rank << 32 | position, smallest first
    size_t n_entries


cdef inline void heap_push(Heap* heap, uint64_t entry) noexcept nogil:
    cdef size_t at = heap.n_entries
    cdef size_t parent
    heap.n_entries += 1
    while at > 0:
        parent = (at - 1) >> 1
        count_steps(1)
        if heap.entries[parent] <= entry:
            break
        heap.entries[at] = heap.entries[parent]
        at = parent
    heap.entries[at] = entry


cdef inline uint64_t heap_pop(Heap* heap) noexcept nogil:
    cdef uint64_t top = heap.entries[0]
    cdef size_t at = 0
    cdef size_t child
    heap.n_entries -= 1
    cdef uint64_t entry = heap.entries[heap.n_entries]
    while True:
        child = 2 * at + 1
        count_steps(1)
        if child >= heap.n_entries:
            break
        if child + 1 < heap.n_entries and heap.entries[child + 1] < heap.entries[child]:
            child += 1
        if entry <= heap.entries[child]:
            break
        heap.entries[at] = heap.entries[child]
        at = child
    heap.entries[at] = entry
    return top


cdef struct Part:
    # One token of a piece that is being merged, in a list linked both ways.
    uint32_t token          # NO_ID once merged into the part before it
    uint32_t rank           # of the merge with the next part, or NO_ID
    uint32_t before
    uint32_t next


cdef inline void rank_again(
    const Tables* t, Part* parts, uint32_t at, uint32_t n_parts, Heap* heap,
) noexcept nogil:
    cdef uint32_t rank = NO_ID
    if parts[at].next < n_parts:
        rank = find_pair(t, parts[at].token, parts[parts[at].next].token)
    parts[at].rank = rank
    if rank != NO_ID:
        heap_push(heap, <uint64_t>rank << 32 | at)


cdef Status merge_heap(
    const Tables* t, const uint8_t* piece, size_t n_bytes, Sink* sink,
) noexcept nogil:
    """Byte-pair encoding as it is defined, for long pieces: n log n.

    Invariant: every part with a rank has an entry (rank, position) in the heap. Entries whose
    part was merged away, or whose rank changed, are left there and skipped when they come up; at
    most two are added for each merge, so 3 n entries are always enough.
    """
    cdef Status status = OK
    cdef Heap heap
    cdef uint64_t entry
    cdef uint32_t at, following
    cdef uint32_t n = <uint32_t>n_bytes
    cdef size_t n_merges = 0
    cdef size_t n_left = n_bytes
    cdef Part* parts = NULL
    if n_bytes >= NO_ID:
        return NO_MEMORY        # positions are 32 bits wide
    heap.n_entries = 0
    heap.entries = <uint64_t*>malloc(3 * n_bytes * sizeof(uint64_t))
    parts = <Part*>malloc(n_bytes * sizeof(Part))
    if not heap.entries or not parts:
        status = NO_MEMORY
    if status == OK:
        for at in range(n):
            parts[at].token = u32_at(t.byte_ids, piece[at], 256)
            parts[at].before = at - 1
            parts[at].next = at + 1
        for at in range(n):
            rank_again(t, parts, at, n, &heap)
        while heap.n_entries:
            n_merges += 1
            if n_merges & (MERGES_BETWEEN_CLOCKS - 1) == 0 and must_stop(sink):
                status = INTERRUPTED
                break
            entry = heap_pop(&heap)
            at = <uint32_t>entry
            check_index(at, n, "the parts of a piece")
            if parts[at].token == NO_ID or parts[at].rank != entry >> 32:
                continue
            following = parts[at].next
            parts[at].token = parts[at].rank
            parts[at].next = parts[following].next
            if parts[following].next < n:
                parts[parts[following].next].before = at
            parts[following].token = NO_ID
            n_left -= 1
            rank_again(t, parts, at, n, &heap)
            if at > 0:
                rank_again(t, parts, parts[at].before, n, &heap)
    if status == OK:
        status = reserve(sink, n_left)
    if status == OK:
        at = 0
        while at < n:
            push(sink, parts[at].token)
            at = parts[at].next
    free(heap.entries)
    free(parts)
    return status


# --- long pieces of o200k -----------------------------------------------------------------------

cdef bint is_valid_pair(const Tables* t, uint32_t left, uint32_t right) noexcept nogil:
    """Whether merging the bytes of `left` and `right` gives exactly these two tokens.

    It does unless some merge across the border would have come first. The tokens that ever touch
    the border are `left` and `right`, their halves next to it, the halves of those, and so on.
    We undo the merges of both sides from the last to the first and look at each pair that once
    met at the border. `deadline` is the rank below which a merge of that pair would have come
    before the merge that was undone last. Of two merges with the same rank the left one comes
    first: so the right token is undone first when both are the same, and a merge across the
    border beats the right side's next merge, but not the left side's, when ranks are equal.
    """
    cdef uint32_t deadline = NO_ID
    cdef uint32_t across, half
    while True:
        count_steps(1)
        across = find_pair(t, left, right)
        if across < deadline:
            return False
        if left > right:
            half = u32_at(t.split_right, left, t.n_ids)
            if half == left:        # a byte: so `right`, of lower rank, is one too
                return True
            deadline = left
            left = half
        else:
            half = u32_at(t.split_left, right, t.n_ids)
            if half == right:
                return True
            deadline = right + 1
            right = half


cdef uint32_t longest_match(const Tables* t, const uint8_t* text, size_t n_bytes) noexcept nogil:
    """The longest token that `text` starts with.

    The last token, in byte order, that is not greater than `text` starts with every token that
    `text` starts with. Binary search finds it among the tokens that share the first two bytes;
    its prefixes, longest first, end at the answer.
    """
    cdef size_t key = <size_t>text[0] << 8
    cdef size_t low, high, middle, length, common
    cdef uint32_t token
    cdef int order
    if n_bytes > 1:
        key |= text[1]
    low = u32_at(t.prefix_starts, key, 65537)
    high = u32_at(t.prefix_starts, key + 1, 65537)
    while low < high:       # tokens before `low` are not greater than the text, from `high` on are
        middle = (low + high) >> 1
        token = u32_at(t.sorted_ids, middle, t.n_sorted)
        length = token_length(t, token)
        order = memcmp(t.token_bytes + t.token_starts[token], text, min(length, n_bytes))
        count_steps(1 + length // 8)
        if order < 0 or (order == 0 and length <= n_bytes):
            low = middle + 1
        else:
            high = middle
    # The single bytes are tokens, so there is one before `low`.
    token = u32_at(t.sorted_ids, low - 1, t.n_sorted)
    length = token_length(t, token)
    common = 0
    while common < length and common < n_bytes and (
        t.token_bytes[t.token_starts[token] + common] == text[common]
    ):
        common += 1
    count_steps(common)
    while token_length(t, token) > common:
        count_steps(1)
        token = u32_at(t.shorter_prefix, token, t.n_ids)
        if token == NO_ID:
            return NO_ID
    return token


cdef Status encode_long(
    const Tables* t, const uint8_t* piece, size_t n_bytes, Sink* sink,
) noexcept nogil:
    """The encoding of a long piece by backtracking.

    Invariant: the ids pushed since `first` are the encoding of piece[0:at], and `candidate` is the
    longest token not yet ruled out at `at`. A position is dead when no encoding of the rest
    continues the only encoding that leads there; each dies at most once, which bounds the work.

        piece   |-- ids pushed --|-- candidate --|
        0                        at              end

    If no candidate is left at `at`, that position is dead: the last token is taken back and a
    shorter one tried in its place.
    """
    cdef Status status = OK
    cdef size_t first = sink.n_ids
    cdef size_t at = 0
    cdef size_t end
    cdef size_t n_tried = 0
    cdef uint32_t candidate, last
    cdef uint8_t* dead = <uint8_t*>calloc(n_bytes // 8 + 1, 1)
    if not dead:
        return NO_MEMORY
    candidate = longest_match(t, piece, n_bytes)
    while at < n_bytes:
        n_tried += 1
        if n_tried & (MERGES_BETWEEN_CLOCKS - 1) == 0 and must_stop(sink):
            status = INTERRUPTED
            break
        last = sink.ids[sink.n_ids - 1] if sink.n_ids > first else NO_ID
        while candidate != NO_ID:
            count_steps(1)
            end = at + token_length(t, candidate)
            if not byte_at(dead, end >> 3, n_bytes // 8 + 1) & 1 << (end & 7) and (
                last == NO_ID or is_valid_pair(t, last, candidate)
            ):
                break
            candidate = u32_at(t.shorter_prefix, candidate, t.n_ids)
        if candidate == NO_ID:
            if last == NO_ID:
                status = BAD_TABLES     # every byte is a token: some encoding exists
                break
            dead[at >> 3] |= 1 << (at & 7)
            sink.n_ids -= 1
            at -= token_length(t, last)
            candidate = u32_at(t.shorter_prefix, last, t.n_ids)
        else:
            if sink.n_ids == sink.capacity:
                status = grow(sink, 1)
                if status != OK:
                    break
            push(sink, candidate)
            at = end
            if at < n_bytes:
                candidate = longest_match(t, piece + at, n_bytes - at)
    free(dead)
    return status


# --- text -> ids --------------------------------------------------------------------------------

cdef struct Span:
    # A stretch of a text that is one special token.
    Py_ssize_t start
    Py_ssize_t stop
    uint32_t token


cdef struct Text:
    const uint8_t* bytes
    Py_ssize_t n_bytes
    const Span* specials            # in order, not overlapping
    Py_ssize_t n_specials
    const Py_ssize_t* piece_ends    # given by a pattern that is not compiled in; NULL: scan
    Py_ssize_t n_piece_ends


cdef inline Status encode_piece(
    const Tables* t, const uint8_t* piece, size_t n_bytes, const ShortKey* key, Sink* sink,
) noexcept nogil:
    cdef Status status
    cdef uint32_t token
    status = reserve(sink, n_bytes if n_bytes <= SHORT_PIECE else SHORT_PIECE)
    if status != OK:
        return status
    token = find_token(t, piece, n_bytes, key)
    if token != NO_ID:
        push(sink, token)
        return OK
    if n_bytes <= SHORT_PIECE:
        merge_short(t, piece, n_bytes, sink)
        return OK
    if t.split_left:
        return encode_long(t, piece, n_bytes, sink)
    return merge_heap(t, piece, n_bytes, sink)


cdef Status encode_stretch(
    const Tables* t, const Text* text, Py_ssize_t start, Py_ssize_t stop,
    Py_ssize_t* next_given, Sink* sink,
) noexcept nogil:
    """Encode text[start:stop], which holds no special token, as a text of its own."""
    cdef Py_ssize_t found[ENDS_AT_ONCE]
    cdef ShortKey keys[ENDS_AT_ONCE]
    cdef Py_ssize_t at
    cdef const Py_ssize_t* ends = found
    cdef Py_ssize_t n_ends, k
    cdef Status status
    while start < stop:
        if text.piece_ends:
            ends = text.piece_ends + next_given[0]
            n_ends = 0
            while (next_given[0] < text.n_piece_ends and ends[n_ends] <= stop
                   and n_ends < ENDS_AT_ONCE):
                next_given[0] += 1
                n_ends += 1
            if n_ends == 0:
                return BAD_TABLES       # the face gives ends that cover every stretch
        else:
            n_ends = next_piece_ends(text.bytes, stop, start, found, ENDS_AT_ONCE)
        # Most of the time of a look-up is waiting for memory: ask for all of it first.
        at = start
        for k in range(n_ends):
            if ends[k] - at <= SHORT_LENGTH:
                make_short_key(t, text.bytes + at, ends[k] - at, text.n_bytes - at, &keys[k])
                prefetch(t.short_records + keys[k].bucket * (2 * BUCKET))
            at = ends[k]
        for k in range(n_ends):
            status = encode_piece(t, text.bytes + start, ends[k] - start, &keys[k], sink)
            if status != OK:
                return status
            start = ends[k]
        if start < stop and must_stop(sink):
            return INTERRUPTED
    return OK


cdef Status encode_text(const Tables* t, const Text* text, Sink* sink) noexcept nogil:
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t next_given = 0
    cdef Py_ssize_t k
    cdef Status status
    for k in range(text.n_specials):
        status = encode_stretch(t, text, at, text.specials[k].start, &next_given, sink)
        if status == OK:
            status = reserve(sink, 1)
        if status != OK:
            return status
        push(sink, text.specials[k].token)
        at = text.specials[k].stop
    return encode_stretch(t, text, at, text.n_bytes, &next_given, sink)


# --- Python objects -----------------------------------------------------------------------------

cdef const uint32_t* u32_pointer(dict arrays, str name, Py_ssize_t length) except? NULL:
    """Start of a uint32 array; NULL if it is empty and may be; `length` -1: any."""
    cdef const uint32_t[::1] view = arrays[name]
    if length >= 0 and view.shape[0] != length:
        raise VocabularyError(f"table {name} has {view.shape[0]} items, expected {length}")
    return &view[0] if view.shape[0] else NULL


cdef const uint64_t* u64_pointer(dict arrays, str name, uint64_t n_buckets, int* shift) except NULL:
    """Start of a hash table, whose bucket count must be a power of two."""
    cdef const uint64_t[::1] view = arrays[name].reshape(-1)
    if n_buckets < 2 or n_buckets & (n_buckets - 1):
        raise VocabularyError(f"table {name} has {n_buckets} buckets, expected a power of two")
    shift[0] = 65 - int(n_buckets).bit_length()
    return &view[0]


@cython.final
cdef class RankTables:
    """The arrays of one vocabulary (rank_tables.py lists them), checked, ready for merging.

    Raises VocabularyError when the arrays do not fit together.
    """

    def __cinit__(self, dict arrays not None):
        cdef Tables* t = &self.tables
        cdef const uint8_t[::1] token_bytes = arrays["token_bytes"]
        cdef Py_ssize_t n_ids = len(arrays["token_starts"]) - 1
        cdef Py_ssize_t i
        cdef uint32_t token
        self.arrays = arrays
        if not 256 <= n_ids < ID_MASK:
            raise VocabularyError(f"{n_ids} ids; a vocabulary has 256 to {ID_MASK - 1}")
        t.n_ids = <uint32_t>n_ids
        t.n_token_bytes = token_bytes.shape[0]
        t.token_bytes = &token_bytes[0]
        t.token_starts = u32_pointer(arrays, "token_starts", n_ids + 1)
        for i in range(n_ids):
            if t.token_starts[i] > t.token_starts[i + 1]:
                raise VocabularyError(f"the bytes of token {i} end before they start")
            t.longest = max(t.longest, <size_t>(t.token_starts[i + 1] - t.token_starts[i]))
        if t.token_starts[n_ids] != t.n_token_bytes:
            raise VocabularyError("the token bytes do not end where the last token does")
        t.byte_ids = u32_pointer(arrays, "byte_ids", 256)
        t.byte_pairs = u32_pointer(arrays, "byte_pairs", 65536)
        if arrays["short_records"].shape[1:] != (BUCKET, 2):
            raise VocabularyError("table short_records does not have 4 records of 2 words a bucket")
        t.n_short_buckets = len(arrays["short_records"])
        t.short_records = u64_pointer(arrays, "short_records", t.n_short_buckets, &t.short_shift)
        t.n_long_slots = len(arrays["long_slots"])
        t.long_slots = u64_pointer(arrays, "long_slots", t.n_long_slots, &t.long_shift)
        t.n_pair_slots = len(arrays["pair_slots"])
        t.pair_slots = u64_pointer(arrays, "pair_slots", t.n_pair_slots, &t.pair_shift)
        t.n_filter_words = len(arrays["pair_filter"])
        t.pair_filter = u64_pointer(arrays, "pair_filter", t.n_filter_words, &t.filter_shift)
        t.filter_shift -= 6             # an index of bits, not of words
        t.sorted_ids = u32_pointer(arrays, "sorted_ids", -1)
        if t.sorted_ids:
            t.n_sorted = <uint32_t>len(arrays["sorted_ids"])
            t.split_left = u32_pointer(arrays, "split_left", n_ids)
            t.split_right = u32_pointer(arrays, "split_right", n_ids)
            t.shorter_prefix = u32_pointer(arrays, "shorter_prefix", n_ids)
            t.prefix_starts = u32_pointer(arrays, "prefix_starts", 65537)
            for token in range(t.n_ids):
                # Undoing merges must come to an end: halves have lower ranks.
                if t.split_left[token] > token or t.split_right[token] > token or (
                    t.shorter_prefix[token] != NO_ID and t.shorter_prefix[token] >= t.n_ids
                ):
                    raise VocabularyError(f"the halves of token {token} are no tokens")
            for i in range(t.n_sorted):
                if t.sorted_ids[i] >= t.n_ids:
                    raise VocabularyError(f"sorted_ids names token {t.sorted_ids[i]}")
            for i in range(65537):
                if t.prefix_starts[i] > t.n_sorted:
                    raise VocabularyError("prefix_starts points past the last token")
        self.int_objects = <PyObject**>calloc(n_ids, sizeof(PyObject*))
        if not self.int_objects:
            raise MemoryError()

    def __dealloc__(self):
        cdef uint32_t i
        if self.int_objects:
            for i in range(self.tables.n_ids):
                Py_XDECREF(self.int_objects[i])
            free(self.int_objects)

    cdef list list_of(self, const uint32_t* ids, Py_ssize_t n_ids):
        """A list of ints. The same int object stands for the same id every time: making a new
        one costs several times as much as one more reference."""
        cdef list result = PyList_New(n_ids)
        cdef Py_ssize_t i
        cdef uint32_t token
        cdef object value
        # Other threads get their turn now and then. The garbage collector would show them the
        # list, which has holes until it is full.
        PyObject_GC_UnTrack(<PyObject*>result)
        for i in range(n_ids):
            if i & (IDS_BETWEEN_TURNS - 1) == 0 and i:
                with nogil:
                    step_aside()
            token = ids[i]
            if token >= self.tables.n_ids:
                value = token
            elif self.int_objects[token]:
                value = <object>self.int_objects[token]
            else:
                value = token
                Py_INCREF(value)
                self.int_objects[token] = <PyObject*>value
            Py_INCREF(value)
            PyList_SET_ITEM(result, i, value)
        PyObject_GC_Track(<PyObject*>result)
        return result

    def id_of(self, const uint8_t[::1] token not None):
        """Rank of the token with these bytes, or None."""
        cdef ShortKey key
        cdef size_t n_bytes = token.shape[0]
        if n_bytes == 0 or n_bytes > self.tables.n_token_bytes:
            return None
        if n_bytes <= SHORT_LENGTH:
            make_short_key(&self.tables, &token[0], n_bytes, n_bytes, &key)
        found = find_token(&self.tables, &token[0], n_bytes, &key)
        return None if found == NO_ID else found


@cython.final
cdef class IdBuffer:
    """uint32 ids that own their memory. numpy.asarray(buffer) is an array over it, not a copy."""

    def __len__(self):
        return self.n_ids

    def __getbuffer__(self, Py_buffer* view, int flags):
        self.shape[0] = self.n_ids
        self.strides[0] = sizeof(uint32_t)
        view.buf = self.ids
        view.obj = self
        view.len = self.n_ids * sizeof(uint32_t)
        view.itemsize = sizeof(uint32_t)
        view.readonly = 0
        view.ndim = 1
        view.format = NULL
        if flags & PyBUF_FORMAT:
            view.format = b"I"
        view.shape = self.shape
        view.strides = self.strides
        view.suboffsets = NULL
        view.internal = NULL

    def __dealloc__(self):
        free(self.ids)


cdef IdBuffer buffer_of(Sink* sink):
    """The ids of a sink, which loses them."""
    cdef IdBuffer result = IdBuffer.__new__(IdBuffer)
    cdef size_t n_bytes = max(1, sink.n_ids) * sizeof(uint32_t)
    cdef void* ids
    if sink.on_heap:
        ids = realloc(sink.ids, n_bytes)
        if ids == NULL:
            ids = sink.ids
        sink.on_heap = False
    else:
        ids = malloc(n_bytes)
        if ids == NULL:
            raise MemoryError()
        memcpy(ids, sink.ids, sink.n_ids * sizeof(uint32_t))
    sink.n_ids, result.n_ids = 0, sink.n_ids
    result.ids = <uint32_t*>ids
    return result


cdef object utf8_of(str text):
    """The text as UTF-8 bytes. Surrogates become what UTF-16 makes of them: a pair is one
    character, one that stands alone becomes U+FFFD."""
    try:
        return PyUnicode_AsUTF8String(text)
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def bytes_of(text):
    """`text`, which is no str, as bytes or a contiguous buffer of them; TypeError if it is none."""
    if isinstance(text, bytes):
        return text
    if not PyObject_CheckBuffer(text):
        raise TypeError(f"text must be str, bytes or a UTF-8 buffer, not {type(text).__name__}")
    view = memoryview(text)
    if view.itemsize != 1 or view.ndim > 1:
        raise TypeError("text as a buffer must be one-dimensional with items of one byte; "
                        f"this has {view.ndim} dimensions of {view.itemsize}-byte items")
    return view if view.c_contiguous else view.tobytes()


def to_utf8(text):
    """`text` as something whose offsets are those of its UTF-8 form: an ASCII str, or bytes."""
    if isinstance(text, str) and not PyUnicode_IS_ASCII(text):
        return utf8_of(text)
    return text


@cython.final
cdef class Utf8:
    """The bytes of a text, kept alive and in place while this object lives."""

    cdef const uint8_t* bytes
    cdef Py_ssize_t n_bytes
    cdef object owner
    cdef Py_buffer view
    cdef bint has_view

    def __cinit__(self, text):
        cdef Py_ssize_t bad
        if isinstance(text, str):
            self.owner = utf8_of(text)
            self.bytes = <const uint8_t*>PyBytes_AS_STRING(self.owner)
            self.n_bytes = PyBytes_GET_SIZE(self.owner)
            return
        if isinstance(text, bytes):
            self.owner = text
            self.bytes = <const uint8_t*>PyBytes_AS_STRING(text)
            self.n_bytes = PyBytes_GET_SIZE(text)
        else:
            PyObject_GetBuffer(bytes_of(text), &self.view, PyBUF_SIMPLE)
            self.has_view = True
            self.bytes = <const uint8_t*>self.view.buf
            self.n_bytes = self.view.len
        with nogil:
            bad = find_malformed(self.bytes, self.n_bytes)
        if bad >= 0:
            raise InvalidUtf8Error.at(bytes(text), bad)

    def __dealloc__(self):
        if self.has_view:
            PyBuffer_Release(&self.view)


cdef int raise_status(Status status) except -1:
    if status == NO_MEMORY:
        raise MemoryError("not enough memory for the ids of this text")
    if status == BAD_TABLES:
        raise VocabularyError("the rank tables contradict themselves; reinstall the package")
    return -1       # INTERRUPTED: the exception of the signal handler is already set


@cython.final
cdef class Ids:
    """Token ids given from outside, as uint32."""

    cdef const uint32_t* ids
    cdef Py_ssize_t n_ids
    cdef uint32_t* own
    cdef const uint32_t[::1] view

    def __cinit__(self, tokens):
        if isinstance(tokens, (list, tuple)):
            self.copy(tokens)
        elif PyObject_CheckBuffer(tokens):
            self.lend(tokens)
        elif hasattr(tokens, "__array__"):
            try:
                self.lend(tokens)
            except (TypeError, RuntimeError):
                # Tensors on another device, for one, are no arrays but can be iterated.
                self.copy(list(tokens))
        else:
            self.copy(list(tokens))

    cdef int copy(self, tokens) except -1:
        cdef Py_ssize_t i = 0
        cdef Py_ssize_t n = len(tokens)
        cdef object value
        self.own = <uint32_t*>malloc(max(1, n) * sizeof(uint32_t))
        if not self.own:
            raise MemoryError()
        self.ids = self.own
        for value in tokens:
            if i == n:
                break       # an __index__ method made the list longer
            self.own[i] = id_from(value, i)
            i += 1
        self.n_ids = i

    cdef int lend(self, tokens) except -1:
        """Integer arrays of any kind, without a Python int for each id."""
        import numpy

        # numpy takes bytes for a string; their memory it takes for what it is.
        array = numpy.asarray(tokens if hasattr(tokens, "__array__") else memoryview(tokens))
        if array.ndim != 1:
            raise TypeError(f"token ids must be one-dimensional, not {array.ndim}-dimensional")
        if array.dtype.kind == "O":
            return self.copy(array.tolist())
        if array.dtype.kind not in "iu":
            raise TypeError(f"token ids must be integers, not {array.dtype}")
        if array.dtype != numpy.uint32:
            wrong = (array < 0) | (array > 0xFFFFFFFF)
            if wrong.any():
                at = int(wrong.argmax())
                id_from(array[at], at)
        self.view = numpy.ascontiguousarray(array, dtype=numpy.uint32)
        self.n_ids = self.view.shape[0]
        if self.n_ids:
            self.ids = &self.view[0]

    def __dealloc__(self):
        free(self.own)


cdef uint32_t id_from(object value, Py_ssize_t at) except? 0xFFFFFFFF:
    """One token id. TypeError if it is no integer, OverflowError outside 0 ... 2**32 - 1."""
    cdef object number = PyNumber_Index(value)
    if not 0 <= number <= 0xFFFFFFFF:
        raise OverflowError(f"token id {number} at index {at} is outside 0 ... {0xFFFFFFFF}")
    return number


@cython.final
cdef class Codec:
    """Text -> ids and ids -> bytes for one vocabulary and its special tokens.

    `ranks`: a RankTables. `specials`: {id: bytes}. Thread-safe: nothing changes after the
    constructor but the shared cache of int objects.
    """

    def __cinit__(self, RankTables ranks not None, dict specials not None):
        import numpy

        in_order = sorted(specials.items())
        self.ranks = ranks
        self.special_ids = numpy.array([token for token, _ in in_order], dtype=numpy.uint32)
        lengths = [0] + [len(text) for _, text in in_order]
        self.special_starts = numpy.cumsum(lengths, dtype=numpy.uint32)
        self.special_bytes = numpy.frombuffer(
            b"".join([text for _, text in in_order]) + b"\0", dtype=numpy.uint8)

    # text -> ids

    def encode_list(self, text, specials=None, piece_ends=None):
        """Ids of `text` as a list of int. For the arguments see `encode_into`."""
        cdef uint32_t stack_ids[STACK_IDS]
        cdef Sink sink
        start_sink(&sink, stack_ids)
        try:
            encode_into(self, text, specials, piece_ends, &sink)
            return self.ranks.list_of(sink.ids, sink.n_ids)
        finally:
            if sink.on_heap:
                free(sink.ids)

    def encode_buffer(self, text, specials=None, piece_ends=None):
        """Ids of `text` as an IdBuffer."""
        cdef uint32_t stack_ids[STACK_IDS]
        cdef Sink sink
        start_sink(&sink, stack_ids)
        try:
            encode_into(self, text, specials, piece_ends, &sink)
            return buffer_of(&sink)
        finally:
            if sink.on_heap:
                free(sink.ids)

    def count(self, text, specials=None, piece_ends=None):
        """Number of ids of `text`."""
        cdef uint32_t stack_ids[STACK_IDS]
        cdef Sink sink
        start_sink(&sink, stack_ids)
        sink.counting = True
        try:
            encode_into(self, text, specials, piece_ends, &sink)
            return sink.forgotten + sink.n_ids
        finally:
            if sink.on_heap:
                free(sink.ids)

    # many texts -> ids, many lists of ids -> texts: one chunk of a batch

    def encode_texts(self, Texts texts not None, Py_ssize_t start, Py_ssize_t stop, offsets):
        """Ids of the texts from `start` up to `stop`, one after another, as an IdBuffer.

        `offsets`, int64 with stop - start + 1 items, becomes where the ids of each begin and end.
        """
        cdef uint32_t stack_ids[STACK_IDS]
        cdef Sink sink
        start_sink(&sink, stack_ids)
        try:
            encode_rows(self, texts, start, stop, offsets, &sink)
            return buffer_of(&sink)
        finally:
            if sink.on_heap:
                free(sink.ids)

    def count_texts(self, Texts texts not None, Py_ssize_t start, Py_ssize_t stop, offsets):
        """As `encode_texts`, but the ids are only counted: nothing is returned."""
        cdef uint32_t stack_ids[STACK_IDS]
        cdef Sink sink
        start_sink(&sink, stack_ids)
        sink.counting = True
        try:
            encode_rows(self, texts, start, stop, offsets, &sink)
        finally:
            if sink.on_heap:
                free(sink.ids)

    def lists_of(self, ids, const int64_t[::1] offsets not None):
        """The ids between each two of `offsets`, as a list of int each."""
        cdef Ids source = Ids(ids)
        cdef Py_ssize_t i
        check_offsets(offsets, source.n_ids)
        return [self.ranks.list_of(source.ids + offsets[i], offsets[i + 1] - offsets[i])
                for i in range(offsets.shape[0] - 1)]

    def decode_texts(
        self, ids, const int64_t[::1] offsets not None, str errors not None, Py_ssize_t first_row=0
    ):
        """Texts of the ids between each two of `offsets`, as a list of str; `errors` as in
        bytes.decode. Errors name the row, counted from `first_row`."""
        cdef Ids source = Ids(ids)
        cdef Py_ssize_t n_rows = offsets.shape[0] - 1
        cdef Py_ssize_t n_bytes = 0
        cdef Py_ssize_t row = 0
        cdef Py_ssize_t at, length
        cdef const uint8_t* start
        cdef const char* encoded_errors
        cdef uint8_t* content
        cdef Py_ssize_t* ends
        check_offsets(offsets, source.n_ids)
        ends = <Py_ssize_t*>malloc(max(1, n_rows) * sizeof(Py_ssize_t))
        if not ends:
            raise MemoryError()
        content = NULL
        try:
            with nogil:
                at = offsets[0]
                for row in range(n_rows):
                    while at < min(offsets[row + 1], source.n_ids) and self.find_bytes(
                            source.ids[at], &start, &length):
                        n_bytes += length
                        at += 1
                    ends[row] = n_bytes
                    if at < offsets[row + 1]:
                        break
            if at < offsets[n_rows]:
                raise name_row(UnknownTokenError(source.ids[at], at - offsets[row]),
                               first_row + row)
            content = <uint8_t*>malloc(max(1, n_bytes))
            if not content:
                raise MemoryError()
            copy_bytes(self, source.ids + offsets[0], at - offsets[0], content, n_bytes)
            error_handler = errors.encode()
            encoded_errors = error_handler
            result = []
            at = 0
            for row in range(n_rows):
                try:
                    result.append(
                        PyUnicode_DecodeUTF8(<char*>content + at, ends[row] - at, encoded_errors))
                except UnicodeDecodeError as error:
                    raise name_row(error, first_row + row)
                at = ends[row]
            return result
        finally:
            free(content)
            free(ends)

    # ids -> bytes

    cdef bint find_bytes(
        self, uint32_t token, const uint8_t** start, Py_ssize_t* n_bytes
    ) noexcept nogil:
        """The bytes of an id, ordinary or special; False if there is no such token."""
        cdef const Tables* t = &self.ranks.tables
        cdef Py_ssize_t low, high, middle
        if token < t.n_ids and token_length(t, token):
            start[0] = t.token_bytes + t.token_starts[token]
            n_bytes[0] = token_length(t, token)
            return True
        low = 0
        high = self.special_ids.shape[0]
        while low < high:
            middle = (low + high) >> 1
            if self.special_ids[middle] < token:
                low = middle + 1
            else:
                high = middle
        if low == self.special_ids.shape[0] or self.special_ids[low] != token:
            return False
        start[0] = &self.special_bytes[self.special_starts[low]]
        n_bytes[0] = self.special_starts[low + 1] - self.special_starts[low]
        return True

    def decode_bytes(self, tokens):
        """The bytes of `tokens`, one after the other."""
        cdef Ids ids = Ids(tokens)
        cdef Py_ssize_t n_bytes = total_bytes(self, ids)
        cdef object result = PyBytes_FromStringAndSize(NULL, n_bytes)
        copy_bytes(self, ids.ids, ids.n_ids, <uint8_t*>PyBytes_AS_STRING(result), n_bytes)
        return result

    def decode_str(self, tokens, str errors not None):
        """The bytes of `tokens` read as UTF-8; `errors` as in bytes.decode."""
        return str_from(self, Ids(tokens), errors.encode())

    def decode_list(self, tokens):
        """The bytes of each token, as a list."""
        cdef Ids ids = Ids(tokens)
        cdef Py_ssize_t i, n_bytes
        cdef const uint8_t* start
        result = []
        for i in range(ids.n_ids):
            if not self.find_bytes(ids.ids[i], &start, &n_bytes):
                raise UnknownTokenError(ids.ids[i], i)
            result.append(PyBytes_FromStringAndSize(<const char*>start, n_bytes))
        return result

    def decode_with_offsets(self, tokens):
        """The text, strictly UTF-8, and for each token the index of the character it starts in."""
        cdef Ids ids = Ids(tokens)
        cdef Py_ssize_t i, k, n_bytes
        cdef Py_ssize_t n_characters = 0
        cdef const uint8_t* start
        cdef str text = str_from(self, ids, b"strict")
        result = []
        for i in range(ids.n_ids):
            if not self.find_bytes(ids.ids[i], &start, &n_bytes):
                raise UnknownTokenError(ids.ids[i], i)
            # A token that begins inside a character belongs to the one that began before it.
            result.append(max(0, n_characters - (start[0] & 0xC0 == 0x80)))
            for k in range(n_bytes):
                n_characters += start[k] & 0xC0 != 0x80
        return text, result


cdef inline void start_sink(Sink* sink, uint32_t* stack_ids) noexcept:
    sink.ids = stack_ids
    sink.n_ids = 0
    sink.capacity = STACK_IDS
    sink.on_heap = False
    sink.counting = False
    sink.forgotten = 0
    sink.next_look = 0


cdef int encode_into(Codec codec, text, specials, piece_ends, Sink* sink) except -1:
    """Fill the sink, which the caller frees whatever happens.

    `specials`: None or a list of (start, stop, id) in bytes; `piece_ends`: None (the compiled
    splitter) or an intp array of the ends of all pieces that lie outside the specials.
    """
    cdef Text source
    cdef Utf8 utf8
    cdef Span* spans = NULL
    cdef Status status
    cdef const Py_ssize_t[::1] given
    cdef Py_ssize_t at = 0
    source.n_specials = 0
    source.piece_ends = NULL
    source.n_piece_ends = 0
    if isinstance(text, str) and PyUnicode_IS_ASCII(text):
        source.bytes = <const uint8_t*>PyUnicode_DATA(text)
        source.n_bytes = PyUnicode_GET_LENGTH(text)
    else:
        utf8 = Utf8(text)
        source.bytes = utf8.bytes
        source.n_bytes = utf8.n_bytes
    if source.n_bytes == 0:
        return 0
    if piece_ends is not None:
        given = piece_ends
        source.n_piece_ends = given.shape[0]
        for end in given:
            if not at < end <= source.n_bytes:
                raise ValueError("piece ends must increase and lie inside the text")
            at = end
        if source.n_piece_ends:
            source.piece_ends = &given[0]
    try:
        if specials:
            spans = <Span*>malloc(len(specials) * sizeof(Span))
            if not spans:
                raise MemoryError()
            at = 0
            for start, stop, token in specials:
                if not at <= start < stop <= source.n_bytes:
                    raise ValueError("special tokens must not overlap and lie inside the text")
                spans[source.n_specials].start = start
                spans[source.n_specials].stop = at = stop
                spans[source.n_specials].token = token
                source.n_specials += 1
            source.specials = spans
        if source.n_bytes > RELEASE_LOCK_ABOVE:
            with nogil:
                status = encode_text(&codec.ranks.tables, &source, sink)
        else:
            status = encode_text(&codec.ranks.tables, &source, sink)
    finally:
        free(spans)
    if status != OK:
        return raise_status(status)
    return 0


@cython.final
cdef class Texts:
    """The texts of a batch, kept alive and in place while this object lives.

    `texts`: a list of texts; errors name the row, counted from `first_row`. Or else rows of one
    buffer of UTF-8, as Arrow keeps them: `texts` is the buffer, `offsets` int64 with one item more
    than there are rows, and `present` uint8 with one for each, 0 for a row that is null.
    """

    cdef Text* texts
    cdef Py_ssize_t n_texts
    cdef Py_ssize_t first_row
    cdef list owners

    def __cinit__(self, texts, Py_ssize_t first_row=0, offsets=None, present=None):
        self.first_row = first_row
        self.owners = []
        self.n_texts = len(texts) if offsets is None else len(offsets) - 1
        if self.n_texts < 0:
            raise ValueError("offsets hold one item more than there are rows")
        self.texts = <Text*>calloc(max(1, self.n_texts), sizeof(Text))
        if not self.texts:
            raise MemoryError()
        if offsets is None:
            self.take_list(texts)
        else:
            self.take_rows(texts, offsets, present)

    cdef int take_list(self, list texts) except -1:
        cdef Py_ssize_t i
        cdef object text
        cdef Utf8 utf8
        if len(texts) != self.n_texts:
            raise ValueError("the list of texts has changed")
        for i in range(self.n_texts):
            text = texts[i]
            if isinstance(text, str) and PyUnicode_IS_ASCII(text):
                self.texts[i].bytes = <const uint8_t*>PyUnicode_DATA(text)
                self.texts[i].n_bytes = PyUnicode_GET_LENGTH(text)
                self.owners.append(text)
                continue
            try:
                utf8 = Utf8(text)
            except (HarmonyError, TypeError) as error:
                raise name_row(error, self.first_row + i)
            self.texts[i].bytes = utf8.bytes
            self.texts[i].n_bytes = utf8.n_bytes
            self.owners.append(utf8)

    cdef int take_rows(self, buffer, const int64_t[::1] offsets, present) except -1:
        cdef const uint8_t[::1] content = buffer
        cdef const uint8_t[::1] mask
        cdef Py_ssize_t i
        cdef Py_ssize_t bad = -1
        check_offsets(offsets, content.shape[0])
        if present is not None:
            mask = present
            if mask.shape[0] != self.n_texts:
                raise ValueError("there is one mark of presence for each row")
        self.owners.append(content)
        if content.shape[0] == 0:
            return 0
        for i in range(self.n_texts):
            if present is None or mask[i]:
                self.texts[i].bytes = &content[0] + offsets[i]
                self.texts[i].n_bytes = offsets[i + 1] - offsets[i]
        with nogil:
            for i in range(self.n_texts):
                if self.texts[i].n_bytes:
                    bad = find_malformed(self.texts[i].bytes, self.texts[i].n_bytes)
                    if bad >= 0:
                        break
        if bad >= 0:
            raise name_row(InvalidUtf8Error.at(self.utf8(i), bad), self.first_row + i)

    def __len__(self):
        return self.n_texts

    def utf8(self, Py_ssize_t row):
        """The bytes of one text."""
        if not 0 <= row < self.n_texts:
            raise IndexError(row)
        return PyBytes_FromStringAndSize(<const char*>self.texts[row].bytes,
                                         self.texts[row].n_bytes)

    def rows_with(self, bytes marker not None):
        """The rows that hold `marker`, as a list."""
        cdef const uint8_t* wanted = <const uint8_t*>PyBytes_AS_STRING(marker)
        cdef size_t n_wanted = PyBytes_GET_SIZE(marker)
        cdef Py_ssize_t i = 0
        rows = []
        while True:
            with nogil:
                while i < self.n_texts and not (self.texts[i].n_bytes and memmem(
                        self.texts[i].bytes, self.texts[i].n_bytes, wanted, n_wanted)):
                    i += 1
            if i == self.n_texts:
                return rows
            rows.append(i)
            i += 1

    def cut(self, Py_ssize_t row, specials, piece_ends):
        """Where the special tokens of a text stand, and its pieces end: as for `Codec.encode_list`,
        in bytes of UTF-8."""
        cdef Span* spans
        cdef const Py_ssize_t[::1] ends
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t n_specials = 0
        cdef Text* text
        if not 0 <= row < self.n_texts:
            raise IndexError(row)
        text = &self.texts[row]
        if piece_ends is not None:
            # Its own copy: nobody may change it between this check and its use.
            ends = piece_ends.copy()
            for end in ends:
                if not at < end <= text.n_bytes:
                    raise ValueError("piece ends must increase and lie inside the text")
                at = end
            self.owners.append(ends)
            text.n_piece_ends = ends.shape[0]
            text.piece_ends = &ends[0] if ends.shape[0] else NULL
        if specials:
            owner = bytearray(len(specials) * sizeof(Span))
            spans = <Span*><char*>owner
            at = 0
            for start, stop, token in specials:
                if not at <= start < stop <= text.n_bytes:
                    raise ValueError("special tokens must not overlap and lie inside the text")
                spans[n_specials].start = start
                spans[n_specials].stop = at = stop
                spans[n_specials].token = token
                n_specials += 1
            self.owners.append(owner)
            text.specials = spans
            text.n_specials = n_specials

    def __dealloc__(self):
        free(self.texts)


cdef int check_offsets(const int64_t[::1] offsets, Py_ssize_t n_items) except -1:
    """Offsets do not decrease and stay inside what they point into."""
    cdef Py_ssize_t i
    cdef bint fit = offsets.shape[0] > 0 and offsets[0] >= 0
    if fit:
        for i in range(offsets.shape[0] - 1):
            fit = fit and offsets[i] <= offsets[i + 1]
        fit = fit and offsets[offsets.shape[0] - 1] <= n_items
    if not fit:
        raise ValueError("offsets must not decrease, and stay inside what they point into")
    return 0


def join_ids(list rows not None, int64_t[::1] offsets not None):
    """Token ids given from outside in many rows, one after another, as an IdBuffer; `offsets`,
    int64 with one item more than rows, becomes where they begin and end. Errors name the row."""
    cdef Sink sink
    cdef uint32_t stack_ids[STACK_IDS]
    cdef Ids ids
    cdef Py_ssize_t row
    if offsets.shape[0] != len(rows) + 1:
        raise ValueError(f"{offsets.shape[0]} offsets for {len(rows)} rows")
    start_sink(&sink, stack_ids)
    offsets[0] = 0
    try:
        for row in range(offsets.shape[0] - 1):
            try:
                ids = Ids(rows[row])
            except (TypeError, ValueError, OverflowError) as error:
                raise name_row(error, row)
            if reserve(&sink, ids.n_ids) != OK:
                raise MemoryError()
            if ids.n_ids:
                memcpy(sink.ids + sink.n_ids, ids.ids, ids.n_ids * sizeof(uint32_t))
            sink.n_ids += ids.n_ids
            offsets[row + 1] = sink.n_ids
        return buffer_of(&sink)
    finally:
        if sink.on_heap:
            free(sink.ids)


cdef int encode_rows(
    Codec codec, Texts texts, Py_ssize_t start, Py_ssize_t stop, int64_t[::1] offsets, Sink* sink
) except -1:
    """Fill the sink, which the caller frees, with the ids of the texts start ... stop."""
    cdef Status status = OK
    cdef Py_ssize_t i
    if not 0 <= start <= stop <= texts.n_texts or offsets.shape[0] != stop - start + 1:
        raise ValueError(f"{len(offsets)} offsets for texts {start} to {stop} of {texts.n_texts}")
    with nogil:
        offsets[0] = 0
        for i in range(start, stop):
            if texts.texts[i].n_bytes:
                status = encode_text(&codec.ranks.tables, &texts.texts[i], sink)
                if status != OK:
                    break
            offsets[i - start + 1] = sink.forgotten + sink.n_ids
    if status != OK:
        return raise_status(status)
    return 0


cdef Py_ssize_t total_bytes(Codec codec, Ids ids) except -1:
    """Number of bytes that these ids stand for; UnknownTokenError for the first without any."""
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t n_bytes
    cdef const uint8_t* start
    with nogil:
        while i < ids.n_ids and codec.find_bytes(ids.ids[i], &start, &n_bytes):
            total += n_bytes
            i += 1
    if i < ids.n_ids:
        raise UnknownTokenError(ids.ids[i], i)
    return total


cdef void copy_bytes(
    Codec codec, const uint32_t* ids, Py_ssize_t n_ids, uint8_t* target, Py_ssize_t n_target
) noexcept:
    """Write the bytes of all ids to `target`. An array that somebody else changed since
    `total_bytes` read it must not lead past its end."""
    cdef Py_ssize_t i, n_bytes
    cdef const uint8_t* start
    with nogil:
        for i in range(n_ids):
            if not codec.find_bytes(ids[i], &start, &n_bytes) or n_bytes > n_target:
                break
            memcpy(target, start, n_bytes)
            target += n_bytes
            n_target -= n_bytes
        memset(target, 0, n_target)


cdef str str_from(Codec codec, Ids ids, bytes errors):
    cdef Py_ssize_t n_bytes = total_bytes(codec, ids)
    cdef uint8_t* text = <uint8_t*>malloc(max(1, n_bytes))
    if not text:
        raise MemoryError()
    try:
        copy_bytes(codec, ids.ids, ids.n_ids, text, n_bytes)
        return PyUnicode_DecodeUTF8(<char*>text, n_bytes, errors)
    finally:
        free(text)


def build_mode():
    """"debug" if bounds checks and step counts are compiled in, else "release"."""
    return "debug" if HARMONY_BUILD_IS_DEBUG else "release"


def steps():
    """Steps taken in this thread since `reset_steps()`: characters examined by the scanner, table
    slots probed, keys compared, items looked through for the lowest rank. Debug build only."""
    if not HARMONY_BUILD_IS_DEBUG:
        raise RuntimeError("steps are counted in the debug build only (HARMONY_BUILD=debug)")
    return steps_counted() + scanner_steps()


def reset_steps():
    """Start the count of `steps()` again."""
    forget_steps()
    forget_scanner_steps()
