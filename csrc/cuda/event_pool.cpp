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
  recorded_.resize(capacity);
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
  const cudaStream_t stream = current_stream_();
  // In a stream that is being captured an event becomes a node of the graph and never has a time; reading it would make
  // the graph invalid. Where the question itself is an error, on the old default stream beside a capture, nothing may
  // be recorded either, and the next call must not find that error.
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(stream, &capturing) != cudaSuccess || capturing != cudaStreamCaptureStatusNone) {
    if (capturing == cudaStreamCaptureStatusNone) cudaGetLastError();
    captured_.fetch_add(1, std::memory_order_relaxed);
    return kNoEvent;
  }
  const cudaError_t status = cudaEventRecord(events_[index], stream);
  if (status == cudaSuccess) {
    recorded_[index] = true;
    return static_cast<int32_t>(index);
  }
  failed_.store(status, std::memory_order_relaxed);
  return kNoEvent;
}

std::vector<int64_t> EventPool::resolve() {
  const size_t count = std::min<size_t>(next_.exchange(0), events_.size());
  check(failed_.exchange(cudaSuccess), "a layer's event could not be recorded");
  std::vector<int64_t> times(count, 0);
  size_t first = 0;
  while (first < count && !recorded_[first]) ++first;
  for (size_t i = first; i < count; ++i) {
    if (!recorded_[i]) continue;
    recorded_[i] = false;
    check(cudaEventSynchronize(events_[i]), "a layer's event did not complete");
    if (i == first) continue;
    float milliseconds;
    check(cudaEventElapsedTime(&milliseconds, events_[first], events_[i]), "a layer's time could not be read");
    times[i] = std::llround(static_cast<double>(milliseconds) * 1e6);
  }
  return times;
}

}  // namespace pyprof
