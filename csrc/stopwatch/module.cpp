// The stopwatch of the host: calls a Python callable between two stamps, with nothing of Python's in between but the
// call. A call that stays in native code for a millisecond leaves the interpreter's pages cold, and on a virtual
// machine each of them costs up to a microsecond to come back to: stamps taken in Python measure that as well. Needs no
// PyTorch.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "stopwatch/monotonic.h"

namespace {

PyObject* time_calls(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "time_calls takes a callable and how often to call it");
    return nullptr;
  }
  PyObject* function = arguments[0];
  const int64_t repeats = PyLong_AsLongLong(arguments[1]);
  if (repeats == -1 && PyErr_Occurred()) return nullptr;
  // Called directly where it can be, so that the way back leads through no page of the interpreter.
  const vectorcallfunc direct = PyVectorcall_Function(function);
  const int64_t begin = pyprof::monotonic_nanoseconds();
  for (int64_t i = 0; i < repeats; ++i) {
    PyObject* result = direct ? direct(function, nullptr, 0, nullptr) : PyObject_CallNoArgs(function);
    if (!result) return nullptr;
    Py_DECREF(result);
  }
  return PyLong_FromLongLong(pyprof::monotonic_nanoseconds() - begin);
}

PyMethodDef methods[] = {
    {"time_calls", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(time_calls)), METH_FASTCALL,
     "time_calls(function, repeats)\n--\n\nNanoseconds that so many calls took, one after the other."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_stopwatch", "The stopwatch of the host.", 0, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__stopwatch() { return PyModule_Create(&module); }
