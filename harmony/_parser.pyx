"""Ids -> messages, one id at a time: the automaton of the format.

What this module owes its callers: every argument is checked before it is used, an id is looked up
only inside the tables, each buffer is owned by exactly one holder. So nothing that is fed, pickled
or called from several threads at once can crash the interpreter; two threads that feed one parser
get nonsense, and no more than that.

The automaton

    `TRANSITIONS` (_transitions.h) says what happens for a mode, a state and the kind of an id; the
    end of the stream is one more kind. `Parser.act` does it. Nothing else decides: strict, lenient
    and recovering are three tables, which docs/design.md shows with what each action means.

    A parser starts in EXPECT_START; given a role it starts in HEADER (recovering: in PROMPTED), for
    then `<|start|>` and the role are in the prompt. An error leaves the parser usable. An action
    that only changes the state hands the id on to the new state (`act` says so).

Recovering

    Ids of a header are kept until the header is over; recovery.py reads them. What it had to repair
    waits in `noted` until it is known whether the ids become a message, and which.

Events

    `process_many` has them made; then each place that does something says so. Text is told where
    anything else is, and at the end: its pieces depend on how the ids were cut, the rest does not.

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
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from harmony._codec cimport Codec
from harmony._codec cimport list_of as list_of_ids
from harmony._content cimport (
    NO_MEMORY, OK, Bytes, Came, Content, Repairs, Status, append, append_all, complete,
    complete_mending, content_steps, copy_content, empty_content, forget_content_steps,
    free_content, grow, mend, mend_all, mend_bytes, put, str_from, unlocked_str,
)

import numpy as np
from pydantic import BaseModel

from harmony.calls import is_call
from harmony.encoding import HarmonyEncoding
from harmony.errors import HarmonyError, ParseError
from harmony.events import (
    Diagnostic, DiagnosticKind, MessageHeader, ParseEvent, ParseEventKind,
)
from harmony.header import ROLE_IDS as _ROLE_IDS, read_bare_message, read_header
from harmony.messages import Author, Role, TextContent
from harmony.parsed import ParsedMessage
from harmony.recovery import HeaderReader, Verdict, real_recipient

cdef extern from "_memory.h" nogil:
    int HARMONY_BUILD_IS_DEBUG
    void count_steps(size_t n) noexcept
    uint64_t steps_counted() noexcept
    void forget_steps() noexcept
    void step_aside() noexcept
    void prefetch(const void* address) noexcept

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
    /* A NamedTuple without its values, each of which is then set once. */
    static PyObject *bare_tuple(PyObject *tuple_class, Py_ssize_t n) {
        return ((PyTypeObject *)tuple_class)->tp_alloc((PyTypeObject *)tuple_class, n);
    }
    static inline void set_value(PyObject *made, Py_ssize_t index, PyObject *value) {
        Py_INCREF(value);
        PyTuple_SET_ITEM(made, index, value);
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
    object bare_tuple(object tuple_class, Py_ssize_t n)
    void set_value(object made, Py_ssize_t index, object value)
    object bare_instance(object model_class)
    long long small_int(PyObject* value)

cdef extern from "_transitions.h" nogil:
    enum: STRICT, LENIENT, RECOVER, N_MODES
    enum: EXPECT_START, HEADER, CONTENT, PROMPTED, STARTED, LEAD, BARE, FULL, N_STATES
    enum: ON_TEXT, ON_START, ON_CHANNEL, ON_CONSTRAIN, ON_MESSAGE, ON_STOP, ON_SPECIAL, ON_UNKNOWN
    enum: ON_END, N_KINDS
    enum: IGNORE, OPEN, COLLECT, READ, REFUSE, LEAVE, CUT, APPEND, FINISH
    enum: SKIP, BEGIN, REPEAT, GATHER, JUDGE, RESCUE, MEND, DROP, REPLACE, BREAK, CLOSE, PASS
    const unsigned char TRANSITIONS[3][8][9]
    const char* MODE_NAMES[3]
    const char* STATE_NAMES[8]
    const char* KIND_NAMES[9]
    const char* ACTION_NAMES[21]
    enum: CHANNEL_ID, START_ID, MESSAGE_ID, CALL_ID, LAST_SPECIAL_ID
    int kind_of(uint32_t token)

cdef enum:
    # Parts of a message that ids are counted by.
    REASONING = 0
    ANSWER = 1
    ARGUMENTS = 2

    # Text that begins a header is looked at again whenever its ids have doubled, from so many on.
    EXAMINE_FROM = 8
    # What a header of more ids says is not remembered, nor what more headers say.
    REMEMBERED_IDS = 64
    REMEMBERED_HEADERS = 4096

    # Ints of a list that are asked for before they are read; about where in an int its value is.
    INTS_AHEAD = 48
    INT_VALUE = 16
    # Ids read from a list between two stretches without the interpreter lock: few enough that the
    # lock is held for 0.15 ms, enough that a waiting thread has the time to wake up and take it.
    IDS_AT_ONCE = 32768
    # Message objects made between two moments in which other threads may run.
    MESSAGES_BETWEEN_TURNS = 64
    # More ids of content than this are appended without the lock.
    RUN_WITHOUT_LOCK = 2048
    # Texts of more bytes than this become str without the lock.
    RELEASE_LOCK_ABOVE = 16384

cdef size_t NO_LIMIT = <size_t>-1
cdef int64_t NO_TOKEN = -1

# What header.py and recovery.py said about headers that came before: the same ids say the same.
cdef dict _FIELDS = {}
cdef dict _READINGS = {}
cdef dict _VERDICTS = {}


def transitions(str mode not None):
    """The table of a mode ("STRICT", "LENIENT" or "RECOVER"): {(state, kind of id): action}, by
    name, of the states that the mode has."""
    cdef int i, state, kind, action
    names = [MODE_NAMES[i].decode() for i in range(N_MODES)]
    cdef int number = names.index(mode)
    table = {}
    for state in range(N_STATES if number == RECOVER else CONTENT + 1):
        for kind in range(N_KINDS):
            action = TRANSITIONS[number][state][kind]
            table[STATE_NAMES[state].decode(), KIND_NAMES[kind].decode()] = (
                ACTION_NAMES[action].decode())
    return table


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


cdef Status append_ids(Ids* target, const Ids* source) noexcept nogil:
    cdef size_t n = target.n + source.n
    if n > target.capacity:
        if grow(<void**>&target.data, &target.capacity, n, sizeof(uint32_t)) != OK:
            return NO_MEMORY
    if source.n:
        count_steps(source.n)
        memcpy(target.data + target.n, source.data, source.n * sizeof(uint32_t))
    target.n = n
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


cdef inline void ask_for_int(object tokens, Py_ssize_t at) noexcept:
    """Ask for the value of an item of a list or tuple, if there is one: the int objects of a
    stream lie anywhere in memory."""
    if at < PySequence_Fast_GET_SIZE(tokens):
        prefetch(<char*>PySequence_Fast_GET_ITEM(tokens, at) + INT_VALUE)


cdef int gather(Ids* ids, object tokens) except -1:
    """Any ids as uint32, instead of what is in `ids`. The same errors."""
    cdef const uint32_t[::1] array
    cdef Py_ssize_t i = 0
    cdef PyObject* value
    cdef long long number
    ids.n = 0
    if not isinstance(tokens, (list, tuple)):
        array = uint32_array(tokens)
        if array is not None:
            if <size_t>array.shape[0] > ids.capacity:
                if grow(<void**>&ids.data, &ids.capacity, array.shape[0], sizeof(uint32_t)) != OK:
                    raise MemoryError()
            if array.shape[0]:
                memcpy(ids.data, &array[0], array.shape[0] * sizeof(uint32_t))
            ids.n = array.shape[0]
            return 0
        tokens = list(tokens)
    if ids.capacity < <size_t>len(tokens):
        if grow(<void**>&ids.data, &ids.capacity, len(tokens), sizeof(uint32_t)) != OK:
            raise MemoryError()
    # An __index__ method may change the list.
    while i < PySequence_Fast_GET_SIZE(tokens) and <size_t>i < ids.capacity:
        ask_for_int(tokens, i + INTS_AHEAD)
        value = PySequence_Fast_GET_ITEM(tokens, i)
        number = small_int(value)
        if number < 0:
            number = id_from(<object>value, "tokens")
        ids.data[i] = <uint32_t>number
        i += 1
        ids.n = i
    return 0


def uint32_array(tokens):
    """An array or a buffer of ids as uint32, without a Python int for each; None for everything
    else, and for those with a mistake in them, which is then found on the ordinary way."""
    if not isinstance(tokens, np.ndarray):
        try:
            tokens = np.asarray(memoryview(tokens))
        except (TypeError, ValueError):
            return None
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        return None
    if tokens.size and (tokens.min() < 0 or tokens.max() > 0xFFFFFFFF):
        return None
    return np.ascontiguousarray(tokens, dtype=np.uint32)


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
        self.max_header = self.max_messages = NO_LIMIT
        self.forget()

    def __init__(
        self, encoding, given_role, int mode, tuple states not None,
        max_header_tokens=None, max_messages=None,
    ):
        """`mode`: 0 strict, 1 lenient, 2 recovering. `states`: the members of StreamState, in the
        order of the table. A limit is a positive int, or None."""
        if len(states) != 3:
            raise ValueError("there are three states")
        if not 0 <= mode < N_MODES:
            raise ValueError("there are three modes")
        # Another vocabulary would leave its reading of ids among the headers that are remembered.
        if not isinstance(encoding, HarmonyEncoding):
            raise TypeError(f"a HarmonyEncoding is needed, not {encoding!r}")
        self.codec = encoding._codec
        self.encoding = encoding
        self.states = states
        self.mode = mode
        self.hint = given_role
        self.hint_word = None if given_role is None else given_role.value
        self.max_header = NO_LIMIT if max_header_tokens is None else max_header_tokens
        self.max_messages = NO_LIMIT if max_messages is None else max_messages
        self.reader = HeaderReader(self.codec.decode_bytes, given_role) if mode == RECOVER else None
        self.forget()

    def __dealloc__(self):
        free(self.header.data)
        free(self.tokens.data)
        free(self.repairs.spans)
        free_content(&self.content)
        Py_XDECREF(self.joined)

    cdef int forget(self) except -1:
        """Go back to the beginning of a stream."""
        self.n_read = self.content_start = self.header_start = 0
        self.header.n = self.tokens.n = self.repairs.n = 0
        self.ends, self.finished, self.handed_out = [], [], []
        self.noted, self.reported, self.shown_diagnostics = [], [], []
        self.over_limit = NO_LIMIT
        memset(self.counts, 0, sizeof(self.counts))
        self.fields = None
        self.events = None
        self.given_role = self.hint
        self.forget_content()
        if self.given_role is None:
            return self.enter(EXPECT_START)
        return self.enter(PROMPTED if self.mode == RECOVER else HEADER)

    cdef int forget_content(self) except -1:
        empty_content(&self.content)
        Py_XDECREF(self.joined)
        self.joined = NULL
        self.n_joined = 0
        self.told = self.n_controls = 0
        self.is_announced = False
        self.delta_stop = 0
        return 0

    # feeding

    def process(self, token):
        """Feed one id; returns the parser.

        Raises HarmonyError (a ParseError) where the id is not allowed, or if it ends a header that
        cannot be read; the parser stays usable. TypeError or OverflowError for what is no id, which
        changes nothing. A recovering parser raises no HarmonyError.
        """
        cdef long long number = small_int(<PyObject*>token)
        if number < 0:
            number = id_from(token, "token")
        if push(&self.tokens, <uint32_t>number) != OK:
            raise MemoryError()
        self.step(<uint32_t>number)
        return self

    def process_many(self, tokens):
        """Feed many ids: any iterable of integers, or an integer buffer. Returns a list of
        ParseEvent: what happened at these ids, in order.

        Text that comes out id after id is one delta; where deltas are cut depends on how the ids
        were, nothing else does. Raises what `process` raises, at the same id: the ids behind it are
        not fed, and the `events` of the error are those of the ids before. TypeError or
        OverflowError for what is no id: then none is fed.
        """
        cdef Ids ids
        cdef size_t n_before
        cdef list events = []
        memset(&ids, 0, sizeof(Ids))
        try:
            gather(&ids, tokens)
            n_before = self.n_read
            self.begin_telling(events)
            try:
                self.run(ids.data, ids.n)
            finally:
                ids.n = min(ids.n, self.n_read - n_before)
                if append_ids(&self.tokens, &ids) != OK:
                    raise MemoryError()
            self.tell_text()
        except ParseError as error:
            error.events = events
            raise
        finally:
            free(ids.data)
            self.events = None
        return events

    def process_eos(self):
        """Tell the end of the stream: content that is open becomes a message. Returns the parser.

        Raises HarmonyError (a ParseError) inside a header. May be called again, and more ids fed.
        """
        self.end()
        return self

    def finish(self):
        """`process_eos` for those who read events: returns the list of ParseEvent."""
        cdef list events = []
        self.begin_telling(events)
        try:
            self.end()
        except ParseError as error:
            error.events = events
            raise
        finally:
            self.events = None
        return events

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
                        ask_for_int(sequence, at + i + INTS_AHEAD)
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

    def _restart(self, given_role):
        """Forget the stream; the next one begins with a message of `given_role`."""
        self.hint = given_role
        self.hint_word = None if given_role is None else given_role.value
        if self.mode == RECOVER:
            self.reader = HeaderReader(self.codec.decode_bytes, given_role)
        self.forget()

    # the automaton

    cdef int run(self, const uint32_t* ids, size_t n_ids) except -1:
        """Feed ids that the caller keeps and nobody else changes; stops at the first error."""
        cdef size_t at = 0
        cdef size_t stop
        cdef int action
        cdef const unsigned char* in_this_state
        while at < n_ids:
            in_this_state = TRANSITIONS[self.mode][self.state]
            action = in_this_state[kind_of(ids[at])]
            if action != APPEND and action != MEND:
                self.step(ids[at])
                at += 1
                continue
            stop = at + 1
            while stop < n_ids and in_this_state[kind_of(ids[stop])] == action:
                stop += 1
            count_steps(stop - at)
            while at < stop:
                at += self.run_text(ids + at, stop - at, action == MEND)
        return 0

    cdef size_t run_text(self, const uint32_t* ids, size_t n_ids, bint mending) except 0:
        """Put ids into the content; how many of them."""
        cdef Content content
        cdef Repairs repairs
        cdef Came came
        cdef Codec codec
        cdef size_t n_done
        cdef size_t position = self.n_read
        came.out = False
        if n_ids > RUN_WITHOUT_LOCK:
            # Another thread may feed this parser meanwhile. It then finds no content; what it
            # makes of that is thrown away.
            codec = self.codec
            content, repairs = self.content, self.repairs
            memset(&self.content, 0, sizeof(Content))
            memset(&self.repairs, 0, sizeof(Repairs))
            with nogil:
                if mending:
                    n_done = mend_all(&content, codec, ids, n_ids, position, &repairs, &came)
                else:
                    n_done = append_all(&content, codec, ids, n_ids, position, &came)
            free_content(&self.content)
            free(self.repairs.spans)
            self.content, self.repairs = content, repairs
        elif mending:
            n_done = mend_all(
                &self.content, self.codec, ids, n_ids, position, &self.repairs, &came)
        else:
            n_done = append_all(&self.content, self.codec, ids, n_ids, position, &came)
        if n_done == 0:
            raise MemoryError()
        self.n_read += n_done
        if came.out:
            self.came_out(came.first, came.last)
        if self.repairs.n:
            self.note_repairs()
        return n_done

    cdef int step(self, uint32_t token) except -1:
        cdef int action = TRANSITIONS[self.mode][self.state][kind_of(token)]
        cdef size_t position = self.n_read
        self.n_read += 1
        if action == APPEND:
            if append(&self.content, self.codec, token) != OK:
                raise MemoryError()
            return 0
        if action == MEND:
            if mend(&self.content, self.codec, token, position, &self.repairs) != OK:
                raise MemoryError()
            if self.repairs.n:
                self.note_repairs()
            return 0
        # Whatever comes out now, comes out at this id.
        self.content.delta = self.content.text.n
        while self.act(action, token, position):
            action = TRANSITIONS[self.mode][self.state][kind_of(token)]
        return 0

    cdef int end(self) except -1:
        cdef Py_ssize_t n_ends = len(self.ends)
        # Twice at one place is the same as once.
        if n_ends == 0 or self.ends[n_ends - 1] != self.n_read:
            self.ends.append(self.n_read)
        self.act(TRANSITIONS[self.mode][self.state][ON_END], NO_TOKEN, self.n_read)
        return 0

    cdef bint act(self, int action, int64_t token, size_t position) except -1:
        """Do what the table says. `token`: the id at `position`, or NO_TOKEN at the end of the
        stream. Whether the id is to be looked at again, in the state that is entered."""
        if action == COLLECT or action == GATHER or action == REPEAT:
            return self.collect(action, token, position)
        if action == OPEN:
            return self.open_header(token, position)
        if action == READ:
            self.take_header(position)
        elif action == FINISH or action == CLOSE:
            self.finish_message(token, position)
        elif action == LEAVE:
            self.leave_header(token, position)
        elif action == REFUSE:
            problem = f"Unexpected token {token} while expecting start token {START_ID}"
            raise self.located(ParseError(problem), EXPECT_START, token)
        elif action == CUT:
            return self.cut_header()
        elif action == BEGIN:
            self.header.n = 0
            self.header_start = position
            self.enter(LEAD)
            return True
        elif action == JUDGE:
            return self.judge(token, position)
        elif action == RESCUE:
            return self.rescue(token, position, False)
        elif action == BREAK:
            self.finish_message(token, position)
            return True
        elif action == SKIP:
            self.enter(EXPECT_START)
            self.note(_UNKNOWN_TOKEN if token > LAST_SPECIAL_ID else _REPEATED_TERMINATOR,
                      position, position + 1, "")
            self.settle(None)
        elif action == MEND or action == DROP or action == REPLACE:
            self.add_to_content(action, token, position)
        elif action == PASS:
            self.exceed_messages(position)
        return False

    cdef int enter(self, int state) except -1:
        """Change the state; outside content there is nothing to show but the given role."""
        self.state = state
        if state == CONTENT or state == BARE:
            self.shown_state = self.states[CONTENT]
            (self.shown_role, _, self.shown_channel, self.shown_recipient,
             self.shown_content_type) = self.fields
        else:
            self.shown_state = self.states[
                EXPECT_START if state == EXPECT_START or state == FULL else HEADER]
            self.shown_role = self.given_role
            self.shown_channel = self.shown_recipient = self.shown_content_type = None
        return 0

    # headers

    cdef bint open_header(self, int64_t token, size_t position) except -1:
        """`<|start|>` came."""
        cdef bint is_recovering = self.mode == RECOVER
        if not is_recovering and <size_t>len(self.finished) >= self.max_messages:
            problem = f"more than max_messages={self.max_messages} messages"
            raise self.located(ParseError(problem), EXPECT_START, token)
        self.header.n = 0
        self.header_start = position
        if not is_recovering:
            self.enter(HEADER)
            return False
        if self.state == PROMPTED:
            self.note(_REPEATED_START, position, position + 1, "")
        if push(&self.header, <uint32_t>token) != OK:
            raise MemoryError()
        self.enter(STARTED)
        return False

    cdef bint collect(self, int action, int64_t token, size_t position) except -1:
        """One more id of the header."""
        cdef size_t n
        if position - self.header_start >= self.max_header:
            return self.exceed_header(token, position)
        if push(&self.header, <uint32_t>token) != OK:
            raise MemoryError()
        if action == REPEAT:
            self.note(_REPEATED_START, position, position + 1, "")
        elif action == GATHER:
            if self.state == STARTED:
                self.enter(LEAD)
            n = self.header.n
            if n >= EXAMINE_FROM and n & (n - 1) == 0 and self.reader.is_content(self.ids()):
                return self.rescue(NO_TOKEN, position + 1, True)
        return False

    cdef bint exceed_header(self, int64_t token, size_t position) except -1:
        """The header is longer than it may be."""
        if self.mode != RECOVER:
            problem = f"a header of more than max_header_tokens={self.max_header} ids"
            self.header.n = 0
            self.enter(EXPECT_START)
            raise self.located(ParseError(problem), HEADER, token)
        self.note(_LIMIT, position, position, "")
        self.rescue(NO_TOKEN, position, True)
        return True

    cdef list ids(self):
        return list_of(self.codec, &self.header)

    cdef bytes header_key(self):
        return (<const char*>self.header.data)[:self.header.n * sizeof(uint32_t)]

    cdef int take_header(self, size_t position) except -1:
        """`<|message|>` came: read the header."""
        # Nothing else leads to content, where the codec is used.
        if self.codec is None:
            raise RuntimeError("StreamableParser.__init__ has not been called")
        if self.mode == RECOVER:
            return self.take_any_header(position)
        key = None
        if 0 < self.header.n <= REMEMBERED_IDS:
            key = None if self.given_role is None else self.hint_word, self.header_key()
            fields = _FIELDS.get(key)
            if fields is not None:
                self.header.n = 0
                self.given_role = None
                return self.open_content(CONTENT, fields, position + 1)
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
        if key is not None:
            remember(_FIELDS, key, fields)
        self.given_role = None
        return self.open_content(CONTENT, fields, position + 1)

    cdef int take_any_header(self, size_t position) except -1:
        """The same for a recovering parser: whatever stands there, it is a header."""
        cdef bint is_prompted = self.header_start == 0 and self.hint is not None
        cdef const unsigned char[::1] text
        cdef bint is_short = self.header.n <= REMEMBERED_IDS
        reading = key = None
        if is_short:
            key = self.hint_word, is_prompted, self.header_key() if self.header.n else b""
            reading = _READINGS.get(key)
        if reading is None:
            reading = self.reader.read_header(self.ids(), is_prompted)
            if is_short:
                remember(_READINGS, key, reading)
        fields, prefix, reports = reading
        self.given_role = None
        self.open_content(CONTENT, fields, position + 1)
        if reports:
            self.note_reports(reports, self.header_start)
        for index, part in prefix:
            text = part
            self.mend_with(&text[0], text.shape[0], self.header_start + <size_t>index)
        return 0

    cdef int open_content(self, int state, tuple fields, size_t position) except -1:
        """The content begins at `position`."""
        self.fields = fields
        self.forget_content()
        self.content_start = position
        return self.enter(state)

    cdef bint judge(self, int64_t token, size_t position) except -1:
        """The first marker of a header came: does the text before it belong to the header?"""
        cdef size_t n = self.header.n
        cdef bint is_started = n > 0 and self.header.data[0] == START_ID
        verdict = _IS_HEADER
        if n and not (is_started and (n == 1 or n == 2 and self.header.data[1] in _ROLE_WORDS)):
            key = self.header_key() if n <= REMEMBERED_IDS else None
            verdict = _VERDICTS.get(key)
            if verdict is None:
                verdict = self.reader.judge(self.ids())
                if key is not None:
                    remember(_VERDICTS, key, verdict)
        if verdict == _IS_CONTENT:
            return self.rescue(token, position, False)
        if verdict == _IS_NOTHING and not is_started:
            self.note(_SKIPPED_TEXT, self.header_start, position,
                      self.reader.shown(self.ids()))
            self.settle(None)
            self.header.n = 0
            self.header_start = position
        self.enter(HEADER)
        return True

    cdef bint rescue(self, int64_t token, size_t position, bint stays_open) except -1:
        """A header ends without `<|message|>` at `position`, with `token`: read what is in it.

        `stays_open`: nothing ended it; if its last part is content, that goes on.
        """
        cdef bint is_end = token == NO_TOKEN and not stays_open
        cdef bint is_stop = token != NO_TOKEN and kind_of(<uint32_t>token) == ON_STOP
        cdef size_t base = self.header_start
        cdef size_t i, start, stop
        cdef Ids ids = self.header
        cdef int kind
        # From here on `header` may be used for another one, by another thread also.
        memset(&self.header, 0, sizeof(Ids))
        try:
            pieces = self.reader.read_front(
                list_of(self.codec, &ids), at_end_of_stream=is_end, is_stopped=is_stop)
            self.given_role = None
            self.enter(EXPECT_START)
            for piece in pieces:
                fields, start, stop, content, n_dropped, reports = piece
                if self.state == FULL:
                    self.exceed_messages(base + start)
                    break
                self.note_reports(reports, base)
                self.header_start = base + start
                if fields is None:
                    self.settle(None)
                    continue
                self.open_content(BARE, fields, base + <size_t>content)
                self.content.n_dropped = n_dropped
                for i in range(<size_t>content, stop):
                    kind = kind_of(ids.data[i])
                    self.add_to_content(TRANSITIONS[RECOVER][CONTENT][kind], ids.data[i], base + i)
                if stop < ids.n:
                    self.finish_message(CHANNEL_ID, base + stop)
                elif not stays_open:
                    self.finish_message(token, position)
        finally:
            free(ids.data)
        return token != NO_TOKEN and not is_stop

    cdef bint cut_header(self) except -1:
        """The stream ends where a header has begun."""
        if self.mode == RECOVER:
            # In the prompt: there is nothing to read.
            self.enter(EXPECT_START)
            self.note(_TRUNCATED_HEADER, self.n_read, self.n_read, "")
            self.settle(None)
            return False
        problem = "Unexpected EOS while waiting for message header to complete"
        raise self.located(ParseError(problem), HEADER, None)

    cdef int leave_header(self, int64_t token, size_t position) except -1:
        """A stop token came in a header: with a given role, its text is a message."""
        if self.given_role is not None and self.header.n:
            text, problem = self.header_text()
            if text is None:
                raise self.located(ParseError(str(problem)), HEADER, token) from problem
            try:
                fields, content = read_bare_message(text, self.given_role)
            except ParseError as error:
                raise self.located(error, HEADER, token)
            self.open_content(CONTENT, fields, self.header_start)
            written = content.encode()
            if put(&self.content.text, <const uint8_t*><char*>written, len(written)) != OK:
                raise MemoryError()
            self.came_out(self.header_start, position - 1)
            self.given_role = None
            self.finish_message(token, position)
        self.header.n = 0
        self.given_role = None
        return self.enter(EXPECT_START)

    # content

    cdef int add_to_content(self, int action, uint32_t token, size_t position) except -1:
        """One id in the content of a recovering parser."""
        cdef const uint8_t* bytes
        cdef Py_ssize_t n
        if action == DROP:
            self.n_controls += 1
            return self.note(_CONTROL_IN_CONTENT, position, position + 1, "")
        if action == REPLACE:
            self.mend_with(<const uint8_t*>b"\xef\xbf\xbd", 3, position)
            return self.note(_UNKNOWN_TOKEN, position, position + 1, str(token))
        if self.codec.find_bytes(token, &bytes, &n):
            self.mend_with(bytes, n, position)
        return 0

    cdef int mend_with(self, const uint8_t* bytes, size_t n, size_t position) except -1:
        """Put bytes that belong to the id at `position` into the content."""
        cdef size_t before = self.content.text.n
        if mend_bytes(&self.content, bytes, n, position, &self.repairs) != OK:
            raise MemoryError()
        if self.content.text.n > before:
            self.came_out(position, position)
        if self.repairs.n:
            self.note_repairs()
        return 0

    cdef int finish_message(self, int64_t token, size_t position) except -1:
        """The content ends at `position`: with a stop, with what begins another message, or with
        the stream. Keep the message, or drop it if nothing was in it."""
        cdef size_t before = self.content.text.n
        cdef size_t stop = position
        cdef bint is_stop = token != NO_TOKEN and kind_of(<uint32_t>token) == ON_STOP
        cdef Status status
        if self.mode == RECOVER:
            status = complete_mending(&self.content, &self.repairs)
        else:
            status = complete(&self.content)
        if status != OK:
            raise MemoryError()
        if self.content.text.n > before:
            self.came_out(position - 1, position - 1)
        if self.repairs.n:
            self.note_repairs()
        if is_stop:
            stop += 1
        elif token == START_ID or token == CHANNEL_ID:
            if self.content.text.n == 0:
                self.note(_EMPTY_MESSAGE_DROPPED, self.header_start, stop,
                          self.reader.shown(self.ids()))
                self.settle(None)
                self.fields = None
                self.forget_content()
                return self.enter(EXPECT_START)
            self.note(_UNTERMINATED_MESSAGE, stop, stop, "")
        _, name, channel, _, content_type = self.fields
        if token == CALL_ID and self.mode == RECOVER and name is not None and name != "tool":
            # What looked like a tool's own message is a call to it.
            self.note(_RECIPIENT_REPAIRED, self.header_start, stop, name)
            self.fields = (
                Role.ASSISTANT, None, channel, real_recipient(name, "assistant"), content_type)
        self.counts[part_of(self.fields)] += position - self.content_start - self.n_controls
        self.tell_text()
        self.announce()
        self.settle(len(self.finished))
        fields = self.fields
        self.fields = None
        self.enter(EXPECT_START)
        text = self.content_text()
        self.fields = fields
        self.keep(text, token if is_stop else NO_TOKEN, stop)
        self.fields = None
        return self.forget_content()

    cdef int keep(self, str text, int64_t token, size_t stop) except -1:
        """The message is complete."""
        end_token = None if token == NO_TOKEN else token
        span = self.header_start, stop
        kept = self.fields, text, (end_token is not None, end_token, span)
        self.finished.append(kept)
        if self.mode == RECOVER and <size_t>len(self.finished) >= self.max_messages:
            self.enter(FULL)
        if self.events is not None:
            self.tell(event_of(
                _MESSAGE_END, len(self.finished) - 1, span, None, None, kept, None))
        return 0

    cdef tuple header_text(self):
        """(text of the header, None), or (None, the HarmonyError that says why there is none)."""
        cdef Bytes gathered
        cdef const uint8_t* bytes
        cdef Py_ssize_t n_bytes
        cdef size_t i
        cdef Codec codec = self.codec
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

    # diagnostics and events

    cdef bint is_in_content(self) noexcept:
        return self.state == CONTENT or self.state == BARE

    cdef int note(self, object kind, size_t start, size_t stop, str text) except -1:
        """A repair. It belongs to a message as soon as that has text."""
        self.tell_text()
        self.noted.append((kind, start, stop, text))
        if self.content.text.n and self.is_in_content():
            self.settle(len(self.finished))
        return 0

    cdef int note_reports(self, tuple reports, size_t base) except -1:
        for kind, start, stop, text in reports:
            self.noted.append((kind, base + <size_t>start, base + <size_t>stop, text))
        return 0

    cdef int note_repairs(self) except -1:
        cdef size_t i
        # What other threads put there meanwhile is theirs.
        cdef Repairs repairs = self.repairs
        memset(&self.repairs, 0, sizeof(Repairs))
        try:
            for i in range(0, repairs.n, 2):
                self.note(_INVALID_UTF8, repairs.spans[i], repairs.spans[i + 1], "\ufffd")
        finally:
            free(repairs.spans)
        return 0

    cdef int settle(self, object message_index) except -1:
        """It is known what the ids of all that was noted belong to."""
        noted = self.noted
        if not noted:
            return 0
        self.noted = []
        for kind, start, stop, text in noted:
            self.report((kind, start, stop, message_index, text))
        return 0

    cdef int report(self, tuple made) except -1:
        self.reported.append(made)
        if self.events is not None:
            self.tell(event_of(
                _DIAGNOSTIC, made[3], (made[1], made[2]), None, None, None, diagnostic_of(made)))
        return 0

    cdef int exceed_messages(self, size_t position) except -1:
        """No more messages: the rest of the stream is skipped."""
        if self.over_limit == NO_LIMIT:
            self.over_limit = position
            self.settle(None)
            if self.events is not None:
                self.tell(event_of(
                    _DIAGNOSTIC, None, (position, position + 1), None, None, None,
                    diagnostic_of((_LIMIT, position, position + 1, None, ""))))
        return 0

    cdef int begin_telling(self, list events) except -1:
        """From here on what happens is told; what has happened is not."""
        self.delta_stop = 0
        if self.is_in_content() and self.content.text.n:
            self.told = self.content.text.n
            self.is_announced = True
            self.settle(len(self.finished))
        self.events = events
        return 0

    cdef int tell(self, object event) except -1:
        """Tell an event to those who still want one: making it may run the collector, and that
        anything, also what ends the telling."""
        if self.events is not None:
            self.events.append(event)
        return 0

    cdef int came_out(self, size_t first, size_t last) except -1:
        """Text came out at ids from `first` to `last`."""
        if self.delta_stop == 0:
            self.delta_start = first
        self.delta_stop = last + 1
        return 0

    cdef int announce(self) except -1:
        """Tell that a message begins, and what was noted of its header."""
        if self.events is not None and not self.is_announced:
            self.is_announced = True
            self.tell(event_of(
                _MESSAGE_START, len(self.finished), (self.header_start, self.content_start),
                new_tuple(_HEADER, self.fields), None, None, None))
            self.settle(len(self.finished))
        return 0

    cdef int tell_text(self) except -1:
        """Tell what has come out and has not been told."""
        if self.events is not None and self.content.text.n > self.told:
            self.announce()
            # All of it, if it is the first: then the message need not be decoded again.
            text = str_from(&self.content.text, self.told) if self.told else self.content_text()
            self.tell(event_of(
                _DELTA, len(self.finished), (self.delta_start, self.delta_stop),
                None, text, None, None))
            self.told = self.content.text.n
            self.delta_stop = 0
        return 0

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
        if not self.is_in_content() or self.content.delta == self.content.text.n:
            return None
        return str_from(&self.content.text, self.content.delta)

    @property
    def current_content(self):
        """The content read so far of the message that is not complete yet, or "".

        Only what is new since it was read last is decoded and put behind the str of then; that str
        is copied first if the caller still holds it.
        """
        return self.content_text() if self.is_in_content() else ""

    @property
    def messages(self):
        """The complete messages: a new list of the same Message objects each time."""
        cdef Py_ssize_t n
        while len(self.handed_out) < len(self.finished):
            n = len(self.handed_out)
            message = message_of(_MODEL_SLOTS, self.finished[n])
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

    @property
    def diagnostics(self):
        """What a recovering parser had to repair so far: a new list of Diagnostic each time.

        What is noted of a message comes when it is known that it is one: with its first text.
        """
        if self.is_in_content() and self.content.text.n:
            self.settle(len(self.finished))
        shown = self.shown_diagnostics
        while len(shown) < len(self.reported):
            shown.append(diagnostic_of(self.reported[len(shown)]))
        if self.over_limit == NO_LIMIT:
            return shown[:]
        return [*shown, diagnostic_of((_LIMIT, self.over_limit, self.n_read, None, ""))]

    @property
    def token_counts(self):
        """How many of the ids fed so far were reasoning, content, tool arguments, and markup
        (`control`): a new dict. Each id is in one of the four.

        Reasoning is the content of messages of the assistant on the analysis channel, arguments
        that of its calls to tools, content that of all other messages. An open message counts as
        what its header says.
        """
        cdef Py_ssize_t n[3]
        memcpy(n, self.counts, sizeof(n))
        if self.is_in_content():
            n[<int>part_of(self.fields)] += self.n_read - self.content_start - self.n_controls
        return {
            "reasoning": n[<int>REASONING], "content": n[<int>ANSWER],
            "tool_arguments": n[<int>ARGUMENTS],
            "control": self.n_read - n[<int>REASONING] - n[<int>ANSWER] - n[<int>ARGUMENTS],
        }

    def _header_tokens(self):
        ids = self.ids()
        while ids and ids[0] == START_ID and self.mode == RECOVER:
            ids.pop(0)
        return ids

    def _fields(self):
        """The Header of the message whose content is being read, in the state CONTENT."""
        return self.fields

    def _plain_fields(self):
        """The same, right after `<|message|>`; None if there was anything to repair."""
        if self.state != CONTENT or self.noted or self.content.text.n or self.content.held.n:
            return None
        return self.fields

    def _content_chunks(self):
        """The content so far in the pieces in which it came out, each a str."""
        cdef Content again
        cdef size_t i
        cdef Bytes chunk
        chunks = []
        if self.codec is None:
            return chunks
        if self.mode == RECOVER:
            return [self.content_text()]
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
        twin.mode, twin.reader = self.mode, self.reader
        twin.hint, twin.hint_word = self.hint, self.hint_word
        twin.max_header, twin.max_messages = self.max_header, self.max_messages
        twin.fields, twin.given_role = self.fields, self.given_role
        twin.header_start, twin.n_controls = self.header_start, self.n_controls
        twin.over_limit, twin.counts = self.over_limit, self.counts
        twin.ends, twin.finished = self.ends[:], self.finished[:]
        twin.noted, twin.reported = self.noted[:], self.reported[:]
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

    cdef object model(self, object model_class, dict fields, set names, object private):
        """A model with these fields, whose names are `names`, as if each had been given to its
        constructor.

        Validation is left out: it costs ten times as much as the rest, and what a parser read is
        of the right types.
        """
        model = bare_instance(model_class)
        set_slot(self.fields, model, fields)
        set_slot(self.fields_set, model, names.copy())
        set_slot(self.extra, model, None)
        set_slot(self.private, model, private)
        return model


cdef set _AUTHOR_FIELDS = {"role", "name"}
cdef set _TEXT_FIELDS = {"text"}
cdef set _MESSAGE_FIELDS = {"author", "content", "channel", "recipient", "content_type"}


cdef object message_of(_ModelSlots slots, tuple kept):
    """A new ParsedMessage."""
    (role, name, channel, recipient, content_type), text, origin = kept
    count_steps(1)
    author = slots.model(Author, {"role": role, "name": name}, _AUTHOR_FIELDS, None)
    content = slots.model(TextContent, {"text": text}, _TEXT_FIELDS, None)
    return slots.model(ParsedMessage, {
        "author": author,
        "content": [content],
        "channel": channel,
        "recipient": recipient,
        "content_type": content_type,
    }, _MESSAGE_FIELDS, {"_origin": origin})


_MODEL_SLOTS = _ModelSlots()


cpdef object new_message(tuple kept):
    """A new ParsedMessage of (Header, text, (complete, end token, span))."""
    return message_of(_MODEL_SLOTS, kept)


# --- diagnostics and events -----------------------------------------------------------------------

cdef object new_tuple(object tuple_class, tuple values):
    """A NamedTuple of these values, at a fraction of the cost of calling its class."""
    cdef Py_ssize_t i
    made = bare_tuple(tuple_class, len(values))
    for i in range(len(values)):
        set_value(made, i, values[i])
    return made


cdef object event_of(kind, message_index, span, header, text, kept, diagnostic):
    event = bare_tuple(_EVENT, 7)
    set_value(event, 0, kind)
    set_value(event, 1, message_index)
    set_value(event, 2, span)
    set_value(event, 3, header)
    set_value(event, 4, text)
    set_value(event, 5, kept)
    set_value(event, 6, diagnostic)
    return event


cdef object diagnostic_of(tuple made):
    kind, start, stop, message_index, text = made
    return new_tuple(Diagnostic, (kind, (start, stop), message_index, text))


cdef int part_of(tuple fields) except -1:
    """What the content of a message is counted as."""
    role, _, channel, recipient, _ = fields
    if recipient is not None and is_call(role, recipient):
        return ARGUMENTS
    return REASONING if channel == "analysis" and role is _ASSISTANT else ANSWER


cdef int remember(dict answers, object key, object answer) except -1:
    """Keep an answer, of not too many."""
    if len(answers) >= REMEMBERED_HEADERS:
        answers.clear()
    answers[key] = answer
    return 0


# C variables: what is looked up for every event.
cdef object _EVENT = ParseEvent
cdef object _HEADER = MessageHeader
cdef object _ASSISTANT = Role.ASSISTANT
_ROLE_WORDS = frozenset(ids[0] for ids in _ROLE_IDS.values())

_IS_HEADER, _IS_CONTENT, _IS_NOTHING = Verdict.HEADER, Verdict.CONTENT, Verdict.NOTHING

cdef object _MESSAGE_START = ParseEventKind.MESSAGE_START
cdef object _DELTA = ParseEventKind.DELTA
cdef object _MESSAGE_END = ParseEventKind.MESSAGE_END
cdef object _DIAGNOSTIC = ParseEventKind.DIAGNOSTIC

_REPEATED_START = DiagnosticKind.REPEATED_START
_RECIPIENT_REPAIRED = DiagnosticKind.RECIPIENT_REPAIRED
_TRUNCATED_HEADER = DiagnosticKind.TRUNCATED_HEADER
_SKIPPED_TEXT = DiagnosticKind.SKIPPED_TEXT
_REPEATED_TERMINATOR = DiagnosticKind.REPEATED_TERMINATOR
_UNTERMINATED_MESSAGE = DiagnosticKind.UNTERMINATED_MESSAGE
_CONTROL_IN_CONTENT = DiagnosticKind.CONTROL_IN_CONTENT
_EMPTY_MESSAGE_DROPPED = DiagnosticKind.EMPTY_MESSAGE_DROPPED
_INVALID_UTF8 = DiagnosticKind.INVALID_UTF8
_UNKNOWN_TOKEN = DiagnosticKind.UNKNOWN_TOKEN
_LIMIT = DiagnosticKind.LIMIT


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
