/* Token ids as Python ints. Making an int costs more than finding the id it stands for, so that
 * each id below SHARED_INTS has one int object, which all lists share. They lie side by side: the
 * address of an id's int is arithmetic, and so is the id of such an address. */
#pragma once
#include <Python.h>
#include <stdint.h>
#if PY_VERSION_HEX < 0x030B0000
#include <longintrepr.h>
#endif

enum {
    SHARED_INTS = 1 << 18,
    INT_BYTES = 32,
    INTS_PER_PAGE = 4096 / INT_BYTES
};

/* CPython 3.12 and 3.13 count no references to immortal objects: a list of them is made and freed
 * without touching them. */
#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED)
#define INTS_ARE_IMMORTAL 1
#else
#define INTS_ARE_IMMORTAL 0
#endif

/* Filled a page at a time: memory is used for ids that occur, and their neighbours. */
static _Alignas(4096) char shared_ints[SHARED_INTS * INT_BYTES];
static uint8_t page_is_filled[SHARED_INTS / INTS_PER_PAGE];

static inline PyObject *shared_int(uint32_t token) {
    return (PyObject *)(shared_ints + (size_t)token * INT_BYTES);
}

static inline digit *digit_of(PyObject *value) {
#if PY_VERSION_HEX >= 0x030C0000
    return ((PyLongObject *)value)->long_value.ob_digit;
#else
    return ((PyLongObject *)value)->ob_digit;
#endif
}

/* The ints of the page that `token` is on; -1 with an exception set if memory is short. */
static int fill_page(uint32_t token) {
    _Static_assert(sizeof(PyLongObject) <= INT_BYTES, "an int of one digit fits its place");
    uint32_t first = token / INTS_PER_PAGE * INTS_PER_PAGE;
    /* A real int, but of another value: all of one digit are alike in all but that digit. */
    PyObject *model = PyLong_FromLong(SHARED_INTS);
    if (!model) return -1;
    for (uint32_t at = first; at < first + INTS_PER_PAGE; at++) {
        PyObject *value = shared_int(at);
        if (at == 0) {
            /* It has no digit: the one of CPython's own ints that has another form. */
            PyObject *zero = PyLong_FromLong(0);
            if (!zero) {
                Py_DECREF(model);
                return -1;
            }
            memcpy(value, zero, sizeof(PyLongObject));
            Py_DECREF(zero);
        } else {
            memcpy(value, model, sizeof(PyLongObject));
            *digit_of(value) = at;
        }
#if INTS_ARE_IMMORTAL
        value->ob_refcnt = _Py_IMMORTAL_REFCNT;
#else
        value->ob_refcnt = 1;       /* the table's own: it never becomes 0 */
#endif
    }
    Py_DECREF(model);
    page_is_filled[token / INTS_PER_PAGE] = 1;
    return 0;
}

/* A new reference to an int; NULL with an exception set. */
static inline PyObject *int_of(uint32_t token) {
    if (token >= SHARED_INTS) return PyLong_FromUnsignedLong(token);
    if (!page_is_filled[token / INTS_PER_PAGE] && fill_page(token) < 0) return NULL;
    PyObject *value = shared_int(token);
#if !INTS_ARE_IMMORTAL
    Py_INCREF(value);
#endif
    return value;
}

/* The value of an int of at most one digit (30 bits) that is not negative; -1: it is none. */
static inline int64_t small_value(PyObject *value) {
    if ((char *)value >= shared_ints && (char *)value < shared_ints + sizeof(shared_ints)) {
        return ((char *)value - shared_ints) / INT_BYTES;
    }
    if (!PyLong_CheckExact(value)) return -1;
#if PY_VERSION_HEX >= 0x030C0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)value)) return -1;
    Py_ssize_t number = PyUnstable_Long_CompactValue((PyLongObject *)value);
    return number < 0 ? -1 : number;
#else
    Py_ssize_t n_digits = Py_SIZE(value);
    if (n_digits == 1) return *digit_of(value);
    return n_digits == 0 ? 0 : -1;
#endif
}
