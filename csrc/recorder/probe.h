// The probe: a Python callable that stands in for an instance's `forward`, stamps, calls on, stamps.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <memory>

#include "recorder.h"

namespace pyprof {

// Makes the type known to Python. False with a Python error set on failure.
bool ready_probe_type();

// A new probe around `original`, or nullptr with a Python error set.
PyObject* make_probe(std::shared_ptr<Recorder> recorder, PyObject* original, uint32_t layer);

// From now on the probe only calls on: for one that cannot be taken off, because another has been put around it since.
// False with a Python error set when the object is no probe.
bool silence_probe(PyObject* probe);

}  // namespace pyprof
