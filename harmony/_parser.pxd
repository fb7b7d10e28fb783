# Ids -> messages, one id at a time. See _parser.pyx.
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from harmony._codec cimport Codec
from harmony._content cimport Content


cdef struct Ids:
    uint32_t* data
    size_t n
    size_t capacity


cdef class Parser:
    # Where the automaton stands.
    cdef int mode                       # a Mode: which table of transitions
    cdef int state                      # a State
    cdef size_t n_read                  # ids fed so far
    cdef Ids header                     # ids of the header that is being read
    cdef Content content
    cdef size_t content_start           # n_read when the content began
    cdef tuple fields                   # the Header of the message whose content is read, or None
    cdef object given_role              # known before the first header; None once one is complete

    # What was read.
    cdef Ids tokens                     # every id fed, refused ones too
    cdef list ends                      # values of n_read at which the end of the stream was told
    cdef list finished                  # (Header, text) of each complete message
    cdef list handed_out                # the Message objects of as many of them as were asked for
    cdef PyObject* joined               # str: the first `n_joined` bytes of content.text, or NULL
    cdef size_t n_joined

    # What the getters return, each kept ready.
    cdef object shown_state, shown_role, shown_channel, shown_recipient, shown_content_type

    cdef object encoding
    cdef Codec codec
    cdef tuple states                   # the members of StreamState, in the order of State

    cdef int forget(self) except -1
    cdef int forget_content(self) except -1
    cdef int run(self, const uint32_t* ids, size_t n_ids) except -1
    cdef int step(self, uint32_t token) except -1
    cdef int end(self) except -1
    cdef int act(self, int action, uint32_t token) except -1
    cdef int enter(self, int state) except -1
    cdef int open_content(self) except -1
    cdef int leave_header(self, uint32_t token) except -1
    cdef int finish_message(self) except -1
    cdef tuple header_text(self)
    cdef str content_text(self)
    cdef object located(self, object error, int state, object token)
