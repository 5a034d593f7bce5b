#include "event_pool.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace pyprof {

namespace {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

}  // namespace

EventPool::EventPool(uint32_t capacity, CurrentStream current_stream) : current_stream_(current_stream) {
  events_.reserve(capacity);
  for (uint32_t i = 0; i < capacity; ++i) {
    cudaEvent_t event;
    const cudaError_t status = cudaEventCreateWithFlags(&event, cudaEventDefault);
    if (status != cudaSuccess) {
      for (cudaEvent_t made : events_) cudaEventDestroy(made);
      check(status, "the events that time a layer cannot be made");
    }
    events_.push_back(event);
  }
}

EventPool::~EventPool() {
  for (cudaEvent_t event : events_) cudaEventDestroy(event);
}

int32_t EventPool::stamp() noexcept {
  const uint32_t index = next_.fetch_add(1, std::memory_order_relaxed);
  if (index >= events_.size()) return kNoEvent;
  const cudaError_t status = cudaEventRecord(events_[index], current_stream_());
  if (status == cudaSuccess) return static_cast<int32_t>(index);
  failed_.store(status, std::memory_order_relaxed);
  return kNoEvent;
}

std::vector<int64_t> EventPool::resolve() {
  const size_t count = std::min<size_t>(next_.exchange(0), events_.size());
  check(failed_.exchange(cudaSuccess), "a layer's event could not be recorded");
  std::vector<int64_t> times(count, 0);
  for (size_t i = 0; i < count; ++i) {
    check(cudaEventSynchronize(events_[i]), "a layer's event did not complete");
    if (i == 0) continue;
    float milliseconds;
    check(cudaEventElapsedTime(&milliseconds, events_[0], events_[i]), "a layer's time could not be read");
    times[i] = std::llround(static_cast<double>(milliseconds) * 1e6);
  }
  return times;
}

}  // namespace pyprof
