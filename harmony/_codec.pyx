"""Text -> ids and ids -> bytes, from and to Python objects: one at a time (`Codec`, and
`TokenizerCalls`, the base class of Tokenizer) or a chunk of a batch (`Texts`, `IdWriter`).

What this module owes its callers: arguments are checked before any pointer is used, a failed call
leaves nothing behind, long calls run without the interpreter lock and stop on Ctrl-C. Its methods
allocate, release the lock and raise; the work is done in _encode.pyx and _bpe.pyx.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New
from cpython.number cimport PyNumber_Index
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from harmony._bpe cimport (
    BAD_TABLES, INTERRUPTED, IS_LONG, NO_MEMORY, OK, TOKEN_BYTES, RankTables, Sink, Status, Tables,
    reserve, token_length,
)
from harmony._encode cimport Context, Contexts, Span, Text, encode_text
from harmony._pretokenize cimport find_malformed
from harmony._segments cimport UTF8_SLACK, Tier, tier

from harmony.errors import (
    HarmonyError, InvalidUtf8Error, UnknownTokenError, VocabularyError, name_row,
)

cdef extern from "_memory.h" nogil:
    void step_aside() noexcept

cdef extern from "_search.h" nogil:
    bint holds(
        const Tier* tier, const uint8_t* content, size_t n_content, const uint8_t* wanted,
        size_t n_wanted) noexcept

cdef extern from "Python.h":
    void PyObject_GC_Track(PyObject* container)
    void PyObject_GC_UnTrack(PyObject* container)
    bint PyUnicode_IS_ASCII(object text)
    int PyUnicode_KIND(object text)
    void* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef extern from "Python.h":
    PyObject** list_items "PySequence_Fast_ITEMS" (PyObject* items)
    void set_size "Py_SET_SIZE" (PyObject* items, Py_ssize_t size)
    int signal_raised "PyErr_CheckSignals" () noexcept
    # As a plain pointer, since the bytes are made shorter afterwards.
    PyObject* new_bytes "PyBytes_FromStringAndSize" (const char* content, Py_ssize_t n) except NULL
    int _PyBytes_Resize(PyObject** content, Py_ssize_t n) except -1

cdef extern from "_ints.h":
    int prepare_ints() except -1
    int fill_with_ints(PyObject** items, const uint32_t* ids, Py_ssize_t n) except -1
    int64_t small_value(PyObject* value) noexcept
    Py_ssize_t small_values(PyObject** items, Py_ssize_t n, uint32_t* ids) noexcept

cdef extern from "_arrays.h":
    int load_numpy() except -1
    object array_copy(const uint32_t* ids, Py_ssize_t n_ids)
    object array_over(uint32_t* ids, Py_ssize_t n_ids, object owner)
    bint is_plain_array(object value) noexcept
    const uint32_t* array_ids(object array) noexcept
    Py_ssize_t array_length(object array) noexcept

load_numpy()
prepare_ints()

cdef enum:
    # Ids that fit the stack: a call on a short text allocates nothing but its result.
    STACK_IDS = 512
    # Texts of more bytes than this are encoded without the interpreter lock.
    RELEASE_LOCK_ABOVE = 16384
    # Ids put into a list between two moments in which other threads may run. Such a moment takes
    # longer than 10,000 ids do.
    IDS_BETWEEN_TURNS = 1 << 15
    # Most texts have more bytes for each id.
    BYTES_PER_ID = 3
    # Arrays of more ids own the memory that the ids were written to; less is copied faster.
    COPIED_IDS = 1024


# --- ids as Python objects ----------------------------------------------------------------------

cdef list list_of(const uint32_t* ids, Py_ssize_t n_ids):
    """A list of ints. The same int object stands for the same id every time: making a new one
    costs several times as much as one more reference."""
    cdef list result = PyList_New(n_ids)
    cdef PyObject** items = list_items(<PyObject*>result)
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t n
    # Other threads get their turn now and then. The garbage collector would show them the list,
    # which has holes until it is full.
    PyObject_GC_UnTrack(<PyObject*>result)
    while True:
        n = min(n_ids - done, IDS_BETWEEN_TURNS)
        fill_with_ints(items + done, ids + done, n)
        done += n
        if done == n_ids:
            break
        with nogil:
            step_aside()
        if signal_raised():
            set_size(<PyObject*>result, done)
            PyObject_GC_Track(<PyObject*>result)
            raise_status(INTERRUPTED)
    PyObject_GC_Track(<PyObject*>result)
    return result


@cython.final
cdef class IdMemory:
    """Memory that ids were written to, for as long as an array is over it."""

    def __dealloc__(self):
        free(self.ids)


cdef object array_of(Sink* sink):
    """The ids of a sink, which loses them, as a uint32 array."""
    cdef Py_ssize_t n_ids = sink.n_ids
    cdef IdMemory memory
    cdef void* ids
    sink.n_ids = 0
    if n_ids <= COPIED_IDS or not sink.on_heap:
        return array_copy(sink.ids, n_ids)
    memory = IdMemory.__new__(IdMemory)
    ids = realloc(sink.ids, n_ids * sizeof(uint32_t))
    memory.ids = <uint32_t*>ids if ids else sink.ids
    sink.ids = NULL
    sink.capacity = 0
    return array_over(memory.ids, n_ids, memory)


# For instances of str, and of its subclasses, such as numpy's: an argument that is declared as str
# must not be one of those.

cdef inline Py_ssize_t most_utf8(object text) noexcept:
    """Bytes that writing a text as UTF-8 may touch."""
    cdef int kind = PyUnicode_KIND(text)
    # At most 2, 3 and 4 bytes for code points of 1, 2 and 4 bytes.
    return PyUnicode_GET_LENGTH(text) * (kind + (kind < 4)) + UTF8_SLACK


cdef object valid_utf8_of(object text):
    """The text as UTF-8 bytes, or None if it holds surrogates."""
    cdef PyObject* result = new_bytes(NULL, most_utf8(text))
    cdef uint8_t* utf8 = <uint8_t*>PyBytes_AS_STRING(<object>result)
    cdef const uint8_t* stop
    cdef object owner
    stop = write_utf8(text, utf8)
    _PyBytes_Resize(&result, stop - utf8 if stop else 0)
    owner = <object>result
    Py_DECREF(owner)
    return owner if stop else None


cdef const uint8_t* write_utf8(object text, uint8_t* utf8) noexcept:
    """Write a text as UTF-8; returns where it ends, or NULL if it holds surrogates."""
    cdef Py_ssize_t n = PyUnicode_GET_LENGTH(text)
    cdef int kind = PyUnicode_KIND(text)
    cdef const void* codes = PyUnicode_DATA(text)
    if n <= RELEASE_LOCK_ABOVE:
        return write_code_points(kind, codes, n, utf8)
    with nogil:
        return write_code_points(kind, codes, n, utf8)


cdef inline const uint8_t* write_code_points(
    int kind, const void* codes, Py_ssize_t n, uint8_t* utf8,
) noexcept nogil:
    """The same for n code points of `kind` bytes each."""
    if kind == 1:
        return tier.utf8_of_latin1(<const uint8_t*>codes, n, utf8)
    if kind == 2:
        return tier.utf8_of_ucs2(<const uint16_t*>codes, n, utf8)
    return tier.utf8_of_ucs4(<const uint32_t*>codes, n, utf8)


cdef object utf8_of(object text):
    """The text as UTF-8 bytes. Surrogates become what UTF-16 makes of them: a pair is one
    character, one that stands alone becomes U+FFFD."""
    encoded = valid_utf8_of(text)
    if encoded is None:
        return str.encode(text, "utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    return encoded


cpdef bytes_of(text):
    """`text`, which is no str, as bytes or a view of them; TypeError if it is no buffer of bytes.

    Any other memory is copied. Were it written to meanwhile, a special token could be gone once it
    has been found, and the caches would have ids of one text for another from then on; what may
    only be read here may be written to elsewhere.
    """
    if isinstance(text, bytes):
        return text
    if not PyObject_CheckBuffer(text):
        raise TypeError(f"text must be str, bytes or a UTF-8 buffer, not {type(text).__name__}")
    view = memoryview(text)
    if view.itemsize != 1 or view.ndim > 1:
        raise TypeError("text as a buffer must be one-dimensional with items of one byte; "
                        f"this has {view.ndim} dimensions of {view.itemsize}-byte items")
    is_of_bytes = isinstance(text, memoryview) and isinstance(view.obj, bytes)
    return view if is_of_bytes and view.c_contiguous else view.tobytes()


def to_utf8(text):
    """`text` as something whose offsets are those of its UTF-8 form: an ASCII str, or bytes."""
    if isinstance(text, str) and not PyUnicode_IS_ASCII(text):
        return utf8_of(text)
    return text


@cython.final
cdef class Utf8:
    """The bytes of a text, kept alive and in place while this object lives."""

    cdef const uint8_t* bytes
    cdef Py_ssize_t n_bytes
    cdef object owner
    cdef Py_buffer view
    cdef bint has_view

    def __cinit__(self, text):
        cdef Py_ssize_t bad
        if isinstance(text, str):
            self.owner = utf8_of(text)
            self.bytes = <const uint8_t*>PyBytes_AS_STRING(self.owner)
            self.n_bytes = PyBytes_GET_SIZE(self.owner)
            return
        # Most are bytes: no call for them.
        self.owner = text if isinstance(text, bytes) else bytes_of(text)
        if isinstance(self.owner, bytes):
            self.bytes = <const uint8_t*>PyBytes_AS_STRING(self.owner)
            self.n_bytes = PyBytes_GET_SIZE(self.owner)
        else:
            PyObject_GetBuffer(self.owner, &self.view, PyBUF_SIMPLE)
            self.has_view = True
            self.bytes = <const uint8_t*>self.view.buf
            self.n_bytes = self.view.len
        with nogil:
            bad = find_malformed(self.bytes, self.n_bytes)
        if bad >= 0:
            raise InvalidUtf8Error.at(bytes(self.owner), bad)

    def __dealloc__(self):
        if self.has_view:
            PyBuffer_Release(&self.view)


cdef int raise_status(Status status) except -1:
    if status == NO_MEMORY:
        raise MemoryError("not enough memory for the ids of this text")
    if status == BAD_TABLES:
        raise VocabularyError("the rank tables contradict themselves; reinstall the package")
    return -1       # INTERRUPTED: the exception of the signal handler is already set


@cython.final
cdef class Ids:
    """Token ids given from outside, as uint32."""

    cdef const uint32_t* ids
    cdef Py_ssize_t n_ids
    cdef uint32_t* own
    cdef const uint32_t[::1] view
    cdef object owner

    def __cinit__(self, tokens):
        if isinstance(tokens, (list, tuple)):
            self.copy(tokens)
        elif is_plain_array(tokens):
            self.owner = tokens
            self.ids = array_ids(tokens)
            self.n_ids = array_length(tokens)
        elif PyObject_CheckBuffer(tokens):
            self.lend(tokens)
        elif hasattr(tokens, "__array__"):
            try:
                self.lend(tokens)
            except (TypeError, RuntimeError):
                # Tensors on another device, for one, are no arrays but can be iterated.
                self.copy(list(tokens))
        else:
            self.copy(list(tokens))

    cdef int copy(self, tokens) except -1:
        cdef Py_ssize_t i = 0
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t n = len(tokens)
        cdef object value
        cdef int64_t number
        self.own = <uint32_t*>malloc(max(1, n) * sizeof(uint32_t))
        if not self.own:
            raise MemoryError()
        self.ids = self.own
        if type(tokens) is list or type(tokens) is tuple:
            done = small_values(list_items(<PyObject*>tokens), n, self.own)
            self.n_ids = done
            if done == n:
                return 0
        for value in tokens:
            if i == n:
                break       # an __index__ method made the list longer
            if i >= done:
                number = small_value(<PyObject*>value)
                self.own[i] = <uint32_t>number if number >= 0 else id_from(value, i)
            i += 1
        self.n_ids = i

    cdef int lend(self, tokens) except -1:
        """Integer arrays of any kind, without a Python int for each id."""
        import numpy

        # numpy takes bytes for a string; their memory it takes for what it is.
        array = numpy.asarray(tokens if hasattr(tokens, "__array__") else memoryview(tokens))
        if array.ndim != 1:
            raise TypeError(f"token ids must be one-dimensional, not {array.ndim}-dimensional")
        if array.dtype.kind == "O":
            return self.copy(array.tolist())
        if array.dtype.kind not in "iu":
            if array.shape[0] == 0:
                return 0        # numpy.array([]) is of floats
            raise TypeError(f"token ids must be integers, not {array.dtype}")
        if array.dtype != numpy.uint32:
            wrong = (array < 0) | (array > 0xFFFFFFFF)
            if wrong.any():
                at = int(wrong.argmax())
                id_from(array[at], at)
        # "A", aligned: a view into packed records, for one, need not be.
        self.view = numpy.require(array, numpy.uint32, ["C", "A"])
        self.n_ids = self.view.shape[0]
        if self.n_ids:
            self.ids = &self.view[0]

    def __dealloc__(self):
        free(self.own)


cdef uint32_t id_from(object value, Py_ssize_t at) except? 0xFFFFFFFF:
    """One token id. TypeError if it is no integer, OverflowError outside 0 ... 2**32 - 1."""
    cdef object number = PyNumber_Index(value)
    if not 0 <= number <= 0xFFFFFFFF:
        raise OverflowError(f"token id {number} at index {at} is outside 0 ... {0xFFFFFFFF}")
    return number


@cython.final
cdef class Codec:
    """Text -> ids and ids -> bytes for one vocabulary and its special tokens.

    `ranks`: a RankTables. `specials`: {id: bytes}. `marker`: what every special token begins with;
    None if texts need a closer look whether they hold it or not. Thread-safe: nothing changes after
    the constructor but the shared cache of int objects.
    """

    def __cinit__(self, RankTables ranks not None, dict specials not None, bytes marker=None):
        import numpy

        in_order = sorted(specials.items())
        self.ranks = ranks
        self.marker = marker
        if ranks.contexts is None:
            ranks.contexts = Contexts()
        self.contexts = ranks.contexts
        self.special_ids = numpy.array([token for token, _ in in_order], dtype=numpy.uint32)
        lengths = [0] + [len(text) for _, text in in_order]
        self.special_starts = numpy.cumsum(lengths, dtype=numpy.uint32)
        self.special_bytes = numpy.frombuffer(
            b"".join([text for _, text in in_order]) + b"\0", dtype=numpy.uint8)

    # text -> ids

    def encode_list(self, text, specials=None, piece_ends=None):
        """Ids of `text` as a list of int. For the other arguments see `encode_into`."""
        return ids_of(self, text, specials, piece_ends, None, True)

    def encode_array(self, text, specials=None, piece_ends=None):
        """The same as a uint32 array."""
        return ids_of(self, text, specials, piece_ends, None, False)

    def count(self, text, specials=None, piece_ends=None):
        """Number of ids of `text`."""
        cdef uint32_t stack_ids[STACK_IDS]
        cdef Sink sink
        start_sink(&sink, stack_ids)
        sink.counting = True
        try:
            encode_into(self, text, specials, piece_ends, None, &sink)
            return sink.forgotten + sink.n_ids
        finally:
            if sink.on_heap:
                free(sink.ids)

    # one chunk of a batch; `IdWriter` has the rest

    def count_texts(
        self, Texts texts not None, int64_t[::1] offsets not None, bytes marker=None,
        Py_ssize_t row=0,
    ):
        """As `IdWriter.texts` of an empty writer, but nobody gets to see the ids."""
        cdef uint32_t stack_ids[STACK_IDS]
        cdef Sink sink
        start_sink(&sink, stack_ids)
        sink.counting = True
        try:
            return encode_texts(self, texts, offsets, marker, row, &sink)
        finally:
            if sink.on_heap:
                free(sink.ids)

    def decode_texts(
        self, ids, const int64_t[::1] offsets not None, str errors not None, Py_ssize_t first_row=0
    ):
        """Texts of the ids between each two of `offsets`, as a list of str; `errors` as in
        bytes.decode. Errors name the row, counted from `first_row`."""
        cdef Ids source = Ids(ids)
        cdef Py_ssize_t n_rows = offsets.shape[0] - 1
        cdef Py_ssize_t n_bytes = 0
        cdef Py_ssize_t row = 0
        cdef Py_ssize_t at, length
        cdef const uint8_t* start
        cdef const char* encoded_errors
        cdef uint8_t* content
        cdef Py_ssize_t* ends
        check_offsets(offsets, source.n_ids)
        ends = <Py_ssize_t*>malloc(max(1, n_rows) * sizeof(Py_ssize_t))
        if not ends:
            raise MemoryError()
        content = NULL
        try:
            with nogil:
                at = offsets[0]
                for row in range(n_rows):
                    while at < min(offsets[row + 1], source.n_ids) and self.find_bytes(
                            source.ids[at], &start, &length):
                        n_bytes += length
                        at += 1
                    ends[row] = n_bytes
                    if at < offsets[row + 1]:
                        break
            if at < offsets[n_rows]:
                raise name_row(UnknownTokenError.of(source.ids[at], at - offsets[row]),
                               first_row + row)
            content = <uint8_t*>malloc(max(1, n_bytes))
            if not content:
                raise MemoryError()
            copy_bytes(self, source.ids + offsets[0], at - offsets[0], content, n_bytes)
            error_handler = errors.encode()
            encoded_errors = error_handler
            result = []
            at = 0
            for row in range(n_rows):
                try:
                    result.append(
                        PyUnicode_DecodeUTF8(<char*>content + at, ends[row] - at, encoded_errors))
                except UnicodeDecodeError as error:
                    raise name_row(error, first_row + row)
                at = ends[row]
            return result
        finally:
            free(content)
            free(ends)

    # ids -> bytes

    cdef bint find_bytes(
        self, uint32_t token, const uint8_t** start, Py_ssize_t* n_bytes
    ) noexcept nogil:
        """The bytes of an id, ordinary or special; False if there is no such token."""
        cdef const Tables* t = &self.ranks.tables
        cdef Py_ssize_t low, high, middle
        if token < t.n_ids and token_length(t, token):
            start[0] = t.token_bytes + t.token_starts[token]
            n_bytes[0] = token_length(t, token)
            return True
        low = 0
        high = self.special_ids.shape[0]
        while low < high:
            middle = (low + high) >> 1
            if self.special_ids[middle] < token:
                low = middle + 1
            else:
                high = middle
        if low == self.special_ids.shape[0] or self.special_ids[low] != token:
            return False
        start[0] = &self.special_bytes[self.special_starts[low]]
        n_bytes[0] = self.special_starts[low + 1] - self.special_starts[low]
        return True

    def decode_bytes(self, tokens):
        """The bytes of `tokens`, one after the other."""
        cdef Ids ids = Ids(tokens)
        cdef Py_ssize_t n_bytes = total_bytes(self, ids)
        cdef object result = PyBytes_FromStringAndSize(NULL, n_bytes)
        copy_bytes(self, ids.ids, ids.n_ids, <uint8_t*>PyBytes_AS_STRING(result), n_bytes)
        return result

    def decode_str(self, tokens, str errors not None):
        """The bytes of `tokens` read as UTF-8; `errors` as in bytes.decode."""
        return str_from(self, Ids(tokens), errors.encode())

    def decode_list(self, tokens):
        """The bytes of each token, as a list."""
        cdef Ids ids = Ids(tokens)
        cdef Py_ssize_t i, n_bytes
        cdef const uint8_t* start
        result = []
        for i in range(ids.n_ids):
            if not self.find_bytes(ids.ids[i], &start, &n_bytes):
                raise UnknownTokenError.of(ids.ids[i], i)
            result.append(PyBytes_FromStringAndSize(<const char*>start, n_bytes))
        return result

    def decode_with_offsets(self, tokens):
        """The text, strictly UTF-8, and for each token the index of the character it starts in."""
        cdef Ids ids = Ids(tokens)
        cdef Py_ssize_t i, k, n_bytes
        cdef Py_ssize_t n_characters = 0
        cdef const uint8_t* start
        cdef str text = str_from(self, ids, b"strict")
        result = []
        for i in range(ids.n_ids):
            if not self.find_bytes(ids.ids[i], &start, &n_bytes):
                raise UnknownTokenError.of(ids.ids[i], i)
            # A token that begins inside a character belongs to the one that began before it.
            result.append(max(0, n_characters - (start[0] & 0xC0 == 0x80)))
            for k in range(n_bytes):
                n_characters += start[k] & 0xC0 != 0x80
        return text, result


cdef inline void start_sink(Sink* sink, uint32_t* stack_ids) noexcept:
    sink.ids = stack_ids
    sink.n_ids = 0
    sink.capacity = STACK_IDS
    sink.on_heap = False
    sink.counting = False
    sink.forgotten = 0
    sink.next_look = 0


cdef int reserve_for(Py_ssize_t n_bytes, Sink* sink) except -1:
    """Room for the ids of so many bytes of most texts. Memory that nobody writes to costs
    nothing."""
    if n_bytes > STACK_IDS and not sink.counting and reserve(
            sink, n_bytes // BYTES_PER_ID + STACK_IDS) != OK:
        raise MemoryError()
    return 0


cdef bint encode_into(
    Codec codec, text, specials, piece_ends, bytes unless, Sink* sink
) except? False:
    """Fill the sink, which the caller frees whatever happens. False, and nothing is done, if the
    text holds the bytes `unless`.

    `specials`: None or a list of (start, stop, id) in bytes; `piece_ends`: None (the compiled
    splitter) or an intp array of the ends of all pieces that lie outside the specials.
    """
    cdef Text source
    cdef Utf8 utf8
    cdef const Py_ssize_t[::1] given
    source.is_padded = False
    source.n_specials = 0
    source.piece_ends = NULL
    source.n_piece_ends = 0
    if isinstance(text, str) and PyUnicode_IS_ASCII(text):
        source.bytes = <const uint8_t*>PyUnicode_DATA(text)
        source.n_bytes = PyUnicode_GET_LENGTH(text)
    else:
        utf8 = Utf8(text)
        source.bytes = utf8.bytes
        source.n_bytes = utf8.n_bytes
    if unless is not None and holds(tier, source.bytes, source.n_bytes,
                                    <const uint8_t*>PyBytes_AS_STRING(unless),
                                    PyBytes_GET_SIZE(unless)):
        return False
    if source.n_bytes == 0:
        return True
    reserve_for(source.n_bytes, sink)
    if piece_ends is not None:
        given = piece_ends
        set_piece_ends(&source, given)
    if specials:
        spans = spans_of(specials, source.n_bytes)
        source.specials = <const Span*>PyBytes_AS_STRING(spans)
        source.n_specials = PyBytes_GET_SIZE(spans) // sizeof(Span)
    encode_source(codec, &source, sink)
    return True


cdef int set_piece_ends(Text* text, const Py_ssize_t[::1] ends) except -1:
    """Have a text cut into pieces that end there, which the caller keeps in place."""
    cdef Py_ssize_t n_ends = ends.shape[0]
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t i
    for i in range(n_ends):
        if not at < ends[i] <= text.n_bytes:
            raise ValueError("piece ends must increase and lie inside the text")
        at = ends[i]
    text.n_piece_ends = n_ends
    text.piece_ends = &ends[0] if n_ends else NULL
    return 0


cdef bytes spans_of(specials, Py_ssize_t n_bytes):
    """Special tokens in a text of so many bytes, given as (start, stop, id) each: their Spans."""
    cdef tuple given = tuple(specials)
    cdef bytes result = PyBytes_FromStringAndSize(NULL, len(given) * sizeof(Span))
    cdef Span* spans = <Span*>PyBytes_AS_STRING(result)
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t i
    for i in range(len(given)):
        start, stop, token = given[i]
        if not at <= start < stop <= n_bytes:
            raise ValueError("special tokens must not overlap and lie inside the text")
        spans[i].start = start
        spans[i].stop = at = stop
        spans[i].token = token
    return result


cdef object ids_of(Codec codec, text, specials, piece_ends, bytes unless, bint as_list):
    """Ids of `text`, as a list of int or a uint32 array; None if `encode_into`, which says what the
    arguments are, did nothing."""
    cdef uint32_t stack_ids[STACK_IDS]
    cdef Sink sink
    start_sink(&sink, stack_ids)
    try:
        if not encode_into(codec, text, specials, piece_ends, unless, &sink):
            return None
        return list_of(sink.ids, sink.n_ids) if as_list else array_of(&sink)
    finally:
        if sink.on_heap:
            free(sink.ids)


cdef int encode_source(Codec codec, const Text* source, Sink* sink) except -1:
    """Append the ids of a text."""
    cdef Context* context = codec.contexts.take(source.n_bytes)
    cdef Status status
    if source.n_bytes > RELEASE_LOCK_ABOVE:
        with nogil:
            status = encode_text(&codec.ranks.tables, context, source, sink)
    else:
        status = encode_text(&codec.ranks.tables, context, source, sink)
    codec.contexts.give_back(context)
    if status != OK:
        return raise_status(status)
    return 0


# Defaults of the calls below. It is these objects that mean "the caller gave nothing": comparing
# identities costs nothing. Whoever gives an equal one gets the same, by a longer way.
cdef object none_allowed = set()
cdef object all_of_them = "all"
NONE_ALLOWED = none_allowed


cdef class TokenizerCalls:
    """The calls of a Tokenizer that are made for a few words at a time. A Python function in front
    of them would take a third of their time.

    Whoever inherits gives `_codec`, and says in `_splits_by_itself` whether the compiled scanner
    finds the pieces of every text. `_resolve` and `_piece_ends` are asked if it is not so simple.
    """

    cdef public Codec _codec
    cdef public bint _splits_by_itself

    def encode(self, text, *, allowed_special=none_allowed, disallowed_special=all_of_them):
        """Ids of `text`.

        Names of special tokens in `allowed_special` ("all": every one) become their ids. Text that
        holds one of `disallowed_special` ("all": every special token that is not allowed; (): none)
        raises HarmonyError. Other text is ordinary.
        """
        cdef Codec codec = self._codec
        if allowed_special is none_allowed and disallowed_special is all_of_them:
            ids = at_once(codec, text, True)
            if ids is not None:
                return ids
        return codec.encode_list(*self._resolve(text, allowed_special, disallowed_special))

    def encode_ordinary(self, text):
        """Ids of `text`, in which nothing is special: names of special tokens are plain text."""
        cdef Codec codec = self._codec
        if codec is not None and self._splits_by_itself:
            return ids_of(codec, text, None, None, None, True)
        return codec.encode_list(text, None, self._piece_ends(text))

    def encode_to_numpy(
        self, text, *, allowed_special=none_allowed, disallowed_special=all_of_them
    ):
        """As `encode`: uint32 array, 1-D, the caller's own, writeable."""
        cdef Codec codec = self._codec
        if allowed_special is none_allowed and codec is not None:
            if disallowed_special is all_of_them:
                ids = at_once(codec, text, False)
                if ids is not None:
                    return ids
            elif not disallowed_special and self._splits_by_itself:
                return ids_of(codec, text, None, None, None, False)
        return codec.encode_array(*self._resolve(text, allowed_special, disallowed_special))


cdef inline object at_once(Codec codec, text, bint as_list):
    """Ids of a text that holds no special token, seen at a glance; None if that cannot be said."""
    if codec is None or codec.marker is None:
        return None
    return ids_of(codec, text, None, None, codec.marker, as_list)


@cython.final
cdef class IdWriter:
    """Ids of texts and tokens, one after another, in memory that grows.

    For one thread at a time: of what two write at once, something is lost. What an error leaves
    behind is to be thrown away.
    """

    cdef Codec codec
    cdef Sink sink

    def __cinit__(self, Codec codec not None):
        self.codec = codec
        self.sink.on_heap = True

    def __dealloc__(self):
        free(self.sink.ids)

    cdef Sink take(self) noexcept:
        """What is written, for as long as a call writes to it without the interpreter lock. It is
        on the stack meanwhile: beside this object may lie what another thread writes to."""
        cdef Sink sink = self.sink
        self.sink.ids = NULL
        self.sink.n_ids = self.sink.capacity = 0
        return sink

    cdef void put_back(self, const Sink* sink) noexcept:
        free(self.sink.ids)
        self.sink = sink[0]

    def __len__(self):
        return self.sink.n_ids

    def expect(self, Py_ssize_t n_bytes):
        """Have room for the ids of so many bytes of text, or nearly so."""
        reserve_for(n_bytes, &self.sink)

    def clear(self):
        """Forget all ids, but keep their memory."""
        self.sink.n_ids = 0

    def text(self, text):
        """Append the ids of a str in which nothing is special. Raises UnicodeEncodeError if it
        holds lone surrogates."""
        cdef Text source
        cdef object encoded
        if not isinstance(text, str):
            raise TypeError(f"text must be str, not {type(text).__name__}")
        memset(&source, 0, sizeof(source))
        if PyUnicode_IS_ASCII(text):
            source.bytes = <const uint8_t*>PyUnicode_DATA(text)
            source.n_bytes = PyUnicode_GET_LENGTH(text)
        else:
            encoded = valid_utf8_of(text)
            if encoded is None:
                encoded = str.encode(text)      # raises
            source.bytes = <const uint8_t*>PyBytes_AS_STRING(encoded)
            source.n_bytes = PyBytes_GET_SIZE(encoded)
        cdef Sink sink = self.take()
        try:
            encode_source(self.codec, &source, &sink)
        finally:
            self.put_back(&sink)

    def tokens(self, list tokens not None):
        """Append these ids."""
        cdef Py_ssize_t n_tokens = len(tokens)
        if reserve(&self.sink, n_tokens) != OK:
            raise MemoryError()
        for token in tokens[:n_tokens]:
            self.sink.ids[self.sink.n_ids] = token
            self.sink.n_ids += 1

    def token(self, uint32_t token):
        """Append one id."""
        if reserve(&self.sink, 1) != OK:
            raise MemoryError()
        self.sink.ids[self.sink.n_ids] = token
        self.sink.n_ids += 1

    def texts(
        self, Texts texts not None, int64_t[::1] offsets not None, bytes marker=None,
        Py_ssize_t row=0,
    ):
        """Append the ids of a batch from `row` on, up to the first text that holds `marker` and has
        not been cut; returns which that is, or how many there are. `offsets`, with one item more
        than there are texts, becomes where the ids of each begin and end."""
        cdef Sink sink = self.take()
        try:
            return encode_texts(self.codec, texts, offsets, marker, row, &sink)
        finally:
            self.put_back(&sink)

    def writer(self, IdWriter other not None):
        """Append the ids of another writer."""
        if reserve(&self.sink, other.sink.n_ids) != OK:
            raise MemoryError()
        if other.sink.n_ids:
            memcpy(self.sink.ids + self.sink.n_ids, other.sink.ids,
                   other.sink.n_ids * sizeof(uint32_t))
        self.sink.n_ids += other.sink.n_ids

    def to_list(self):
        """All ids, as a list of int."""
        return list_of(self.sink.ids, self.sink.n_ids)

    def to_lists(self, const int64_t[::1] offsets not None):
        """The ids between each two of `offsets`, as a list of int each."""
        cdef Py_ssize_t i
        check_offsets(offsets, self.sink.n_ids)
        return [list_of(self.sink.ids + offsets[i], offsets[i + 1] - offsets[i])
                for i in range(offsets.shape[0] - 1)]

    def to_array(self):
        """All ids, as a uint32 array, which takes over their memory: the writer is empty again."""
        return array_of(&self.sink)


@cython.final
cdef class Scratch:
    """What one chunk after another of a batch is written to: a text as UTF-8, which `Texts` borrows
    the memory for, and `ids`, an IdWriter. Memory that was written to before is there at once; new
    memory takes the system longer to provide than a chunk takes to fill it."""

    cdef readonly IdWriter ids
    cdef uint8_t* utf8
    cdef Py_ssize_t n_utf8

    def __cinit__(self, Codec codec not None):
        self.ids = IdWriter(codec)

    def __dealloc__(self):
        free(self.utf8)


cdef struct Row:
    # A text of a batch: `text` is it as UTF-8, or will be once it is written from code points.
    Text text
    const void* codes               # NULL: it is UTF-8 where it is
    Py_ssize_t n_codes
    int kind                        # bytes of a code point
    bint is_cut                     # somebody looked for special tokens in it


@cython.final
cdef class Texts:
    """The texts of a batch, kept alive and in place while this object lives.

    `texts`: a list of texts. Those that are not UTF-8 are written to `scratch`, one in the place of
    the other; errors name the row, counted from `first_row`. Or else rows of one buffer of UTF-8,
    as Arrow keeps them: `texts` is the buffer, `offsets` int64 with one item more than there are
    rows, and `present` uint8 with one for each, 0 for a row that is null.
    """

    cdef Row* rows
    cdef Py_ssize_t n_texts
    cdef Py_ssize_t first_row
    cdef list owners
    cdef Scratch scratch
    cdef uint8_t* memory
    cdef Py_ssize_t n_memory

    def __cinit__(
        self, texts, Scratch scratch not None, Py_ssize_t first_row=0, offsets=None, present=None
    ):
        self.first_row = first_row
        self.scratch = scratch
        # Nobody else may change this list. Its first items are the texts, if they are a list.
        self.owners = list(texts) if offsets is None else []
        self.n_texts = len(self.owners) if offsets is None else len(offsets) - 1
        if self.n_texts < 0:
            raise ValueError("offsets hold one item more than there are rows")
        self.rows = <Row*>calloc(max(1, self.n_texts), sizeof(Row))
        if not self.rows:
            raise MemoryError()
        if offsets is None:
            self.take_list()
        else:
            self.take_rows(texts, offsets, present)

    cdef int take_list(self) except -1:
        cdef Py_ssize_t i
        cdef Py_ssize_t n_bytes = 0
        cdef object text
        cdef Row* row
        for i in range(self.n_texts):
            text = self.owners[i]
            row = &self.rows[i]
            if not isinstance(text, str):
                self.take_utf8(i)
            elif PyUnicode_IS_ASCII(text):
                row.text.bytes = <const uint8_t*>PyUnicode_DATA(text)
                row.text.n_bytes = PyUnicode_GET_LENGTH(text)
            else:
                row.codes = PyUnicode_DATA(text)
                row.n_codes = PyUnicode_GET_LENGTH(text)
                row.kind = PyUnicode_KIND(text)
                n_bytes = max(n_bytes, most_utf8(text))
        self.memory = self.scratch.utf8
        self.n_memory = self.scratch.n_utf8
        self.scratch.utf8 = NULL
        self.scratch.n_utf8 = 0
        if n_bytes > self.n_memory:
            free(self.memory)
            self.n_memory = 0
            self.memory = <uint8_t*>malloc(n_bytes)
            if not self.memory:
                raise MemoryError()
            self.n_memory = n_bytes

    cdef int take_utf8(self, Py_ssize_t i) except -1:
        """Take a text of the list that is no str, or one with surrogates, as Utf8."""
        cdef Row* row = &self.rows[i]
        cdef Utf8 utf8
        try:
            utf8 = Utf8(self.owners[i])
        # BufferError and ValueError: of a buffer that does not let itself be read, as Arrow's null.
        except (BufferError, HarmonyError, TypeError, ValueError) as error:
            raise name_row(error, self.first_row + i)
        self.owners[i] = utf8
        row.codes = NULL
        row.text.bytes = utf8.bytes
        row.text.n_bytes = utf8.n_bytes

    cdef bint write(self, Py_ssize_t i) noexcept nogil:
        """Have a text be UTF-8 until the next one is written. False if it holds surrogates."""
        cdef Row* row = &self.rows[i]
        cdef const uint8_t* stop
        if not row.codes:
            return True
        stop = write_code_points(row.kind, row.codes, row.n_codes, self.memory)
        if not stop:
            return False
        row.text.bytes = self.memory
        row.text.n_bytes = stop - self.memory
        return True

    cdef Text* text_at(self, Py_ssize_t i) except NULL:
        """A text as UTF-8, until the next one is written."""
        if not 0 <= i < self.n_texts:
            raise IndexError(i)
        if not self.write(i):
            self.take_utf8(i)
        return &self.rows[i].text

    cdef int take_rows(self, buffer, const int64_t[::1] offsets, present) except -1:
        cdef const uint8_t[::1] content = buffer
        cdef const uint8_t[::1] mask
        cdef Py_ssize_t i
        cdef Py_ssize_t bad = -1
        check_offsets(offsets, content.shape[0])
        if present is not None:
            mask = present
            if mask.shape[0] != self.n_texts:
                raise ValueError("there is one mark of presence for each row")
        self.owners.append(content)
        if content.shape[0] == 0:
            return 0
        for i in range(self.n_texts):
            if present is None or mask[i]:
                self.rows[i].text.bytes = &content[0] + offsets[i]
                self.rows[i].text.n_bytes = offsets[i + 1] - offsets[i]
        with nogil:
            for i in range(self.n_texts):
                if self.rows[i].text.n_bytes:
                    bad = find_malformed(self.rows[i].text.bytes, self.rows[i].text.n_bytes)
                    if bad >= 0:
                        break
        if bad >= 0:
            raise name_row(InvalidUtf8Error.at(self.utf8(i), bad), self.first_row + i)

    def __len__(self):
        return self.n_texts

    def utf8(self, Py_ssize_t row):
        """The bytes of one text."""
        cdef const Text* text = self.text_at(row)
        return PyBytes_FromStringAndSize(<const char*>text.bytes, text.n_bytes)

    def cut(self, Py_ssize_t row, specials, piece_ends):
        """Where the special tokens of a text stand, and its pieces end: as for `Codec.encode_list`,
        in bytes of UTF-8."""
        cdef const Py_ssize_t[::1] ends
        cdef Text* text = self.text_at(row)
        self.rows[row].is_cut = True
        if piece_ends is not None:
            # Its own copy: nobody may change it between this check and its use.
            ends = piece_ends.copy()
            set_piece_ends(text, ends)
            self.owners.append(ends)
        if specials:
            spans = spans_of(specials, text.n_bytes)
            self.owners.append(spans)
            text.specials = <const Span*>PyBytes_AS_STRING(spans)
            text.n_specials = PyBytes_GET_SIZE(spans) // sizeof(Span)

    def __dealloc__(self):
        free(self.rows)
        if self.scratch is not None and not self.scratch.utf8:
            self.scratch.utf8 = self.memory
            self.scratch.n_utf8 = self.n_memory
        else:
            free(self.memory)


cpdef int check_offsets(const int64_t[::1] offsets, Py_ssize_t n_items) except -1:
    """Offsets do not decrease and stay inside what they point into."""
    cdef Py_ssize_t i
    cdef bint fit = offsets.shape[0] > 0 and offsets[0] >= 0
    if fit:
        for i in range(offsets.shape[0] - 1):
            fit = fit and offsets[i] <= offsets[i + 1]
        fit = fit and offsets[offsets.shape[0] - 1] <= n_items
    if not fit:
        raise ValueError("offsets must not decrease, and stay inside what they point into")
    return 0


def join_ids(list rows not None, int64_t[::1] offsets not None):
    """Token ids given from outside in many rows, one after another, as a uint32 array; `offsets`,
    int64 with one item more than rows, becomes where they begin and end. Errors name the row."""
    cdef Sink sink
    cdef uint32_t stack_ids[STACK_IDS]
    cdef Ids ids
    cdef Py_ssize_t row
    if offsets.shape[0] != len(rows) + 1:
        raise ValueError(f"{offsets.shape[0]} offsets for {len(rows)} rows")
    start_sink(&sink, stack_ids)
    offsets[0] = 0
    try:
        for row in range(offsets.shape[0] - 1):
            try:
                ids = Ids(rows[row])
            except (TypeError, ValueError, OverflowError) as error:
                raise name_row(error, row)
            if reserve(&sink, ids.n_ids) != OK:
                raise MemoryError()
            if ids.n_ids:
                memcpy(sink.ids + sink.n_ids, ids.ids, ids.n_ids * sizeof(uint32_t))
            sink.n_ids += ids.n_ids
            offsets[row + 1] = sink.n_ids
        return array_of(&sink)
    finally:
        if sink.on_heap:
            free(sink.ids)


cdef Py_ssize_t encode_texts(
    Codec codec, Texts texts, int64_t[::1] offsets, bytes marker, Py_ssize_t row, Sink* sink,
) except -1:
    """Append the ids of texts to the sink, which the caller frees, as `IdWriter.texts` does. Each
    is written, searched and encoded before the next, all of it without the interpreter lock:
    threads that take it for each of these steps wait for each other."""
    cdef Status status = OK
    cdef bint has_surrogates = True
    cdef const uint8_t* wanted = NULL
    cdef size_t n_wanted = 0
    cdef Context* context
    cdef const Row* text
    cdef Py_ssize_t n_bytes = 0
    cdef Py_ssize_t i
    if offsets.shape[0] != texts.n_texts + 1:
        raise ValueError(f"{offsets.shape[0]} offsets for {texts.n_texts} texts")
    if not 0 <= row <= texts.n_texts:
        raise IndexError(row)
    if marker is not None:
        wanted = <const uint8_t*>PyBytes_AS_STRING(marker)
        n_wanted = PyBytes_GET_SIZE(marker)
    if row == 0:
        offsets[0] = sink.n_ids
        for i in range(texts.n_texts):
            n_bytes += texts.rows[i].n_codes if texts.rows[i].codes else texts.rows[i].text.n_bytes
        reserve_for(n_bytes, sink)
    elif sink.counting:
        sink.forgotten = offsets[row]
    while has_surrogates:
        has_surrogates = False
        context = codec.contexts.take(n_bytes)
        with nogil:
            while row < texts.n_texts and status == OK:
                text = &texts.rows[row]
                if not texts.write(row):
                    has_surrogates = True
                    break
                if text.text.n_bytes:
                    if wanted and not text.is_cut and holds(
                            tier, text.text.bytes, text.text.n_bytes, wanted, n_wanted):
                        break
                    status = encode_text(&codec.ranks.tables, context, &text.text, sink)
                row += 1
                offsets[row] = sink.forgotten + sink.n_ids
        codec.contexts.give_back(context)
        if status != OK:
            return raise_status(status)
        if has_surrogates:
            texts.take_utf8(row)
    return row


cdef Py_ssize_t total_bytes(Codec codec, Ids ids) except -1:
    """Number of bytes that these ids stand for; UnknownTokenError for the first without any."""
    cdef const Tables* t = &codec.ranks.tables
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t n_bytes
    cdef uint32_t token
    cdef const uint8_t* start
    with nogil:
        while i < ids.n_ids:
            token = ids.ids[i]
            n_bytes = 0
            if token < t.n_ids:
                n_bytes = t.short_tokens[<size_t>token * TOKEN_BYTES + TOKEN_BYTES - 1]
            if (n_bytes == 0 or n_bytes == IS_LONG) and not codec.find_bytes(
                    token, &start, &n_bytes):
                break
            total += n_bytes
            i += 1
    if i < ids.n_ids:
        raise UnknownTokenError.of(ids.ids[i], i)
    return total


cdef void copy_bytes(
    Codec codec, const uint32_t* ids, Py_ssize_t n_ids, uint8_t* target, Py_ssize_t n_target
) noexcept:
    """Write the bytes of all ids to `target`. An array that somebody else changed since
    `total_bytes` read it must not lead past its end."""
    cdef const Tables* t = &codec.ranks.tables
    cdef Py_ssize_t i, n_bytes
    cdef uint32_t token
    cdef const uint8_t* start
    with nogil:
        for i in range(n_ids):
            token = ids[i]
            n_bytes = 0
            if token < t.n_ids and n_target >= TOKEN_BYTES:
                start = t.short_tokens + <size_t>token * TOKEN_BYTES
                n_bytes = start[TOKEN_BYTES - 1]
            if n_bytes and n_bytes != IS_LONG:
                memcpy(target, start, TOKEN_BYTES)      # the next token is written over the rest
            elif codec.find_bytes(token, &start, &n_bytes) and n_bytes <= n_target:
                memcpy(target, start, n_bytes)
            else:
                break
            target += n_bytes
            n_target -= n_bytes
        memset(target, 0, n_target)


cdef str str_from(Codec codec, Ids ids, bytes errors):
    cdef Py_ssize_t n_bytes = total_bytes(codec, ids)
    cdef uint8_t* text = <uint8_t*>malloc(max(1, n_bytes))
    if not text:
        raise MemoryError()
    try:
        copy_bytes(codec, ids.ids, ids.n_ids, text, n_bytes)
        return PyUnicode_DecodeUTF8(<char*>text, n_bytes, errors)
    finally:
        free(text)
