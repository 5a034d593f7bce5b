// The recorder's clock: the time-stamp counter where it ticks at one rate in all power states, a system clock
// elsewhere.
#pragma once

#include <time.h>

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

namespace pyprof {

inline int64_t raw_nanoseconds() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

#if defined(__x86_64__)
// CPUID 0x80000007, EDX bit 8: the counter is invariant (Intel SDM vol. 3, "Invariant TSC").
inline bool has_invariant_tsc() noexcept {
  unsigned a, b, c, d;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d >> 8 & 1);
}
inline const bool uses_tsc = has_invariant_tsc();
inline int64_t ticks() noexcept { return uses_tsc ? static_cast<int64_t>(__rdtsc()) : raw_nanoseconds(); }
#else
inline constexpr bool uses_tsc = false;
inline int64_t ticks() noexcept { return raw_nanoseconds(); }
#endif

// Turns ticks into nanoseconds of CLOCK_MONOTONIC_RAW. The rate is measured once, over at least 20 ms since the library
// was loaded, so that the two reads' uncertainty (some 50 ns) stays below 5 ppm.
class TickScale {
 public:
  static const TickScale& get();
  int64_t nanoseconds(int64_t tick) const noexcept {
    return origin_.nanoseconds +
           static_cast<int64_t>(static_cast<double>(tick - origin_.ticks) * nanoseconds_per_tick_);
  }
  double nanoseconds_per_tick() const noexcept { return nanoseconds_per_tick_; }

 private:
  struct Pair {
    int64_t ticks, nanoseconds;
    static Pair read() noexcept;
  };
  TickScale();
  static const Pair at_load_;
  Pair origin_;
  double nanoseconds_per_tick_ = 1.0;
};

}  // namespace pyprof
