# What well-formed UTF-8 is.
from libc.stdint cimport uint8_t

cdef extern from "_memory.h" nogil:
    uint8_t byte_at(const uint8_t* bytes, size_t index, size_t length) noexcept


cdef inline int sequence_at(const uint8_t* bytes, size_t n) noexcept nogil:
    """What stands at `bytes`, of which there are `n` > 0: the length of a well-formed character;
    0 if the bytes end inside one that may yet be well-formed; else minus the length of the longest
    beginning of a character that is there (1 if there is none)."""
    cdef uint8_t lead = byte_at(bytes, 0, n)
    cdef uint8_t lowest = 0x80
    cdef uint8_t highest = 0xBF
    cdef uint8_t second
    if lead < 0x80:
        return 1
    if lead < 0xC2 or lead > 0xF4:
        return -1
    if n == 1:
        return 0
    # Range of the second byte: the table "Well-Formed UTF-8 Byte Sequences" of the standard.
    if lead == 0xE0:
        lowest = 0xA0           # no overlong forms
    elif lead == 0xED:
        highest = 0x9F          # no surrogates
    elif lead == 0xF0:
        lowest = 0x90           # no overlong forms
    elif lead == 0xF4:
        highest = 0x8F          # nothing above U+10FFFF
    second = byte_at(bytes, 1, n)
    if second < lowest or second > highest:
        return -1
    if lead < 0xE0:
        return 2
    if n == 2:
        return 0
    if byte_at(bytes, 2, n) & 0xC0 != 0x80:
        return -2
    if lead < 0xF0:
        return 3
    if n == 3:
        return 0
    if byte_at(bytes, 3, n) & 0xC0 != 0x80:
        return -3
    return 4
