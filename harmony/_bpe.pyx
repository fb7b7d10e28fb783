"""Pieces -> ids (merging by rank) over the rank arrays.

What this module owes its callers: every read stays inside its table, time is linear in the piece,
or n log n. Functions are `noexcept nogil`, take pointers and lengths, and return a `Status`; the
constructor of `RankTables` checks the arrays that everything else relies on.

How a piece that is no token itself becomes ids:

    1. At most SHORT_PIECE bytes, or as many characters where it is merged by these: merge the
       adjacent pair of lowest rank, leftmost first, until none is left. Many pieces are merged
       together, a merge of each in turn (`begin_merging`, `end_merging`).
    2. Longer, in o200k: by 1, in windows that are joined where they agree (`encode_in_windows`), or
       else by backtracking (`encode_by_backtracking`); linear in the piece. Most of a very long run
       of one character is left out and put back as ids (`encode_with_run`).
    3. Longer, in any other vocabulary: the merging of 1 with a heap (`merge_heap`), n log n.

1 and 3 are the definition of byte-pair encoding. 2 rests on facts about o200k that the build
proves (scripts/make_rank_tables.py): every token is made by exactly one merge, whose result has a
higher rank than its halves. Then a sequence of tokens is the encoding of its text exactly when
each adjacent pair is, and `is_valid_pair` decides that for two tokens alone.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from harmony._pretokenize cimport forget_scanner_steps, scanner_steps
from harmony._segments cimport (
    CUT_BITS, FILLED_AT_ONCE, GUARD, ID_BITS, ID_SHIFT, LANES, LANES_AT_ONCE, LOWEST_REGION,
    NO_RECORD_ID, NUMBER_BITS, Pairs, RECORD_ID_BITS, Tier, forget_segment_steps, segment_steps,
    tier,
)

from harmony.errors import VocabularyError

cdef extern from "_memory.h" nogil:
    int HARMONY_BUILD_IS_DEBUG
    uint8_t byte_at(const uint8_t* values, size_t index, size_t length) noexcept
    uint64_t u64_at(const uint64_t* values, size_t index, size_t length) noexcept
    uint64_t load_u64(const uint8_t* bytes) noexcept
    uint32_t load_u16(const uint8_t* bytes) noexcept
    uint32_t number_or(uint64_t number, int n_bits, uint32_t none) noexcept
    int lowest_bit(uint64_t bits) noexcept
    int highest_bit(uint64_t bits) noexcept
    uint64_t steps_counted() noexcept
    void forget_steps() noexcept
    void* allocate_for_huge_pages(size_t n_bytes) noexcept
    void want_huge_pages(void* memory, size_t n_bytes) noexcept

cdef extern from "_tier.h" nogil:
    uint32_t place_of_pair(const Pairs* pairs, uint32_t left, uint32_t right) noexcept
    bint are_equal_to_32(const uint8_t* a, const uint8_t* b, size_t n) noexcept

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept       # unlike Cython's own, leaves the exception set

# The same as in rank_tables.py, which describes the tables.
cdef enum:
    ID_MASK = 0x1FFFFF

cdef enum:
    # A run of so many bytes is encoded at the length of the other, if its tokens repeat.
    LONG_RUN = 4096
    SHORT_RUN = 1024
    # Time between two looks at pending signals. A look takes the interpreter lock, which another
    # thread may be slow to give up; looking at the clock costs next to nothing.
    MILLISECONDS_BETWEEN_SIGNALS = 20
    # Merges of a long piece between two looks at the clock.
    MERGES_BETWEEN_CLOCKS = 1 << 12
    # Bytes of ids that are worth huge pages.
    HUGE_ABOVE = 1 << 22


# --- where ids go -------------------------------------------------------------------------------

cdef Status grow(Sink* sink, size_t n_more) noexcept nogil:
    cdef size_t capacity = sink.capacity + sink.capacity // 2
    cdef uint32_t* ids
    if capacity < sink.n_ids + n_more:
        capacity = sink.n_ids + n_more
    if sink.n_ids == 0 and capacity * sizeof(uint32_t) > HUGE_ABOVE:
        ids = <uint32_t*>allocate_for_huge_pages(capacity * sizeof(uint32_t))
        if ids and sink.on_heap:
            free(sink.ids)
    elif sink.on_heap:
        ids = <uint32_t*>realloc(sink.ids, capacity * sizeof(uint32_t))
    else:
        ids = <uint32_t*>malloc(capacity * sizeof(uint32_t))
        if ids and sink.n_ids:      # without any, their place may be NULL
            memcpy(ids, sink.ids, sink.n_ids * sizeof(uint32_t))
    if not ids:
        return NO_MEMORY
    if capacity * sizeof(uint32_t) > HUGE_ABOVE:
        want_huge_pages(ids, capacity * sizeof(uint32_t))
    sink.ids = ids
    sink.capacity = capacity
    sink.on_heap = True
    return OK


cdef Status reserve(Sink* sink, size_t n_more) noexcept nogil:
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

cdef inline uint64_t key_of_pair(uint32_t left, uint32_t right) noexcept nogil:
    return <uint64_t>left << ID_BITS | right


cdef inline uint32_t rank_at(
    const Tables* t, uint32_t place, uint32_t left, uint32_t right,
) noexcept nogil:
    """Rank of merging these two, whose record belongs at `place`: the id this makes, or NO_ID."""
    cdef uint64_t record = u64_at(t.pairs.records, place, t.pairs.n_records)
    count_steps(1)
    return number_or(record ^ key_of_pair(left, right) << ID_BITS, ID_BITS, NO_ID)


cdef inline uint32_t find_pair(const Tables* t, uint32_t left, uint32_t right) noexcept nogil:
    """Id of the token that merging these two makes, or NO_ID."""
    return rank_at(t, place_of_pair(&t.pairs, left, right), left, right)


cdef uint64_t hash_of_long(const uint8_t* piece, size_t n_bytes) noexcept nogil:
    cdef uint64_t value = <uint64_t>n_bytes * MULTIPLIER_1
    cdef uint64_t last = 0
    cdef size_t done = 0
    count_steps(n_bytes // 8)
    while n_bytes - done > 8:
        value = (value ^ load_u64(piece + done)) * MULTIPLIER_2
        value ^= value >> 32
        done += 8
    if n_bytes >= 8:
        last = load_u64(piece + n_bytes - 8)
    else:
        for done in range(n_bytes):
            last |= <uint64_t>piece[done] << 8 * done
    value = (value ^ last) * MULTIPLIER_2
    return value ^ value >> 32


cdef uint32_t find_long(
    const Tables* t, const uint8_t* piece, size_t n_bytes, uint64_t hash, uint32_t place,
) noexcept nogil:
    cdef uint64_t record = u64_at(t.long_records, place, t.long_region.n_places)
    cdef uint32_t token = <uint32_t>record
    if record >> 32 != <uint32_t>hash or token >= t.n_ids or token_length(t, token) != n_bytes:
        return NO_ID
    count_steps(n_bytes // 8)
    if 8 <= n_bytes <= 32:
        return token if are_equal_to_32(
            t.token_bytes + t.token_starts[token], piece, n_bytes) else NO_ID
    return token if memcmp(t.token_bytes + t.token_starts[token], piece, n_bytes) == 0 else NO_ID


# --- merging by rank ----------------------------------------------------------------------------

cdef struct Units:
    # What a piece is merged from: bytes, or characters.
    size_t n
    uint8_t starts[LANES]               # where each starts, and where the last one ends
    uint32_t tokens[LANES + LANES_AT_ONCE]
    # Of the border before each, and of that behind the last: the token that both units make, and
    # the first token that holds the border; NO_ID: none.
    uint32_t pairs[LANES + LANES_AT_ONCE]
    uint32_t holders[LANES + LANES_AT_ONCE]


cdef void read_bytes(
    const Tables* t, const uint8_t* piece, size_t n_bytes, Units* units,
) noexcept nogil:
    """Units that are bytes."""
    cdef size_t i, key
    count_steps(n_bytes)
    units.tokens[0] = u32_at(t.units.byte_ids, piece[0], 256)
    for i in range(1, n_bytes):
        units.tokens[i] = u32_at(t.units.byte_ids, piece[i], 256)
        key = <size_t>load_u16(piece + i - 1) * 2
        units.pairs[i] = u32_at(t.units.byte_pairs, key, 2 * 65536)
        units.holders[i] = u32_at(t.units.byte_pairs, key + 1, 2 * 65536)
    units.n = n_bytes


cdef inline uint32_t code_point_at(
    const uint8_t* piece, size_t n_bytes, size_t at, size_t* length,
) noexcept nogil:
    """The code point of the character of up to three bytes at `at`; U+FFFF, which is none, if there
    is no such character."""
    cdef uint32_t first = piece[at]
    if first < 0x80:
        length[0] = 1
        return first
    if first < 0xE0:
        length[0] = 2
        if n_bytes - at >= 2 and first >= 0xC2 and piece[at + 1] >> 6 == 2:
            return (first & 0x1F) << 6 | (piece[at + 1] & 0x3F)
        return 0xFFFF
    length[0] = 3
    if first < 0xF0 and n_bytes - at >= 3 and piece[at + 1] >> 6 == 2 and piece[at + 2] >> 6 == 2:
        first = (first & 0x0F) << 12 | (piece[at + 1] & 0x3F) << 6 | (piece[at + 2] & 0x3F)
        return first if first >= 0x800 else 0xFFFF
    return 0xFFFF


cdef bint read_characters(
    const Tables* t, const uint8_t* piece, size_t n_bytes, Units* units,
) noexcept nogil:
    """Units that are characters. Returns False if one of them is no token, or they are too many."""
    cdef uint32_t numbers[1 + LANES + LANES_AT_ONCE]    # of characters; the first has none before
    cdef uint32_t places[LANES + LANES_AT_ONCE]         # of the records of the borders before them
    cdef uint32_t character, pair
    cdef uint64_t record, key
    cdef size_t n = 0
    cdef size_t i = 0
    cdef size_t k, length
    numbers[0] = 0
    while i < n_bytes:
        character = u32_at(t.units.characters, code_point_at(piece, n_bytes, i, &length), 65536)
        if character == NO_ID or n == SHORT_PIECE:
            return False
        units.tokens[n] = character & NO_RECORD_ID
        units.starts[n] = <uint8_t>i
        i += length
        n += 1
        numbers[n] = character >> RECORD_ID_BITS
    count_steps(n)
    units.n = n
    units.starts[n] = <uint8_t>n_bytes
    tier.find_places(&t.units.borders, numbers, numbers + 1, n, places)
    for k in range(1, n):
        record = u64_at(t.units.borders.records, places[k], t.units.borders.n_records)
        key = <uint64_t>numbers[k] << NUMBER_BITS | numbers[k + 1]
        record |= -<uint64_t>(record >> 2 * RECORD_ID_BITS != key)
        units.holders[k] = record >> RECORD_ID_BITS & NO_RECORD_ID
        pair = record & NO_RECORD_ID
        units.pairs[k] = pair | -<uint32_t>(pair == NO_RECORD_ID)
    return True


cdef inline void add_lane(
    Merging* m, size_t lane, uint32_t token, uint32_t rank, uint32_t is_known,
) noexcept nogil:
    """Put a token behind this lane, whose rank is known, or else is yet to be looked up."""
    cdef Lanes* lanes = &m.pieces[m.n]
    m.wanted_lanes[m.n_wanted] = <uint16_t>(m.n * LANES + lane)
    m.n_wanted += 1 - is_known
    lanes.ranks[lane] = rank | (is_known - 1)
    lanes.ids[lane + 1] = token


cdef bint begin_merging(
    const Tables* t, Merging* m, const uint8_t* piece, size_t n_bytes,
) noexcept nogil:
    """The first merges of a piece, and which others are possible then. Returns False, and does
    nothing, if it may need more than SHORT_PIECE lanes.

    Two units, bytes or characters, are merged here if that comes before any merge which could take
    one of them away: every such merge makes a token that holds the border to the unit before or
    behind the two, and the first of these tokens is known. No unit is in two such pairs. What is
    done to make the token of the two of their bytes does not matter: nothing comes between.

        piece    w  o  r  d  s
        pairs      wo or rd ds       or is merged if it comes before wo, rd and all longer tokens
        holders    wo or rd ds       that hold these borders

    By the same rule a character that is merged with none is one token; or else it is late, and
    other tokens may take a part of it, so that its bytes are merged one by one.

    What the others make `end_merging` looks up, for many pieces at once.

    Where a processor has the instructions, its tier does the same for pieces of few units, none of
    them late, without a branch on what they are.
    """
    cdef Lanes* lanes = &m.pieces[m.n]
    cdef Units units
    cdef uint32_t token
    cdef uint64_t starts, alone, known, seconds, rest
    cdef uint64_t late = 0
    cdef size_t n_lanes
    cdef size_t lane = 0
    cdef size_t i = piece[0] == 0x20 and n_bytes > 1
    # From U+0380 on: in words of Latin script there are more characters, but less to gain.
    cdef bint by_characters = t.units.borders.records != NULL and piece[i] >= 0xCE
    cdef const Tier* own_tier = tier
    cdef int n_wanted
    if own_tier.begin_merging:
        n_wanted = own_tier.begin_merging(
            &t.units, piece, n_bytes, by_characters, lanes, <uint32_t>(m.n * LANES),
            m.wanted_lanes + m.n_wanted)
        if n_wanted >= 0:
            m.n_wanted += n_wanted
            m.n += 1
            return True
    if by_characters:
        by_characters = read_characters(t, piece, n_bytes, &units)
    if not by_characters:
        if n_bytes > SHORT_PIECE:
            return False
        read_bytes(t, piece, n_bytes, &units)
    units.pairs[0] = units.holders[0] = units.holders[units.n] = NO_ID
    seconds = tier.find_first_merges(units.pairs, units.holders, units.n)
    starts = ((<uint64_t>1 << units.n) - 1) & ~seconds
    alone = starts & ~(seconds >> 1)
    if by_characters:
        late = alone & tier.find_late(units.tokens, units.holders, units.n)
        alone ^= late
    n_lanes = units.n
    rest = late
    while rest:                     # each in up to three lanes
        rest &= rest - 1
        n_lanes += 2
    n_lanes = min(n_lanes, n_bytes)
    if n_lanes > SHORT_PIECE:
        return False
    # Where a unit follows a unit, it is known what they make; where nothing is before, too.
    known = alone & alone << 1 | 1
    lanes.piece = piece
    lanes.n_bytes = <uint32_t>n_bytes
    lanes.ids[0] = GUARD
    i = 0
    while i < n_lanes + 2:
        memset(lanes.ranks + i, 0xFF, LANES_AT_ONCE * sizeof(uint32_t))     # NO_ID
        i += LANES_AT_ONCE
    if own_tier.fill_lanes and not late and units.n <= FILLED_AT_ONCE:
        lane = own_tier.fill_lanes(
            units.tokens, units.pairs, units.n, starts, known, lanes, <uint32_t>(m.n * LANES),
            m.wanted_lanes, &m.n_wanted)
        starts = 0
    while starts:
        i = lowest_bit(starts)
        starts &= starts - 1
        if late >> i & 1:
            for i in range(units.starts[i], units.starts[i + 1]):
                add_lane(m, lane, u32_at(t.units.byte_ids, piece[i], 256), NO_ID, False)
                lane += 1
            continue
        token = units.tokens[i]
        token = units.pairs[i + 1] if seconds >> 1 >> i & 1 else token
        add_lane(m, lane, token, units.pairs[i], known >> i & 1)
        lane += 1
    lane += 1
    lanes.ids[lane] = GUARD
    lanes.live = (<uint64_t>2 << lane) - 1
    lanes.n_lanes = <uint32_t>(lane + LANES_AT_ONCE) & ~<uint32_t>(LANES_AT_ONCE - 1)
    m.n += 1
    return True


cdef struct Wanted:
    # Pairs of tokens whose merges are looked up together, where their records are, and where the
    # ranks go.
    size_t n
    uint32_t lefts[2 * MERGED_AT_ONCE + LANES_AT_ONCE]
    uint32_t rights[2 * MERGED_AT_ONCE + LANES_AT_ONCE]
    uint32_t places[2 * MERGED_AT_ONCE + LANES_AT_ONCE]
    uint32_t* ranks[2 * MERGED_AT_ONCE]


cdef inline void want(Wanted* w, uint32_t left, uint32_t right, uint32_t* rank) noexcept nogil:
    w.lefts[w.n] = left
    w.rights[w.n] = right
    w.ranks[w.n] = rank
    w.n += 1


cdef void look_up_wanted(const Tables* t, Wanted* w) noexcept nogil:
    cdef size_t i
    tier.find_places(&t.pairs, w.lefts, w.rights, w.n, w.places)
    for i in range(w.n):
        w.ranks[i][0] = rank_at(t, w.places[i], w.lefts[i], w.rights[i])
    w.n = 0


cdef inline void make_merge(Lanes* lanes, uint32_t at, Wanted* w) noexcept nogil:
    """Merge the token in this lane with the next; it is wanted what both neighbours would make."""
    cdef uint64_t behind = lanes.live & ~<uint64_t>1 << at
    cdef int first = highest_bit(lanes.live & ((<uint64_t>1 << at) - 1))
    cdef int second = lowest_bit(behind)
    cdef uint32_t merged = lanes.ranks[at]
    behind &= behind - 1
    lanes.live ^= <uint64_t>1 << second
    lanes.ranks[second] = NO_ID
    lanes.ids[at] = merged
    want(w, lanes.ids[first], merged, &lanes.ranks[first])
    want(w, merged, lanes.ids[lowest_bit(behind)], &lanes.ranks[at])


cdef void end_merging(const Tables* t, Merging* m) noexcept nogil:
    """Byte-pair encoding as it is defined, for all pieces that were begun, a merge of each in turn.

    A merge waits for memory, and which one comes next is hard to guess: while one piece waits, the
    processor works on others. It has to know on which, so that no branch depends on a rank.
    """
    cdef uint8_t open[MERGED_AT_ONCE]           # pieces that may have a merge
    cdef uint8_t lowest[MERGED_AT_ONCE]         # the lane of each
    cdef Wanted wanted
    cdef Lanes* lanes
    cdef size_t i, at
    cdef size_t n = m.n
    wanted.n = 0
    for i in range(m.n_wanted):
        lanes = &m.pieces[m.wanted_lanes[i] // LANES]
        at = m.wanted_lanes[i] % LANES
        want(&wanted, lanes.ids[at], lanes.ids[at + 1], &lanes.ranks[at])
        if wanted.n == 2 * MERGED_AT_ONCE:
            look_up_wanted(t, &wanted)
    look_up_wanted(t, &wanted)
    for i in range(n):
        open[i] = <uint8_t>i
    while n:
        count_steps(LANES * n)
        n = tier.find_merges(m.pieces, open, n, lowest)
        for i in range(n):
            make_merge(&m.pieces[open[i]], lowest[i], &wanted)
        look_up_wanted(t, &wanted)
    m.n = 0
    m.n_wanted = 0


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


cdef inline void rank_part(
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
            parts[at].token = u32_at(t.units.byte_ids, piece[at], 256)
            parts[at].before = at - 1
            parts[at].next = at + 1
        for at in range(n):
            rank_part(t, parts, at, n, &heap)
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
            rank_part(t, parts, at, n, &heap)
            if at > 0:
                rank_part(t, parts, parts[at].before, n, &heap)
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


cdef Status encode_by_backtracking(
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


# --- long pieces, many parts together -------------------------------------------------------------

cdef struct Window:
    # A part of a long piece, encoded by itself, and a border of its tokens.
    size_t stop         # of the window, in the piece
    uint32_t ids[LANES]
    size_t n_ids
    size_t next         # index of the token that begins at the border
    size_t border       # in the piece


cdef size_t merge_windows(
    const Tables* t, Merging* m, const uint8_t* piece, size_t n_bytes, size_t at, size_t step,
    size_t at_once,
) noexcept nogil:
    """Encode parts of a piece from `at` on, each so many bytes behind the one before. Returns how
    many they are; the last one need not reach the end of the piece."""
    cdef size_t stop = 0
    cdef size_t n
    while stop < n_bytes and m.n < at_once and not is_full(m):
        stop = min(at + WINDOW_BYTES, n_bytes)
        if not begin_merging(t, m, piece + at, stop - at):
            break
        at += step
    n = m.n
    end_merging(t, m)
    return n


cdef void read_window(const Lanes* lanes, const uint8_t* piece, Window* window) noexcept nogil:
    window.border = lanes.piece - piece
    window.stop = window.border + lanes.n_bytes
    window.n_ids = tier.merged_ids(lanes, window.ids)
    window.next = 0


cdef bint join_windows(const Tables* t, Window* left, Window* right) noexcept nogil:
    """Go on to a border of both where the two tokens that meet are a valid pair. False: there is
    none."""
    cdef uint32_t token
    while left.next < left.n_ids:
        token = left.ids[left.next]
        left.next += 1
        left.border += token_length(t, token)
        while right.border < left.border:
            right.border += token_length(t, right.ids[right.next])
            right.next += 1
            if right.next == right.n_ids:
                return False
        if right.border == left.border and is_valid_pair(t, token, right.ids[right.next]):
            return True
    return False


cdef Status encode_in_windows(
    const Tables* t, Merging* m, const uint8_t* piece, size_t n_bytes, Sink* sink,
) noexcept nogil:
    """The encoding of a long piece from those of parts that overlap, many of them merged together.

    A sequence of tokens is the encoding of its text if each adjacent pair is valid. So two windows
    can be joined at any border that both have, if the pair of tokens that meet there is.

        piece       |-- ids pushed --|
        left        ...--|--|-----|--|---|----|--|--|
        right                              |-|---|--|--|-----|--...
                         border of left          joined here

    If a window cannot be joined to the next one, others begin at its border, closer together. If
    that does not help, or too often, backtracking encodes the piece.
    """
    cdef size_t first = sink.n_ids
    cdef size_t at = 0              # the ids that are pushed are those of piece[:at]
    cdef size_t step = WINDOW_STEP
    cdef size_t at_once = FEW_WINDOWS
    cdef size_t n_merged = 0
    cdef size_t n_joined = 0
    cdef size_t n_windows, i, next_id
    cdef size_t middle = n_bytes // 2
    cdef Status status
    cdef Window windows[2]
    cdef Window* left
    cdef Window* right
    # Windows of a run of one character, as in -----, hardly ever agree.
    if n_bytes - middle < 9 or load_u64(piece + middle) == load_u64(piece + middle + 1):
        return encode_by_backtracking(t, piece, n_bytes, sink)
    while n_merged <= 4 * (n_joined + FEW_WINDOWS):
        if must_stop(sink):
            return INTERRUPTED
        n_windows = merge_windows(t, m, piece, n_bytes, at, step, at_once)
        n_merged += n_windows
        if n_windows:
            read_window(&m.pieces[0], piece, &windows[0])
        i = 0
        while i < n_windows:
            left = &windows[i & 1]
            right = &windows[~i & 1]
            next_id = left.next
            if left.stop == n_bytes:
                left.next = left.n_ids
            elif i + 1 == n_windows:
                break
            else:
                read_window(&m.pieces[i + 1], piece, right)
                if not join_windows(t, left, right):
                    break
            if sink.capacity - sink.n_ids < SHORT_PIECE:
                status = grow(sink, SHORT_PIECE)
                if status != OK:
                    return status
            memcpy(sink.ids + sink.n_ids, left.ids + next_id,
                   (left.next - next_id) * sizeof(uint32_t))
            sink.n_ids += left.next - next_id
            if left.stop == n_bytes:
                return OK
            at = left.border
            n_joined += 1
            i += 1
        if i > 0 and i + 1 == n_windows:
            at_once = min(2 * at_once, <size_t>MERGED_AT_ONCE)
            step = WINDOW_STEP
        elif step == WINDOW_STEP or i > 0:
            at_once = FEW_WINDOWS
            step = SHORT_STEP
        else:
            break
    sink.n_ids = first
    return encode_by_backtracking(t, piece, n_bytes, sink)


# --- long runs ----------------------------------------------------------------------------------

cdef struct Run:
    # Bytes start ... start + length of a piece, each the same as the one `period` bytes before it.
    size_t start
    size_t length
    size_t period


cdef void find_longest_run(const uint8_t* piece, size_t n_bytes, Run* run) noexcept nogil:
    """The longest run of a character, of one to four bytes, among those of LONG_RUN bytes."""
    cdef size_t start, stop, period
    cdef size_t at = 0
    run.length = 0
    # Every long run holds two of these places, and eight bytes more.
    while at + LONG_RUN // 2 <= n_bytes:
        count_steps(1)
        stop = at
        for period in range(1, 5):
            if load_u64(piece + at) == load_u64(piece + at + period):
                start, stop = at, at + period + 8
                while start > 0 and piece[start - 1] == piece[start - 1 + period]:
                    start -= 1
                while stop + 8 <= n_bytes and load_u64(piece + stop) == load_u64(
                        piece + stop - period):
                    stop += 8
                while stop < n_bytes and piece[stop] == piece[stop - period]:
                    stop += 1
                count_steps((stop - at) // 8 + at - start)
                if stop - start > run.length:
                    run.start, run.length, run.period = start, stop - start, period
                break
        at = max(at + LONG_RUN // 2, stop)


cdef Py_ssize_t first_twice(
    const Tables* t, const uint32_t* ids, size_t n_ids, size_t first, size_t stop, uint32_t token,
) noexcept nogil:
    """Index of the first `token` that another follows, both within bytes first ... stop of what the
    ids spell; any token stands for itself if `token` is NO_ID. -1: none."""
    cdef size_t at = 0
    cdef size_t i
    for i in range(n_ids - 1):
        if at >= first and ids[i] == ids[i + 1] and (token == NO_ID or ids[i] == token):
            if at + 2 * token_length(t, ids[i]) <= stop:
                return i
        at += token_length(t, ids[i])
    return -1


cdef Status encode_with_run(
    const Tables* t, Merging* m, const uint8_t* piece, size_t n_bytes, Sink* sink,
) noexcept nogil:
    """`encode_in_windows`, but most of a long run is not looked at (the run rule).

    A sequence of tokens is the encoding of its text if each adjacent pair is valid. In the encoding
    of the piece with a shorter run, two tokens T stand next to each other inside the run: that pair
    is valid. Any number of T more between them leaves all pairs as they are, so this is the
    encoding of the piece with a run that is longer by so many T.
    """
    cdef Status status
    cdef Run run
    cdef size_t first = sink.n_ids
    cdef size_t n_more, n_short, short_run, i
    cdef size_t length = 0
    cdef Py_ssize_t at
    cdef uint32_t token
    cdef uint8_t* short_piece
    find_longest_run(piece, n_bytes, &run)
    if run.length < LONG_RUN:
        return encode_in_windows(t, m, piece, n_bytes, sink)
    # Which token it is that fills the run.
    status = encode_in_windows(t, m, piece + run.start, SHORT_RUN, sink)
    if status != OK:
        return status
    at = first_twice(t, sink.ids + first, sink.n_ids - first, SHORT_RUN // 4, SHORT_RUN, NO_ID)
    if at >= 0:
        token = sink.ids[first + at]
        length = token_length(t, token)
    sink.n_ids = first
    if length == 0 or length % run.period:
        return encode_in_windows(t, m, piece, n_bytes, sink)
    n_more = (run.length - SHORT_RUN) // length
    short_run = run.length - n_more * length
    n_short = n_bytes - n_more * length
    short_piece = <uint8_t*>malloc(n_short)
    if not short_piece:
        return NO_MEMORY
    i = run.start + short_run
    memcpy(short_piece, piece, i)
    memcpy(short_piece + i, piece + i + n_more * length, n_short - i)
    status = encode_in_windows(t, m, short_piece, n_short, sink)
    free(short_piece)
    if status != OK:
        return status
    at = first_twice(
        t, sink.ids + first, sink.n_ids - first, run.start, run.start + short_run, token)
    if at < 0:
        sink.n_ids = first
        return encode_in_windows(t, m, piece, n_bytes, sink)
    if sink.capacity - sink.n_ids < n_more:
        status = grow(sink, n_more)
        if status != OK:
            return status
    at += first
    memmove(sink.ids + at + n_more, sink.ids + at, (sink.n_ids - at) * sizeof(uint32_t))
    for i in range(n_more):
        sink.ids[at + i] = token
    sink.n_ids += n_more
    return OK


# --- which engine -------------------------------------------------------------------------------

cdef Status merge_piece(
    const Tables* t, Merging* m, const uint8_t* piece, size_t n_bytes, Sink* sink,
) noexcept nogil:
    if not t.split_left:
        return merge_heap(t, piece, n_bytes, sink)
    if n_bytes >= LONG_RUN:
        return encode_with_run(t, m, piece, n_bytes, sink)
    return encode_in_windows(t, m, piece, n_bytes, sink)


# --- Python objects -----------------------------------------------------------------------------

cdef const uint32_t* u32_pointer(dict arrays, str name, Py_ssize_t length) except? NULL:
    """Start of a uint32 array; NULL if it is empty and may be; `length` -1: any."""
    cdef const uint32_t[::1] view = arrays[name]
    if length >= 0 and view.shape[0] != length:
        raise VocabularyError(f"table {name} has {view.shape[0]} items, expected {length}")
    return &view[0] if view.shape[0] else NULL


cdef int read_region(Region* region, row, str name, dict arrays) except -1:
    """A region (first place, places, first pilot, pilots) of a hash table, if it lies inside it."""
    cdef uint64_t n_records = len(arrays[name + "_records"])
    cdef uint64_t n_pilots = len(arrays[name + "_pilots"])
    region.first_place, region.n_places, region.first_pilot, region.n_pilots = row
    if not (region.n_places and region.n_pilots
            and <uint64_t>region.first_place + region.n_places <= n_records
            and <uint64_t>region.first_pilot + region.n_pilots <= n_pilots):
        raise VocabularyError(f"table {name}_records or {name}_pilots is too short")
    return 0


cdef int set_region(Pairs* pairs, int bits, row, str name, dict arrays) except -1:
    """Have pairs of ids of so many bits looked up in this region."""
    cdef Region region
    read_region(&region, row, name, arrays)
    pairs.first_place[bits - LOWEST_REGION] = region.first_place
    pairs.n_places[bits - LOWEST_REGION] = region.n_places
    pairs.first_pilot[bits - LOWEST_REGION] = region.first_pilot
    pairs.n_pilots[bits - LOWEST_REGION] = region.n_pilots
    return 0


cdef tuple whole(dict arrays, str name):
    """The region of a hash table that has only one."""
    return 0, len(arrays[name + "_records"]), 0, len(arrays[name + "_pilots"])


cdef bint is_before(const Tables* t, uint32_t a, uint32_t b) noexcept nogil:
    """Whether one token comes before the other in the order of their bytes."""
    cdef size_t n_a = token_length(t, a)
    cdef size_t n_b = token_length(t, b)
    cdef int order = memcmp(
        t.token_bytes + t.token_starts[a], t.token_bytes + t.token_starts[b], min(n_a, n_b))
    return order < 0 or (order == 0 and n_a < n_b)


cdef uint32_t first_two_bytes(const Tables* t, uint32_t token) noexcept nogil:
    """The first two bytes of a token, as `prefix_starts` counts them; 0 for one that is missing."""
    cdef const uint8_t* bytes = t.token_bytes + t.token_starts[token]
    cdef size_t length = token_length(t, token)
    return (bytes[0] << 8 if length > 0 else 0) | (bytes[1] if length > 1 else 0)


cdef int check_items(const Tables* t) except -1:
    """What is read through an item of these arrays is inside the one it points into."""
    cdef uint32_t i, start, length, token
    cdef const uint8_t* record
    for i in range(t.n_ids):
        start, length = t.token_starts[i], t.token_starts[i + 1] - t.token_starts[i]
        record = t.short_tokens + <size_t>i * TOKEN_BYTES
        if record[TOKEN_BYTES - 1] != (length if length < TOKEN_BYTES else IS_LONG) or (
                length >= TOKEN_BYTES and load_u64(record) != <uint64_t>length << 32 | start):
            raise VocabularyError(f"table short_tokens has another length or place of token {i}")
    for i in range(256):
        token = t.units.byte_ids[i]
        if token >= t.n_ids or token_length(t, token) != 1 or (
                t.token_bytes[t.token_starts[token]] != i):
            raise VocabularyError(f"token {token} is not the byte {i}")
    for i in range(2 * 65536):
        if t.units.byte_pairs[i] != NO_ID and t.units.byte_pairs[i] >= t.n_ids:
            raise VocabularyError(f"byte_pairs names token {t.units.byte_pairs[i]}")
    for i in range(t.pairs.n_records):
        token = t.pairs.records[i] & ID_MASK
        if token >= t.n_ids and ~t.pairs.records[i]:
            raise VocabularyError(f"pair_records names token {token}")
    if not t.sorted_ids:
        return 0
    for i in range(t.n_ids):
        # Undoing merges must come to an end: halves have lower ranks.
        if t.split_left[i] > i or t.split_right[i] > i:
            raise VocabularyError(f"the halves of token {i} are no tokens")
        # And so must the search for a prefix.
        token = t.shorter_prefix[i]
        if token != NO_ID and not (
                token < t.n_ids and token_length(t, token) < token_length(t, i)):
            raise VocabularyError(f"shorter_prefix names token {token} for token {i}")
    for i in range(65536):
        if t.units.characters[i] != NO_ID and t.units.characters[i] & NO_RECORD_ID >= t.n_ids:
            raise VocabularyError(f"the character U+{i:04X} is no token")
    for i in range(t.units.borders.n_records):
        token = t.units.borders.records[i] & NO_RECORD_ID
        if token != NO_RECORD_ID and token >= t.n_ids:
            raise VocabularyError(f"border_records names token {token}")
    if t.n_sorted != t.n_ids:
        raise VocabularyError(f"sorted_ids has {t.n_sorted} of {t.n_ids} tokens")
    for i in range(t.n_sorted):
        token = t.sorted_ids[i]
        if token >= t.n_ids:
            raise VocabularyError(f"sorted_ids names token {token}")
        if i and not is_before(t, t.sorted_ids[i - 1], token):
            raise VocabularyError(f"sorted_ids has token {token} in the wrong place")
    start = 0
    for i in range(65537):
        while start < t.n_sorted and first_two_bytes(t, t.sorted_ids[start]) < i:
            start += 1
        if t.prefix_starts[i] != start:
            raise VocabularyError(f"prefix_starts has {t.prefix_starts[i]}, not {start}, at {i}")
    return 0


@cython.final
cdef class RankTables:
    """The arrays of one vocabulary (rank_tables.py lists them), checked, ready for merging.

    Raises VocabularyError when the arrays do not fit together. `are_proven`: they are those of the
    build, to the byte, so that only their lengths are looked at.
    """

    def __cinit__(self, dict arrays not None, bint are_proven=False):
        cdef Tables* t = &self.tables
        cdef const uint8_t[::1] token_bytes = arrays["token_bytes"]
        cdef const uint8_t[::1] short_tokens
        cdef const uint32_t[::1] byte_pairs
        cdef const uint64_t[::1] short_records, long_records, pair_records, border_records
        cdef const uint16_t[::1] short_pilots, long_pilots, pair_pilots, border_pilots
        cdef const uint64_t[::1] cut_filter
        cdef Py_ssize_t n_ids = len(arrays["token_starts"]) - 1
        cdef Py_ssize_t i
        self.arrays = arrays
        if not 256 <= n_ids <= ID_MASK:
            raise VocabularyError(f"{n_ids} ids; a vocabulary has 256 to {ID_MASK}")
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
        if arrays["short_tokens"].shape != (n_ids, TOKEN_BYTES):
            raise VocabularyError(f"table short_tokens does not have {n_ids} records")
        short_tokens = arrays["short_tokens"].reshape(-1)
        t.short_tokens = &short_tokens[0]
        t.units.byte_ids = u32_pointer(arrays, "byte_ids", 256)
        if arrays["byte_pairs"].shape != (65536, 2):
            raise VocabularyError("table byte_pairs does not have 65536 records of 2 numbers")
        byte_pairs = arrays["byte_pairs"].reshape(-1)
        t.units.byte_pairs = &byte_pairs[0]
        short_records, short_pilots = arrays["short_records"].reshape(-1), arrays["short_pilots"]
        t.short_records, t.short_pilots = &short_records[0], &short_pilots[0]
        read_region(&t.short_region, whole(arrays, "short"), "short", arrays)
        long_records, long_pilots = arrays["long_records"], arrays["long_pilots"]
        t.long_records, t.long_pilots = &long_records[0], &long_pilots[0]
        read_region(&t.long_region, whole(arrays, "long"), "long", arrays)
        pair_records, pair_pilots = arrays["pair_records"], arrays["pair_pilots"]
        t.pairs.records, t.pairs.pilots = &pair_records[0], &pair_pilots[0]
        t.pairs.n_records = pair_records.shape[0]
        if arrays["short_records"].shape[1:] != (2,):
            raise VocabularyError("table short_records does not have records of 2 words")
        if arrays["pair_regions"].shape != (ID_BITS, 4):
            raise VocabularyError(f"table pair_regions does not have {ID_BITS} regions")
        for i in range(LOWEST_REGION, ID_BITS):
            set_region(&t.pairs, i, arrays["pair_regions"][i], "pair", arrays)
        t.longest_short = SHORT_LENGTH if n_ids < NO_RECORD_ID else 0
        t.sorted_ids = u32_pointer(arrays, "sorted_ids", -1)
        if t.sorted_ids:
            cut_filter = arrays["cut_filter"]
            if cut_filter.shape[0] != 1 << (CUT_BITS - 6):
                raise VocabularyError(f"table cut_filter does not have {1 << CUT_BITS} bits")
            t.cut_filter = &cut_filter[0]
            t.n_sorted = <uint32_t>len(arrays["sorted_ids"])
            t.split_left = u32_pointer(arrays, "split_left", n_ids)
            t.split_right = u32_pointer(arrays, "split_right", n_ids)
            t.shorter_prefix = u32_pointer(arrays, "shorter_prefix", n_ids)
            t.prefix_starts = u32_pointer(arrays, "prefix_starts", 65537)
            t.units.characters = u32_pointer(arrays, "characters", 65536)
            border_records, border_pilots = arrays["border_records"], arrays["border_pilots"]
            if border_records.shape[0]:
                t.units.borders.records = &border_records[0]
                t.units.borders.pilots = &border_pilots[0]
                t.units.borders.n_records = border_records.shape[0]
                for i in range(LOWEST_REGION, ID_BITS):
                    set_region(&t.units.borders, i, whole(arrays, "border"), "border", arrays)
        if not are_proven:
            check_items(t)

    def id_of(self, const uint8_t[::1] token not None):
        """Rank of the token with these bytes, or None."""
        cdef Key key
        cdef uint64_t record, hash
        cdef uint32_t found = NO_ID
        cdef size_t n_bytes = token.shape[0]
        if 0 < n_bytes <= self.tables.longest_short:
            make_careful_key(&token[0], n_bytes, 0, n_bytes, &key)
            record = find_record(
                &self.tables, key.word_0, key.word_1, place_of_short(&self.tables, key.hash))
            return record >> ID_SHIFT & NO_RECORD_ID if record else None
        if 0 < n_bytes <= self.tables.longest:
            hash = hash_of_long(&token[0], n_bytes)
            found = find_long(
                &self.tables, &token[0], n_bytes, hash, place_of_long(&self.tables, hash))
        return None if found == NO_ID else found


def build_mode():
    """"debug" if bounds checks and step counts are compiled in, else "release"."""
    return "debug" if HARMONY_BUILD_IS_DEBUG else "release"


def steps():
    """Steps taken in this thread since `reset_steps()`: characters examined by the scanner, table
    slots probed, keys compared, items looked through for the lowest rank. Debug build only."""
    if not HARMONY_BUILD_IS_DEBUG:
        raise RuntimeError("steps are counted in the debug build only (HARMONY_BUILD=debug)")
    return steps_counted() + scanner_steps() + segment_steps()


def reset_steps():
    """Start the count of `steps()` again."""
    forget_steps()
    forget_scanner_steps()
    forget_segment_steps()
