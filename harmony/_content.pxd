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

    # What a recovering parser uses instead of the last three.
    size_t held_at[3]       # the positions in the stream of the ids that held bytes belong to
    size_t n_dropped        # so many of the next bytes are not content


cdef struct Repairs:
    # Ill-formed sequences that U+FFFD stands for: positions of the first id, and after the last.
    size_t* spans           # two for each
    size_t n                # of the numbers
    size_t capacity


cdef struct Came:
    # Where text came out, of many ids: positions of the first and the last of them.
    bint out
    size_t first
    size_t last


# Room for `needed` items of `width` bytes.
cdef Status grow(void** data, size_t* capacity, size_t needed, size_t width) noexcept nogil
cdef Status put(Bytes* buffer, const uint8_t* source, size_t n) noexcept nogil

# One more id; many; the end. Memory is the only thing that can run out.
cdef Status append(Content* content, Codec codec, uint32_t token) noexcept nogil
cdef size_t append_all(
    Content* content, Codec codec, const uint32_t* ids, size_t n_ids, size_t position,
    Came* came) noexcept nogil
cdef Status complete(Content* content) noexcept nogil

# The same with every ill-formed sequence replaced at once, as bytes.decode(errors="replace") does.
# `position`: of the id in the stream.
cdef Status mend(
    Content* content, Codec codec, uint32_t token, size_t position, Repairs* repairs) noexcept nogil
cdef size_t mend_all(
    Content* content, Codec codec, const uint32_t* ids, size_t n_ids, size_t position,
    Repairs* repairs, Came* came) noexcept nogil
cdef Status mend_bytes(
    Content* content, const uint8_t* bytes, size_t n, size_t position,
    Repairs* repairs) noexcept nogil
cdef Status complete_mending(Content* content, Repairs* repairs) noexcept nogil

cdef void free_content(Content* content) noexcept nogil
cdef void empty_content(Content* content) noexcept nogil
cdef Status copy_content(Content* target, const Content* source) noexcept nogil

# UTF-8 -> str, with the interpreter lock held, or without it while no other thread has the bytes.
cdef str str_from(const Bytes* text, size_t start)
cdef str unlocked_str(const Bytes* text)

# Steps counted in this thread by the debug build; 0 in a release build.
cdef uint64_t content_steps() noexcept nogil
cdef void forget_content_steps() noexcept nogil
