#include "probe.h"

#include <new>

namespace pyprof {

namespace {

struct Probe {
  PyObject_HEAD;
  vectorcallfunc vectorcall;
  PyObject* original;
  vectorcallfunc forward;  // the original's own entry, looked up once
  Recorder* recorder;      // owner's, kept here so that the hot path reads one pointer; nullptr once silenced
  std::shared_ptr<Recorder> owner;
  uint32_t layer;
};

PyObject* call(PyObject* self, PyObject* const* args, size_t count, PyObject* names) {
  const Probe* probe = reinterpret_cast<Probe*>(self);
  ThreadBuffer* buffer = probe->recorder ? probe->recorder->this_thread() : nullptr;
  if (!buffer) return probe->forward(probe->original, args, count, names);
  const uint32_t token = buffer->begin(probe->layer);
  PyObject* result = probe->forward(probe->original, args, count, names);
  buffer->end(token);
  return result;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(reinterpret_cast<Probe*>(self)->original);
  return 0;
}

int clear(PyObject* self) {
  Py_CLEAR(reinterpret_cast<Probe*>(self)->original);
  return 0;
}

void deallocate(PyObject* self) {
  PyObject_GC_UnTrack(self);
  clear(self);
  reinterpret_cast<Probe*>(self)->owner.~shared_ptr();
  Py_TYPE(self)->tp_free(self);
}

// Whoever asks a module's forward for its name, signature or documentation gets the original's.
PyObject* attribute(PyObject* self, PyObject* name) {
  PyObject* found = PyObject_GenericGetAttr(self, name);
  if (found || !PyErr_ExceptionMatches(PyExc_AttributeError)) return found;
  PyErr_Clear();
  return PyObject_GetAttr(reinterpret_cast<Probe*>(self)->original, name);
}

PyObject* wrapped(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<Probe*>(self)->original); }

PyObject* reduce(PyObject*, PyObject*) {
  PyErr_SetString(PyExc_TypeError, "an instrumented module cannot be copied or pickled: detach its probes first");
  return nullptr;
}

PyMethodDef methods[] = {{"__reduce_ex__", reduce, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};
PyGetSetDef properties[] = {{"__wrapped__", wrapped, nullptr, "the forward that the probe stands in for", nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyTypeObject probe_type = [] {
  PyTypeObject type{};
  type.ob_base = PyVarObject{PyObject_HEAD_INIT(nullptr) 0};
  type.tp_name = "pyprof._native.Probe";
  type.tp_basicsize = sizeof(Probe);
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL;
  type.tp_doc = "Stands in for a module's forward and records when it begins and ends.";
  type.tp_vectorcall_offset = offsetof(Probe, vectorcall);
  type.tp_call = PyVectorcall_Call;
  type.tp_traverse = traverse;
  type.tp_clear = clear;
  type.tp_dealloc = deallocate;
  type.tp_getattro = attribute;
  type.tp_methods = methods;
  type.tp_getset = properties;
  return type;
}();

}  // namespace

bool ready_probe_type() { return PyType_Ready(&probe_type) == 0; }

PyObject* make_probe(std::shared_ptr<Recorder> recorder, PyObject* original, uint32_t layer) {
  if (!PyCallable_Check(original)) {
    PyErr_SetString(PyExc_TypeError, "a probe can only stand in for something that can be called");
    return nullptr;
  }
  Probe* probe = PyObject_GC_New(Probe, &probe_type);
  if (!probe) return nullptr;
  probe->vectorcall = call;
  probe->original = Py_NewRef(original);
  const vectorcallfunc own = PyVectorcall_Function(original);
  probe->forward = own ? own : PyObject_Vectorcall;
  probe->recorder = recorder.get();
  new (&probe->owner) std::shared_ptr<Recorder>(std::move(recorder));
  probe->layer = layer;
  PyObject_GC_Track(probe);
  return reinterpret_cast<PyObject*>(probe);
}

bool silence_probe(PyObject* probe) {
  if (!Py_IS_TYPE(probe, &probe_type)) {
    PyErr_SetString(PyExc_TypeError, "not a probe");
    return false;
  }
  reinterpret_cast<Probe*>(probe)->recorder = nullptr;
  return true;
}

}  // namespace pyprof
