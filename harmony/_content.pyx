"""The content of one message: ids -> text, with UTF-8 repaired across ids.

The bytes of ids are not characters: one id may end inside a character and the next go on with it,
or not. `append` puts bytes in at one end of `Content.held`; text comes out at the other, into
`Content.text`, with U+FFFD in place of each ill-formed sequence. For each id at most one ill-formed
sequence is replaced; what stands behind it waits for the next id, even if it is well-formed
(format 5.2). Nearly always nothing is held and the bytes of the id are well-formed on their
own: then they go straight into `text`.

A recovering parser uses `mend`, which replaces everything ill-formed as soon as it is known to be,
and says where it stood. Then at most three bytes are held, the beginning of a character.

The newest delta is the end of `text` from `delta` on; it becomes a str when somebody reads it.

What this module owes its callers: ids are looked up inside the tables only, nothing is read past a
buffer, and `text` is well-formed UTF-8 whatever came in, which is what the two functions that make
a str of it rest on. Functions return a Status and raise nothing.
"""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset

from harmony._bpe cimport Tables
from harmony._codec cimport Codec
from harmony._utf8 cimport sequence_at

cdef extern from "_memory.h" nogil:
    uint32_t u32_at(const uint32_t* values, size_t index, size_t length) noexcept
    void prefetch(const void* address) noexcept
    void count_steps(size_t n) noexcept
    uint64_t steps_counted() noexcept
    void forget_steps() noexcept

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t n_characters, Py_UCS4 highest)
    void* PyUnicode_DATA(object text)

cdef extern from *:
    """
    /* The 16 bytes from n bytes before the middle on have the highest bit set in the first n. */
    static const unsigned char HIGH_BITS[32] = {
        0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
        0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    };
    """
    const uint8_t* HIGH_BITS

cdef enum:
    # A buffer larger than this is not kept for the next message.
    KEEP_BUFFER = 1 << 16
    # Tokens of up to this many bytes are copied as one block.
    BLOCK = 16
    # So many ids at once, if their bytes are few.
    STRETCH = 64


# --- growing buffers ----------------------------------------------------------------------------

cdef Status grow(void** data, size_t* capacity, size_t needed, size_t width) noexcept nogil:
    cdef size_t larger = capacity[0] + capacity[0] // 2 + 64
    cdef void* moved
    if larger < needed:
        larger = needed
    if larger > <size_t>-1 // 2 // width:
        return NO_MEMORY
    moved = realloc(data[0], larger * width)
    if not moved:
        return NO_MEMORY
    data[0] = moved
    capacity[0] = larger
    return OK


cdef inline Status reserve(Bytes* buffer, size_t n_more) noexcept nogil:
    if buffer.capacity - buffer.n >= n_more:
        return OK
    return grow(<void**>&buffer.data, &buffer.capacity, buffer.n + n_more, 1)


cdef Status put(Bytes* buffer, const uint8_t* source, size_t n) noexcept nogil:
    if n == 0:
        return OK       # either side may be NULL
    if reserve(buffer, n) != OK:
        return NO_MEMORY
    count_steps(n)
    memcpy(buffer.data + buffer.n, source, n)
    buffer.n += n
    return OK


cdef void free_content(Content* content) noexcept nogil:
    free(content.text.data)
    free(content.held.data)
    memset(content, 0, sizeof(Content))


cdef void empty_content(Content* content) noexcept nogil:
    """For the next message. Buffers of ordinary size are kept."""
    if content.text.capacity > KEEP_BUFFER or content.held.capacity > KEEP_BUFFER:
        free_content(content)
    content.text.n = content.delta = content.held.n = content.held_from = content.n_dropped = 0
    content.blocked = content.replaced = False


cdef Status copy_content(Content* target, const Content* source) noexcept nogil:
    """Fill `target`, which is empty and without buffers."""
    if (put(&target.text, source.text.data, source.text.n) != OK
            or put(&target.held, source.held.data, source.held.n) != OK):
        return NO_MEMORY
    target.delta = source.delta
    target.held_from = source.held_from
    target.blocked = source.blocked
    target.replaced = source.replaced
    target.held_at = source.held_at
    target.n_dropped = source.n_dropped
    return OK


# --- UTF-8 across ids -----------------------------------------------------------------------------

cdef inline size_t well_formed(const uint8_t* bytes, size_t n, int* after) noexcept nogil:
    """Length of the well-formed beginning. `after`: what `sequence_at` says of the rest, 1 if there
    is none."""
    cdef size_t at = 0
    cdef int length = 1
    while at < n:
        length = sequence_at(bytes + at, n - at)
        if length <= 0:
            break
        at += length
    count_steps(at)
    after[0] = length if length <= 0 else 1
    return at


cdef inline Status put_replacement(Bytes* text) noexcept nogil:
    return put(text, <const uint8_t*>b"\xef\xbf\xbd", 3)


cdef Status settle(Content* content) noexcept nogil:
    """Move held bytes into the text: up to and including the first ill-formed sequence.

    held:  ..... taken ..... | well-formed | ill-formed or unfinished | anything |
                             held_from                                           held.n
    """
    cdef const uint8_t* bytes = content.held.data + content.held_from
    cdef size_t n = content.held.n - content.held_from
    cdef int after
    cdef size_t length = well_formed(bytes, n, &after)
    if put(&content.text, bytes, length) != OK:
        return NO_MEMORY
    content.held_from += length
    if after < 0:
        if put_replacement(&content.text) != OK:
            return NO_MEMORY
        content.held_from += -after
        content.replaced = True
    if content.held_from == content.held.n:
        content.held_from = content.held.n = 0
    return OK


cdef Status hold(Content* content, const uint8_t* bytes, size_t n) noexcept nogil:
    """Put bytes behind those that are held."""
    cdef size_t left = content.held.n - content.held_from
    # Close the gap in front once it is the larger part: each byte is moved at most once for every
    # byte that was taken.
    if content.held_from > left:
        count_steps(left)
        memmove(content.held.data, content.held.data + content.held_from, left)
        content.held_from = 0
        content.held.n = left
    return put(&content.held, bytes, n)


cdef inline bint is_ascii_block(const uint8_t* block, size_t n) noexcept nogil:
    """Whether the first `n` of BLOCK readable bytes are ASCII. Without a branch on `n`, which is
    hard to guess."""
    cdef uint64_t bytes[2]
    cdef uint64_t bits[2]
    memcpy(bytes, block, BLOCK)
    memcpy(bits, HIGH_BITS + BLOCK - n, BLOCK)
    return (bytes[0] & bits[0] | bytes[1] & bits[1]) == 0


cdef inline int put_short(Content* content, const Tables* tables, uint32_t token) noexcept nogil:
    """Put the bytes of an id into the text if they are few and well-formed, as nearly all are. 1 if
    it is done, 0 if it is not, -1 without memory."""
    cdef size_t start, n
    cdef int after
    if token >= tables.n_ids:
        return 0
    start = u32_at(tables.token_starts, token, <size_t>tables.n_ids + 1)
    n = tables.token_starts[token + 1] - start
    if n == 0 or n > BLOCK or start + BLOCK > tables.n_token_bytes:
        return 0
    if reserve(&content.text, BLOCK) != OK:
        return -1
    count_steps(n)
    memcpy(content.text.data + content.text.n, tables.token_bytes + start, BLOCK)
    if (not is_ascii_block(content.text.data + content.text.n, n)
            and well_formed(content.text.data + content.text.n, n, &after) < n):
        return 0
    content.text.n += n
    return 1


cdef Status append(Content* content, Codec codec, uint32_t token) noexcept nogil:
    """One more id of the content."""
    cdef const uint8_t* bytes
    cdef Py_ssize_t found
    cdef size_t n
    cdef int after
    content.delta = content.text.n
    content.replaced = False
    if content.blocked:
        return OK
    if content.held.n == 0:
        after = put_short(content, &codec.ranks.tables, token)
        if after:
            return OK if after > 0 else NO_MEMORY
    if not codec.find_bytes(token, &bytes, &found):
        content.blocked = True
        return OK
    n = found
    if content.held.n == 0 and well_formed(bytes, n, &after) == n:
        return put(&content.text, bytes, n)
    if hold(content, bytes, n) != OK:
        return NO_MEMORY
    return settle(content)


cdef inline void came_out(Came* came, size_t position) noexcept nogil:
    if not came.out:
        came.first = position
        came.out = True
    came.last = position


cdef size_t put_stretch(
    Content* content, const Tables* tables, const uint32_t* ids, size_t n_ids,
) noexcept nogil:
    """Put the bytes of as many ids into the text as are few and well-formed: up to STRETCH, and
    none if there is no memory for these. Nothing is held."""
    cdef size_t i, start, n
    cdef size_t starts[STRETCH]
    cdef uint8_t lengths[STRETCH]
    cdef uint8_t* target
    cdef int after
    n_ids = min(n_ids, <size_t>STRETCH)
    if reserve(&content.text, (n_ids + 1) * BLOCK) != OK:
        return 0
    # First where all of them stand: the tables are large, and so their bytes are under way at once.
    for i in range(n_ids):
        if ids[i] >= tables.n_ids:
            n_ids = i
            break
        start = u32_at(tables.token_starts, ids[i], <size_t>tables.n_ids + 1)
        n = tables.token_starts[ids[i] + 1] - start
        if n == 0 or n > BLOCK or start + BLOCK > tables.n_token_bytes:
            n_ids = i
            break
        prefetch(tables.token_bytes + start)
        starts[i] = start
        lengths[i] = <uint8_t>n
    target = content.text.data + content.text.n
    for i in range(n_ids):
        n = lengths[i]
        memcpy(target, tables.token_bytes + starts[i], BLOCK)
        if not is_ascii_block(target, n) and well_formed(target, n, &after) < n:
            n_ids = i
            break
        content.delta = target - content.text.data
        target += n
    count_steps(n_ids + 1)
    content.text.n = target - content.text.data
    return n_ids


cdef size_t append_all(
    Content* content, Codec codec, const uint32_t* ids, size_t n_ids, size_t position, Came* came,
) noexcept nogil:
    """Many ids; how many, which is 0 without memory."""
    cdef size_t i = 0
    cdef size_t before, n_put
    while i < n_ids:
        if content.held.n == 0 and not content.blocked:
            n_put = put_stretch(content, &codec.ranks.tables, ids + i, n_ids - i)
            if n_put:
                came_out(came, position + i)
                came.last = position + i + n_put - 1
                content.replaced = False
                i += n_put
                continue
        before = content.text.n
        if append(content, codec, ids[i]) != OK:
            return 0
        if content.text.n > before:
            came_out(came, position + i)
        i += 1
    return n_ids


cdef Status complete(Content* content) noexcept nogil:
    """Bring out everything: the content ends here."""
    content.delta = content.text.n
    # The ids after one without bytes stand before the bytes that were held already (format 5.3).
    if content.blocked and put_replacement(&content.text) != OK:
        return NO_MEMORY
    while content.held.n:
        if settle(content) != OK:
            return NO_MEMORY
        if content.held.n == 0:
            break
        if sequence_at(content.held.data + content.held_from,
                       content.held.n - content.held_from) == 0:
            content.held.n = content.held_from = 0
            return put_replacement(&content.text)
    return OK


# --- repaired at once -----------------------------------------------------------------------------

cdef Status note(Repairs* repairs, size_t start, size_t stop) noexcept nogil:
    if repairs.capacity - repairs.n < 2:
        if grow(<void**>&repairs.spans, &repairs.capacity, repairs.n + 2, sizeof(size_t)) != OK:
            return NO_MEMORY
    repairs.spans[repairs.n] = start
    repairs.spans[repairs.n + 1] = stop
    repairs.n += 2
    return OK


cdef Status mend(
    Content* content, Codec codec, uint32_t token, size_t position, Repairs* repairs,
) noexcept nogil:
    """One more id of the content; one without bytes adds nothing."""
    cdef const uint8_t* bytes
    cdef Py_ssize_t found
    cdef int done
    content.delta = content.text.n
    if content.held.n == 0 and content.n_dropped == 0:
        done = put_short(content, &codec.ranks.tables, token)
        if done:
            return OK if done > 0 else NO_MEMORY
    if not codec.find_bytes(token, &bytes, &found):
        return OK
    return mend_bytes(content, bytes, found, position, repairs)


cdef size_t mend_all(
    Content* content, Codec codec, const uint32_t* ids, size_t n_ids, size_t position,
    Repairs* repairs, Came* came,
) noexcept nogil:
    """Many ids, up to the first with something to repair; how many, which is 0 without memory."""
    cdef size_t i = 0
    cdef size_t before, n_put
    while i < n_ids:
        if content.held.n == 0 and content.n_dropped == 0:
            n_put = put_stretch(content, &codec.ranks.tables, ids + i, n_ids - i)
            if n_put:
                came_out(came, position + i)
                came.last = position + i + n_put - 1
                i += n_put
                continue
        before = content.text.n
        if mend(content, codec, ids[i], position + i, repairs) != OK:
            return 0
        if content.text.n > before:
            came_out(came, position + i)
        i += 1
        if repairs.n:
            return i
    return n_ids


cdef Status mend_bytes(
    Content* content, const uint8_t* bytes, size_t n, size_t position, Repairs* repairs,
) noexcept nogil:
    cdef size_t at = 0
    cdef size_t n_held = content.held.n
    cdef size_t length, last, k
    cdef size_t held_at[3]
    cdef int after = 1
    if content.n_dropped:
        length = min(content.n_dropped, n)
        content.n_dropped -= length
        bytes += length
        n -= length
    if n_held == 0 and well_formed(bytes, n, &after) == n:
        return put(&content.text, bytes, n)
    # held:  from ids before, at most three bytes | of this id
    if put(&content.held, bytes, n) != OK:
        return NO_MEMORY
    n = content.held.n
    while at < n:
        length = well_formed(content.held.data + at, n - at, &after)
        if put(&content.text, content.held.data + at, length) != OK:
            return NO_MEMORY
        at += length
        if after >= 0:
            break
        last = at + <size_t>-after - 1
        if put_replacement(&content.text) != OK:
            return NO_MEMORY
        if note(repairs, content.held_at[at] if at < n_held else position,
                (content.held_at[last] if last < n_held else position) + 1) != OK:
            return NO_MEMORY
        at = last + 1
    # What is left is the beginning of a character: three bytes at most.
    for k in range(n - at):
        held_at[k] = content.held_at[at + k] if at + k < n_held else position
        content.held.data[k] = content.held.data[at + k]
    content.held_at = held_at
    content.held.n = n - at
    return OK


cdef Status complete_mending(Content* content, Repairs* repairs) noexcept nogil:
    """The content ends here: a character that has begun is ill-formed."""
    cdef size_t n = content.held.n
    content.delta = content.text.n
    if n == 0:
        return OK
    content.held.n = 0
    if put_replacement(&content.text) != OK:
        return NO_MEMORY
    return note(repairs, content.held_at[0], content.held_at[n - 1] + 1)


# --- UTF-8 -> str -------------------------------------------------------------------------------

ctypedef fused Character:
    uint8_t
    uint16_t
    uint32_t


cdef void widen(const uint8_t* bytes, size_t n, Character* target) noexcept nogil:
    """Write the characters of well-formed UTF-8, all of which fit the type."""
    cdef size_t at = 0
    cdef uint32_t lead
    while at < n:
        lead = bytes[at]
        if lead < 0x80:
            target[0] = <Character>lead
            at += 1
        elif lead < 0xE0:
            target[0] = <Character>((lead & 0x1F) << 6 | bytes[at + 1] & 0x3F)
            at += 2
        elif lead < 0xF0:
            target[0] = <Character>(
                (lead & 0x0F) << 12 | (bytes[at + 1] & 0x3F) << 6 | bytes[at + 2] & 0x3F)
            at += 3
        else:
            target[0] = <Character>(
                (lead & 0x07) << 18 | (bytes[at + 1] & 0x3F) << 12
                | (bytes[at + 2] & 0x3F) << 6 | bytes[at + 3] & 0x3F)
            at += 4
        target += 1


cdef str unlocked_str(const Bytes* text):
    """The str of well-formed UTF-8 that nobody else can change, made without the lock."""
    cdef size_t i
    cdef size_t n_characters = 0
    cdef uint8_t highest = 0
    cdef const uint8_t* bytes = text.data
    cdef size_t n = text.n
    cdef Py_UCS4 limit
    cdef object result
    cdef void* target
    with nogil:
        for i in range(n):
            n_characters += bytes[i] & 0xC0 != 0x80
        for i in range(n):
            highest = bytes[i] if bytes[i] > highest else highest
    # The first byte of a character tells how wide it is; a str is as wide as its widest one.
    if highest < 0x80:
        limit = 0x7F
    elif highest < 0xC4:
        limit = 0xFF
    elif highest < 0xF0:
        limit = 0xFFFF
    else:
        limit = 0x10FFFF
    result = PyUnicode_New(n_characters, limit)
    target = PyUnicode_DATA(result)
    # Nobody else knows `result` yet: it may be written to.
    with nogil:
        if limit == 0x7F:
            memcpy(target, bytes, n)
        elif limit == 0xFF:
            widen(bytes, n, <uint8_t*>target)
        elif limit == 0xFFFF:
            widen(bytes, n, <uint16_t*>target)
        else:
            widen(bytes, n, <uint32_t*>target)
    return result


cdef str str_from(const Bytes* text, size_t start):
    """The str of well-formed UTF-8 from byte `start` on."""
    count_steps(text.n - start)
    return PyUnicode_DecodeUTF8(<const char*>text.data + start, text.n - start, NULL)


cdef uint64_t content_steps() noexcept nogil:
    return steps_counted()


cdef void forget_content_steps() noexcept nogil:
    forget_steps()
