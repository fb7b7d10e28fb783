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

cdef extern from "_unicode_classes.h" nogil:
    const uint8_t* UNICODE_CLASSES
    uint8_t class_of(uint32_t code_point) noexcept

cdef extern from "_memory.h" nogil:
    uint8_t byte_at(const uint8_t* values, size_t index, size_t length) noexcept


cdef inline uint8_t decode_wide(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t at, Py_ssize_t* width,
    uint32_t* code_point,
) noexcept nogil:
    """Class, width and code point of the character of several bytes at `at` (at < n_bytes).

    A byte that cannot begin one that fits the buffer counts as a character of class OTHER, its
    value as the code point. That never happens in text which passed `find_malformed`.
    """
    cdef uint32_t lead = text[at]
    cdef Py_ssize_t left = n_bytes - at
    if 0xC2 <= lead < 0xE0 and left >= 2:
        width[0] = 2
        code_point[0] = (lead & 0x1F) << 6 | (byte_at(text, at + 1, n_bytes) & 0x3F)
    elif 0xE0 <= lead < 0xF0 and left >= 3:
        width[0] = 3
        code_point[0] = ((lead & 0x0F) << 12 | (byte_at(text, at + 1, n_bytes) & 0x3F) << 6
                         | (byte_at(text, at + 2, n_bytes) & 0x3F))
    elif 0xF0 <= lead < 0xF5 and left >= 4:
        width[0] = 4
        code_point[0] = ((lead & 0x07) << 18 | (byte_at(text, at + 1, n_bytes) & 0x3F) << 12
                         | (byte_at(text, at + 2, n_bytes) & 0x3F) << 6
                         | (byte_at(text, at + 3, n_bytes) & 0x3F))
        if code_point[0] > 0x10FFFF:
            return OTHER
    else:
        width[0] = 1
        code_point[0] = lead
        return OTHER
    return class_of(code_point[0])


# Index of the first byte that is not part of well-formed UTF-8, or -1.
cdef Py_ssize_t find_malformed(const uint8_t* text, Py_ssize_t n_bytes) noexcept nogil

# Steps counted in this thread by the debug build (code points examined); 0 in a release build.
cdef uint64_t scanner_steps() noexcept nogil
cdef void forget_scanner_steps() noexcept nogil
