# The content of one message: ids -> text. See _content.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from harmony._codec cimport Codec


cdef enum Status:
    OK
    NO_MEMORY


cdef struct Bytes:
    uint8_t* data
    size_t n
    size_t capacity


cdef struct Content:
    Bytes text              # what has come out so far: well-formed UTF-8, always
    size_t delta            # where in `text` the part of the newest id begins
    Bytes held              # bytes that have not come out yet: from `held_from` on
    size_t held_from
    bint replaced           # the newest delta ends in U+FFFD for something ill-formed
    bint blocked            # an id without bytes came: nothing comes out until the message ends


# Room for `needed` items of `width` bytes.
cdef Status grow(void** data, size_t* capacity, size_t needed, size_t width) noexcept nogil
cdef Status put(Bytes* buffer, const uint8_t* source, size_t n) noexcept nogil

# One more id; many; the end. Memory is the only thing that can run out.
cdef Status append(Content* content, Codec codec, uint32_t token) noexcept nogil
cdef Status append_all(
    Content* content, Codec codec, const uint32_t* ids, size_t n_ids) noexcept nogil
cdef Status complete(Content* content) noexcept nogil

cdef void free_content(Content* content) noexcept nogil
cdef void empty_content(Content* content) noexcept nogil
cdef Status copy_content(Content* target, const Content* source) noexcept nogil

# UTF-8 -> str, with the interpreter lock held, or without it while no other thread has the bytes.
cdef str str_from(const Bytes* text, size_t start)
cdef str unlocked_str(const Bytes* text)

# Steps counted in this thread by the debug build; 0 in a release build.
cdef uint64_t content_steps() noexcept nogil
cdef void forget_content_steps() noexcept nogil
