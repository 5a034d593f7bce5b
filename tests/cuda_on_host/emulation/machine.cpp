#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "banks.h"
#include "fibre.h"
#include "window_attention/gpu.h"

#if defined(PYPROF_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace pyprof::gpu::emulation {

Here here;
Options options;
Counters counters;
Hooks hooks = {[] {}, [] {}, [] { return false; }};

void compute(Slot* const (&lanes)[kWarp]);  // arithmetic.cpp

namespace {

constexpr unsigned char kNan = 0xff;  // repeated, it is a NaN in every floating-point type
constexpr unsigned char kGuard = 0xa5;
constexpr size_t kGuardBytes = 256;

enum class State { ready, waits_for_warp, waits_for_block, paused, left };

struct Thread {
  State state;
  Place place;
  const char* why;  // it is paused
  Slot* slot;
  int block_syncs, warp_syncs;
  // Copies in the order of their opening; those from `committed` on belong to no group yet.
  int done, committed, opened, groups, groups_done;
  Copy copies[kCopiesMost];
  int group_of[kCopiesMost];
};

struct Machine {
  int threads = 0;
  int waiting[kThreadsMost / kWarp] = {}, waiting_for_block = 0;
  int started = 0;  // blocks of this launch, so that one thread's place in the block is another fibre in each
  Body body = nullptr;
  const void* kernel = nullptr;
  const void* params = nullptr;
  std::vector<std::unique_ptr<Thread>> thread;
  std::vector<std::unique_ptr<Fibre>> fibres;
  Fibre outside;
  size_t mapped = 0;
  unsigned char* memory = nullptr;
};

Machine& machine() {
  static auto& one = *new Machine;  // never destroyed: its fibres never end
  return one;
}

// What ThreadSanitizer takes for the order of memory. Each address is used for one block only: after it, what threads
// of another block did is no longer ordered, as on a GPU.
enum Order {
  kStart = 0,
  kEnd = 8,
  kBlockSync = 16,
  kWarpSync = 32,
  kNamedSync = kWarpSync + 16 * kThreadsMost / kWarp,
  kOrders = kNamedSync + 16 * kNamedBarriers
};

#if defined(PYPROF_TSAN)
char end_of_launch;
void release(int order) {
  __tsan_release(order == kEnd ? &end_of_launch : reinterpret_cast<char*>(here.shared) + here.shared_bytes + order);
}
void acquire(int order) {
  __tsan_acquire(order == kEnd ? &end_of_launch : reinterpret_cast<char*>(here.shared) + here.shared_bytes + order);
}
#else
void release(int) {}
void acquire(int) {}
#endif

Fibre& fibre_of(int thread) {
  Machine& m = machine();
  return *m.fibres[(thread + 37 * m.started) % m.threads];
}

// A warp goes on as far as it can before another one gets a turn, so that what it reads too early is not there yet.
int next_ready(int after) {
  const Machine& m = machine();
  const auto ready = [&](int t) { return m.thread[t]->state == State::ready; };
  const int first = after / kWarp * kWarp, lane = after % kWarp, back = options.reversed ? -1 : 1;
  for (int i = 1; i <= kWarp; ++i) {
    const int t = first + (lane + back * i + kWarp) % kWarp;
    if (ready(t)) return t;
  }
  for (int i = 1; i <= m.threads; ++i) {
    const int t = (after + back * i + m.threads) % m.threads;
    if (ready(t)) return t;
  }
  return -1;
}

[[noreturn]] void stuck() {
  const Machine& m = machine();
  std::fprintf(stderr, "emulation: threads of block (%d, %d, %d) diverge and wait for one another for ever\n",
               here.block.x, here.block.y, here.block.z);
  for (int t = 0; t < m.threads; ++t) {
    const Thread& it = *m.thread[t];
    const char* does = it.state == State::left             ? "has left the kernel"
                       : it.state == State::paused         ? it.why
                       : it.state == State::waits_for_warp ? "waits for its warp"
                                                           : "waits for its block";
    if (t > 0 && m.thread[t - 1]->state == it.state && m.thread[t - 1]->place.line() == it.place.line()) continue;
    std::fprintf(stderr, "  from thread %d on: %s, at %s:%u\n", t, does, it.place.file_name(), it.place.line());
  }
  std::fflush(stderr);
  std::_Exit(kBroken);
}

// Lets others run until this thread is ready again.
void wait() {
  const int me = here.thread;
  int next = next_ready(me);
  if (next < 0 && hooks.all_wait()) next = next_ready(me);
  if (next < 0) stuck();
  if (next == me) return;
  here.thread = next;
  fibre_of(next).switch_from(fibre_of(me));
  here.thread = me;
}

void leave() {
  Machine& m = machine();
  const int me = here.thread;
  Thread& it = *m.thread[me];
  if (it.done != it.opened) broken("a thread leaves the kernel with copies that it has not waited for", it.place);
  it.state = State::left;
  release(kEnd);
  Fibre& mine = fibre_of(me);
  int next = next_ready(me);
  if (next < 0 && hooks.all_wait()) next = next_ready(me);
  if (next >= 0) {
    here.thread = next;
    fibre_of(next).switch_from(mine);
    return;
  }
  for (const auto& other : m.thread) {
    if (&other - m.thread.data() < m.threads && other->state != State::left) stuck();
  }
  m.outside.switch_from(mine);
}

void run_thread(void*) {
  for (;;) {
    acquire(kStart);
    const Machine& m = machine();
    m.body(m.kernel, m.params);
    leave();
  }
}

// Exactly the bytes that were asked for, so that AddressSanitizer sees the end.
void map_shared(size_t bytes) {
  Machine& m = machine();
#if defined(PYPROF_TSAN)
  if (m.memory) munmap(m.memory, m.mapped);  // forgets who used it
  m.mapped = bytes + kOrders;
  void* memory = mmap(m.memory, m.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
#else
  size_t guard = kGuardBytes;
#if defined(PYPROF_ASAN)
  guard = 0;
#endif
  void* memory = nullptr;
  std::free(m.memory);
  if (posix_memalign(&memory, 128, bytes + guard) != 0) std::abort();
  std::memset(static_cast<char*>(memory) + bytes, kGuard, guard);
#endif
  m.memory = static_cast<unsigned char*>(memory);
  std::memset(m.memory, kNan, bytes);
  here.shared = m.memory;
  here.shared_bytes = bytes;
}

void check_guard() {
#if !defined(PYPROF_TSAN) && !defined(PYPROF_ASAN)
  for (size_t i = 0; i < kGuardBytes; ++i) {
    if (here.shared[here.shared_bytes + i] != kGuard) {
      broken("a block has written past the end of its shared memory", Place::current());
    }
  }
#endif
}

void run_block() {
  Machine& m = machine();
  map_shared(here.shared_bytes);
  for (int t = 0; t < m.threads; ++t) {
    Thread& it = *m.thread[t];
    it.state = State::ready;
    it.place = {};
    it.block_syncs = it.warp_syncs = it.done = it.committed = it.opened = it.groups = it.groups_done = 0;
  }
  hooks.begin();
  release(kStart);
  here.thread = options.reversed ? m.threads - 1 : 0;
  fibre_of(here.thread).switch_from(m.outside);
  hooks.end();
  check_guard();
  if (options.count_conflicts) flush_accesses();
  ++m.started;
  ++counters.blocks;
}

}  // namespace

void broken(const char* what, const Place& place) {
  std::fprintf(stderr, "emulation: %s: thread %d of block (%d, %d, %d), at %s:%u\n", what, here.thread, here.block.x,
               here.block.y, here.block.z, place.file_name(), place.line());
  std::fflush(stderr);
  std::_Exit(kBroken);
}

void check_aligned(const void* address, size_t bytes, const Place& place) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) broken("an address is not aligned to its access", place);
}

void together(Slot& slot, const Place& place) {
  Machine& m = machine();
  const int first = here.thread / kWarp * kWarp;
  Thread& me = *m.thread[here.thread];
  me.slot = &slot;
  me.place = place;
  const int order = kWarpSync + first / kWarp * 16 + 8 * (me.warp_syncs % 2);
  if (slot.operation == Operation::sync_warp) {
    ++me.warp_syncs;
    release(order);
  }
  me.state = State::waits_for_warp;
  if (++m.waiting[first / kWarp] == kWarp) {
    m.waiting[first / kWarp] = 0;
    Slot* lanes[kWarp];
    for (int i = 0; i < kWarp; ++i) {
      Thread& other = *m.thread[first + i];
      lanes[i] = other.slot;
      if (other.slot->operation != slot.operation || other.place.line() != place.line()) {
        broken("the lanes of a warp are at different warp functions", place);
      }
    }
    compute(lanes);
    for (int i = 0; i < kWarp; ++i) m.thread[first + i]->state = State::ready;
  } else {
    wait();
  }
  if (slot.operation == Operation::sync_warp) acquire(order);
}

void sync_block(const Place& place) {
  Machine& m = machine();
  Thread& me = *m.thread[here.thread];
  me.place = place;
  const int order = kBlockSync + 8 * (me.block_syncs++ % 2);
  release(order);
  me.state = State::waits_for_block;
  if (++m.waiting_for_block == m.threads) {
    m.waiting_for_block = 0;
    for (int t = 0; t < m.threads; ++t) {
      if (m.thread[t]->place.line() != place.line()) {
        broken("the threads of a block are at different sync_threads", place);
      }
      m.thread[t]->state = State::ready;
    }
  } else {
    wait();
  }
  acquire(order);
}

void open_copy(const Copy& copy) {
  Thread& me = *machine().thread[here.thread];
  if (me.opened == kCopiesMost && me.done == me.opened) me.done = me.committed = me.opened = 0;
  if (me.opened == kCopiesMost) {
    const int open = me.opened - me.done;
    if (me.done == 0) broken("a thread has more open copies than the emulation can hold", me.place);
    for (int i = 0; i < open; ++i) me.copies[i] = me.copies[me.done + i], me.group_of[i] = me.group_of[me.done + i];
    me.committed -= me.done, me.opened = open, me.done = 0;
  }
  me.copies[me.opened++] = copy;
}

void commit_copies() {
  Thread& me = *machine().thread[here.thread];
  for (; me.committed < me.opened; ++me.committed) me.group_of[me.committed] = me.groups;
  ++me.groups;
}

bool next_due(int open_groups, Copy& copy) {
  Thread& me = *machine().thread[here.thread];
  if (me.done == me.committed || me.group_of[me.done] >= me.groups - open_groups) return false;
  copy = me.copies[me.done++];
  return true;
}

void pause(const char* why, const Place& place) {
  Thread& me = *machine().thread[here.thread];
  me.place = place;
  me.why = why;
  me.state = State::paused;
  wait();
}

void resume(int thread) {
  Thread& it = *machine().thread[thread];
  if (it.state == State::paused) it.state = State::ready;
}

const void* order_of_named(int id, int turn) {
  return here.shared + here.shared_bytes + kNamedSync + 16 * id + 8 * turn;
}

#if defined(PYPROF_TSAN)
void release_at(const void* address) { __tsan_release(const_cast<void*>(address)); }
void acquire_at(const void* address) { __tsan_acquire(const_cast<void*>(address)); }
#else
void release_at(const void*) {}
void acquire_at(const void*) {}
#endif

void run(Index3 grid, int threads, size_t shared_bytes, Body body, const void* kernel, const void* params,
         size_t shared_most) {
  Machine& m = machine();
  here = {0, {0, 0, 0}, grid, nullptr, shared_bytes};
  const Place place = Place::current();
  if (threads <= 0 || threads > kThreadsMost || threads % kWarp != 0)
    broken("a block has a bad number of threads", place);
  if (shared_bytes > shared_most) broken("a block asks for more shared memory than there is", place);
  if (grid.x < 0 || grid.y < 0 || grid.z < 0 || grid.y > 65535 || grid.z > 65535) broken("a grid is too large", place);
  m.threads = threads, m.started = 0, m.body = body, m.kernel = kernel, m.params = params;
  while (m.thread.size() < static_cast<size_t>(threads)) {
    m.thread.push_back(std::make_unique<Thread>());
    m.fibres.push_back(std::make_unique<Fibre>(run_thread, nullptr));
  }
  const int64_t blocks = int64_t{grid.x} * grid.y * grid.z;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t b = options.reversed ? blocks - 1 - i : i;
    here.block = {static_cast<int32_t>(b % grid.x), static_cast<int32_t>(b / grid.x % grid.y),
                  static_cast<int32_t>(b / grid.x / grid.y)};
    run_block();
  }
  acquire(kEnd);
}

}  // namespace pyprof::gpu::emulation
