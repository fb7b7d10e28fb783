/* Ids as numpy arrays, through numpy's C interface: a call on a short text has no time for more. */
#pragma once
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
#include <stdint.h>
#include <string.h>

/* To be called before all else; -1 with an exception set if numpy cannot be used. */
static int load_numpy(void) { return _import_array(); }

/* A new uint32 array, 1-D, with a copy of these ids; NULL with an exception set. */
static PyObject *array_copy(const uint32_t *ids, Py_ssize_t n_ids) {
    npy_intp shape = n_ids;
    PyObject *array = PyArray_SimpleNew(1, &shape, NPY_UINT32);
    if (array && n_ids) {
        memcpy(PyArray_DATA((PyArrayObject *)array), ids, n_ids * sizeof(uint32_t));
    }
    return array;
}

/* The same over the ids themselves, which live as long as `owner` does. */
static PyObject *array_over(uint32_t *ids, Py_ssize_t n_ids, PyObject *owner) {
    npy_intp shape = n_ids;
    PyObject *array = PyArray_SimpleNewFromData(1, &shape, NPY_UINT32, ids);
    if (!array) return NULL;
    Py_INCREF(owner);       /* the reference that the array takes over, whether it succeeds or not */
    if (PyArray_SetBaseObject((PyArrayObject *)array, owner) < 0) {
        Py_DECREF(array);
        return NULL;
    }
    return array;
}

/* Whether `value` is an array of what ids are here: uint32, 1-D, one after another, aligned. */
static int is_plain_array(PyObject *value) {
    if (!PyArray_Check(value)) return 0;
    PyArrayObject *array = (PyArrayObject *)value;
    return PyArray_TYPE(array) == NPY_UINT32 && PyArray_NDIM(array) == 1
           && PyArray_ISCARRAY_RO(array);
}

static const uint32_t *array_ids(PyObject *array) {
    return PyArray_DATA((PyArrayObject *)array);
}

static Py_ssize_t array_length(PyObject *array) { return PyArray_DIM((PyArrayObject *)array, 0); }
