#include "driver.h"

#include <algorithm>
#include <cstring>
#include <ctime>

namespace fake {

Driver& driver() {
  static auto& one = *new Driver;
  return one;
}

int64_t Driver::now() {
  if (clock) return static_cast<int64_t>(clock());
  timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec + clock_ahead;
}

int64_t Driver::device_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC_RAW, &time);
  return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec;
}

void Driver::set_clock(CUpti_TimestampCallbackFunc function) {
  clock = function;
  clock_offset = now() - device_now();
}

void Driver::report(CUpti_CallbackDomain domain, CUpti_CallbackId id, const void* data) {
  CUpti_CallbackFunc function = nullptr;
  {
    const std::lock_guard lock(mutex);
    if (callback && enabled.count({domain, id})) function = callback;
  }
  if (function) function(callback_data, domain, id, data);
}

void Driver::report_node(CUpti_CallbackId id, CUgraphNode_st* node, CUgraphNode_st* original) {
  CUpti_GraphData graph = {};
  graph.node = node;
  graph.originalNode = original;
  CUpti_ResourceData data = {};
  data.resourceDescriptor = &graph;
  report(CUPTI_CB_DOMAIN_RESOURCE, id, &data);
}

void Driver::queue(CUpti_ActivityKind kind, const char* name, int64_t nanoseconds, uint32_t device, uint32_t stream,
                   uint32_t correlation, const CUgraphNode_st* node) {
  const std::lock_guard lock(mutex);
  int64_t& busy = busy_until[{device, stream}];
  const int64_t begin = std::max(busy, device_now());
  busy = begin + nanoseconds + (node && kinds.count(kind) ? tracing : 0);
  if (kinds.count(kind)) {
    pending.push_back({kind, name, begin + clock_offset, busy + clock_offset, device, stream, correlation,
                       node ? node->graph : 0, node ? node->id : 0});
  }
}

namespace {

struct Call {
  CUpti_CallbackId id;
  CUpti_CallbackData data = {};

  explicit Call(CUpti_CallbackId id) : id(id) {
    Driver& all = driver();
    {
      const std::lock_guard lock(all.mutex);
      data.correlationId = all.next_correlation++;
      const int64_t until = Driver::device_now() + (all.has_changed ? all.unsettled : 0);
      all.has_changed = false;
      while (Driver::device_now() < until) continue;
    }
    data.callbackSite = CUPTI_API_ENTER;
    all.report(CUPTI_CB_DOMAIN_DRIVER_API, id, &data);
  }
  ~Call() {
    data.callbackSite = CUPTI_API_EXIT;
    driver().report(CUPTI_CB_DOMAIN_DRIVER_API, id, &data);
  }
};

CUgraphNode_st* add_node(uint32_t graph, CUpti_ActivityKind kind, const char* name, int64_t nanoseconds) {
  Driver& all = driver();
  const std::lock_guard lock(all.mutex);
  const uint64_t id = all.next_node++;
  all.graphs[graph].nodes.push_back(
      std::make_unique<CUgraphNode_st>(CUgraphNode_st{id, graph, kind, name, nanoseconds, id}));
  return all.graphs[graph].nodes.back().get();
}

uint32_t new_graph() {
  Driver& all = driver();
  const std::lock_guard lock(all.mutex);
  return all.next_graph++;
}

void copy_nodes(uint32_t from, uint32_t to) {
  Driver& all = driver();
  for (const auto& node : all.graphs[from].nodes) {
    CUgraphNode_st* copy = add_node(to, node->kind, node->name, node->nanoseconds);
    copy->original = node->id;
    all.report_node(CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED, copy, node.get());
  }
}

const char* kept(const char* name) {
  Driver& all = driver();
  const std::lock_guard lock(all.mutex);
  return all.names.insert(name).first->c_str();
}

}  // namespace
}  // namespace fake

using namespace fake;

// What a test may do, by ctypes.
#define EXPORT extern "C" __attribute__((visibility("default")))

// A call of the driver; in a stream that is being captured it becomes a node. Returns its correlation.
EXPORT uint32_t fake_call(uint32_t id, int kind, const char* name, int64_t nanoseconds, uint32_t device,
                          uint32_t stream) {
  Driver& all = driver();
  const Call call(id);
  uint32_t graph = 0;
  {
    const std::lock_guard lock(all.mutex);
    const auto found = all.capturing.find(stream);
    if (found != all.capturing.end()) graph = found->second;
  }
  const auto activity = static_cast<CUpti_ActivityKind>(kind);
  const char* text = kept(name);
  if (graph) {
    all.report_node(CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED, add_node(graph, activity, text, nanoseconds), nullptr);
  } else {
    all.queue(activity, text, nanoseconds, device, stream, call.data.correlationId, nullptr);
  }
  return call.data.correlationId;
}

EXPORT void fake_begin_capture(uint32_t stream) {
  const uint32_t graph = new_graph();
  const std::lock_guard lock(driver().mutex);
  driver().capturing[stream] = graph;
  driver().graphs[graph];
}
EXPORT uint32_t fake_end_capture(uint32_t stream) {
  const std::lock_guard lock(driver().mutex);
  const uint32_t graph = driver().capturing[stream];
  driver().capturing.erase(stream);
  return graph;
}
EXPORT uint32_t fake_instantiate(uint32_t graph) {
  const uint32_t made = new_graph();
  copy_nodes(graph, made);
  return made;
}
EXPORT void fake_add_child(uint32_t graph, uint32_t child) { copy_nodes(child, graph); }
EXPORT void fake_update(uint32_t executable, uint32_t graph) {
  Driver& all = driver();
  for (size_t i = 0; i < all.graphs[executable].nodes.size(); ++i) {
    CUgraphNode_st* node = all.graphs[executable].nodes[i].get();
    CUgraphNode_st* other = all.graphs[graph].nodes[i].get();
    node->name = other->name;
    node->nanoseconds = other->nanoseconds;
    all.report_node(22, node, other);
  }
}
EXPORT uint32_t fake_graph_launch(uint32_t executable, uint32_t stream) {
  Driver& all = driver();
  const Call call(CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch);
  for (const auto& node : all.graphs[executable].nodes)
    all.queue(node->kind, node->name, node->nanoseconds, 0, stream, call.data.correlationId, node.get());
  return call.data.correlationId;
}
EXPORT void fake_synchronize() {
  for (;;) {
    int64_t left = 0;
    {
      const std::lock_guard lock(driver().mutex);
      for (const auto& [stream, busy] : driver().busy_until) left = std::max(left, busy - Driver::device_now());
    }
    if (left <= 0) return;
    const timespec pause{left / 1'000'000'000, left % 1'000'000'000};
    nanosleep(&pause, nullptr);
  }
}

EXPORT void fake_plant(const char* what, int64_t value) {
  Driver& all = driver();
  const std::lock_guard lock(all.mutex);
  const auto is = [&](const char* name) { return std::strcmp(what, name) == 0; };
  if (is("refuses_subscribers")) all.refuses_subscribers = static_cast<int>(value);
  if (is("refuses_kinds")) all.refuses_kinds = static_cast<int>(value);
  if (is("refuses_clock")) all.refuses_clock = value != 0;
  if (is("fails")) all.fails = value != 0;
  if (is("backwards")) all.backwards = value != 0;
  if (is("version")) all.version = static_cast<uint32_t>(value);
  if (is("holds_back")) all.holds_back = static_cast<uint64_t>(value);
  if (is("without_time")) all.without_time = static_cast<uint64_t>(value);
  if (is("fills_all")) all.fills_all = value != 0;
  if (is("drops")) all.drops = static_cast<uint64_t>(value);
  if (is("unsettled")) all.unsettled = value;
  if (is("tracing")) all.tracing = value;
  if (is("counts_anew")) all.counts_anew = value != 0;
  if (is("hands_out_running")) all.hands_out_running = value != 0;
  if (is("unknown_call")) all.unknown_call = static_cast<uint32_t>(value);
  if (is("clock_ahead")) {
    all.clock_ahead = value;
    all.set_clock(all.clock);
  }
}
// As new, but for clients that never left, which are a leak.
EXPORT int64_t fake_repair() {
  Driver& all = driver();
  const std::lock_guard lock(all.mutex);
  const int64_t left = (all.callback ? 1 : 0) + static_cast<int64_t>(all.kinds.size());
  all.refuses_subscribers = all.refuses_kinds = 0;
  all.refuses_clock = all.fails = all.backwards = all.fills_all = all.hands_out_running = all.counts_anew = false;
  all.version = 130001;
  all.holds_back = all.without_time = all.drops = all.dropped = 0;
  all.unknown_call = 0;
  all.clock_ahead = all.unsettled = all.tracing = all.times_told = 0;
  all.set_clock(nullptr);
  all.pending.clear();
  all.capturing.clear();
  all.busy_until.clear();
  return left;
}
EXPORT int64_t fake_time() {
  const std::lock_guard lock(driver().mutex);
  return driver().now();
}
EXPORT int64_t fake_times_told() {
  const std::lock_guard lock(driver().mutex);
  return driver().times_told;
}
EXPORT int64_t fake_kinds() {
  const std::lock_guard lock(driver().mutex);
  return static_cast<int64_t>(driver().kinds.size());
}
// Nanoseconds that one of `calls` callbacks for a launch takes, as the driver would make them.
EXPORT double fake_callback_cost(int64_t calls) {
  Driver& all = driver();
  CUpti_CallbackData data = {};
  timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int64_t i = 0; i < calls; ++i) {
    data.correlationId = static_cast<uint32_t>(i);
    for (const CUpti_ApiCallbackSite site : {CUPTI_API_ENTER, CUPTI_API_EXIT}) {
      data.callbackSite = site;
      all.callback(all.callback_data, CUPTI_CB_DOMAIN_DRIVER_API, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel, &data);
    }
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  return (static_cast<double>(end.tv_sec - begin.tv_sec) * 1e9 + static_cast<double>(end.tv_nsec - begin.tv_nsec)) /
         static_cast<double>(calls);
}
EXPORT void fake_tell_another_clock() {
  const std::lock_guard lock(driver().mutex);
  driver().set_clock([]() -> uint64_t { return 12'345; });
}
EXPORT int fake_callback_is_there() { return driver().callback != nullptr; }
EXPORT void fake_subscribe_another() {
  static CUpti_SubscriberHandle handle;
  cuptiSubscribe(&handle, [](void*, CUpti_CallbackDomain, CUpti_CallbackId, const void*) {}, nullptr);
}
EXPORT void fake_unsubscribe_another() { cuptiUnsubscribe(nullptr); }
