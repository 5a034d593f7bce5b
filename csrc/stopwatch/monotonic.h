// The clock of Python's perf_counter_ns on Linux, for what has to be comparable with it.
#pragma once

#include <time.h>

#include <cstdint>

namespace pyprof {

inline int64_t monotonic_nanoseconds() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace pyprof
