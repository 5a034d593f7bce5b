// Everything that Python may call, except the probe's hot path.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "memory/host_memory.h"
#include "nvtx/nvtx.h"
#include "nvtx/optimizer.h"
#include "planted/planted.h"
#include "recorder/backward.h"
#include "recorder/probe.h"

namespace py = pybind11;
using namespace pyprof;

namespace {

// Hands a vector's memory to NumPy without copying it.
template <typename T>
py::array_t<T> as_array(std::vector<T>&& values) {
  auto* owner = new std::vector<T>(std::move(values));
  const py::capsule release(owner, [](void* pointer) { delete static_cast<std::vector<T>*>(pointer); });
  return py::array_t<T>(owner->size(), owner->data(), release);
}

std::shared_ptr<Recorder> make_recorder(bool backward, uint32_t spans, uint32_t nodes, const py::object& device,
                                        std::shared_ptr<nvtx::LayerRanges> ranges) {
  if (spans == 0 || nodes == 0) throw py::value_error("a recorder needs room for at least one span and one node");
  Options options;
  options.span_capacity = spans;
  options.node_capacity = nodes;
  options.nodes = backward;
  options.autograd = torch_autograd;
  if (ranges && nvtx::Domain::get().is_watched()) options.annotations = std::move(ranges);
  if (!device.is_none()) {
    // Made by pyprof._cuda, which this library must not refer to.
    options.device = *device.cast<py::capsule>().get_pointer<std::shared_ptr<DeviceClock>>();
  }
  return std::make_shared<Recorder>(std::move(options));
}

py::dict drain(Recorder& recorder) {
  Recorder::Drained drained = recorder.drain();
  py::dict result;
  result["spans"] = as_array(std::move(drained.spans));
  result["nodes"] = as_array(std::move(drained.nodes));
  result["threads"] = as_array(std::move(drained.threads));
  result["dropped"] = drained.dropped;
  return result;
}

// A cell with its time in nanoseconds.
struct CellSum {
  uint64_t count;
  double nanoseconds;
};

py::dict sums(Recorder& recorder) {
  Recorder::Sums sums = recorder.sums();
  const double scale = TickScale::get().nanoseconds_per_tick();
  std::vector<CellSum> cells;
  cells.reserve(sums.cells.size());
  for (const Cell& cell : sums.cells) cells.push_back({cell.count, static_cast<double>(cell.ticks) * scale});
  py::dict result;
  result["sites"] = as_array(std::move(sums.sites));
  result["cells"] = as_array(std::move(cells));
  result["lost"] = sums.lost;
  result["unplaced"] = sums.unplaced;
  return result;
}

py::object probe(const std::shared_ptr<Recorder>& recorder, py::handle original, uint32_t layer) {
  PyObject* made = make_probe(recorder, original.ptr(), layer);
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

// A span that Python opens and closes itself: a step, or a module whose forward cannot be replaced.
uint32_t begin(Recorder& recorder, uint32_t layer) {
  ThreadBuffer* buffer = recorder.this_thread();
  if (!buffer) throw std::bad_alloc();
  return buffer->begin(layer);
}

void end(Recorder& recorder, uint32_t token) {
  if (ThreadBuffer* buffer = recorder.this_thread()) buffer->end(token);
}

void push_case(const std::string& name) {
  nvtx::Domain& domain = nvtx::Domain::get();
  if (domain.is_watched()) domain.push(domain.name(name), Category::kCase);
}

void pop_case() {
  if (nvtx::Domain::get().is_watched()) nvtx::Domain::get().pop();
}

py::capsule places(const std::shared_ptr<Recorder>& recorder) {
  auto* places = new std::shared_ptr<Places>(recorder);
  return py::capsule(places, "pyprof.Places",
                     [](void* pointer) { delete static_cast<std::shared_ptr<Places>*>(pointer); });
}

// The clock as a function that native code can call without Python, also in a library that must not refer to this one.
py::capsule nanosecond_clock() {
  TickScale::get();  // measured now, not in the first call
  const NanosecondClock clock = [] { return static_cast<uint64_t>(TickScale::get().nanoseconds(ticks())); };
  return py::capsule(reinterpret_cast<void*>(clock), "pyprof.NanosecondClock");
}

// Attached to the thread that enters it, until that thread leaves it.
class Attachment {
 public:
  explicit Attachment(std::shared_ptr<MemoryCounter> counter) : counter_(std::move(counter)) {}
  void enter() {
    if (attachment_) throw std::runtime_error("this attachment is entered already: make one for each thread");
    attachment_ = std::make_unique<MemoryAttachment>(counter_);
  }
  void exit() { attachment_.reset(); }
  MemoryTotals totals() const { return counter_->totals(); }
  Attachment another() const { return Attachment(counter_); }
  py::dict samples() const {
    py::dict result;
    result["samples"] = as_array(counter_->samples());
    result["lost"] = counter_->lost();
    return result;
  }

 private:
  std::shared_ptr<MemoryCounter> counter_;
  std::unique_ptr<MemoryAttachment> attachment_;
};

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "The native part of pyprof: recorder, probes, backward observer, host memory.";
  if (!ready_probe_type()) throw py::error_already_set();
  if (!add_planted(m.ptr())) throw py::error_already_set();

  PYBIND11_NUMPY_DTYPE(Node, begin, end, sequence, forward_thread, sequence_begin, sequence_end, thread, graph_task,
                       device_begin, device_end);
  PYBIND11_NUMPY_DTYPE(Span, begin, end, sequence_begin, sequence_end, thread, layer, phase, device_begin, device_end,
                       site);
  PYBIND11_NUMPY_DTYPE(Site, parent, layer, phase);
  PYBIND11_NUMPY_DTYPE(CellSum, count, nanoseconds);
  PYBIND11_NUMPY_DTYPE(MemorySample, when, bytes, allocated, reserved, device);
  m.attr("has_nvtx") = nvtx::is_built_in;
  py::class_<nvtx::LayerRanges, std::shared_ptr<nvtx::LayerRanges>>(m, "LayerRanges")
      .def(py::init<std::vector<std::string>, const std::vector<uint32_t>&, const std::string&>(), py::arg("paths"),
           py::arg("modules"), py::arg("root"));
  py::class_<nvtx::OptimizerRanges>(m, "OptimizerRanges").def(py::init<>());
  m.def("push_case", &push_case);
  m.def("pop_case", &pop_case);
  py::class_<Recorder, std::shared_ptr<Recorder>>(m, "Recorder")
      .def(py::init(&make_recorder), py::arg("backward") = false, py::arg("spans") = 1 << 16,
           py::arg("nodes") = 1 << 16, py::arg("device") = py::none(), py::arg("ranges") = nullptr)
      .def("probe", &probe, py::arg("original"), py::arg("layer"))
      .def("begin", &begin)
      .def("end", &end)
      .def("places", &places, "What a log of a device's work asks what is open on a thread.")
      .def("drain", &drain)
      .def("sums", &sums);
  m.def("silence", [](py::handle object) {
    if (!silence_probe(object.ptr())) throw py::error_already_set();
  });
  py::class_<BackwardObserver>(m, "BackwardObserver").def(py::init<std::shared_ptr<Recorder>>());
  py::class_<Attachment>(m, "HostMemory", "Counts the bytes that PyTorch allocates on the host while it is entered.")
      .def(py::init([](size_t samples) { return Attachment(std::make_shared<MemoryCounter>(samples)); }),
           py::arg("samples") = 0)
      .def("__enter__", [](py::object self) { return self.cast<Attachment&>().enter(), self; })
      .def("__exit__", [](Attachment& self, const py::args&) { self.exit(); })
      .def("attach", &Attachment::another, "The same counter for another thread, to be entered there.")
      .def("samples", &Attachment::samples,
           "What was allocated and freed when, on all devices, as far as there was room.")
      .def_property_readonly("current", [](const Attachment& self) { return self.totals().current; })
      .def_property_readonly("peak", [](const Attachment& self) { return self.totals().peak; })
      .def_property_readonly("allocated", [](const Attachment& self) { return self.totals().allocated; })
      .def_property_readonly("allocations", [](const Attachment& self) { return self.totals().allocations; });
  m.def("uses_tsc", [] { return uses_tsc; });
  m.def("ticks_per_second", [] { return 1e9 / TickScale::get().nanoseconds_per_tick(); });
  m.def("clock", &nanosecond_clock);
  m.def("now", [] { return TickScale::get().nanoseconds(ticks()); }, "The recorder's clock, in nanoseconds.");
}
