# Ids -> messages, one id at a time. See _parser.pyx.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t

from harmony._codec cimport Codec
from harmony._content cimport Content, Repairs, Status


cdef struct Ids:
    uint32_t* data
    size_t n
    size_t capacity


cdef Status append_ids(Ids* target, const Ids* source) noexcept nogil
# Fill `ids` anew with ids of any kind.
cdef int gather(Ids* ids, object tokens) except -1
# A ParsedMessage of (Header, text, (complete, end token, span)).
cpdef object new_message(tuple kept)


cdef class Parser:
    # Where the automaton stands. Modes, states and actions: _transitions.h.
    cdef int mode                       # which table of transitions
    cdef int state
    cdef size_t n_read                  # ids fed so far
    cdef Ids header                     # ids of the header that is being read
    cdef size_t header_start            # position of its first id
    cdef Content content
    cdef size_t content_start           # position of the first id of the content
    cdef size_t n_controls              # special tokens that were taken out of it
    cdef tuple fields                   # the Header of the message whose content is read, or None
    cdef object hint                    # the role of the first header, given to the constructor
    cdef str hint_word                  # its word: an Enum's hash is a function in Python
    cdef object given_role              # the same; None once the first header is complete
    cdef size_t max_header, max_messages
    cdef size_t over_limit              # where the messages were more than they may be

    # What was read.
    cdef Ids tokens                     # every id fed, refused ones too
    cdef list ends                      # values of n_read at which the end of the stream was told
    cdef list finished                  # (Header, text, origin) of each complete message
    cdef list handed_out                # the Message objects of as many of them as were asked for
    cdef PyObject* joined               # str: the first `n_joined` bytes of content.text, or NULL
    cdef size_t n_joined
    cdef Py_ssize_t counts[3]           # ids of content of complete messages, by part

    # What a recovering parser repaired.
    cdef object reader                  # HeaderReader
    cdef Repairs repairs                # of the id that is being read
    cdef list noted                     # (kind, start, stop, text) of an undecided message
    cdef list reported                  # (kind, start, stop, message index, text)
    cdef list shown_diagnostics         # the Diagnostic objects of as many as were asked for

    # Events, while somebody wants them.
    cdef list events                    # or None
    cdef bint is_announced              # MESSAGE_START of the open message has been told
    cdef size_t told                    # bytes of the content that have been
    cdef size_t delta_start, delta_stop     # ids at which the others came out

    # What the getters return, each kept ready.
    cdef object shown_state, shown_role, shown_channel, shown_recipient, shown_content_type

    cdef object encoding
    cdef Codec codec
    cdef tuple states                   # the members of StreamState, in the order of State

    cdef int forget(self) except -1
    cdef int forget_content(self) except -1
    cdef int run(self, const uint32_t* ids, size_t n_ids) except -1
    cdef size_t run_text(self, const uint32_t* ids, size_t n_ids, bint mending) except 0
    cdef int step(self, uint32_t token) except -1
    cdef int end(self) except -1
    cdef bint act(self, int action, int64_t token, size_t position) except -1
    cdef int enter(self, int state) except -1

    cdef bint open_header(self, int64_t token, size_t position) except -1
    cdef bint collect(self, int action, int64_t token, size_t position) except -1
    cdef bint exceed_header(self, int64_t token, size_t position) except -1
    cdef list ids(self)
    cdef bytes header_key(self)
    cdef int take_header(self, size_t position) except -1
    cdef int take_any_header(self, size_t position) except -1
    cdef int open_content(self, int state, tuple fields, size_t position) except -1
    cdef bint judge(self, int64_t token, size_t position) except -1
    cdef bint rescue(self, int64_t token, size_t position, bint stays_open) except -1
    cdef bint cut_header(self) except -1
    cdef int leave_header(self, int64_t token, size_t position) except -1
    cdef tuple header_text(self)
    cdef object located(self, object error, int state, object token)

    cdef int add_to_content(self, int action, uint32_t token, size_t position) except -1
    cdef int mend_with(self, const uint8_t* bytes, size_t n, size_t position) except -1
    cdef int finish_message(self, int64_t token, size_t position) except -1
    cdef int keep(self, str text, int64_t token, size_t stop) except -1
    cdef str content_text(self)

    cdef bint is_in_content(self) noexcept
    cdef int note(self, object kind, size_t start, size_t stop, str text) except -1
    cdef int note_reports(self, tuple reports, size_t base) except -1
    cdef int note_repairs(self) except -1
    cdef int settle(self, object message_index) except -1
    cdef int report(self, tuple made) except -1
    cdef int exceed_messages(self, size_t position) except -1
    cdef int begin_telling(self, list events) except -1
    cdef int tell(self, object event) except -1
    cdef int came_out(self, size_t first, size_t last) except -1
    cdef int announce(self) except -1
    cdef int tell_text(self) except -1
