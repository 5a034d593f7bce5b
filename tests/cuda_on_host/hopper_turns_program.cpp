// Small kernels of blocks that wait for one another, one a name on the command line, as in
// hopper_emulation_program.cpp.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "expect.h"
#include "window_attention/gpu_hopper.h"

namespace gpu = pyprof::gpu;

namespace {

constexpr int kItems = 7, kFloats = 64;

struct Params {
  float* sums;
  int *turn, *counter;
};

// What an item adds: its size makes every order of the additions give another sum.
float part_of(int item, int i) { return static_cast<float>(i + 1) * (item % 2 ? 1e7f : 0.37f) * (item % 3 ? 1 : -1); }

float* source() { return gpu::shared_memory<float>(); }
gpu::Barrier* barrier() { return reinterpret_cast<gpu::Barrier*>(gpu::shared_memory<unsigned char>(1024)); }

void fill(int item) {
  for (int i = gpu::thread(); i < kFloats; i += gpu::kWarp) gpu::write(source() + i, part_of(item, i));
}

struct Ways {
  bool wait = true, fence = true, fence_turn = true, fence_source = true, keep_source = true;
  bool release = true, acquire = true, backwards = false;
};

// Adds what an item has, when it is its turn.
void add_in_turn(const Params& p, int item, const Ways& ways) {
  fill(item);
  if (ways.fence_source) gpu::fence_async();
  gpu::sync_warp();
  if (gpu::thread() == 0) {
    const int turn = ways.backwards ? kItems - 1 - item : item;
    ways.acquire ? gpu::wait_until(p.turn, turn) : gpu::wait_unordered(p.turn, turn);
    if (ways.fence_turn) gpu::fence_async_global();
    if (item == 0) {
      gpu::store_bulk(p.sums, source(), kFloats * 4);
    } else {
      gpu::add_bulk(p.sums, source(), kFloats * 4);
    }
    gpu::bulk_commit();
    if (!ways.keep_source) gpu::write(source() + 5, 0.0f);
    if (ways.wait) gpu::bulk_wait();
    if (ways.fence) gpu::fence_async_global();
    ways.release ? gpu::publish(p.turn, turn + 1) : gpu::publish_unordered(p.turn, turn + 1);
  }
  gpu::sync_warp();
}

template <class Kernel>
std::vector<float> run(Kernel kernel, int items = kItems) {
  // Aligned as the device's memory is.
  std::vector<gpu::Float4> sums(kFloats / 4);
  int turn = 0, counter = 0;
  gpu::launch_persistent(+kernel, items, 1, gpu::kWarp, 2048, nullptr, Params{&sums[0].x, &turn, &counter});
  return {&sums[0].x, &sums[0].x + kFloats};
}

// Items are a block's own, one after another, as far apart as there are blocks.
template <Ways kWays>
void each_in_turn(const Params p) {
  for (int item = gpu::block().x; item < kItems; item += gpu::grid().x) add_in_turn(p, item, kWays);
}

void check_order(const std::vector<float>& sums) {
  for (int i = 0; i < kFloats; ++i) {
    float sum = part_of(0, i);
    for (int item = 1; item < kItems; ++item) sum += part_of(item, i);
    EXPECT(sums[i] == sum);
  }
}

// Blocks take the next item when they are ready for it: an item waits for items that somebody has taken before.
void taken_in_turn(const Params p) {
  int* const shared = gpu::shared_memory<int>(1032);
  for (;;) {
    if (gpu::thread() == 0) gpu::write(shared, gpu::take(p.counter));
    gpu::sync_warp();
    const int item = gpu::read(shared);
    gpu::sync_warp();
    if (item >= kItems) return;
    add_in_turn(p, item, {});
  }
}

void prepare() {
  if (gpu::thread() == 0) {
    gpu::barrier_init(barrier(), 1);
    gpu::barriers_visible();
  }
  gpu::sync_threads();
}

// A sum that was added up in global memory comes back in a line of bytes.
void line(const Params p) {
  prepare();
  add_in_turn(p, 0, {});
  if (gpu::thread() == 0) {
    gpu::barrier_expect(barrier(), kFloats * 4);
    gpu::copy_bulk(source() + kFloats, p.sums, kFloats * 4, barrier());
  }
  gpu::barrier_wait(barrier(), 0);
  for (int i = 0; i < kFloats; ++i) EXPECT(source()[kFloats + i] == part_of(0, i));
}

// Four matrices go to shared memory and come back as they were.
void matrices(const Params) {
  const auto there = [](int m, int row) { return gpu::shared_memory<unsigned char>() + 128 * row + 16 * m; };
  uint32_t r[4], back[4];
  for (int m = 0; m < 4; ++m) r[m] = m * 1000 + gpu::lane();
  gpu::store_matrices(there(gpu::lane() / 8, gpu::lane() % 8), r);
  gpu::sync_warp();
  for (int m = 0; m < 4; ++m) {
    const auto words = reinterpret_cast<const uint32_t*>(there(m, gpu::lane() / 4));
    EXPECT(words[gpu::lane() % 4] == r[m]);
  }
  gpu::load_matrices(back, there(gpu::lane() / 8, gpu::lane() % 8));
  for (int m = 0; m < 4; ++m) EXPECT(back[m] == r[m]);
}

// Both operands with their lines as the contraction, the second one 64 bytes from where its lines begin.
void by_columns(const Params) {
  auto* const raw = gpu::shared_memory<unsigned char>();
  unsigned char* const tile = raw + (-gpu::shared_address(raw) & (gpu::kSwizzle - 1));
  const auto value = [](int k, int column) { return static_cast<float>((k * 31 + column * 7) % 41 - 20); };
  for (int i = gpu::thread(); i < 16 * 32; i += gpu::kWarpgroup) {
    const int k = i / 32, pair = i % 32, chunk = pair / 4 ^ k % 8;
    gpu::write(reinterpret_cast<uint32_t*>(tile + k * 128 + chunk * 16 + pair % 4 * 4),
               gpu::pack<gpu::Float16>(value(k, 2 * pair), value(k, 2 * pair + 1)));
  }
  gpu::fence_async();
  gpu::sync_threads();
  float d[16];
  gpu::products_begin();
  gpu::product<gpu::Float16, 32>(d, gpu::columns_of(tile, 16), gpu::columns_of(tile + 64, 16), false);
  gpu::products_commit();
  gpu::products_wait<0>();
  for (int i = 0; i < 16; ++i) {
    const int row = gpu::thread() / 32 * 16 + gpu::lane() / 4 + i / 2 % 2 * 8,
              column = 32 + i / 4 * 8 + gpu::lane() % 4 * 2 + i % 2;
    float sum = 0;
    for (int k = 0; k < 16; ++k) sum += value(k, row) * value(k, column);
    EXPECT(d[i] == sum);
  }
}

template <Ways kWays>
void in_turn() {
  run(each_in_turn<kWays>);
}

const std::map<std::string, void (*)()> kAll = {
    {"in turn", [] { check_order(run(each_in_turn<Ways{}>)); }},
    {"taken in turn", [] { check_order(run(taken_in_turn)); }},
    {"line", [] { run(line, 1); }},
    {"matrices", [] { run(matrices, 1); }},
    {"by columns", [] { gpu::launch_persistent(by_columns, 1, 1, gpu::kWarpgroup, 4096, nullptr, Params{}); }},
    {"sums not waited for", in_turn<Ways{.wait = false}>},
    {"sums not shown", in_turn<Ways{.fence = false}>},
    {"turn not fenced", in_turn<Ways{.fence_turn = false}>},
    {"source not fenced", in_turn<Ways{.fence_source = false}>},
    {"source changes", in_turn<Ways{.keep_source = false}>},
    {"turn that never comes", in_turn<Ways{.backwards = true}>},
    {"turn without release", in_turn<Ways{.release = false}>},
    {"turn without acquire", in_turn<Ways{.acquire = false}>},
};

}  // namespace

int main(int arguments, char** argument) {
  const auto found = kAll.find(arguments > 1 ? argument[1] : "");
  if (found == kAll.end()) return 2;
  for (int i = 2; i < arguments; ++i) {
    const std::string word = argument[i];
    if (word == "--reversed") gpu::emulation::options.reversed = true;
    if (word.starts_with("--multiprocessors=")) gpu::emulation::multiprocessors = std::stoi(word.substr(18));
  }
  found->second();
  std::puts("held");
  return 0;
}
