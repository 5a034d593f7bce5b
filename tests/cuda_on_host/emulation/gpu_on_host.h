// The host half of gpu.h. Whatever touches a kernel's memory is inline here, so that the sanitizers see it as done by
// the thread that does it; all else is the machine's (machine.cpp, which ThreadSanitizer doesn't watch).
#pragma once

#include "machine.h"

#define PYPROF_KERNEL(...)
#define PYPROF_DEVICE inline
#define PYPROF_UNROLL
#define PYPROF_UNROLL_BY(times)

namespace pyprof::gpu {

inline int thread() { return emulation::here.thread; }
inline int lane() { return emulation::here.thread % kWarp; }
inline int warp() { return emulation::here.thread / kWarp; }
inline int anew(int number) { return number; }
inline Index3 block() { return emulation::here.block; }
inline Index3 grid() { return emulation::here.grid; }

template <class T>
T* shared_memory(size_t bytes = 0) {
  return reinterpret_cast<T*>(emulation::here.shared + bytes);
}

template <class V>
V read(const V* from, const emulation::Place& place = emulation::Place::current()) {
  static_assert(sizeof(V) == 4 || sizeof(V) == 8 || sizeof(V) == 16);
  emulation::check_aligned(from, sizeof(V), place);
  if (emulation::options.count_conflicts) emulation::count_access(from, sizeof(V), place);
  return *from;
}

template <class V>
void write(V* to, V value, const emulation::Place& place = emulation::Place::current()) {
  static_assert(sizeof(V) == 4 || sizeof(V) == 8 || sizeof(V) == 16);
  emulation::check_aligned(to, sizeof(V), place);
  if (emulation::options.count_conflicts) emulation::count_access(to, sizeof(V), place);
  if (emulation::options.note_writes) emulation::note_write(to, sizeof(V), place);
  *to = value;
}

// On a GPU the bytes may arrive at any time from now until the wait. So the old ones are lost now, and the new ones
// come at the wait.
inline void copy_async(void* to, const void* from, bool valid = true,
                       const emulation::Place& place = emulation::Place::current()) {
  emulation::check_aligned(to, 16, place);
  if (valid) emulation::check_aligned(from, 16, place);
  const auto begin = reinterpret_cast<uintptr_t>(emulation::here.shared), at = reinterpret_cast<uintptr_t>(to);
  if (at < begin || at + 16 > begin + emulation::here.shared_bytes) {
    emulation::broken("copy_async writes outside of shared memory", place);
  }
  auto* words = static_cast<volatile uint32_t*>(to);
  for (int i = 0; i < 4; ++i) words[i] = emulation::poison();
  emulation::open_copy({static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from), valid});
}

inline void copy_commit() { emulation::commit_copies(); }

template <int N>
void copy_wait() {
  emulation::Copy copy;
  while (emulation::next_due(N, copy)) {
    auto* to = reinterpret_cast<volatile uint32_t*>(copy.to);
    auto* from = reinterpret_cast<const volatile uint32_t*>(copy.from);
    for (int i = 0; i < 4; ++i) to[i] = copy.valid ? from[i] : 0;
  }
}

namespace emulation {

inline void load_matrices(Operation operation, uint32_t (&r)[4], const void* row, const Place& place) {
  check_aligned(row, 16, place);
  const auto begin = reinterpret_cast<uintptr_t>(here.shared), at = reinterpret_cast<uintptr_t>(row);
  if (at < begin || at + 16 > begin + here.shared_bytes) broken("load_matrices reads outside of shared memory", place);
  Slot slot{};
  slot.operation = operation;
  slot.address = at;
  const auto* words = static_cast<const volatile uint32_t*>(row);
  for (int i = 0; i < 4; ++i) slot.words[i] = words[i];
  together(slot, place);
  for (int i = 0; i < 4; ++i) r[i] = slot.result[i];
}

inline uint32_t shuffle(uint32_t value, int mask, const Place& place) {
  Slot slot{};
  slot.operation = Operation::shuffle;
  slot.value = value;
  slot.mask = mask;
  together(slot, place);
  return slot.result[0];
}

template <class T>
inline constexpr bool is_tag = false;
template <>
inline constexpr bool is_tag<Float16> = true;
template <>
inline constexpr bool is_tag<Bfloat16> = true;

}  // namespace emulation

inline void load_matrices(uint32_t (&r)[4], const void* row,
                          const emulation::Place& place = emulation::Place::current()) {
  emulation::load_matrices(emulation::Operation::load_matrices, r, row, place);
}

inline void load_matrices_transposed(uint32_t (&r)[4], const void* row,
                                     const emulation::Place& place = emulation::Place::current()) {
  emulation::load_matrices(emulation::Operation::load_matrices_transposed, r, row, place);
}

template <class T>
void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
         const emulation::Place& place = emulation::Place::current()) {
  static_assert(emulation::is_tag<T>);
  emulation::Slot slot{};
  slot.operation = std::is_same_v<T, Float16> ? emulation::Operation::mma_float16 : emulation::Operation::mma_bfloat16;
  for (int i = 0; i < 4; ++i) slot.words[i] = a[i], slot.d[i] = d[i];
  slot.b[0] = b[0], slot.b[1] = b[1];
  emulation::together(slot, place);
  for (int i = 0; i < 4; ++i) d[i] = slot.d[i];
}

inline float to_float(float value) { return value; }
inline float to_float(Float16 value) { return emulation::widen_float16(value.bits); }
inline float to_float(Bfloat16 value) { return emulation::widen_bfloat16(value.bits); }

template <class T>
T from_float(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return {std::is_same_v<T, Float16> ? emulation::round_float16(value) : emulation::round_bfloat16(value)};
  }
}

template <class T>
uint32_t pack(float low, float high) {
  static_assert(emulation::is_tag<T>);
  return from_float<T>(low).bits | static_cast<uint32_t>(from_float<T>(high).bits) << 16;
}

inline uint32_t shuffle_xor(uint32_t value, int mask, const emulation::Place& place = emulation::Place::current()) {
  return emulation::shuffle(value, mask, place);
}
inline int32_t shuffle_xor(int32_t value, int mask, const emulation::Place& place = emulation::Place::current()) {
  return static_cast<int32_t>(emulation::shuffle(static_cast<uint32_t>(value), mask, place));
}
inline float shuffle_xor(float value, int mask, const emulation::Place& place = emulation::Place::current()) {
  return std::bit_cast<float>(emulation::shuffle(std::bit_cast<uint32_t>(value), mask, place));
}
inline bool any(bool condition, const emulation::Place& place = emulation::Place::current()) {
  uint32_t found = condition;
  for (int mask = 1; mask < kWarp; mask *= 2) found |= shuffle_xor(found, mask, place);
  return found != 0;
}

// The approximate instructions take and give no denormal numbers.
inline float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
inline float exp2(float x) { return flushed(std::exp2(flushed(x))); }
inline float log2(float x) { return std::log2(flushed(x)); }

inline void sync_threads(const emulation::Place& place = emulation::Place::current()) { emulation::sync_block(place); }
inline void sync_warp(const emulation::Place& place = emulation::Place::current()) {
  emulation::Slot slot{};
  slot.operation = emulation::Operation::sync_warp;
  emulation::together(slot, place);
}

template <class Params>
void launch(void (*kernel)(Params), Index3 grid, int threads, size_t shared_bytes, Stream, const Params& params) {
  const auto body = [](const void* kernel, const void* params) {
    (*static_cast<void (*const*)(Params)>(kernel))(*static_cast<const Params*>(params));
  };
  emulation::run(grid, threads, shared_bytes, body, &kernel, &params);
}

}  // namespace pyprof::gpu
