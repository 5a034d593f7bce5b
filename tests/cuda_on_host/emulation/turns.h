// What blocks tell one another: flags in global memory, and sums that copies without a thread add up there. What was
// sent is seen by nobody before it has been waited for and fenced, and its source must hold the same until then.
//
// Included by hopper_on_host.h; include gpu_hopper.h.
#pragma once

#include <atomic>

#include "hopper_machine.h"

namespace pyprof::gpu {

namespace emulation {

// A piece that is on its way to global memory.
struct Sent {
  float* to;
  const unsigned char* from;
  std::vector<uint32_t> words;
  bool add;
};

void begin_turns();
void end_turns();
void note_turn();                     // this thread knows of what another block has done
void check_turn(const Place& place);  // and has fenced since
void send(Sent&& sent);
void commit_sent();
bool sent_due(Sent& sent);  // one that has to be there now, or false
void sent_is_there(Sent&& sent);
bool sent_to_show(Sent& sent);  // one that is there and that others are to see, or false
void fence_turns();
void note_for_others();                     // this thread has written what other blocks are to read
void fence_for_others();                    // and others see it who learn of it from here
void check_for_others(const Place& place);  // all threads of the warp have done so

inline void send(float* to, const void* from, int bytes, bool add, const Place& place) {
  check_aligned(to, 16, place);
  check_aligned(from, 16, place);
  if (bytes <= 0 || bytes % 16 != 0) broken("a bulk copy is not of whole 16 bytes", place);
  const auto* at = static_cast<const unsigned char*>(from);
  window_address(at, place);
  window_address(at + bytes - 1, place);
  check_turn(place);
  Sent sent{to, at, std::vector<uint32_t>(bytes / 4), add};
  for (int i = 0; i < bytes / 4; ++i) {
    check_fenced(at + 4 * i, place);
    sent.words[i] = reinterpret_cast<const volatile uint32_t*>(at)[i];
  }
  send(std::move(sent));
}

template <std::memory_order kOrder>
void wait_at(const int* flag, int value, const Place& place) {
  while (std::atomic_ref<int>(*const_cast<int*>(flag)).load(kOrder) != value) pause_at(flag, place);
  note_turn();
}

template <std::memory_order kOrder>
void show_at(int* flag, int value) {
  std::atomic_ref<int>(*flag).store(value, kOrder);
  resume_at(flag);
}

}  // namespace emulation

inline void store_bulk(float* to, const void* from, int bytes,
                       const emulation::Place& place = emulation::Place::current()) {
  emulation::send(to, from, bytes, false, place);
}
inline void add_bulk(float* to, const void* from, int bytes,
                     const emulation::Place& place = emulation::Place::current()) {
  emulation::send(to, from, bytes, true, place);
}
inline void bulk_commit() { emulation::commit_sent(); }
inline void bulk_wait(const emulation::Place& place = emulation::Place::current()) {
  emulation::Sent sent;
  while (emulation::sent_due(sent)) {
    for (size_t i = 0; i < sent.words.size(); ++i) {
      if (sent.words[i] != reinterpret_cast<const volatile uint32_t*>(sent.from)[i]) {
        emulation::broken("what a bulk copy sends has changed before it was waited for", place);
      }
    }
    emulation::sent_is_there(std::move(sent));
  }
}

inline void fence_async_global() {
  emulation::Sent sent;
  while (emulation::sent_to_show(sent)) {
    for (size_t i = 0; i < sent.words.size(); ++i) {
      auto* to = const_cast<volatile float*>(sent.to + i);
      const float word = std::bit_cast<float>(sent.words[i]);
      *to = sent.add ? *to + word : word;
    }
  }
  emulation::fence_turns();
}

inline void publish(int* flag, int value, const emulation::Place& place = emulation::Place::current()) {
  emulation::check_for_others(place);
  emulation::show_at<std::memory_order_release>(flag, value);
}
inline void wait_until(const int* flag, int value, const emulation::Place& place = emulation::Place::current()) {
  emulation::wait_at<std::memory_order_acquire>(flag, value, place);
}
inline void write_for_others(Float4* to, Float4 value, const emulation::Place& place = emulation::Place::current()) {
  emulation::note_for_others();
  write(to, value, place);
}
inline void fence() { emulation::fence_for_others(); }
inline int take(int* counter) {
  const int number = std::atomic_ref<int>(*counter).fetch_add(1, std::memory_order_relaxed);
  if (emulation::options.all_take_first) emulation::let_others_begin();
  return number;
}

// What a volatile access would do, for planting bugs: no kernel has these.
inline void publish_unordered(int* flag, int value) { emulation::show_at<std::memory_order_relaxed>(flag, value); }
inline void wait_unordered(const int* flag, int value, const emulation::Place& place = emulation::Place::current()) {
  emulation::wait_at<std::memory_order_relaxed>(flag, value, place);
}

inline void store_matrices(void* row, const uint32_t (&r)[4],
                           const emulation::Place& place = emulation::Place::current()) {
  emulation::check_aligned(row, 16, place);
  emulation::window_address(row, place);
  emulation::window_address(static_cast<unsigned char*>(row) + 15, place);
  emulation::Slot slot{};
  slot.operation = emulation::Operation::store_matrices;
  slot.address = reinterpret_cast<uintptr_t>(row);
  for (int i = 0; i < 4; ++i) slot.words[i] = r[i];
  emulation::together(slot, place);
  emulation::note_write(row, 16, place);
  for (int i = 0; i < 4; ++i) static_cast<volatile uint32_t*>(row)[i] = slot.result[i];
}

}  // namespace pyprof::gpu
