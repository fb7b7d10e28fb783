"""Ids -> messages, one id at a time: the automaton of the format.

What this module owes its callers: every argument is checked before it is used, an id is looked up
only inside the tables, each buffer is owned by exactly one holder. So nothing that is fed, pickled
or called from several threads at once can crash the interpreter; two threads that feed one parser
get nonsense, and no more than that.

The automaton

    `TRANSITIONS` says what happens for a mode, a state and the kind of an id; the end of the stream
    is one more kind. `Parser.act` does it. Nothing else decides. Strict and lenient are two tables:
    they differ in one place.

                    start     message   stop      other ids  end of stream
    EXPECT_START    OPEN      REFUSE    REFUSE    REFUSE     IGNORE
    HEADER          COLLECT   READ      COLLECT   COLLECT    CUT
                       (lenient:        LEAVE)
    CONTENT         APPEND    APPEND    FINISH    APPEND     FINISH

    OPEN     a header begins                     -> HEADER
    COLLECT  the id is part of the header
    READ     the header is read (header.py)      -> CONTENT; if it cannot be read, an error
                                                 -> EXPECT_START, and the given role stays
    LEAVE    the header was a message            -> EXPECT_START; if it cannot be read, an error
    APPEND   the id is part of the content
    FINISH   the message is complete             -> EXPECT_START
    REFUSE   an error: only `<|start|>` may come here
    CUT      an error: the stream ends inside a header
    IGNORE   nothing

    A parser starts in EXPECT_START; given a role it starts in HEADER, for then `<|start|>` and the
    role are in the prompt. An error leaves the parser usable, in the state that the table names.

The content is put together in _content.pyx. Its newest part becomes a str when somebody reads it;
reading the whole decodes only what is new since it was read last.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_CheckExact
from cpython.number cimport PyNumber_Index
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from harmony._codec cimport Codec
from harmony._codec cimport list_of as list_of_ids
from harmony._content cimport (
    NO_MEMORY, OK, Bytes, Content, Status, append, append_all, complete, content_steps,
    copy_content, empty_content, forget_content_steps, free_content, grow, put, str_from,
    unlocked_str,
)

from pydantic import BaseModel

from harmony.errors import HarmonyError, ParseError
from harmony.header import read_bare_message, read_header
from harmony.messages import Author, Message, TextContent

cdef extern from "_memory.h" nogil:
    int HARMONY_BUILD_IS_DEBUG
    void count_steps(size_t n) noexcept
    uint64_t steps_counted() noexcept
    void forget_steps() noexcept
    void step_aside() noexcept

cdef extern from "Python.h":
    void PyUnicode_Append(PyObject** left, PyObject* right) except *
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1
    Py_ssize_t PySequence_Fast_GET_SIZE(object sequence)
    PyObject* PySequence_Fast_GET_ITEM(object sequence, Py_ssize_t index)

cdef extern from *:
    """
    static int set_slot(PyObject *slot, PyObject *owner, PyObject *value) {
        return Py_TYPE(slot)->tp_descr_set(slot, owner, value);
    }
    static PyObject *bare_instance(PyObject *model_class) {
        return PyType_GenericNew((PyTypeObject *)model_class, NULL, NULL);
    }

    /* The value of an int that is not negative and small, or -1 for everything else. Every id is
     * small; asking the general function costs more than reading the id does. */
    #if PY_VERSION_HEX < 0x030B0000
    #include "longintrepr.h"
    #endif
    static inline long long small_int(PyObject *value) {
        if (!PyLong_CheckExact(value)) return -1;
    #if PY_VERSION_HEX >= 0x030C0000
        return PyUnstable_Long_IsCompact((PyLongObject *)value)
            ? PyUnstable_Long_CompactValue((PyLongObject *)value) : -1;
    #else
        return Py_SIZE(value) == 1 ? (long long)((PyLongObject *)value)->ob_digit[0]
            : Py_SIZE(value) == 0 ? 0 : -1;
    #endif
    }
    """
    int set_slot(object slot, object owner, object value) except -1
    object bare_instance(object model_class)
    long long small_int(PyObject* value)

cdef extern from * nogil:
    """
    enum { STRICT, LENIENT, N_MODES };
    enum { EXPECT_START, HEADER, CONTENT, N_STATES };
    enum { ON_START, ON_MESSAGE, ON_STOP, ON_OTHER, ON_END, N_KINDS };
    enum { IGNORE, REFUSE, OPEN, COLLECT, READ, LEAVE, CUT, APPEND, FINISH };

    static const unsigned char TRANSITIONS[N_MODES][N_STATES][N_KINDS] = {
        [STRICT] = {
            /*                  start    message  stop     other    end */
            [EXPECT_START] = {  OPEN,    REFUSE,  REFUSE,  REFUSE,  IGNORE },
            [HEADER]       = {  COLLECT, READ,    COLLECT, COLLECT, CUT    },
            [CONTENT]      = {  APPEND,  APPEND,  FINISH,  APPEND,  FINISH },
        },
        [LENIENT] = {
            [EXPECT_START] = {  OPEN,    REFUSE,  REFUSE,  REFUSE,  IGNORE },
            [HEADER]       = {  COLLECT, READ,    LEAVE,   COLLECT, CUT    },
            [CONTENT]      = {  APPEND,  APPEND,  FINISH,  APPEND,  FINISH },
        },
    };
    """
    enum: STRICT, LENIENT
    enum: EXPECT_START, HEADER, CONTENT
    enum: ON_START, ON_MESSAGE, ON_STOP, ON_OTHER, ON_END
    enum: IGNORE, REFUSE, OPEN, COLLECT, READ, LEAVE, CUT, APPEND, FINISH
    const unsigned char TRANSITIONS[2][3][5]

cdef enum:
    # Ids of the tokens that the automaton knows; the rest of the vocabulary is text to it.
    RETURN_ID = 200002
    START_ID = 200006
    END_ID = 200007
    MESSAGE_ID = 200008
    CALL_ID = 200012

    # Ids read from a list between two stretches without the interpreter lock: few enough that the
    # lock is held for 0.15 ms, enough that a waiting thread has the time to wake up and take it.
    IDS_AT_ONCE = 32768
    # Message objects made between two moments in which other threads may run.
    MESSAGES_BETWEEN_TURNS = 256
    # More ids of content than this are appended without the lock.
    RUN_WITHOUT_LOCK = 2048
    # Texts of more bytes than this become str without the lock.
    RELEASE_LOCK_ABOVE = 16384

_KIND_NAMES = ("start", "message", "stop", "other", "end")
_STATE_NAMES = ("EXPECT_START", "HEADER", "CONTENT")
_ACTION_NAMES = (
    "IGNORE", "REFUSE", "OPEN", "COLLECT", "READ", "LEAVE", "CUT", "APPEND", "FINISH",
)


def transitions(bint strict):
    """The table that a parser runs on: {(state, kind of id): action}, by name."""
    table = {}
    for state, state_name in enumerate(_STATE_NAMES):
        for kind, kind_name in enumerate(_KIND_NAMES):
            action = TRANSITIONS[STRICT if strict else LENIENT][<int>state][<int>kind]
            table[state_name, kind_name] = _ACTION_NAMES[action]
    return table


cdef inline int kind_of(uint32_t token) noexcept nogil:
    if token < RETURN_ID or token > CALL_ID:
        return ON_OTHER
    if token == START_ID:
        return ON_START
    if token == MESSAGE_ID:
        return ON_MESSAGE
    if token == RETURN_ID or token == END_ID or token == CALL_ID:
        return ON_STOP
    return ON_OTHER


# --- ids that are kept --------------------------------------------------------------------------

cdef inline Status push(Ids* buffer, uint32_t token) noexcept nogil:
    if buffer.n == buffer.capacity:
        if grow(<void**>&buffer.data, &buffer.capacity, buffer.n + 1, sizeof(uint32_t)) != OK:
            return NO_MEMORY
    count_steps(1)
    buffer.data[buffer.n] = token
    buffer.n += 1
    return OK


cdef Status copy_ids(Ids* target, const Ids* source) noexcept nogil:
    target.n = 0
    if source.n == 0:
        return OK
    if target.capacity < source.n:
        if grow(<void**>&target.data, &target.capacity, source.n, sizeof(uint32_t)) != OK:
            return NO_MEMORY
    count_steps(source.n)
    memcpy(target.data, source.data, source.n * sizeof(uint32_t))
    target.n = source.n
    return OK


# --- ids from outside ---------------------------------------------------------------------------

cdef uint32_t id_from(object value, str argument) except? 0xFFFFFFFF:
    """One id. TypeError if it is no integer, OverflowError outside 0 ... 2**32 - 1; the texts are
    those of openai_harmony."""
    cdef int overflow
    cdef long long number
    if not PyLong_CheckExact(value):
        try:
            value = PyNumber_Index(value)
        except TypeError as error:
            if type(error) is not TypeError:
                raise
            raise TypeError(f"argument '{argument}': {error}") from error.__cause__
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        raise OverflowError("Python int too large to convert to C long")
    if number < 0 or number > 0xFFFFFFFF:
        raise OverflowError("out of range integral type conversion attempted")
    return <uint32_t>number


def check_ids(list ids not None):
    """Raise what feeding these ids would raise because of their types and sizes."""
    for token in ids:
        id_from(token, "tokens")


# --- the parser ---------------------------------------------------------------------------------

# The collector must not take the codec away from a parser that something can still reach; cycles
# go through lists and dicts, and are broken there.
@cython.no_gc_clear
cdef class Parser:
    """The compiled half of StreamableParser: everything but arguments, copies and pickles."""

    def __cinit__(self):
        self.states = (None, None, None)
        self.forget()

    def __init__(self, encoding, given_role, bint strict, tuple states not None):
        """`states`: the members of StreamState, in the order of the table."""
        if len(states) != 3:
            raise ValueError("there are three states")
        if not isinstance(encoding._codec, Codec):
            raise TypeError(f"{encoding!r} is no encoding")
        self.codec = encoding._codec
        self.encoding = encoding
        self.states = states
        self.mode = STRICT if strict else LENIENT
        self.given_role = given_role
        self.forget()

    def __dealloc__(self):
        free(self.header.data)
        free(self.tokens.data)
        free_content(&self.content)
        Py_XDECREF(self.joined)

    cdef int forget(self) except -1:
        """Go back to the beginning of a stream."""
        self.n_read = self.content_start = 0
        self.header.n = self.tokens.n = 0
        self.ends, self.finished, self.handed_out = [], [], []
        self.fields = None
        self.forget_content()
        return self.enter(EXPECT_START if self.given_role is None else HEADER)

    cdef int forget_content(self) except -1:
        empty_content(&self.content)
        Py_XDECREF(self.joined)
        self.joined = NULL
        self.n_joined = 0
        return 0

    # feeding

    def process(self, token):
        """Feed one id; returns the parser.

        Raises HarmonyError (a ParseError) where the id is not allowed, or if it ends a header that
        cannot be read; the parser stays usable. TypeError or OverflowError for what is no id, which
        changes nothing.
        """
        cdef long long number = small_int(<PyObject*>token)
        if number < 0:
            number = id_from(token, "token")
        if push(&self.tokens, <uint32_t>number) != OK:
            raise MemoryError()
        self.step(<uint32_t>number)
        return self

    def process_eos(self):
        """Tell the end of the stream: content that is open becomes a message. Returns the parser.

        Raises HarmonyError (a ParseError) inside a header. May be called again, and more ids fed.
        """
        self.end()
        return self

    def _feed_all(self, sequence):
        """Feed a list, a tuple or a uint32 array, without recording it in `tokens`.

        All ids are looked at before an error of the stream is raised.
        """
        cdef const uint32_t[::1] array
        cdef bint is_array = not isinstance(sequence, (list, tuple))
        cdef Py_ssize_t n_ids, at = 0, i
        cdef uint32_t* chunk
        cdef PyObject* value
        cdef long long number
        if is_array:
            array = sequence
            n_ids = array.shape[0]
        else:
            n_ids = PySequence_Fast_GET_SIZE(sequence)
        refusal = None
        chunk = <uint32_t*>malloc(max(1, min(n_ids, IDS_AT_ONCE)) * sizeof(uint32_t))
        if not chunk:
            raise MemoryError()
        try:
            while at < n_ids:
                # A copy, for other threads may change the array while it is read without the lock.
                # They may also shorten the list, and so may an __index__ method.
                i = 0
                if is_array:
                    i = min(n_ids - at, IDS_AT_ONCE)
                    memcpy(chunk, &array[at], i * sizeof(uint32_t))
                else:
                    n_ids = min(n_ids, PySequence_Fast_GET_SIZE(sequence))
                    while i < IDS_AT_ONCE and at + i < n_ids:
                        value = PySequence_Fast_GET_ITEM(sequence, at + i)
                        number = small_int(value)
                        if number < 0:
                            number = id_from(<object>value, "tokens")
                            n_ids = min(n_ids, PySequence_Fast_GET_SIZE(sequence))
                        chunk[i] = <uint32_t>number
                        i += 1
                at += i
                PyErr_CheckSignals()
                if at < n_ids:
                    with nogil:
                        step_aside()
                if refusal is None:
                    try:
                        self.run(chunk, i)
                    except ParseError as error:
                        refusal = error
        finally:
            free(chunk)
        if refusal is not None:
            raise refusal

    def _feed_again(self, const uint32_t[::1] tokens, ends):
        """Feed what another parser was fed: the same ids, the end of the stream at the same places.

        A parser is a function of what it was fed, so this is how one is unpickled."""
        cdef Py_ssize_t i
        cdef Py_ssize_t n_ends = 0
        ends = sorted(ends)
        for i in range(tokens.shape[0] + 1):
            while n_ends < len(ends) and ends[n_ends] <= i:
                n_ends += 1
                try:
                    self.end()
                except ParseError:
                    pass
            if i < tokens.shape[0]:
                if push(&self.tokens, tokens[i]) != OK:
                    raise MemoryError()
                try:
                    self.step(tokens[i])
                except ParseError:
                    pass

    # the automaton

    cdef int run(self, const uint32_t* ids, size_t n_ids) except -1:
        """Feed ids that the caller keeps and nobody else changes; stops at the first error."""
        cdef size_t at = 0
        cdef size_t stop
        cdef Content content
        cdef Codec codec
        cdef Status status
        cdef const unsigned char* in_content = TRANSITIONS[self.mode][<int>CONTENT]
        while at < n_ids:
            if self.state != CONTENT:
                self.step(ids[at])
                at += 1
                continue
            stop = at
            while stop < n_ids and in_content[kind_of(ids[stop])] == APPEND:
                stop += 1
            if stop - at > RUN_WITHOUT_LOCK:
                # Another thread may feed this parser meanwhile. It then finds no content; what it
                # makes of that is thrown away.
                codec = self.codec
                content = self.content
                memset(&self.content, 0, sizeof(Content))
                with nogil:
                    status = append_all(&content, codec, ids + at, stop - at)
                free_content(&self.content)
                self.content = content
            else:
                status = append_all(&self.content, self.codec, ids + at, stop - at)
            self.n_read += stop - at
            at = stop
            if status != OK:
                raise MemoryError()
            if at < n_ids:
                self.step(ids[at])
                at += 1
        return 0

    cdef int step(self, uint32_t token) except -1:
        cdef int action = TRANSITIONS[self.mode][self.state][kind_of(token)]
        self.n_read += 1
        if action == APPEND:
            if append(&self.content, self.codec, token) != OK:
                raise MemoryError()
            return 0
        return self.act(action, token)

    cdef int end(self) except -1:
        cdef Py_ssize_t n_ends = len(self.ends)
        # Twice at one place is the same as once.
        if n_ends == 0 or self.ends[n_ends - 1] != self.n_read:
            self.ends.append(self.n_read)
        return self.act(TRANSITIONS[self.mode][self.state][ON_END], 0)

    cdef int act(self, int action, uint32_t token) except -1:
        """Do what the table says. `token`: the id, if it was one."""
        if action == COLLECT:
            if push(&self.header, token) != OK:
                raise MemoryError()
        elif action == OPEN:
            self.header.n = 0
            self.enter(HEADER)
        elif action == READ:
            self.open_content()
        elif action == FINISH:
            self.finish_message()
        elif action == LEAVE:
            self.leave_header(token)
        elif action == REFUSE:
            problem = f"Unexpected token {token} while expecting start token {START_ID}"
            raise self.located(ParseError(problem), EXPECT_START, token)
        elif action == CUT:
            problem = "Unexpected EOS while waiting for message header to complete"
            raise self.located(ParseError(problem), HEADER, None)
        return 0

    cdef int enter(self, int state) except -1:
        """Change the state; outside content there is nothing to show but the given role."""
        self.state = state
        self.shown_state = self.states[state]
        if state == CONTENT:
            (self.shown_role, _, self.shown_channel, self.shown_recipient,
             self.shown_content_type) = self.fields
        else:
            self.shown_role = self.given_role
            self.shown_channel = self.shown_recipient = self.shown_content_type = None
        return 0

    cdef int open_content(self) except -1:
        """`<|message|>` came: read the header."""
        text, problem = self.header_text()
        self.header.n = 0
        self.enter(EXPECT_START)
        if text is None:
            error = self.located(ParseError("could not decode header"), HEADER, MESSAGE_ID)
            raise error from problem
        try:
            fields = read_header(text, self.given_role)
        except ParseError as error:
            raise self.located(error, HEADER, MESSAGE_ID)
        self.given_role = None
        self.fields = fields
        self.forget_content()
        self.content_start = self.n_read
        return self.enter(CONTENT)

    cdef int leave_header(self, uint32_t token) except -1:
        """A stop token came in a header: with a given role, its text is a message."""
        if self.given_role is not None and self.header.n:
            text, problem = self.header_text()
            if text is None:
                raise self.located(ParseError(str(problem)), HEADER, token) from problem
            try:
                message = read_bare_message(text, self.given_role)
            except ParseError as error:
                raise self.located(error, HEADER, token)
            self.finished.append(message)
        self.header.n = 0
        self.given_role = None
        return self.enter(EXPECT_START)

    cdef int finish_message(self) except -1:
        """The content ends: keep the message."""
        if complete(&self.content) != OK:
            raise MemoryError()
        fields = self.fields
        self.fields = None
        self.enter(EXPECT_START)
        text = self.content_text()
        self.finished.append((fields, text))
        return self.forget_content()

    cdef tuple header_text(self):
        """(text of the header, None), or (None, the HarmonyError that says why there is none)."""
        cdef Bytes gathered
        cdef const uint8_t* bytes
        cdef Py_ssize_t n_bytes
        cdef size_t i
        cdef Codec codec = self.codec
        if codec is None:
            raise RuntimeError("StreamableParser.__init__ has not been called")
        memset(&gathered, 0, sizeof(Bytes))
        try:
            for i in range(self.header.n):
                if not codec.find_bytes(self.header.data[i], &bytes, &n_bytes):
                    break
                if put(&gathered, bytes, n_bytes) != OK:
                    raise MemoryError()
            else:
                return PyUnicode_DecodeUTF8(<const char*>gathered.data, gathered.n, NULL), None
        except UnicodeDecodeError:
            pass
        finally:
            free(gathered.data)
        # Once more, for the text of the error.
        try:
            return self.encoding.decode_utf8(list_of(codec, &self.header)), None
        except HarmonyError as problem:
            return None, problem

    cdef str content_text(self):
        """The content so far. What was joined before is not decoded again."""
        cdef Content content
        if self.n_joined == 0 and self.content.text.n > RELEASE_LOCK_ABOVE and self.fields is None:
            # The message is complete: take the bytes away, so that no other thread can.
            content = self.content
            memset(&self.content, 0, sizeof(Content))
            try:
                return unlocked_str(&content.text)
            finally:
                free_content(&content)
        if self.n_joined < self.content.text.n:
            more = str_from(&self.content.text, self.n_joined)
            if self.joined == NULL:
                Py_INCREF(more)
                self.joined = <PyObject*>more
            else:
                # In place, unless somebody still holds the str that was handed out last.
                self.n_joined = 0
                PyUnicode_Append(&self.joined, <PyObject*>more)
            self.n_joined = self.content.text.n
        return <str>self.joined if self.joined else ""

    cdef object located(self, object error, int state, object token):
        """The same error, with where it happened."""
        error.state = self.states[state]
        error.token = token
        error.position = self.n_read if token is None else self.n_read - 1
        return error

    # reading

    @property
    def state(self):
        """The StreamState: what is expected next."""
        return self.shown_state

    @property
    def current_role(self):
        """The Role of the message whose content is being read. Before the first header is
        complete the role given to the constructor; otherwise None."""
        return self.shown_role

    @property
    def current_channel(self):
        """The channel of the message whose content is being read, or None."""
        return self.shown_channel

    @property
    def current_recipient(self):
        """The recipient of the message whose content is being read, or None."""
        return self.shown_recipient

    @property
    def current_content_type(self):
        """The content type of the message whose content is being read, or None."""
        return self.shown_content_type

    @property
    def last_content_delta(self):
        """The text that the newest id added to the content, or None if it added none."""
        if self.state != CONTENT or self.content.delta == self.content.text.n:
            return None
        return str_from(&self.content.text, self.content.delta)

    @property
    def current_content(self):
        """The content read so far of the message that is not complete yet, or "".

        Only what is new since it was read last is decoded and put behind the str of then; that str
        is copied first if the caller still holds it.
        """
        return self.content_text() if self.state == CONTENT else ""

    @property
    def messages(self):
        """The complete messages: a new list of the same Message objects each time."""
        cdef Py_ssize_t n
        while len(self.handed_out) < len(self.finished):
            n = len(self.handed_out)
            header, text = self.finished[n]
            message = message_of(_MODEL_SLOTS, header, text)
            if len(self.handed_out) == n:
                self.handed_out.append(message)
            if n % MESSAGES_BETWEEN_TURNS == MESSAGES_BETWEEN_TURNS - 1:
                with nogil:
                    step_aside()
        return self.handed_out[:]

    @property
    def tokens(self):
        """Every id fed so far, those that were refused included: a new list each time."""
        return list_of(self.codec, &self.tokens)

    def _header_tokens(self):
        return list_of(self.codec, &self.header)

    def _fields(self):
        """The Header of the message whose content is being read, in the state CONTENT."""
        return self.fields

    def _content_chunks(self):
        """The content so far in the pieces in which it came out, each a str."""
        cdef Content again
        cdef size_t i
        cdef Bytes chunk
        chunks = []
        if self.codec is None:
            return chunks
        memset(&again, 0, sizeof(Content))
        try:
            for i in range(self.content_start, min(self.n_read, self.tokens.n)):
                if append(&again, self.codec, self.tokens.data[i]) != OK:
                    raise MemoryError()
                chunk = again.text
                if again.replaced:
                    chunk.n -= 3
                if chunk.n > again.delta:
                    chunks.append(str_from(&chunk, again.delta))
                if again.replaced:
                    chunks.append("\ufffd")
        finally:
            free_content(&again)
        return chunks

    # copies

    def _copy_into(self, Parser twin not None):
        """Make a new parser like this one. Message objects that were handed out are not shared."""
        cdef Content content
        memset(&content, 0, sizeof(Content))
        twin.forget()
        if (copy_ids(&twin.header, &self.header) != OK
                or copy_ids(&twin.tokens, &self.tokens) != OK
                or copy_content(&content, &self.content) != OK):
            free_content(&content)
            raise MemoryError()
        free_content(&twin.content)
        twin.content = content
        twin.content_start = self.content_start
        twin.n_read = self.n_read
        twin.encoding, twin.codec, twin.states = self.encoding, self.codec, self.states
        twin.mode = self.mode
        twin.fields, twin.given_role = self.fields, self.given_role
        twin.ends, twin.finished = self.ends[:], self.finished[:]
        twin.enter(self.state)

    def _recipe(self):
        """What a new parser has to be fed to become this one: (ids as bytes, ends)."""
        cdef const char* ids = <const char*>self.tokens.data
        return ids[:self.tokens.n * sizeof(uint32_t)] if self.tokens.n else b"", tuple(self.ends)


cdef list list_of(Codec codec, const Ids* ids):
    """The ids as a list of int. From a copy: making a list may run the collector, and that
    anything, also what feeds this parser."""
    cdef Ids copied
    memset(&copied, 0, sizeof(Ids))
    try:
        if copy_ids(&copied, ids) != OK:
            raise MemoryError()
        if codec is not None:
            return list_of_ids(copied.data, copied.n)
        return [copied.data[i] for i in range(copied.n)]
    finally:
        free(copied.data)


# --- messages -----------------------------------------------------------------------------------

cdef class _ModelSlots:
    """Where the instances of pydantic's BaseModel keep what they have: four slots, nothing else."""

    cdef object fields, fields_set, extra, private

    def __cinit__(self):
        slots = vars(BaseModel)
        self.fields = slots["__dict__"]
        self.fields_set = slots["__pydantic_fields_set__"]
        self.extra = slots["__pydantic_extra__"]
        self.private = slots["__pydantic_private__"]
        for slot in (self.fields, self.fields_set, self.extra, self.private):
            if not hasattr(type(slot), "__set__"):
                raise TypeError(f"{slot!r} is no slot")

    cdef object model(self, object model_class, dict fields):
        """A model with these fields, as if each had been given to its constructor.

        Validation is left out: it costs ten times as much as the rest, and what a parser read is
        of the right types.
        """
        model = bare_instance(model_class)
        set_slot(self.fields, model, fields)
        set_slot(self.fields_set, model, set(fields))
        set_slot(self.extra, model, None)
        set_slot(self.private, model, None)
        return model


cdef object message_of(_ModelSlots slots, tuple header, str text):
    """A new Message."""
    role, name, channel, recipient, content_type = header
    count_steps(1)
    return slots.model(Message, {
        "author": slots.model(Author, {"role": role, "name": name}),
        "content": [slots.model(TextContent, {"text": text})],
        "channel": channel,
        "recipient": recipient,
        "content_type": content_type,
    })


_MODEL_SLOTS = _ModelSlots()


def steps():
    """Bytes looked at, copied and decoded, ids copied and messages made in this thread since
    `reset_steps()`. Debug build only."""
    if not HARMONY_BUILD_IS_DEBUG:
        raise RuntimeError("steps are counted in the debug build only (HARMONY_BUILD=debug)")
    return steps_counted() + content_steps()


def reset_steps():
    """Start the count of `steps()` again."""
    forget_steps()
    forget_content_steps()
