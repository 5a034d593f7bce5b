// Runs a grid: makes blocks with their shared memory, starts them, and looks at what they leave behind.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "banks.h"
#include "block.h"

namespace pyprof::gpu::emulation {

namespace {

constexpr unsigned char kNan = 0xff;  // repeated, it is a NaN in every floating-point type
constexpr unsigned char kGuard = 0xa5;
constexpr size_t kGuardBytes = 256;

// Exactly the bytes that were asked for, so that AddressSanitizer sees the end.
unsigned char* map_shared(Block& block, size_t bytes) {
#if defined(PYPROF_TSAN)
  if (block.memory) munmap(block.memory, block.mapped);  // forgets who used it
  block.mapped = bytes + kOrders;
  void* memory = mmap(block.memory, block.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
#else
  size_t guard = kGuardBytes;
#if defined(PYPROF_ASAN)
  guard = 0;
#endif
  void* memory = nullptr;
  std::free(block.memory);
  if (posix_memalign(&memory, 128, bytes + guard) != 0) std::abort();
  std::memset(static_cast<char*>(memory) + bytes, kGuard, guard);
#endif
  block.memory = static_cast<unsigned char*>(memory);
  std::memset(block.memory, kNan, bytes);
  return block.memory;
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

void prepare(Block& block, const Here& at, int threads) {
  block.threads = threads;
  block.begun = false;
  while (block.thread.size() < static_cast<size_t>(threads)) {
    block.thread.push_back(std::make_unique<Thread>());
    block.fibres.push_back(std::make_unique<Fibre>(run_thread, nullptr));
  }
  block.here = at;
  block.here.shared = map_shared(block, at.shared_bytes);
  for (int t = 0; t < threads; ++t) {
    Thread& it = *block.thread[t];
    it.state = State::ready;
    it.place = {};
    it.flag = nullptr;
    it.block_syncs = it.warp_syncs = it.done = it.committed = it.opened = it.groups = it.groups_done = 0;
  }
  enter(block, 0);
  hooks.begin();
  release(kStart);
}

void finish(Block& block) {
  enter(block, 0);
  hooks.end();
  check_guard();
  if (options.count_conflicts) flush_accesses();
  ++block.started;
  ++counters.blocks;
}

}  // namespace

void run(Index3 grid, int threads, size_t shared_bytes, Body body, const void* kernel, const void* params,
         size_t shared_most, bool at_once) {
  Machine& m = machine();
  here = {0, 0, {0, 0, 0}, grid, nullptr, shared_bytes};
  const Place place = Place::current();
  if (threads <= 0 || threads > kThreadsMost || threads % kWarp != 0)
    broken("a block has a bad number of threads", place);
  if (shared_bytes > shared_most) broken("a block asks for more shared memory than there is", place);
  if (grid.x < 0 || grid.y < 0 || grid.z < 0 || grid.y > 65535 || grid.z > 65535) broken("a grid is too large", place);
  const int64_t blocks = int64_t{grid.x} * grid.y * grid.z;
  m.body = body, m.kernel = kernel, m.params = params, m.present = at_once ? static_cast<int>(blocks) : 1;
  while (m.blocks.size() < static_cast<size_t>(m.present)) m.blocks.push_back(std::make_unique<Block>());
  for (const auto& block : m.blocks) block->started = 0;
  for (int64_t first = 0; first < blocks; first += m.present) {
    for (int slot = 0; slot < m.present; ++slot) {
      const int64_t b = options.reversed ? blocks - 1 - first - slot : first + slot;
      const Index3 index{static_cast<int32_t>(b % grid.x), static_cast<int32_t>(b / grid.x % grid.y),
                         static_cast<int32_t>(b / grid.x / grid.y)};
      prepare(*m.blocks[slot], {0, slot, index, grid, nullptr, shared_bytes}, threads);
    }
    int thread = 0;
    m.block = m.blocks[0].get();
    Block& next = *next_block(thread);
    enter(next, thread);
    next.fibre_of(thread).switch_from(m.outside);
    for (int slot = 0; slot < m.present; ++slot) finish(*m.blocks[slot]);
  }
  acquire(kEnd);
}

}  // namespace pyprof::gpu::emulation
