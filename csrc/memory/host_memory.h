// Exact bytes on the host, from the reports that PyTorch's allocators give to whoever asks (c10/core/Allocator.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace pyprof {

struct MemoryTotals {
  int64_t current = 0;      // live bytes among those allocated since the start
  int64_t peak = 0;         // the most that `current` has been
  int64_t allocated = 0;    // sum of all allocations
  int64_t allocations = 0;  // their number
};

// An allocation (bytes > 0) or a free (< 0), and what a device held after it. Device -1 is the host, of which what has
// been allocated since the start counts; others are CUDA's, of which their allocator tells what it has given out and
// what it holds.
struct MemorySample {
  int64_t when;  // on the recorder's clock
  int64_t bytes, allocated, reserved;
  int32_t device;
};

// Counts allocations and frees, from any thread. With `room` for samples it also keeps when they were, on all devices.
class MemoryCounter {
 public:
  explicit MemoryCounter(size_t room = 0) : room_(room) {}
  void report(const void* pointer, int64_t bytes);
  void report_device(int32_t device, int64_t bytes, int64_t allocated, int64_t reserved);
  MemoryTotals totals() const;
  // Of those that found room; `when` in nanoseconds.
  std::vector<MemorySample> samples() const;
  int64_t lost() const;

 private:
  void keep(const MemorySample& sample);

  mutable std::mutex mutex_;
  MemoryTotals totals_;
  std::unordered_map<const void*, int64_t> live_;
  const size_t room_;
  std::vector<MemorySample> samples_;
  int64_t lost_ = 0;
};

// Reports this thread's allocations, and those of the autograd threads that work for it, to the counter while it is
// attached. What was being told before still is: counters nest.
class MemoryAttachment {
 public:
  explicit MemoryAttachment(std::shared_ptr<MemoryCounter> counter);
  ~MemoryAttachment();
  MemoryAttachment(const MemoryAttachment&) = delete;
  MemoryAttachment& operator=(const MemoryAttachment&) = delete;

 private:
  struct Guard;
  std::unique_ptr<Guard> guard_;
};

}  // namespace pyprof
