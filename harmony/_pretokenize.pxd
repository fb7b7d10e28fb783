# UTF-8 bytes -> ends of pieces: the o200k split pattern as a scanner. See _pretokenize.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum CharClass:
    # One bit each. The generated table in _unicode_classes.h uses the same values.
    OTHER = 1       # punctuation, symbols, controls, unassigned
    SPACE = 2       # white space that is not CR or LF
    NEWLINE = 4     # CR, LF
    NUMBER = 8      # \p{N}
    UPPER = 16      # \p{Lu} \p{Lt}
    LOWER = 32      # \p{Ll}
    CASELESS = 64   # \p{Lm} \p{Lo}
    MARK = 128      # \p{M}


# Writes the ends of the pieces that follow `start` (itself a piece boundary) into `ends`, at most
# `max_ends`, and returns how many. Fewer than `max_ends` means that the text is exhausted.
cdef Py_ssize_t next_piece_ends(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t start,
    Py_ssize_t* ends, Py_ssize_t max_ends,
) noexcept nogil

# Class, width and code point of the character of several bytes at `at` (at < n_bytes). A byte that
# cannot begin one that fits the buffer counts as a character of class OTHER, its value as the code
# point. That never happens in text which passed `find_malformed`.
cdef uint8_t decode_wide(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t at, Py_ssize_t* width,
    uint32_t* code_point,
) noexcept nogil

# Index of the first byte that is not part of well-formed UTF-8, or -1.
cdef Py_ssize_t find_malformed(const uint8_t* text, Py_ssize_t n_bytes) noexcept nogil

# Steps counted in this thread by the debug build (code points examined); 0 in a release build.
cdef uint64_t scanner_steps() noexcept nogil
cdef void forget_scanner_steps() noexcept nogil
