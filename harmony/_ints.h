/* Token ids as Python ints. Making an int costs more than finding the id it stands for, so that
 * each id below SHARED_INTS has one int object, which all lists share. They lie in the order in
 * which they were first needed: what is often needed lies close together, in few cache lines. The
 * first few lists of a process have ints of their own, as it may be that no more are made. */
#pragma once
#include <Python.h>
#include <stdint.h>
#if PY_VERSION_HEX < 0x030B0000
#include <longintrepr.h>
#endif
#include "_memory.h"

enum {
    SHARED_INTS = 1 << 18,
    INT_BYTES = 32,
    /* So many ids are made ints of their own before there are shared ones. */
    UNSHARED_INTS = 1024
};

/* CPython 3.12 and 3.13 count no references to immortal objects: a list of them is made and freed
 * without touching them. */
#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED)
#define INTS_ARE_IMMORTAL 1
#else
#define INTS_ARE_IMMORTAL 0
#endif

/* In one memory: of each id, where its int is, in bytes from the first one, and HAS_INT, or 0: it has none
 * yet; and the ints. NULL: too few have been needed so far. */
static uint32_t *int_places;
static char *shared_ints;
static uint32_t n_ints;
static Py_ssize_t n_unshared;
#define HAS_INT 0x80000000u

static inline PyObject *int_at(uint32_t place) {
    return (PyObject *)((uintptr_t)shared_ints - HAS_INT + place);
}

static inline digit *digit_of(PyObject *value) {
#if PY_VERSION_HEX >= 0x030C0000
    return ((PyLongObject *)value)->long_value.ob_digit;
#else
    return ((PyLongObject *)value)->ob_digit;
#endif
}

/* What all ints of one digit that is not 0 are, but for that digit. */
static _Alignas(INT_BYTES) char model_int[INT_BYTES];

/* An int object of its own; -1 with an exception set. */
static int copy_int(void *copy, long value) {
    PyObject *original = PyLong_FromLong(value);
    if (!original) return -1;
    memcpy(copy, original, sizeof(PyLongObject));
    Py_DECREF(original);
#if INTS_ARE_IMMORTAL
    ((PyObject *)copy)->ob_refcnt = _Py_IMMORTAL_REFCNT;
#else
    ((PyObject *)copy)->ob_refcnt = 1;          /* the table's own: it never becomes 0 */
#endif
    return 0;
}

/* Before any other use of this; -1 with an exception set if memory is short. */
static int prepare_ints(void) {
    _Static_assert(sizeof(PyLongObject) <= INT_BYTES, "an int of one digit fits its place");
    return copy_int(model_int, SHARED_INTS);
}

/* -1 with an exception set if memory is short. */
static int make_shared_ints(void) {
    /* Zeros that take no memory before they are written to, then a huge page at a time if there are any. */
    size_t n_bytes = SHARED_INTS * (sizeof(uint32_t) + INT_BYTES);
    char *memory = calloc(n_bytes + HUGE_PAGE_BYTES, 1);
    char *places, *ints;
    if (!memory) {
        PyErr_NoMemory();
        return -1;
    }
    places = memory + (-(uintptr_t)memory) % HUGE_PAGE_BYTES;
    ints = places + SHARED_INTS * sizeof(uint32_t);
    want_huge_pages(places, n_bytes);
    provide_memory(places, HUGE_PAGE_BYTES);
    if (copy_int(ints, 0)) {
        free(memory);
        return -1;
    }
    int_places = (uint32_t *)places;
    shared_ints = ints;
    int_places[0] = HAS_INT;
    n_ints = 1;
    return 0;
}

/* Give an id its int. */
static void add_int(uint32_t token) {
    uint32_t place = HAS_INT | n_ints * INT_BYTES;
    PyObject *value = int_at(place);
    memcpy(value, model_int, INT_BYTES);
    *digit_of(value) = token;
    int_places[token] = place;
    n_ints++;
}

enum {
    INTS_AT_ONCE = 32,          /* few have an id without an int; all are looked at again then */
    INTS_AHEAD = 32             /* memory is asked for so many ints before it is needed */
};

/* New references to the ints of `n` ids; -1 with an exception set, and NULL in the place of those that are
 * missing, if there were NULLs before. */
static int fill_with_ints(PyObject **items, const uint32_t *ids, Py_ssize_t n) {
    if (!shared_ints) {
        n_unshared += n;
        if (n_unshared <= UNSHARED_INTS) {
            for (Py_ssize_t k = 0; k < n; k++) {
                if (!(items[k] = PyLong_FromUnsignedLong(ids[k]))) return -1;
            }
            return 0;
        }
        if (make_shared_ints()) return -1;
    }
    for (Py_ssize_t i = 0; i < n; i += INTS_AT_ONCE) {
        Py_ssize_t stop = n - i < INTS_AT_ONCE ? n : i + INTS_AT_ONCE;
        uint32_t all_ids = 0, all_places = HAS_INT;
        for (Py_ssize_t k = i; k < stop; k++) all_ids |= ids[k];
        if (all_ids >= SHARED_INTS) {
            for (Py_ssize_t k = i; k < stop; k++) {
                if (!(items[k] = PyLong_FromUnsignedLong(ids[k]))) return -1;
            }
            continue;
        }
        /* What has no int yet is written, too, and replaced then: few blocks have such an id. */
        for (Py_ssize_t k = i; k < stop; k++) {
            if (n - k > INTS_AHEAD) prefetch(&int_places[ids[k + INTS_AHEAD]]);
            uint32_t place = int_places[ids[k]];
            all_places &= place;
            items[k] = int_at(place);
            /* Whoever frees the list looks at each of them. */
            prefetch(items[k]);
        }
        if (!all_places) {
            for (Py_ssize_t k = i; k < stop; k++) {
                if (!int_places[ids[k]]) add_int(ids[k]);
                items[k] = int_at(int_places[ids[k]]);
            }
        }
#if !INTS_ARE_IMMORTAL
        for (Py_ssize_t k = i; k < stop; k++) Py_INCREF(items[k]);
#endif
    }
    return 0;
}

/* The value of an int of at most one digit (30 bits) that is not negative; -1: it is none. */
static inline int64_t small_value(PyObject *value) {
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

/* The ids that ints stand for, up to the first that is more or something else than a small int; returns
 * how many. Nothing of Python runs meanwhile, so the sequence that they are in stays what it is. */
static Py_ssize_t small_values(PyObject *const *items, Py_ssize_t n, uint32_t *ids) {
    for (Py_ssize_t i = 0; i < n; i++) {
        if (n - i > INTS_AHEAD) prefetch(items[i + INTS_AHEAD]);
        int64_t value = small_value(items[i]);
        if (value < 0) return i;
        ids[i] = (uint32_t)value;
    }
    return n;
}
