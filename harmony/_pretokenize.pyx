"""UTF-8 bytes -> ends of pieces: the o200k split pattern as a hand-written scanner.

What this module owes its callers: every read stays inside the given buffer, whatever the bytes
are; malformed UTF-8 gives some split, never a crash; time is linear in the text. The scanner keeps
no state but the position, allocates nothing and needs no interpreter lock.

The pattern (leftmost, first alternative wins, applied again from each match's end), with
U = upper, title, caseless letters and marks, L = lower, caseless letters and marks:

    1   [^\\r\\n\\p{L}\\p{N}]? U* L+ (?i:'s|'t|'re|'ve|'m|'ll|'d)?
    2   [^\\r\\n\\p{L}\\p{N}]? U+ L* (?i:'s|'t|'re|'ve|'m|'ll|'d)?
    3   \\p{N}{1,3}
    4    ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*
    5   \\s*[\\r\\n]+
    6   \\s+(?!\\S)
    7   \\s+

How the first character of a piece decides which alternative matches:

    letter or mark      1 or 2, without a prefix. (A mark could also be the prefix. Both readings
                        end at the same place, because a mark is in U and in L.)
    number              3
    space or other,     1 or 2, with that character as prefix
      before a letter
      or a mark
    U+0020 before other,
      or other          4
    white space         5 if the run of white space holds a CR or LF: up to the last one;
                        6 else: all of a run that ends the text, all but the last character of a
                        longer run; 7: a single character
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from harmony._utf8 cimport sequence_at

cdef extern from "_memory.h" nogil:
    uint64_t load_u64(const uint8_t* bytes) noexcept
    void count_steps(size_t n) noexcept
    uint64_t steps_counted() noexcept
    void forget_steps() noexcept

cdef enum:
    LETTER_OR_MARK = UPPER | LOWER | CASELESS | MARK
    UPPER_RUN = UPPER | CASELESS | MARK     # U of the pattern
    LOWER_RUN = LOWER | CASELESS | MARK     # L of the pattern
    BOTH_RUNS = CASELESS | MARK
    PUNCTUATION_RUN = OTHER | MARK          # [^\s\p{L}\p{N}]
    WHITE_SPACE = SPACE | NEWLINE


cdef inline uint8_t class_at(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t at, Py_ssize_t* width,
) noexcept nogil:
    """Class and width in bytes of the character at `at` (at < n_bytes)."""
    cdef uint8_t lead = byte_at(text, at, n_bytes)
    cdef uint32_t code_point
    count_steps(1)
    if lead < 0x80:
        width[0] = 1
        return UNICODE_CLASSES[lead]    # row 0 is ASCII: the generator meets it first
    return decode_wide(text, n_bytes, at, width, &code_point)


cdef inline Py_ssize_t skip_run(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t at, uint8_t classes,
) noexcept nogil:
    """End of the run of characters of these classes that starts at `at`."""
    cdef Py_ssize_t width
    while at < n_bytes and class_at(text, n_bytes, at, &width) & classes:
        at += width
    return at


cdef Py_ssize_t contraction_end(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t at,
) noexcept nogil:
    """End of the contraction at `at` ('s 't 're 've 'm 'll 'd in any case), or `at` itself."""
    cdef uint8_t first, second
    if at + 2 > n_bytes or byte_at(text, at, n_bytes) != c"'":
        return at
    count_steps(2)
    first = byte_at(text, at + 1, n_bytes) | 0x20
    if first == c"s" or first == c"t" or first == c"m" or first == c"d":
        return at + 2
    if at + 3 > n_bytes:
        return at
    second = byte_at(text, at + 2, n_bytes)
    if byte_at(text, at + 1, n_bytes) == 0xC5:
        return at + 3 if second == 0xBF else at         # U+017F folds to s
    second |= 0x20
    if ((first == c"r" or first == c"v") and second == c"e") or (first == c"l" and second == c"l"):
        return at + 3
    return at


cdef inline Py_ssize_t word_end(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t at,
) noexcept nogil:
    """End of the word (alternative 1, else 2, after the prefix) that starts at `at`.

    Loop invariant: text[start:at] is all of U, and `after_both` is the end of its last character
    that is in L too (-1: none).

        start            after_both      at
          | U U U C U C  |  U U U        |  next

    If `next` is lower case, L+ starts there. Else U* gives back characters until L+ can start on
    one that is in both, and ends right after it (what follows it is upper case only). Without
    any such character alternative 1 fails, and alternative 2 takes the whole run.
    """
    cdef Py_ssize_t width
    cdef Py_ssize_t after_both = -1
    cdef uint8_t char_class = 0
    while at < n_bytes:
        char_class = class_at(text, n_bytes, at, &width)
        if not char_class & UPPER_RUN:
            break
        at += width
        if char_class & BOTH_RUNS:
            after_both = at
    if at < n_bytes and char_class == LOWER:
        at = skip_run(text, n_bytes, at + width, LOWER_RUN)
    elif after_both >= 0:
        at = after_both
    if at < n_bytes and byte_at(text, at, n_bytes) == c"'":
        return contraction_end(text, n_bytes, at)
    return at


cdef Py_ssize_t punctuation_end(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t at,
) noexcept nogil:
    """End of alternative 4, after the optional space."""
    cdef uint8_t byte
    at = skip_run(text, n_bytes, at, PUNCTUATION_RUN)
    while at < n_bytes:
        byte = byte_at(text, at, n_bytes)
        if byte != c"\r" and byte != c"\n" and byte != c"/":
            break
        count_steps(1)
        at += 1
    return at


cdef Py_ssize_t white_space_end(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t start,
) noexcept nogil:
    """End of alternatives 5, 6, 7: white space, up to its last CR or LF if it has one.

    What follows that newline is looked at again by the next piece, and the last character of a
    run by the one after: at most three looks at each character.
    """
    cdef Py_ssize_t width
    cdef Py_ssize_t at = start
    cdef Py_ssize_t last_start = start
    cdef Py_ssize_t after_newline = -1
    cdef uint8_t char_class
    while at < n_bytes:
        char_class = class_at(text, n_bytes, at, &width)
        if not char_class & WHITE_SPACE:
            break
        last_start = at
        at += width
        if char_class == NEWLINE:
            after_newline = at
    if after_newline >= 0:
        return after_newline
    if at == n_bytes or last_start == start:
        return at
    return last_start


cdef inline Py_ssize_t piece_end(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t start,
) noexcept nogil:
    """End of the piece that starts at `start` (start < n_bytes); always greater than `start`."""
    cdef Py_ssize_t width, next_width, at
    cdef uint8_t first = class_at(text, n_bytes, start, &width)
    cdef uint8_t following
    if first & LETTER_OR_MARK:
        return word_end(text, n_bytes, start)
    at = start + width
    if first == NUMBER:
        if at < n_bytes and class_at(text, n_bytes, at, &width) == NUMBER:
            at += width
            if at < n_bytes and class_at(text, n_bytes, at, &width) == NUMBER:
                at += width
        return at
    if first == NEWLINE:
        return white_space_end(text, n_bytes, start)
    if at == n_bytes:
        return at
    following = class_at(text, n_bytes, at, &next_width)
    if following & LETTER_OR_MARK:
        return word_end(text, n_bytes, at)
    if first == OTHER:
        return punctuation_end(text, n_bytes, at)
    if following == OTHER and byte_at(text, start, n_bytes) == c" ":
        return punctuation_end(text, n_bytes, at)
    return white_space_end(text, n_bytes, start)


cdef Py_ssize_t next_piece_ends(
    const uint8_t* text, Py_ssize_t n_bytes, Py_ssize_t start,
    Py_ssize_t* ends, Py_ssize_t max_ends,
) noexcept nogil:
    cdef Py_ssize_t n_ends = 0
    while start < n_bytes and n_ends < max_ends:
        start = piece_end(text, n_bytes, start)
        ends[n_ends] = start
        n_ends += 1
    return n_ends


cdef Py_ssize_t find_malformed(const uint8_t* text, Py_ssize_t n_bytes) noexcept nogil:
    cdef Py_ssize_t at = 0
    cdef int width
    while at < n_bytes:
        if byte_at(text, at, n_bytes) < 0x80:
            at += 1
            while n_bytes - at >= 8 and not load_u64(text + at) & 0x8080808080808080ULL:
                at += 8
            continue
        width = sequence_at(text + at, n_bytes - at)
        if width <= 0:
            return at
        at += width
    return -1


cdef uint64_t scanner_steps() noexcept nogil:
    return steps_counted()


cdef void forget_scanner_steps() noexcept nogil:
    forget_steps()


def piece_ends(const uint8_t[::1] text not None):
    """Ends of the pieces of `text`, as byte offsets: numpy int64, 1-D, strictly increasing.

    `text` is meant to be UTF-8; anything else is split somehow, without harm.
    """
    import numpy

    cdef Py_ssize_t n_bytes = text.shape[0]
    ends = numpy.empty(n_bytes, dtype=numpy.intp)
    cdef Py_ssize_t[::1] view = ends
    cdef Py_ssize_t n_ends = 0
    if n_bytes:
        with nogil:
            n_ends = next_piece_ends(&text[0], n_bytes, 0, &view[0], n_bytes)
    return ends[:n_ends].astype(numpy.int64)
