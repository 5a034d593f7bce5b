// The CUDA part: a library of its own, since what refers to CUDA cannot be loaded under a PyTorch without it.
#include <c10/cuda/CUDAStream.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "event_pool.h"
#include "work_log.h"

namespace py = pybind11;
using namespace pyprof;

namespace {

// What the recorder of the other library gives: see csrc/bindings.cpp.
std::shared_ptr<WorkLog> make_log(const py::capsule& places, const py::capsule& clock, uint32_t operations,
                                  uint32_t launches, uint32_t nodes, const std::string& library) {
  return std::make_shared<WorkLog>(*places.get_pointer<std::shared_ptr<Places>>(),
                                   reinterpret_cast<NanosecondClock>(clock.get_pointer<void>()),
                                   WorkLog::Capacity{operations, launches, nodes}, library);
}

template <typename T>
py::array_t<T> copied(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::dict drain(WorkLog& log) {
  WorkLog::Drained drained;
  {
    const py::gil_scoped_release others_may_run;
    drained = log.drain();
  }
  py::dict result;
  result["operations"] = copied(drained.operations);
  result["launches"] = copied(drained.launches);
  result["nodes"] = copied(drained.nodes);
  result["names"] = drained.names;
  result["lost"] = drained.lost;
  result["lost_launches"] = drained.lost_launches;
  result["lost_nodes"] = drained.lost_nodes;
  return result;
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "The CUDA part of pyprof: a device's work by CUPTI, or layer times from events on the device's stream.";
  PYBIND11_NUMPY_DTYPE(Operation, begin, end, node, correlation, device, context, stream, graph, name, kind);
  PYBIND11_NUMPY_DTYPE(Launch, begin, correlation, thread, cell);
  PYBIND11_NUMPY_DTYPE(GraphNode, node, source, cell);
  const WorkLog::Capacity room;
  py::class_<WorkLog, std::shared_ptr<WorkLog>>(m, "WorkLog")
      .def(py::init(&make_log), py::arg("places"), py::arg("clock"), py::arg("operations") = room.operations,
           py::arg("launches") = room.launches, py::arg("nodes") = room.nodes, py::arg("library") = "")
      .def("start", &WorkLog::start, py::call_guard<py::gil_scoped_release>())
      .def("pause", &WorkLog::pause, py::call_guard<py::gil_scoped_release>())
      .def("stop", &WorkLog::stop, py::call_guard<py::gil_scoped_release>())
      .def("drain", &drain);
  py::class_<EventPool, std::shared_ptr<EventPool>>(m, "EventPool")
      .def(py::init([](uint32_t capacity) {
             return std::make_shared<EventPool>(capacity, [] { return c10::cuda::getCurrentCUDAStream().stream(); });
           }),
           py::arg("capacity"))
      .def(
          "clock",
          [](const std::shared_ptr<EventPool>& self) {
            auto* clock = new std::shared_ptr<DeviceClock>(self);
            return py::capsule(clock, "pyprof.DeviceClock",
                               [](void* pointer) { delete static_cast<std::shared_ptr<DeviceClock>*>(pointer); });
          },
          "What a recorder takes as its device clock.")
      .def("take_captured", &EventPool::take_captured)
      .def("resolve", [](EventPool& self) {
        const std::vector<int64_t> times = self.resolve();
        return py::array_t<int64_t>(static_cast<py::ssize_t>(times.size()), times.data());
      });
}
