# Text -> ids: segments looked up in caches and tables, the rest merged. See _encode.pyx.
from libc.stdint cimport uint8_t, uint32_t

from harmony._bpe cimport Sink, Status, Tables


cdef struct Span:
    # A stretch of a text that is one special token.
    Py_ssize_t start
    Py_ssize_t stop
    uint32_t token


cdef struct Text:
    const uint8_t* bytes
    Py_ssize_t n_bytes
    bint is_padded                  # by zeros: PADDING of them
    const Span* specials            # in order, not overlapping
    Py_ssize_t n_specials
    const Py_ssize_t* piece_ends    # given by a pattern that is not compiled in; NULL: scan
    Py_ssize_t n_piece_ends


cdef struct Context             # caches and scratch of one call


cdef class Contexts:
    # The contexts of one vocabulary that are not in use; the interpreter lock guards them.
    cdef Context* unused
    cdef int n_unused

    cdef Context* take(self, Py_ssize_t n_bytes) except NULL
    cdef void give_back(self, Context* context) noexcept


cdef Status encode_text(
    const Tables* t, Context* context, const Text* text, Sink* sink) noexcept nogil
