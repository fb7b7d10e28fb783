# Pieces -> ids (merging) over the rank arrays; ids -> bytes. See _bpe.pyx.
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef struct Tables:
    # Pointers into the arrays that rank_tables.py describes, and their lengths.
    const uint8_t* token_bytes
    size_t n_token_bytes
    const uint32_t* token_starts        # n_ids + 1
    uint32_t n_ids
    size_t longest                      # bytes of the longest token
    const uint32_t* byte_ids            # 256
    const uint32_t* byte_pairs          # 65536
    const uint64_t* short_records       # n_short_buckets * 4 * 2
    uint64_t n_short_buckets
    int short_shift
    const uint64_t* long_slots
    uint64_t n_long_slots
    int long_shift
    const uint64_t* pair_slots
    uint64_t n_pair_slots
    int pair_shift
    const uint64_t* pair_filter         # n_filter_words of 64 bits
    uint64_t n_filter_words
    int filter_shift
    # Only for vocabularies whose merges are proven; NULL otherwise.
    const uint32_t* split_left          # n_ids
    const uint32_t* split_right         # n_ids
    const uint32_t* shorter_prefix      # n_ids
    const uint32_t* sorted_ids          # n_sorted
    uint32_t n_sorted
    const uint32_t* prefix_starts       # 65537


cdef class RankTables:
    # Read-only after the constructor, shared by all threads and codecs of one vocabulary.
    cdef Tables tables
    cdef readonly dict arrays           # the numpy arrays the pointers point into
    cdef PyObject** int_objects         # one Python int per id, made on first use

    cdef list list_of(self, const uint32_t* ids, Py_ssize_t n_ids)


cdef class IdBuffer:
    # uint32 ids that own their memory and lend it through the buffer protocol.
    cdef uint32_t* ids
    cdef Py_ssize_t n_ids
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]


cdef class Codec:
    # One vocabulary with its special tokens: text -> ids, ids -> bytes.
    cdef readonly RankTables ranks
    cdef const uint32_t[::1] special_ids        # ascending
    cdef const uint32_t[::1] special_starts     # n_special + 1, into special_bytes
    cdef const uint8_t[::1] special_bytes

    cdef bint find_bytes(
        self, uint32_t token, const uint8_t** start, Py_ssize_t* n_bytes) noexcept nogil
