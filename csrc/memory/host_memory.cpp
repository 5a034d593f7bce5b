#include "host_memory.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/csrc/profiler/orchestration/observer.h>

#include <stdexcept>

#include "recorder/clock.h"

namespace pyprof {

void MemoryCounter::report(const void* pointer, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes >= 0) {
    live_[pointer] = bytes;
    totals_.current += bytes;
    totals_.allocated += bytes;
    ++totals_.allocations;
    if (totals_.current > totals_.peak) totals_.peak = totals_.current;
    keep({0, bytes, totals_.current, 0, -1});
    return;
  }
  // A block that was allocated before the start is not ours to give back.
  const auto found = live_.find(pointer);
  if (found == live_.end()) return;
  totals_.current -= found->second;
  keep({0, -found->second, totals_.current, 0, -1});
  live_.erase(found);
}

void MemoryCounter::report_device(int32_t device, int64_t bytes, int64_t allocated, int64_t reserved) {
  if (room_ == 0) return;
  const std::lock_guard lock(mutex_);
  keep({0, bytes, allocated, reserved, device});
}

void MemoryCounter::keep(const MemorySample& sample) {
  if (room_ == 0) return;
  if (samples_.size() == room_) {
    ++lost_;
    return;
  }
  samples_.push_back(sample);
  samples_.back().when = ticks();
}

std::vector<MemorySample> MemoryCounter::samples() const {
  const std::lock_guard lock(mutex_);
  std::vector<MemorySample> copied = samples_;
  for (MemorySample& sample : copied) sample.when = TickScale::get().nanoseconds(sample.when);
  return copied;
}

int64_t MemoryCounter::lost() const {
  const std::lock_guard lock(mutex_);
  return lost_;
}

MemoryTotals MemoryCounter::totals() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

namespace {

namespace profiler = torch::profiler::impl;

// PyTorch keeps one such listener in a slot of each thread, and hands the slot on to the threads that run backward. It
// takes whatever is in the slot for a profiler's state and reads its configuration (autograd functions written in
// Python do), so a listener has to be one, of a profiler that is switched off.
class Listener : public profiler::ProfilerStateBase {
 public:
  Listener(std::shared_ptr<MemoryCounter> counter, Listener* outer)
      : ProfilerStateBase(profiler::ProfilerConfig(profiler::ProfilerState::Disabled)),
        counter_(std::move(counter)),
        outer_(outer) {}

  profiler::ActiveProfilerType profilerType() override { return profiler::ActiveProfilerType::NONE; }

  void reportMemoryUsage(void* pointer, int64_t bytes, size_t allocated, size_t reserved, c10::Device device) override {
    if (device.is_cpu())
      counter_->report(pointer, bytes);
    else if (device.is_cuda())
      counter_->report_device(device.index(), bytes, static_cast<int64_t>(allocated), static_cast<int64_t>(reserved));
    // The same counter may be attached twice, around and inside: it must count a block once.
    for (Listener* next = outer_; next; next = next->outer_) {
      if (next->counter_ != counter_) return next->reportMemoryUsage(pointer, bytes, allocated, reserved, device);
    }
  }
  bool memoryProfilingEnabled() const override { return true; }

 private:
  std::shared_ptr<MemoryCounter> counter_;
  Listener* outer_;  // kept alive by the slot, which is a stack
};

const auto kSlot = c10::DebugInfoKind::PROFILER_STATE;

Listener* current_listener() {
  c10::DebugInfoBase* info = c10::ThreadLocalDebugInfo::get(kSlot);
  auto* listener = dynamic_cast<Listener*>(info);
  if (info && !listener) {
    throw std::runtime_error(
        "memory cannot be counted while torch.profiler runs, since both need the same slot of PyTorch: stop it first");
  }
  return listener;
}

}  // namespace

struct MemoryAttachment::Guard {
  explicit Guard(std::shared_ptr<MemoryCounter> counter)
      : slot(kSlot, std::make_shared<Listener>(std::move(counter), current_listener())) {}
  c10::DebugInfoGuard slot;
};

MemoryAttachment::MemoryAttachment(std::shared_ptr<MemoryCounter> counter)
    : guard_(std::make_unique<Guard>(std::move(counter))) {}

MemoryAttachment::~MemoryAttachment() = default;

}  // namespace pyprof
