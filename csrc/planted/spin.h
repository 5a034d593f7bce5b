// The planted duration as a Python object that keeps its own true lengths.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

namespace pyprof {

// Adds the type Spin to a Python module. False with a Python error set on failure.
bool add_spin(PyObject* module);

}  // namespace pyprof
