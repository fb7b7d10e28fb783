# UTF-8 bytes -> ends of segments, 64 bytes at a time. See _segments.pyx.
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    # Segments that one window can end; `next_segment_ends` needs room for as many.
    ENDS_PER_WINDOW = 64
    # log2 of the number of bits in a cut filter; rank_tables.py makes it of the same size.
    CUT_BITS = 18

# Writes the ends of the segments that follow `start` (itself a segment boundary that an earlier
# call gave, or 0) into `ends`, about `max_ends`, never more, and returns how many: at least one if
# text is left and max_ends >= ENDS_PER_WINDOW. `cut_filter` NULL: segments are pieces.
cdef Py_ssize_t next_segment_ends(
    const uint64_t* cut_filter, const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t start,
    Py_ssize_t* ends, Py_ssize_t max_ends,
) noexcept nogil

# Steps counted in this thread by the debug build (windows, wide characters); 0 in a release build.
cdef uint64_t segment_steps() noexcept nogil
cdef void forget_segment_steps() noexcept nogil
