# Codec: text -> ids, ids -> bytes, from and to Python objects. See _codec.pyx.
from libc.stdint cimport uint8_t, uint32_t

from harmony._bpe cimport RankTables
from harmony._encode cimport Contexts


# A list of ints, most of them shared by all lists.
cdef list list_of(const uint32_t* ids, Py_ssize_t n_ids)


cdef class IdMemory:
    cdef uint32_t* ids


cdef class Codec:
    # One vocabulary with its special tokens: text -> ids, ids -> bytes.
    cdef readonly RankTables ranks
    cdef readonly bytes marker                  # None: nothing tells that a text has no specials
    cdef Contexts contexts
    cdef const uint32_t[::1] special_ids        # ascending
    cdef const uint32_t[::1] special_starts     # n_special + 1, into special_bytes
    cdef const uint8_t[::1] special_bytes

    cdef bint find_bytes(
        self, uint32_t token, const uint8_t** start, Py_ssize_t* n_bytes) noexcept nogil
