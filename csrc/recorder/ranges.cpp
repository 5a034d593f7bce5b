#include "ranges.h"

#include <new>

namespace pyprof {

Ranges::~Ranges() {
  for (auto& chunk : chunks_) delete chunk.load(std::memory_order_relaxed);
}

void Ranges::append(uint64_t sequence, Owner owner) noexcept {
  const uint64_t index = count_.load(std::memory_order_relaxed);
  std::atomic<Chunk*>& place = chunks_[index / kChunk % kChunks];
  if (index % kChunk == 0) place.store(room(), std::memory_order_release);
  Chunk* chunk = place.load(std::memory_order_relaxed);
  if (!chunk) return;  // no memory at all: these nodes go to the call of the entry before
  last_ = &(*chunk)[index % kChunk];
  last_sequence_ = sequence;
  last_->sequence.store(sequence, std::memory_order_relaxed);
  last_->owner.store(owner, std::memory_order_relaxed);
  count_.store(index + 1, std::memory_order_release);
}

// A chunk for the entries from count_ on: one that holds forgotten entries only, or else a new one, or else the oldest.
Ranges::Chunk* Ranges::room() noexcept {
  const uint64_t next = count_.load(std::memory_order_relaxed) / kChunk;
  const uint64_t oldest = next < kChunks ? 0 : next - kChunks;
  const auto take = [&](uint64_t number) { return chunks_[number % kChunks].exchange(nullptr); };
  for (uint64_t number = oldest; number < first_.load(std::memory_order_relaxed) / kChunk; ++number) {
    if (Chunk* chunk = take(number)) return chunk;
  }
  if (next < kChunks || !chunks_[next % kChunks].load(std::memory_order_relaxed)) {
    if (Chunk* chunk = new (std::nothrow) Chunk) return chunk;
  }
  for (uint64_t number = oldest; number < next; ++number) {
    if (!chunks_[number % kChunks].load(std::memory_order_relaxed)) continue;
    forget((number + 1) * kChunk);
    return take(number);
  }
  return nullptr;
}

void Ranges::forget(uint64_t before) noexcept {
  if (before > first_.load(std::memory_order_relaxed)) first_.store(before, std::memory_order_seq_cst);
}

void Ranges::forget_older_steps() noexcept {
  forget(step_);
  step_ = count_.load(std::memory_order_relaxed);
}

Owner Ranges::find(uint64_t sequence) const noexcept {
  const uint64_t begin = first_.load(std::memory_order_acquire);
  uint64_t low = begin, high = count_.load(std::memory_order_acquire);
  Owner owner = begin == 0 ? kNobody : kForgotten;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    const Entry* entry = at(middle);
    if (!entry) return kForgotten;
    if (entry->sequence.load(std::memory_order_acquire) <= sequence) {
      owner = entry->owner.load(std::memory_order_acquire);
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  // The writer may have forgotten the entry meanwhile and have used its room again.
  return low > begin && low - 1 < first_.load(std::memory_order_seq_cst) ? kForgotten : owner;
}

}  // namespace pyprof
