// A ring that many threads write and one reads, without locks and without allocation: what finds no room is counted.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>

namespace pyprof {

template <typename Entry>
class SharedRing {
 public:
  explicit SharedRing(uint32_t capacity)
      : mask_(std::bit_ceil(capacity) - 1), slots_(std::make_unique<Slot[]>(mask_ + 1)) {
    // Each slot says whose turn it is: its number where it can be written, one more where it can be read.
    for (uint64_t i = 0; i <= mask_; ++i) slots_[i].turn.store(i, std::memory_order_relaxed);
  }

  bool push(const Entry& entry) noexcept {
    uint64_t at = next_.load(std::memory_order_relaxed);
    for (;;) {
      Slot& slot = slots_[at & mask_];
      const uint64_t turn = slot.turn.load(std::memory_order_acquire);
      if (turn == at) {
        if (!next_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) continue;
        slot.entry = entry;
        slot.turn.store(at + 1, std::memory_order_release);
        return true;
      }
      if (turn < at) {
        lost_.fetch_add(1, std::memory_order_relaxed);
        return false;
      }
      at = next_.load(std::memory_order_relaxed);
    }
  }

  // Reader's side: everything up to the first entry that is still being written.
  template <typename Visit>
  void drain(Visit visit) {
    for (;; ++read_) {
      Slot& slot = slots_[read_ & mask_];
      if (slot.turn.load(std::memory_order_acquire) != read_ + 1) return;
      visit(slot.entry);
      slot.turn.store(read_ + mask_ + 1, std::memory_order_release);
    }
  }
  uint64_t take_lost() noexcept { return lost_.exchange(0, std::memory_order_relaxed); }

 private:
  struct Slot {
    std::atomic<uint64_t> turn;
    Entry entry;
  };
  const uint64_t mask_;
  const std::unique_ptr<Slot[]> slots_;
  alignas(64) std::atomic<uint64_t> next_{0};
  alignas(64) uint64_t read_ = 0;
  std::atomic<uint64_t> lost_{0};
};

}  // namespace pyprof
