#include "planted/spin.h"

#include <cmath>
#include <cstddef>
#include <new>
#include <utility>
#include <vector>

#include "planted/planted.h"
#include "stopwatch/monotonic.h"

namespace pyprof {

namespace {

struct Spin {
  PyObject_HEAD;
  vectorcallfunc vectorcall;
  std::vector<int64_t> wanted;  // taken in turn
  size_t next;
  int64_t last;  // the length of the last call, -1 where it is with the others
  std::vector<int64_t> lengths;
};

bool keep_last(Spin* one) {
  if (one->last < 0) return true;
  try {
    one->lengths.push_back(one->last);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  one->last = -1;
  return true;
}

// A call's length is put with the others by the next one, between its stamps: after the last stamp only a store is left
// to do, into memory that the call has used all the time. Whatever else is touched there is cold after a long spin.
PyObject* call(PyObject* self, PyObject* const*, size_t count, PyObject* names) {
  const int64_t begin = monotonic_nanoseconds();
  if (PyVectorcall_NARGS(count) || names) {
    PyErr_SetString(PyExc_TypeError, "a spin is called without arguments");
    return nullptr;
  }
  Spin* one = reinterpret_cast<Spin*>(self);
  if (!keep_last(one)) return nullptr;
  const int64_t wanted = one->wanted[one->next];
  if (++one->next == one->wanted.size()) one->next = 0;
  one->last = spin_since(begin, wanted);
  Py_RETURN_NONE;
}

// Nanoseconds of a tuple of seconds, at least one; false with a Python error set where they make no sense.
bool read_durations(PyObject* seconds, std::vector<int64_t>& nanoseconds) try {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(seconds); ++i) {
    const double one = PyFloat_AsDouble(PyTuple_GET_ITEM(seconds, i));
    if (one == -1.0 && PyErr_Occurred()) return false;
    if (!(one >= 0 && one < 1e9)) break;
    nanoseconds.push_back(std::llround(one * 1e9));
  }
  if (!nanoseconds.empty() && static_cast<Py_ssize_t>(nanoseconds.size()) == PyTuple_GET_SIZE(seconds)) return true;
  PyErr_SetString(PyExc_ValueError,
                  "a spin takes its seconds, or several to be taken in turn, each a number from 0 on");
  return false;
} catch (const std::bad_alloc&) {
  PyErr_NoMemory();
  return false;
}

PyObject* make(PyTypeObject* type, PyObject* arguments, PyObject* names) {
  std::vector<int64_t> wanted;
  if (names && PyDict_GET_SIZE(names)) {
    PyErr_SetString(PyExc_TypeError, "a spin takes no arguments by name");
    return nullptr;
  }
  if (!read_durations(arguments, wanted)) return nullptr;
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  Spin* one = reinterpret_cast<Spin*>(self);
  one->vectorcall = call;
  new (&one->wanted) std::vector<int64_t>(std::move(wanted));
  one->next = 0;
  one->last = -1;
  new (&one->lengths) std::vector<int64_t>;
  return self;
}

void deallocate(PyObject* self) {
  reinterpret_cast<Spin*>(self)->wanted.~vector();
  reinterpret_cast<Spin*>(self)->lengths.~vector();
  Py_TYPE(self)->tp_free(self);
}

PyObject* lengths(PyObject* self, void*) {
  if (!keep_last(reinterpret_cast<Spin*>(self))) return nullptr;
  const std::vector<int64_t>& values = reinterpret_cast<Spin*>(self)->lengths;
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(values.size()));
  for (size_t i = 0; list && i < values.size(); ++i) {
    PyObject* value = PyLong_FromLongLong(values[i]);
    if (value) {
      PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), value);
    } else {
      Py_CLEAR(list);
    }
  }
  return list;
}

PyGetSetDef properties[] = {
    {"lengths_ns", lengths, nullptr, "the true length of every call so far, in nanoseconds", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyTypeObject spin_type = [] {
  PyTypeObject type{};
  type.ob_base = PyVarObject{PyObject_HEAD_INIT(nullptr) 0};
  type.tp_name = "pyprof._native.Spin";
  type.tp_basicsize = sizeof(Spin);
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL;
  type.tp_doc =
      "Spin(*seconds)\n--\n\nBusy for at least so long when called, for several times in turn; keeps true lengths.";
  type.tp_vectorcall_offset = offsetof(Spin, vectorcall);
  type.tp_call = PyVectorcall_Call;
  type.tp_new = make;
  type.tp_dealloc = deallocate;
  type.tp_getset = properties;
  return type;
}();

}  // namespace

bool add_spin(PyObject* module) { return PyModule_AddType(module, &spin_type) == 0; }

}  // namespace pyprof
