#include "banks.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include "window_attention/gpu.h"

namespace pyprof::gpu::emulation {

namespace {

constexpr int kBanks = 32;

struct Addresses {
  std::array<uintptr_t, kWarp> of_lane{};
  uint32_t lanes = 0;  // a bit for each that is there
};

// A warp's lanes run one after another here, so the n-th access of each lane at one place of the source is taken for
// one instruction.
struct Instruction {
  size_t bytes = 0;
  std::array<int, kWarp> times{};  // of each lane
  std::deque<Addresses> open;      // instances that miss lanes
  int closed = 0;                  // instances before those
};
using Key = std::tuple<int, const char*, unsigned, unsigned>;
std::map<Key, Instruction>& instructions() {
  static auto& all = *new std::map<Key, Instruction>;
  return all;
}

void count(const Addresses& addresses, size_t bytes) {
  const int group = static_cast<int>(kBanks * 4 / bytes);
  ++counters.accesses;
  for (int first = 0; first < kWarp; first += group) {
    std::vector<uintptr_t> present;
    for (int lane = first; lane < first + group; ++lane) {
      if (addresses.lanes >> lane & 1) present.push_back(addresses.of_lane[lane]);
    }
    counters.conflicts += passes(present.data(), static_cast<int>(present.size()), bytes) - 1;
  }
}

}  // namespace

int passes(const uintptr_t* addresses, int lanes, size_t bytes) {
  std::array<std::vector<uintptr_t>, kBanks> words;
  for (int i = 0; i < lanes; ++i) {
    for (size_t offset = 0; offset < bytes; offset += 4) {
      const uintptr_t word = (addresses[i] + offset) / 4;
      auto& of_bank = words[word % kBanks];
      if (std::find(of_bank.begin(), of_bank.end(), word) == of_bank.end()) of_bank.push_back(word);
    }
  }
  size_t most = 1;
  for (const auto& of_bank : words) most = std::max(most, of_bank.size());
  return static_cast<int>(most);
}

void count_access(const void* address, size_t bytes, const Place& place) {
  const auto at = reinterpret_cast<uintptr_t>(address), begin = reinterpret_cast<uintptr_t>(here.shared);
  if (at < begin || at >= begin + here.shared_bytes) return;
  Instruction& it =
      instructions()[{here.slot * kThreadsMost + here.thread / kWarp, place.file_name(), place.line(), place.column()}];
  it.bytes = bytes;
  const int lane = here.thread % kWarp, instance = it.times[lane]++ - it.closed;
  if (instance >= static_cast<int>(it.open.size())) it.open.resize(instance + 1);
  it.open[instance].of_lane[lane] = at;
  it.open[instance].lanes |= 1u << lane;
  for (; !it.open.empty() && it.open.front().lanes == 0xffffffffu; ++it.closed) {
    count(it.open.front(), bytes);
    it.open.pop_front();
  }
}

void flush_accesses() {
  for (const auto& [key, it] : instructions()) {
    for (const auto& addresses : it.open) count(addresses, it.bytes);
  }
  instructions().clear();
}

}  // namespace pyprof::gpu::emulation
