#include <cstdio>
#include <cstdlib>

#include "block.h"

#if defined(PYPROF_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace pyprof::gpu::emulation {

Here here;
Options options;
int multiprocessors = 2;
Counters counters;
Hooks hooks = {[] {}, [] {}, [] { return false; }};

void compute(Slot* const (&lanes)[kWarp]);  // arithmetic.cpp

Machine& machine() {
  static auto& one = *new Machine;  // never destroyed: its fibres never end
  return one;
}

#if defined(PYPROF_TSAN)
namespace {
char end_of_launch;
}
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

namespace {

Thread& thread_here() { return *machine().block->thread[here.thread]; }

// A warp goes on as far as it can before another one gets a turn, and the warps of a warpgroup before those of another
// one, so that what they read too early is not there yet, and what they write too early is still wanted.
int next_ready(const Block& block) {
  const auto ready = [&](int t) { return block.thread[t]->state == State::ready; };
  const int after = block.here.thread, back = options.reversed ? -1 : 1;
  for (const int size : {kWarp, 4 * kWarp, block.threads}) {
    const int first = after / size * size;
    for (int i = 1; i <= size; ++i) {
      const int t = first + (after - first + back * i + size) % size;
      if (t < block.threads && ready(t)) return t;
    }
  }
  return -1;
}

void tell_where_they_are(const Block& block) {
  const Index3& at = block.here.block;
  std::fprintf(stderr, "emulation: threads of block (%d, %d, %d) diverge and wait for one another for ever\n", at.x,
               at.y, at.z);
  for (int t = 0; t < block.threads; ++t) {
    const Thread& it = *block.thread[t];
    const char* does = it.state == State::left             ? "has left the kernel"
                       : it.state == State::paused         ? it.why
                       : it.state == State::waits_for_warp ? "waits for its warp"
                                                           : "waits for its block";
    const Thread& before = *block.thread[t > 0 ? t - 1 : 0];
    if (t > 0 && before.state == it.state && before.place.line() == it.place.line()) continue;
    std::fprintf(stderr, "  from thread %d on: %s, at %s:%u\n", t, does, it.place.file_name(), it.place.line());
  }
}

// Lets others run until this thread is ready again.
void wait() {
  Machine& m = machine();
  Block& mine = *m.block;
  const int me = here.thread;
  mine.here = here;
  int next = 0;
  Block* const block = next_block(next);
  if (!block) stuck();
  enter(*block, next);
  if (block != &mine || next != me) block->fibre_of(next).switch_from(mine.fibre_of(me));
}

void leave() {
  Machine& m = machine();
  Block& mine = *m.block;
  Thread& it = thread_here();
  if (it.done != it.opened) broken("a thread leaves the kernel with copies that it has not waited for", it.place);
  it.state = State::left;
  release(kEnd);
  mine.here = here;
  Fibre& own = mine.fibre_of(here.thread);
  int next = 0;
  if (Block* const block = next_block(next)) {
    enter(*block, next);
    block->fibre_of(next).switch_from(own);
    return;
  }
  for (int slot = 0; slot < m.present; ++slot) {
    const Block& block = *m.blocks[slot];
    for (int t = 0; t < block.threads; ++t) {
      if (block.thread[t]->state != State::left) stuck();
    }
  }
  m.outside.switch_from(own);
}

}  // namespace

void enter(Block& block, int thread) {
  machine().block = &block;
  here = block.here;
  here.thread = thread;
}

// The block that runs goes on as far as it can before another one does.
Block* next_block(int& thread) {
  Machine& m = machine();
  const int first = m.block->here.slot;
  for (int i = 0; i < m.present; ++i) {
    Block& it = *m.blocks[(first + i) % m.present];
    if (!it.begun) {
      it.begun = true;
      thread = options.reversed ? it.threads - 1 : 0;
      return &it;
    }
    thread = next_ready(it);
    if (thread < 0) {
      enter(it, it.here.thread);
      if (hooks.all_wait()) thread = next_ready(it);
    }
    if (thread >= 0) return &it;
  }
  return nullptr;
}

void let_others_begin() {
  Machine& m = machine();
  Block& mine = *m.block;
  const int me = here.thread;
  for (int slot = 0; slot < m.present; ++slot) {
    Block& it = *m.blocks[slot];
    if (it.begun) continue;
    it.begun = true;
    mine.here = here;
    const int thread = options.reversed ? it.threads - 1 : 0;
    enter(it, thread);
    it.fibre_of(thread).switch_from(mine.fibre_of(me));
    return;
  }
}

void run_thread(void*) {
  for (;;) {
    acquire(kStart);
    const Machine& m = machine();
    m.body(m.kernel, m.params);
    leave();
  }
}

void stuck() {
  const Machine& m = machine();
  for (int slot = 0; slot < m.present; ++slot) tell_where_they_are(*m.blocks[slot]);
  std::fflush(stderr);
  std::_Exit(kBroken);
}

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
  Block& block = *machine().block;
  const int first = here.thread / kWarp * kWarp;
  Thread& me = thread_here();
  me.slot = &slot;
  me.place = place;
  const int order = kWarpSync + first / kWarp * 16 + 8 * (me.warp_syncs % 2);
  if (slot.operation == Operation::sync_warp) {
    ++me.warp_syncs;
    release(order);
  }
  me.state = State::waits_for_warp;
  if (++block.waiting[first / kWarp] == kWarp) {
    block.waiting[first / kWarp] = 0;
    Slot* lanes[kWarp];
    for (int i = 0; i < kWarp; ++i) {
      Thread& other = *block.thread[first + i];
      lanes[i] = other.slot;
      if (other.slot->operation != slot.operation || other.place.line() != place.line()) {
        broken("the lanes of a warp are at different warp functions", place);
      }
    }
    compute(lanes);
    for (int i = 0; i < kWarp; ++i) block.thread[first + i]->state = State::ready;
  } else {
    wait();
  }
  if (slot.operation == Operation::sync_warp) acquire(order);
}

void sync_block(const Place& place) {
  Block& block = *machine().block;
  Thread& me = thread_here();
  me.place = place;
  const int order = kBlockSync + 8 * (me.block_syncs++ % 2);
  release(order);
  me.state = State::waits_for_block;
  if (++block.waiting_for_block == block.threads) {
    block.waiting_for_block = 0;
    for (int t = 0; t < block.threads; ++t) {
      if (block.thread[t]->place.line() != place.line()) {
        broken("the threads of a block are at different sync_threads", place);
      }
      block.thread[t]->state = State::ready;
    }
  } else {
    wait();
  }
  acquire(order);
}

void open_copy(const Copy& copy) {
  Thread& me = thread_here();
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
  Thread& me = thread_here();
  for (; me.committed < me.opened; ++me.committed) me.group_of[me.committed] = me.groups;
  ++me.groups;
}

bool next_due(int open_groups, Copy& copy) {
  Thread& me = thread_here();
  if (me.done == me.committed || me.group_of[me.done] >= me.groups - open_groups) return false;
  copy = me.copies[me.done++];
  return true;
}

void pause(const char* why, const Place& place) {
  Thread& me = thread_here();
  me.place = place;
  me.why = why;
  me.state = State::paused;
  wait();
}

void resume(int thread) {
  Thread& it = *machine().block->thread[thread];
  if (it.state == State::paused) it.state = State::ready;
}

void pause_at(const void* flag, const Place& place) {
  thread_here().flag = flag;
  pause("waits for its turn", place);
}

void resume_at(const void* flag) {
  const Machine& m = machine();
  for (int slot = 0; slot < m.present; ++slot) {
    const Block& block = *m.blocks[slot];
    for (int t = 0; t < block.threads; ++t) {
      Thread& it = *block.thread[t];
      if (it.state == State::paused && it.flag == flag) it.state = State::ready, it.flag = nullptr;
    }
  }
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

}  // namespace pyprof::gpu::emulation
