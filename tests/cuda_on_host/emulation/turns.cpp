#include <memory>

#include "unwatched.h"
#include "window_attention/gpu_hopper.h"

namespace pyprof::gpu::emulation {

namespace {

struct OfThread {
  bool unfenced_turn = false, unfenced_writes = false;
  std::vector<Sent> open, committed, there;
};

// Of the block in each slot.
std::vector<std::unique_ptr<OfThread[]>>& all() {
  static auto& one = *new std::vector<std::unique_ptr<OfThread[]>>;
  return one;
}

OfThread& mine() { return all()[here.slot][here.thread]; }

bool take_first(std::vector<Sent>& from, Sent& sent) {
  if (from.empty()) return false;
  sent = std::move(from.front());
  from.erase(from.begin());
  return true;
}

}  // namespace

void begin_turns() {
  while (all().size() <= static_cast<size_t>(here.slot)) all().push_back(std::make_unique<OfThread[]>(kThreadsMost));
  for (int t = 0; t < kThreadsMost; ++t) all()[here.slot][t] = {};
}

void end_turns() {
  for (int t = 0; t < kThreadsMost; ++t) {
    const OfThread& it = all()[here.slot][t];
    if (!it.open.empty() || !it.committed.empty())
      broken("a thread leaves the kernel while what it sent is on its way", Place::current());
    if (!it.there.empty()) broken("a thread leaves the kernel before others see what it sent", Place::current());
  }
}

void note_turn() { mine().unfenced_turn = true; }

void check_turn(const Place& place) {
  if (mine().unfenced_turn) broken("a bulk copy follows a turn without fence_async_global", place);
}

void send(Sent&& sent) {
  const Unwatched unwatched;
  mine().open.push_back(std::move(sent));
}

void commit_sent() {
  const Unwatched unwatched;
  OfThread& me = mine();
  for (Sent& sent : me.open) me.committed.push_back(std::move(sent));
  me.open.clear();
}

bool sent_due(Sent& sent) {
  const Unwatched unwatched;
  return take_first(mine().committed, sent);
}

void sent_is_there(Sent&& sent) {
  const Unwatched unwatched;
  mine().there.push_back(std::move(sent));
}

bool sent_to_show(Sent& sent) {
  const Unwatched unwatched;
  return take_first(mine().there, sent);
}

void fence_turns() { mine().unfenced_turn = false; }

void note_for_others() { mine().unfenced_writes = true; }

void fence_for_others() { mine().unfenced_writes = false; }

void check_for_others(const Place& place) {
  const int first = here.thread / kWarp * kWarp;
  for (int t = first; t < first + kWarp; ++t) {
    if (all()[here.slot][t].unfenced_writes) broken("a turn is published before what it tells of is fenced", place);
  }
}

}  // namespace pyprof::gpu::emulation
