// The CUDA part: a library of its own, since what refers to CUDA cannot be loaded under a PyTorch without it.
#include <c10/cuda/CUDAStream.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "event_pool.h"

namespace py = pybind11;
using namespace pyprof;

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "The CUDA part of pyprof: layer times from events on the device's stream.";
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
      .def("resolve", [](EventPool& self) {
        const std::vector<int64_t> times = self.resolve();
        return py::array_t<int64_t>(static_cast<py::ssize_t>(times.size()), times.data());
      });
}
