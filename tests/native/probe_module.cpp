// The probe in a module without PyTorch, so that it can be run under AddressSanitizer.
#include "recorder/probe.h"

using namespace pyprof;

namespace {

std::shared_ptr<Recorder> recorder;

PyObject* probe(PyObject*, PyObject* args) {
  PyObject* original;
  unsigned layer;
  return PyArg_ParseTuple(args, "OI", &original, &layer) ? make_probe(recorder, original, layer) : nullptr;
}

PyObject* silence(PyObject*, PyObject* object) { return silence_probe(object) ? Py_NewRef(Py_None) : nullptr; }

PyObject* drain(PyObject*, PyObject*) {
  const Recorder::Drained drained = recorder->drain();
  PyObject* list = PyList_New(0);
  for (const Span& span : drained.spans) {
    PyObject* row =
        Py_BuildValue("(ILL)", span.layer, static_cast<long long>(span.begin), static_cast<long long>(span.end));
    PyList_Append(list, row);
    Py_DECREF(row);
  }
  return list;
}

PyMethodDef methods[] = {{"probe", probe, METH_VARARGS, nullptr},
                         {"silence", silence, METH_O, nullptr},
                         {"drain", drain, METH_NOARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};
PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "probe_module", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_probe_module() {
  recorder = std::make_shared<Recorder>(Options{.span_capacity = 1 << 12});
  return ready_probe_type() ? PyModule_Create(&definition) : nullptr;
}
