#include "session.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>

#include "launch_calls.h"

namespace pyprof {

namespace {

Session* active = nullptr;  // for CUPTI's callbacks about buffers, which know no owner

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                         CUPTI_ACTIVITY_KIND_MEMCPY2, CUPTI_ACTIVITY_KIND_MEMSET};
// From CUDA 12.9 on CUPTI drops, and counts, the records that it gets no buffer for. Before, it may crash without one
// (https://github.com/pytorch/kineto/pull/1534).
constexpr uint32_t kDropsRecords = 27;
// The update of a node of an executable graph, which CUDA 12 does not have: its CUPTI refuses the number.
constexpr CUpti_CallbackId kNodeUpdated = 22;
constexpr CUpti_CallbackId kGraphCalls[] = {CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED, CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED,
                                            kNodeUpdated};

// CUPTI's own clock, which a profiler that comes later finds again: it has no way to ask for it.
uint64_t CUPTIAPI default_clock() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name, nullptr, nullptr, &status),
                                                         std::free);
  return status == 0 ? text.get() : name;
}

// Copies, memsets and kernels name these fields alike; each has been where it is since CUDA 12.
template <typename Record>
Operation operation_of(const Record& record, Kind kind, uint32_t name) {
  return {static_cast<int64_t>(record.start),
          static_cast<int64_t>(record.end),
          record.graphNodeId,
          record.correlationId,
          record.deviceId,
          record.contextId,
          record.streamId,
          record.graphId,
          name,
          static_cast<uint32_t>(kind)};
}

}  // namespace

Session& Session::of(const CuptiApi& api) {
  static std::mutex mutex;
  static auto& sessions = *new std::map<const CuptiApi*, Session*>;
  const std::lock_guard lock(mutex);
  Session*& session = sessions[&api];
  if (!session) session = new Session(api);
  return *session;
}

template <typename Visit>
void Session::for_each_log(Visit visit) noexcept {
  inside_.fetch_add(1, std::memory_order_seq_cst);
  for (const auto& slot : logs_) {
    if (WorkLog* log = slot.load(std::memory_order_seq_cst)) visit(*log);
  }
  inside_.fetch_sub(1, std::memory_order_release);
}

void Session::add(WorkLog& log) {
  const std::lock_guard lock(mutex_);
  std::atomic<WorkLog*>* free = nullptr;
  bool first = true;
  for (auto& slot : logs_) {
    if (slot.load()) {
      first = false;
    } else if (!free) {
      free = &slot;
    }
  }
  if (!free) throw std::runtime_error("kernel times are being taken by " + std::to_string(kMostLogs) + " others here");
  if (first) begin(log.clock_);
  free->store(&log);
}

void Session::remove(WorkLog& log) noexcept {
  const std::lock_guard lock(mutex_);
  bool last = true;
  for (auto& slot : logs_) last &= slot.load() == nullptr || slot.load() == &log;
  if (last) {
    end();
  } else {
    api_.flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  }
  for (auto& slot : logs_) {
    if (slot.load() == &log) slot.store(nullptr);
  }
  while (inside_.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
}

void Session::begin(NanosecondClock clock) {
  clock_ = clock;
  {
    const std::lock_guard lock(buffers_mutex_);
    while (buffers_.size() < kBuffers) {
      if (!add_buffer()) throw std::runtime_error("there is no memory for the records of CUPTI");
    }
  }
  // Subscribing comes first, since that is what another profiler keeps us from.
  check(api_, api_.subscribe(&subscriber_, on_callback, this), "CUPTI refuses a subscriber");
  try {
    active = this;
    check(api_, api_.register_buffers(on_request, on_complete), "CUPTI refuses buffers");
    converts_ = !set_clock(clock);
    if (converts_) first_ = last_ = read_clocks();
    enable_calls();
    for (const CUpti_ActivityKind kind : kKinds) check(api_, api_.enable(kind), "CUPTI records no kernels here");
  } catch (...) {
    end();
    if (holders_ == 0) give_clock_back();
    throw;
  }
}

bool Session::add_buffer() noexcept try {
  buffers_.reserve(buffers_.size() + 1);
  spare_.reserve(buffers_.size() + 1);  // room for all of them, so that handing one back cannot fail
  auto* buffer = static_cast<uint8_t*>(std::aligned_alloc(4096, kBufferBytes));
  if (!buffer) return false;
  std::memset(buffer, 0, kBufferBytes);  // so that no page has to be found while a step runs
  buffers_.push_back(buffer);
  spare_.push_back(buffer);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

void Session::enable_calls() {
  // A call or a callback that the installed version doesn't know is refused as an invalid parameter: nobody makes it.
  const auto enable = [&](CUpti_CallbackDomain domain, CUpti_CallbackId id) {
    const CUptiResult result = api_.enable_callback(1, subscriber_, domain, id);
    if (result != CUPTI_ERROR_INVALID_PARAMETER) check(api_, result, "CUPTI reports no launches here");
  };
  for (const CUpti_CallbackId id : kLaunchCalls) enable(CUPTI_CB_DOMAIN_DRIVER_API, id);
  for (const CUpti_CallbackId id : kGraphCalls) enable(CUPTI_CB_DOMAIN_RESOURCE, id);
}

// Leaves CUPTI as it was found, as far as it can be asked to; results are not looked at, since there is nothing to do
// about them and the device may have failed.
void Session::end() noexcept {
  for (const CUpti_ActivityKind kind : kKinds) api_.disable(kind);
  api_.flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  if (subscriber_) api_.unsubscribe(subscriber_);
  subscriber_ = nullptr;
}

// Whether CUPTI goes by this clock. It is told once, and again where somebody else has told it another one: a device's
// times are interpolated between moments that it has noted by the clock of then.
bool Session::set_clock(NanosecondClock clock) noexcept {
  if (given_ == clock && tells(clock)) return true;
  if (!api_.register_clock || api_.register_clock(clock) != CUPTI_SUCCESS) return false;
  given_ = clock;
  return true;
}

bool Session::tells(NanosecondClock clock) const noexcept {
  constexpr uint64_t kTolerance = 1'000'000;
  uint64_t told = 0;
  const uint64_t before = clock();
  if (api_.timestamp(&told) != CUPTI_SUCCESS) return false;
  return told + kTolerance >= before && told <= clock() + kTolerance;
}

void Session::hold() noexcept {
  const std::lock_guard lock(mutex_);
  ++holders_;
}

void Session::release() noexcept {
  const std::lock_guard lock(mutex_);
  if (--holders_ == 0) give_clock_back();
}

// Whoever has come since may have a clock of its own, which stays.
void Session::give_clock_back() noexcept {
  if (given_ && tells(given_)) api_.register_clock(default_clock);
  given_ = nullptr;
}

void Session::flush() {
  if (converts_) last_ = read_clocks();
  check(api_, api_.flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "the records of the device's work cannot be had");
}

// CUPTI's clock is read between two reads of ours; of several tries the tightest one counts.
Session::ClockPair Session::read_clocks() const {
  ClockPair best{};
  uint64_t tightest = ~uint64_t{0};
  for (int i = 0; i < 8; ++i) {
    uint64_t cupti = 0;
    const uint64_t before = clock_();
    check(api_, api_.timestamp(&cupti), "CUPTI tells no time");
    const uint64_t after = clock_();
    if (after - before >= tightest) continue;
    tightest = after - before;
    best = {static_cast<int64_t>(cupti), static_cast<int64_t>(before + (after - before) / 2)};
  }
  return best;
}

// Two pairs that are far enough apart tell the clocks' rates too: CUPTI's is set by time servers as it runs.
int64_t Session::on_our_clock(int64_t cupti) const noexcept {
  if (!converts_) return cupti;
  const int64_t passed = cupti - first_.cupti, between = last_.cupti - first_.cupti;
  if (between < 1'000'000) return first_.ours + passed;
  const double rate = static_cast<double>(last_.ours - first_.ours) / static_cast<double>(between);
  return first_.ours + static_cast<int64_t>(static_cast<double>(passed) * rate);
}

void Session::on_callback(void* session, CUpti_CallbackDomain domain, CUpti_CallbackId id, const void* data) {
  auto& self = *static_cast<Session*>(session);
  if (domain == CUPTI_CB_DOMAIN_DRIVER_API) {
    const auto& call = *static_cast<const CUpti_CallbackData*>(data);
    if (call.callbackSite == CUPTI_API_ENTER) self.on_launch(call.correlationId);
  } else if (domain == CUPTI_CB_DOMAIN_RESOURCE) {
    self.on_graph_node(id, *static_cast<const CUpti_ResourceData*>(data));
  }
}

void Session::on_launch(uint32_t correlation) noexcept {
  const auto now = static_cast<int64_t>(clock_());
  for_each_log([&](WorkLog& log) {
    const Place place = log.places_->here();
    log.launches_.push({now, correlation, place.thread, place.cell});
  });
}

// A node that is updated does what another one was captured for: it is that one's copy from now on.
void Session::on_graph_node(CUpti_CallbackId id, const CUpti_ResourceData& data) noexcept {
  const auto* graph = static_cast<const CUpti_GraphData*>(data.resourceDescriptor);
  uint64_t node = 0, source = 0;
  if (!graph || !graph->node || api_.graph_node_id(graph->node, &node) != CUPTI_SUCCESS) return;
  if (id != CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED) {
    if (!graph->originalNode || api_.graph_node_id(graph->originalNode, &source) != CUPTI_SUCCESS) return;
  }
  for_each_log([&](WorkLog& log) { log.nodes_.push({node, source, log.places_->here().cell}); });
}

void Session::on_request(uint8_t** buffer, size_t* size, size_t* most_records) {
  *buffer = nullptr;
  *size = 0;
  *most_records = 0;
  const std::lock_guard lock(active->buffers_mutex_);
  auto& spare = active->spare_;
  if (spare.empty() && (active->api_.version >= kDropsRecords || !active->add_buffer())) return;
  *buffer = spare.back();
  *size = kBufferBytes;
  spare.pop_back();
}

void Session::on_complete(CUcontext context, uint32_t stream, uint8_t* buffer, size_t, size_t valid) {
  if (!buffer) return;
  active->read(context, stream, buffer, valid);
  const std::lock_guard lock(active->buffers_mutex_);
  active->spare_.push_back(buffer);
}

void Session::read(CUcontext context, uint32_t stream, uint8_t* buffer, size_t valid) noexcept {
  CUpti_Activity* record = nullptr;
  while (valid > 0 && api_.next_record(buffer, valid, &record) == CUPTI_SUCCESS) {
    switch (record->kind) {
      case CUPTI_ACTIVITY_KIND_KERNEL:
      case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
        const auto& kernel = *reinterpret_cast<const CUpti_ActivityKernel9*>(record);
        take(operation_of(kernel, Kind::kKernel, number_of(kernel.name)));
        break;
      }
      case CUPTI_ACTIVITY_KIND_MEMCPY:
        take(operation_of(*reinterpret_cast<const CUpti_ActivityMemcpy5*>(record), Kind::kCopy, kNoName));
        break;
      case CUPTI_ACTIVITY_KIND_MEMCPY2:
        take(operation_of(*reinterpret_cast<const CUpti_ActivityMemcpyPtoP4*>(record), Kind::kCopy, kNoName));
        break;
      case CUPTI_ACTIVITY_KIND_MEMSET:
        take(operation_of(*reinterpret_cast<const CUpti_ActivityMemset4*>(record), Kind::kMemset, kNoName));
        break;
      default:
        break;
    }
  }
  size_t dropped = 0;
  if (api_.dropped_records(context, stream, &dropped) == CUPTI_SUCCESS && dropped) count_lost(dropped);
}

void Session::take(const Operation& operation) noexcept {
  if (operation.end == 0) return count_lost(1);  // CUPTI could not tell when it ran
  Operation here = operation;
  here.begin = on_our_clock(operation.begin);
  here.end = on_our_clock(operation.end);
  for_each_log([&](WorkLog& log) { log.operations_.push(here); });
}

void Session::count_lost(uint64_t records) noexcept {
  for_each_log([&](WorkLog& log) { log.lost_.fetch_add(records, std::memory_order_relaxed); });
}

// The address is tried first. It can become another kernel's when a module is unloaded, so the words are compared.
uint32_t Session::number_of(const char* name) try {
  if (!name) return kNoName;
  const std::lock_guard lock(names_mutex_);
  const auto known = numbers_.find(name);
  if (known != numbers_.end() && mangled_[known->second] == name) return known->second;
  const auto [found, is_new] = numbers_by_name_.try_emplace(name, static_cast<uint32_t>(names_.size()));
  if (is_new) {
    mangled_.emplace_back(name);
    names_.push_back(demangled(name));
  }
  numbers_[name] = found->second;
  return found->second;
} catch (const std::bad_alloc&) {
  return kNoName;
}

std::vector<std::string> Session::names() {
  const std::lock_guard lock(names_mutex_);
  return names_;
}

}  // namespace pyprof
