// Stamps on the device's stream: events from a pool, recorded by the probes, read once after the step.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <vector>

#include "../recorder/recorder.h"

namespace pyprof {

class EventPool final : public DeviceClock {
 public:
  using CurrentStream = cudaStream_t (*)();

  // Throws std::runtime_error with the runtime's own words when the events cannot be made.
  EventPool(uint32_t capacity, CurrentStream current_stream);
  ~EventPool() override;
  EventPool(const EventPool&) = delete;
  EventPool& operator=(const EventPool&) = delete;

  // Records the next event on the stream that is current on this thread. kNoEvent when the pool is empty, the stream is
  // being captured into a graph, or the runtime refuses: the hot path must not throw, so `resolve` reports that.
  int32_t stamp() noexcept override;

  // Waits for all stamps since the last call and returns their times: element i is stamp i, in nanoseconds since the
  // first one. The pool is empty afterwards, so no span may be open. Throws std::runtime_error.
  std::vector<int64_t> resolve();

  // How many stamps were not taken since the last call, because their stream was being captured into a graph.
  uint64_t take_captured() noexcept { return captured_.exchange(0, std::memory_order_relaxed); }

 private:
  std::vector<cudaEvent_t> events_;
  std::atomic<uint32_t> next_{0};
  std::vector<uint8_t> recorded_;  // which of them were: the others have no time
  std::atomic<cudaError_t> failed_{cudaSuccess};
  std::atomic<uint64_t> captured_{0};
  const CurrentStream current_stream_;
};

}  // namespace pyprof
