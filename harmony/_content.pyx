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

from harmony._bpe cimport IS_LONG, TOKEN_BYTES, Tables
from harmony._codec cimport Codec
from harmony._utf8 cimport sequence_at

cdef extern from "_memory.h" nogil:
    void prefetch(const void* address) noexcept
    void count_steps(size_t n) noexcept
    uint64_t steps_counted() noexcept
    void forget_steps() noexcept

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t n_characters, Py_UCS4 highest)
    void* PyUnicode_DATA(object text)

cdef enum:
    # A buffer larger than this is not kept for the next message.
    KEEP_BUFFER = 1 << 16
    # So many ids at once, if their bytes are few.
    STRETCH = 64
    # The bytes of an id are asked for so many ids before they are needed: memory takes as long.
    AHEAD = 64


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
    memcpy(target.held_at, source.held_at, sizeof(target.held_at))
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


cdef inline size_t write_short(
    uint8_t* target, const Tables* tables, uint32_t token,
) noexcept nogil:
    """Write the bytes of an id if they are few and well-formed, as nearly all are: how many, or 0.
    What stands in the TOKEN_BYTES bytes at `target` behind them is then anything."""
    cdef const uint8_t* record
    cdef uint64_t low, high
    cdef size_t n
    cdef int after
    if token >= tables.n_ids:
        return 0
    record = tables.short_tokens + <size_t>token * TOKEN_BYTES
    memcpy(&low, record, 8)
    memcpy(&high, record + 8, 8)
    n = record[TOKEN_BYTES - 1]
    # Behind the bytes are zeros, and a length that is less than 0x80 unless it is IS_LONG.
    if (low | high) & <uint64_t>0x8080808080808080:
        if n == IS_LONG or well_formed(record, n, &after) < n:
            return 0
    memcpy(target, &low, 8)
    memcpy(target + 8, &high, 8)
    return n


cdef inline int put_short(Content* content, const Tables* tables, uint32_t token) noexcept nogil:
    """Put the bytes of an id into the text as `write_short` does. 1 if it is done, 0 if it is not,
    -1 without memory."""
    cdef size_t n
    if reserve(&content.text, TOKEN_BYTES) != OK:
        return -1
    n = write_short(content.text.data + content.text.n, tables, token)
    count_steps(n)
    content.text.n += n
    return n > 0


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


cdef inline void ask_for(const Tables* tables, uint32_t token) noexcept nogil:
    prefetch(tables.short_tokens + <size_t>token * TOKEN_BYTES)


cdef inline void ask_for_first(Codec codec, const uint32_t* ids, size_t n_ids) noexcept nogil:
    """Ask for the bytes of the first of many ids; `put_stretch` asks for those of the others."""
    cdef size_t i
    for i in range(min(n_ids, <size_t>AHEAD)):
        ask_for(&codec.ranks.tables, ids[i])


cdef size_t put_stretch(
    Content* content, const Tables* tables, const uint32_t* ids, size_t n_ids,
) noexcept nogil:
    """Put the bytes of as many ids into the text as are few and well-formed: up to STRETCH, and
    none if there is no memory for these. Nothing is held."""
    cdef size_t i = 0
    cdef size_t n = 0
    cdef size_t n_here = min(n_ids, <size_t>STRETCH)
    cdef uint8_t* target
    if reserve(&content.text, n_here * TOKEN_BYTES) != OK:
        return 0
    target = content.text.data + content.text.n
    while i < n_here:
        if i + AHEAD < n_ids:
            ask_for(tables, ids[i + AHEAD])
        n = write_short(target, tables, ids[i])
        if n == 0:
            break
        target += n
        content.delta = target - n - content.text.data
        i += 1
    count_steps(i + 1)
    content.text.n = target - content.text.data
    return i


cdef size_t append_all(
    Content* content, Codec codec, const uint32_t* ids, size_t n_ids, size_t position, Came* came,
) noexcept nogil:
    """Many ids; how many, which is 0 without memory."""
    cdef size_t i = 0
    cdef size_t before, n_put
    ask_for_first(codec, ids, n_ids)
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
    ask_for_first(codec, ids, n_ids)
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
    """The str of well-formed UTF-8 from byte `start` on, if the text is that long."""
    start = min(start, text.n)
    count_steps(text.n - start)
    return PyUnicode_DecodeUTF8(<const char*>text.data + start, text.n - start, NULL)


cdef uint64_t content_steps() noexcept nogil:
    return steps_counted()


cdef void forget_content_steps() noexcept nogil:
    forget_steps()
