// Which call made the autograd node of a number. The nodes of a thread are numbered in the order in which they are
// made, so a list of the numbers at which the innermost call changes is enough: a node belongs to the last entry that
// is not above its number. Of two calls with the same range (one does nothing but call the other) the inner one's entry
// comes last and takes the outer one's place.
//
// One thread writes, any thread may look a number up. What a reader looks for was settled before the node could run,
// and entries only change at the end; the oldest ones are forgotten, which is checked after reading.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

namespace pyprof {

// A site and whether nodes made here are of the second order, in one number.
using Owner = uint32_t;
inline constexpr Owner kNobody = 0xFFFFFFFF, kForgotten = 0xFFFFFFFE;
inline constexpr Owner owner_of(uint32_t site, bool second_order) { return site << 1 | (second_order ? 1 : 0); }

class Ranges {
 public:
  Ranges() = default;
  Ranges(const Ranges&) = delete;
  Ranges& operator=(const Ranges&) = delete;
  ~Ranges();

  // Writer's side: nodes from this number on belong to `owner`. Numbers never fall.
  void set(uint64_t sequence, Owner owner) noexcept {
    if (owner == last_owner_) return;
    last_owner_ = owner;
    if (sequence == last_sequence_) {
      last_->owner.store(owner, std::memory_order_relaxed);
    } else {
      append(sequence, owner);
    }
  }
  // Entries before the next-to-last call of this are forgotten: called when a step begins, so that what the step before
  // has made is still known.
  void forget_older_steps() noexcept;

  // Any thread: the owner of the node with this number, kNobody or kForgotten.
  Owner find(uint64_t sequence) const noexcept;

 private:
  struct Entry {
    std::atomic<uint64_t> sequence{0};
    std::atomic<Owner> owner{kNobody};
  };
  static constexpr uint64_t kChunk = 1 << 12, kChunks = 1 << 8;  // together 16 MiB
  using Chunk = std::array<Entry, kChunk>;

  void append(uint64_t sequence, Owner owner) noexcept;
  Chunk* room() noexcept;
  void forget(uint64_t before) noexcept;
  const Entry* at(uint64_t index) const noexcept {
    const Chunk* chunk = chunks_[index / kChunk % kChunks].load(std::memory_order_acquire);
    return chunk ? &(*chunk)[index % kChunk] : nullptr;
  }

  uint64_t last_sequence_ = ~uint64_t{0};
  Owner last_owner_ = kNobody;
  Entry* last_ = nullptr;
  uint64_t step_ = 0;                          // how many entries there were when the step began
  std::atomic<uint64_t> first_{0}, count_{0};  // entries [first_, count_) are known
  std::array<std::atomic<Chunk*>, kChunks> chunks_{};
};

}  // namespace pyprof
