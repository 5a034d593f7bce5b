// What is open on a thread right now: for whoever sees the calls that give a device its work, so that the work finds
// its layer. An interface without a source, since the CUDA part is a library of its own.
#pragma once

#include <cstdint>

namespace pyprof {

// A cell of the call tree (recorder.h), which names a site and a phase, and the recorder's number of the thread.
struct Place {
  uint32_t cell;
  uint32_t thread;
};
inline constexpr uint32_t kNoThread = 0xFFFFFFFF;

class Places {
 public:
  virtual ~Places() = default;
  // The innermost open call or node of this thread; the root's cell where nothing is open. No allocation, no lock where
  // the thread has recorded anything lately.
  virtual Place here() noexcept = 0;
};

// The recorder's clock in nanoseconds, as a function that others can call.
using NanosecondClock = uint64_t (*)();

}  // namespace pyprof
