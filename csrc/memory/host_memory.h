// Exact bytes on the host, from the reports that PyTorch's allocators give to whoever asks (c10/core/Allocator.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace pyprof {

struct MemoryTotals {
  int64_t current = 0;      // live bytes among those allocated since the start
  int64_t peak = 0;         // the most that `current` has been
  int64_t allocated = 0;    // sum of all allocations
  int64_t allocations = 0;  // their number
};

// Counts allocations and frees, from any thread.
class MemoryCounter {
 public:
  void report(const void* pointer, int64_t bytes);
  MemoryTotals totals() const;

 private:
  mutable std::mutex mutex_;
  MemoryTotals totals_;
  std::unordered_map<const void*, int64_t> live_;
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
