#include "clock.h"

#include <limits>

namespace pyprof {

const TickScale::Pair TickScale::at_load_ = TickScale::Pair::read();

// The system clock is read between two reads of the counter; of several tries the tightest one counts.
TickScale::Pair TickScale::Pair::read() noexcept {
  Pair best{};
  int64_t tightest = std::numeric_limits<int64_t>::max();
  for (int i = 0; i < 16; ++i) {
    const int64_t before = pyprof::ticks();
    const int64_t now = raw_nanoseconds();
    const int64_t after = pyprof::ticks();
    if (after - before < tightest) {
      tightest = after - before;
      best = {before + (after - before) / 2, now};
    }
  }
  return best;
}

TickScale::TickScale() : origin_(at_load_) {
  if (!uses_tsc) return;
  constexpr int64_t kBaseline = 20'000'000;
  while (raw_nanoseconds() - at_load_.nanoseconds < kBaseline) {
    const timespec pause{0, 1'000'000};
    nanosleep(&pause, nullptr);
  }
  const Pair now = Pair::read();
  nanoseconds_per_tick_ =
      static_cast<double>(now.nanoseconds - at_load_.nanoseconds) / static_cast<double>(now.ticks - at_load_.ticks);
}

const TickScale& TickScale::get() {
  static const TickScale scale;
  return scale;
}

}  // namespace pyprof
