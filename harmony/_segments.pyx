"""UTF-8 bytes -> ends of segments, 64 bytes at a time.

A segment is a piece of the split pattern, or a part of one whose ids are its ids: where no token
contains the border of two characters, no merge crosses it, and cutting there changes nothing (the
cut rule). Cutting makes the long pieces of Chinese, Japanese or Thai text as short and as frequent
as words are elsewhere.

The scanner of _pretokenize.pyx is the definition of pieces. This module finds the same borders
with a handful of operations on 64-bit masks: one bit for each byte of a window, one mask for each
class (_simd.h). What it owes its callers is what the scanner owes them.

    text    let's   say:\\n\\n  a 1234
    letter  111 1   111      1            a bit stands for the byte above it
    space      . 111              11      ...
    starts  1    1 1   1   1 1 1 1  1

A window always begins at a border, so nothing reaches into it from before. What reaches out of it
is left to the next window, which begins at the last border that is certain. Bytes of a character
after its first have the class of the character. What the masks cannot decide (`doubt`) is rare,
and the scanner decides it, one piece at a time: upper case after letters without case, marks after
anything but a letter or a mark, digits outside ASCII, a slash after a newline that belongs to
punctuation.

Where a processor has the instructions, windows are 512 bytes long, masks are vectors, and the same
operations are done there (`find_ends` of a tier). Short texts, and what those leave open, are left
to the windows here.
"""

import os

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from harmony._pretokenize cimport (
    CASELESS, LOWER, MARK, NUMBER, SPACE, UPPER, decode_wide, next_piece_ends,
)

from harmony.rank_tables import cut_groups

cdef extern from "_simd.h" nogil:
    enum:
        TIER_PORTABLE
        TIER_AVX2
        TIER_AVX512
    uint8_t cut_group[512]
    int contraction_width(uint8_t first, uint8_t second) noexcept
    void make_tables() noexcept
    int best_tier() noexcept
    const Tier* tier_of(int number) noexcept
    int lowest_bit(uint64_t bits) noexcept
    int highest_bit(uint64_t bits) noexcept
    uint8_t byte_at(const uint8_t* values, size_t index, size_t length) noexcept
    void check_index(size_t index, size_t length, const char* what) noexcept
    void count_steps(size_t n) noexcept
    uint64_t steps_counted() noexcept
    void forget_steps() noexcept

cdef extern from *:
    """
    #define ALL_BITS 0xFFFFFFFFFFFFFFFFull
    """
    const uint64_t ALL_BITS

cdef enum:
    WINDOW = 64
    TIER_SCALAR = -1
    # Groups of characters between which pieces are cut, as in rank_tables.py.
    CJK = 1
    NEVER_SECOND = 7                    # none of them, or all that are not cut before
    NO_CUT = 0x80
    # Borders up to here are certain in a window of ASCII text, if no white space reaches its end:
    # the longest look ahead is that of a contraction, three bytes.
    CERTAIN_IN_ASCII = 60
    # The same when characters of up to four bytes follow.
    CERTAIN = 55
    # Characters of any width that begin before this place end in the window.
    COMPLETE = 61
    # Of so many bytes, 512 are looked at together if the tier can do that.
    MANY_BYTES = 128
    # And not again before so many more, if they held something that it leaves to this module.
    TRY_AGAIN = 256

TIERS = {"scalar": TIER_SCALAR, "portable": TIER_PORTABLE, "avx2": TIER_AVX2,
         "avx512": TIER_AVX512}

cdef bint scanner_alone             # the tier called "scalar"
cdef bint cuts_are_used
for _row, _group in enumerate(cut_groups().tolist()):
    cut_group[_row] = _group
make_tables()


cdef struct Window:
    # A bit for each byte; a character of several bytes has its class at each of them.
    uint64_t upper, lower, caseless     # letters; marks are caseless here
    uint64_t number, space, blank, newline, other, slash, apostrophe
    uint64_t inside     # bytes of a character after its first
    uint64_t cuts       # first bytes of characters before which a piece may be cut
    uint64_t doubt      # places where the masks cannot tell
    int n_known         # bytes before this one are classified
    int n_certain       # borders up to this one cannot change with what follows


cdef inline uint64_t shift_in(uint64_t leads) noexcept nogil:
    """The bytes of characters of three bytes that begin at `leads`."""
    return leads | leads << 1 | leads << 2


cdef inline uint64_t add_letters(
    Window* window, const uint8_t* bytes, int n_bytes,
) noexcept nogil:
    """Classify the letters of two bytes that the tier finds; returns which bytes are theirs."""
    cdef LetterMasks letters
    cdef uint64_t leads
    cdef uint64_t whole = (ALL_BITS >> (WINDOW - n_bytes)) >> 1
    tier.find_letters(bytes, &letters)
    letters.upper &= whole
    letters.lower &= whole
    letters.caseless &= whole
    window.upper |= letters.upper | letters.upper << 1
    window.lower |= letters.lower | letters.lower << 1
    window.caseless |= letters.caseless | letters.caseless << 1
    leads = letters.upper | letters.lower | letters.caseless
    window.inside |= leads << 1
    return leads | leads << 1


cdef inline void add_wide(
    Window* window, uint64_t wide, bint cuts, const uint64_t* cut_filter,
    const uint8_t* bytes, int n_bytes, bint ends_here,
) noexcept nogil:
    """Classify the characters of more than one byte, whose bytes are `wide`."""
    cdef uint64_t here, lead, after_letter, candidates
    cdef uint64_t marks = 0
    # First bytes of characters of each group.
    cdef uint64_t groups[8]
    cdef uint32_t code_point
    cdef int at
    cdef Py_ssize_t width
    cdef uint8_t char_class, group
    window.n_certain = CERTAIN
    memset(groups, 0, sizeof(groups))
    groups[CJK] = tier.find_cjk(bytes) & (ALL_BITS >> (WINDOW - n_bytes)) >> 2
    window.caseless = shift_in(groups[CJK])
    window.inside = window.caseless & ~groups[CJK]
    wide &= ~window.caseless
    if wide:
        wide &= ~add_letters(window, bytes, n_bytes)
    if not ends_here:
        window.n_known = COMPLETE
        wide &= ALL_BITS >> (WINDOW - COMPLETE)
    while wide:
        count_steps(1)
        at = lowest_bit(wide)
        lead = <uint64_t>1 << at
        char_class = decode_wide(bytes, n_bytes, at, &width, &code_point)
        if width == 1:
            window.doubt |= lead        # no UTF-8: for the scanner
        here = (lead << width) - lead
        wide &= ~here
        window.inside |= here ^ lead
        if char_class == CASELESS:
            window.caseless |= here
        elif char_class == LOWER:
            window.lower |= here
        elif char_class == UPPER:
            window.upper |= here
        elif char_class == MARK:
            window.caseless |= here
            marks |= lead
        elif char_class == SPACE:
            window.blank |= here
        elif char_class == NUMBER:
            window.number |= here
            window.doubt |= lead
        else:
            window.other |= here
        if width == 3:
            group = cut_group[code_point >> 7]
            groups[group & 7] |= lead
            if group & NO_CUT:
                groups[NEVER_SECOND] |= lead
    after_letter = (window.upper | window.lower | window.caseless) << 1
    window.doubt |= marks & ~after_letter
    window.doubt |= window.upper & ~window.inside & (window.caseless << 1)
    if not cuts:
        return
    candidates = 0
    for at in range(CJK, NEVER_SECOND):
        candidates |= groups[at] & groups[at] << 3
    candidates &= ~groups[NEVER_SECOND]
    if candidates:
        window.cuts = tier.find_cuts(cut_filter, bytes, candidates)


cdef inline void classify_ascii(
    Window* window, const ByteMasks* masks, int n_bytes,
) noexcept nogil:
    """Fill `window` for n_bytes <= WINDOW bytes of ASCII."""
    cdef uint64_t known = ALL_BITS >> (WINDOW - n_bytes)
    window.upper = masks.upper
    window.lower = masks.lower
    window.caseless = 0
    window.number = masks.number
    window.space = masks.space
    window.blank = masks.blank
    window.newline = masks.newline
    window.slash = masks.slash
    window.apostrophe = masks.apostrophe
    window.other = known & ~(masks.upper | masks.lower | masks.number | masks.space | masks.blank
                             | masks.newline | masks.wide)
    window.inside = 0
    window.cuts = 0
    window.doubt = 0
    window.n_known = n_bytes
    window.n_certain = CERTAIN_IN_ASCII


cdef inline uint64_t first_bytes(uint64_t last_bytes, uint64_t inside) noexcept nogil:
    """The first bytes of the characters whose last bytes are given."""
    cdef int _k
    for _k in range(3):
        last_bytes = (last_bytes & ~inside) | (last_bytes & inside) >> 1
    return last_bytes


cdef uint64_t last_newlines(uint64_t newline, uint64_t white) noexcept nogil:
    """The last newline of each run of white space."""
    cdef uint64_t ahead = newline           # a newline is here or further on in the run
    cdef uint64_t run = white
    cdef int reach = 1
    while reach < WINDOW:
        ahead |= ahead >> reach & run
        run &= run >> reach
        reach *= 2
    return newline & ~(ahead >> 1)


cdef uint64_t with_contractions(
    uint64_t starts, uint64_t candidates, const uint8_t* bytes, int n_bytes,
) noexcept nogil:
    """Put 's 't 're 've 'm 'll 'd, in any case, behind the letters that end at a candidate."""
    cdef uint64_t here
    cdef int at, width
    cdef int done = 0                       # the end of the contraction before
    cdef uint8_t second
    while candidates:
        count_steps(1)
        at = lowest_bit(candidates)
        candidates &= candidates - 1
        if (done and at <= done) or at + 2 > n_bytes:      # a piece starts at `done`
            continue
        second = byte_at(bytes, at + 2, n_bytes) if at + 3 <= n_bytes else 0
        width = contraction_width(byte_at(bytes, at + 1, n_bytes), second)
        if width == 0:
            continue
        done = at + width
        here = ((<uint64_t>1 << width) - 1) << at
        starts &= ~here
        if done < WINDOW:
            starts |= <uint64_t>1 << done
    return starts


cdef inline uint64_t piece_starts(
    Window* window, const uint8_t* bytes, int n_bytes,
) noexcept nogil:
    """The first bytes of pieces. Adds to `window.doubt`."""
    cdef uint64_t letter = window.upper | window.lower | window.caseless
    cdef uint64_t other = window.other
    cdef uint64_t white = window.space | window.blank | window.newline
    cdef uint64_t word_start = letter & ~(letter << 1)
    cdef uint64_t starts, absorbed, prefix, newline_ends, tails, number, third
    # Upper case after lower case starts a word, whatever is before.
    starts = window.upper & ~window.inside & (window.lower << 1)

    # [^\s\p{L}\p{N}]+[\r\n/]*, with a space before it: newlines that follow are part of it. The
    # sum carries through each run of newlines that starts behind such a character.
    absorbed = window.newline & (other << 1)
    absorbed = window.newline & ~(window.newline + absorbed)
    window.doubt |= (absorbed << 1) & window.slash
    white &= ~absorbed
    other &= ~(other << 1) & ~(window.space << 1)
    starts |= other | (absorbed << 1 & ~absorbed)

    # [^\r\n\p{L}\p{N}]? before letters: white space always, another character where a piece starts.
    prefix = other | (other << 1 & window.inside)
    prefix |= prefix << 1 & window.inside
    prefix |= prefix << 1 & window.inside
    starts |= word_start & ~((prefix | window.space | window.blank) << 1)

    # \p{N}{1,3}
    number = window.number
    third = number & ~(number << 1)
    number &= (number << 1) & (number << 2)
    while True:             # hardly ever more than once
        starts |= third
        third = third << 3 & number
        if not third:
            break

    # \s*[\r\n]+: up to the last newline of a run of white space; what follows is another piece.
    starts |= white & ~(white << 1)
    # What is not white space starts a piece behind a newline anyway.
    newline_ends = window.newline & ~absorbed
    tails = newline_ends << 1 & (window.space | window.blank)
    if tails:
        # The sum carries through what follows the newlines. Does that end at another newline?
        if (window.space | window.blank) + tails & newline_ends:
            tails = last_newlines(newline_ends, white) << 1
        starts |= tails
    # \s+(?!\S): white space before anything else leaves its last character to that, newlines
    # excepted. Past the end of the text no class is set.
    prefix = (letter | window.number | window.other) >> 1 & (window.space | window.blank)
    starts |= first_bytes(prefix, window.inside) if window.inside else prefix

    prefix = window.apostrophe & (letter << 1)
    if prefix:
        starts = with_contractions(starts, prefix, bytes, n_bytes)
    return starts


cdef inline int last_certain(const Window* window) noexcept nogil:
    """The last place where a border cannot change with what follows the window."""
    cdef uint64_t white = window.space | window.blank | window.newline
    cdef uint64_t solid = ~white << (WINDOW - window.n_known)
    # White space that reaches the end of what is known may go on.
    cdef int last = highest_bit(solid) + 1 - (WINDOW - window.n_known) if solid else 0
    return min(last, window.n_certain)


cdef Py_ssize_t next_segment_ends(
    const uint64_t* cut_filter, const uint8_t* text, Py_ssize_t n_bytes, bint is_padded,
    Py_ssize_t start, Py_ssize_t* ends, Py_ssize_t max_ends,
) noexcept nogil:
    cdef Py_ssize_t n_ends = 0
    # A window, and of the key of the last cut in it the bytes that lie behind it.
    cdef uint8_t tail[PADDING]
    cdef const uint8_t* bytes
    cdef ByteMasks masks
    cdef Window window
    cdef uint64_t borders, cuts, certain, cased
    cdef int n_here, next_start, cut
    cdef bint ends_here, is_unsure
    cdef Py_ssize_t n_new
    # `use_tier` may come in between, and some tiers have no `find_ends`.
    cdef const Tier* own_tier = tier
    cdef Py_ssize_t next_try = start if own_tier.find_ends else n_bytes
    if not cuts_are_used:
        cut_filter = NULL
    if scanner_alone:
        return next_piece_ends(text, n_bytes, start, ends, max_ends)
    while start < n_bytes and n_ends + ENDS_PER_WINDOW < max_ends:
        if start >= next_try and n_bytes - start >= MANY_BYTES:
            n_new = own_tier.find_ends(
                cut_filter, text + start, n_bytes - start, start, ends + n_ends, max_ends - n_ends)
            next_try = start + TRY_AGAIN
            if n_new:
                n_ends += n_new
                start = ends[n_ends - 1]
                continue
        ends_here = n_bytes - start <= WINDOW
        n_here = <int>(n_bytes - start) if ends_here else WINDOW
        count_steps(n_here)
        bytes = text + start
        if n_bytes - start < PADDING and not is_padded:
            bytes = tail
            memset(tail, 0, sizeof(tail))
            memcpy(tail, text + start, n_bytes - start)
        tier.classify_bytes(bytes, &masks)
        classify_ascii(&window, &masks, n_here)
        # The same call twice: where all is ASCII, compilers leave out of it what is 0 then.
        if masks.wide:
            add_wide(&window, masks.wide, cut_filter != NULL, cut_filter, bytes, n_here, ends_here)
            borders = piece_starts(&window, bytes, n_here)
        else:
            borders = piece_starts(&window, bytes, n_here)

        # Bits 1 to the last border that is certain.
        certain = ALL_BITS >> (WINDOW - n_here)
        if not ends_here:
            certain >>= n_here - 1 - last_certain(&window)
        is_unsure = window.doubt & certain != 0
        if is_unsure:
            certain &= (window.doubt & -window.doubt) - 1
        certain &= ~<uint64_t>1
        borders &= certain
        next_start = highest_bit(borders) if borders else 0
        cuts = window.cuts & certain
        if ends_here and not is_unsure:
            next_start = n_here
        elif cuts and not is_unsure:
            # Between letters without case, none with it before them in the piece, a cut is as good
            # a start of a window as a border: the rest of the piece is what it is either way.
            cut = highest_bit(cuts)
            cased = (window.upper | window.lower) >> next_start << next_start
            if cut > next_start and (window.caseless >> cut & window.caseless >> (cut - 1) & 1
                                     and not cased & ((<uint64_t>1 << cut) - 1)):
                next_start = cut
        if next_start:
            borders = (borders | cuts) & ((<uint64_t>1 << (next_start - 1) << 1) - 1)
            n_ends += tier.write_ends(borders, start, ends + n_ends)
            start += next_start
            ends[n_ends] = start
            n_ends += 1
        if is_unsure or not next_start:
            n_ends += next_piece_ends(text, n_bytes, start, ends + n_ends, 1)
            start = ends[n_ends - 1]
    return n_ends


cdef uint64_t segment_steps() noexcept nogil:
    return steps_counted()


cdef void forget_segment_steps() noexcept nogil:
    forget_steps()


def tiers():
    """Names of the tiers that this processor can run, slowest first."""
    return [name for name, number in TIERS.items() if number <= best_tier()]


def use_tier(str name):
    """Find segments with the tier of this name from now on, in all threads; "" stands for the
    best. ValueError if this processor cannot run it."""
    global tier, scanner_alone
    if name and name not in tiers():
        raise ValueError(f"tier {name!r}: expected one of {', '.join(tiers())}")
    number = TIERS[name] if name else best_tier()
    tier = tier_of(number)
    scanner_alone = number == TIER_SCALAR


def segment_ends(const uint8_t[::1] text not None, const uint64_t[::1] cut_filter=None):
    """Ends of the segments of `text`, as byte offsets: numpy int64, 1-D, strictly increasing.

    `text` is meant to be UTF-8; anything else is split somehow, without harm. `cut_filter`: as in
    rank_tables.py; without it segments are pieces.
    """
    import numpy

    cdef Py_ssize_t n_bytes = text.shape[0]
    ends = numpy.empty(n_bytes + ENDS_PER_WINDOW + 1, dtype=numpy.intp)
    cdef Py_ssize_t[::1] view = ends
    cdef Py_ssize_t n_ends = 0
    cdef Py_ssize_t n_new
    cdef Py_ssize_t start = 0
    cdef const uint64_t* bits = NULL
    if cut_filter is not None:
        if cut_filter.shape[0] != 1 << (CUT_BITS - 6):
            raise ValueError(f"a cut filter has {1 << CUT_BITS} bits")
        bits = &cut_filter[0]
    with nogil:
        while start < n_bytes:
            n_new = next_segment_ends(
                bits, &text[0], n_bytes, False, start, &view[n_ends], view.shape[0] - n_ends)
            n_ends += n_new
            start = view[n_ends - 1]
    return ends[:n_ends].astype(numpy.int64)


def use_cuts(bint used):
    """Whether pieces are cut from now on. It changes no id."""
    global cuts_are_used
    cuts_are_used = used


use_tier(os.environ.get("HARMONY_TIER", ""))
use_cuts(os.environ.get("HARMONY_CUTS", "") != "off")
