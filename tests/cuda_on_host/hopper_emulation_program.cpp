// Small kernels that show what the emulation of Hopper does and what it finds, one a name on the command line. Each
// says "held", or is ended by the emulation or by a sanitizer.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "expect.h"
#include "window_attention/gpu_hopper.h"

namespace gpu = pyprof::gpu;

namespace {

constexpr int kRows = 64, kDeep = 64;

struct Params {
  gpu::TensorMap map;
  const uint16_t* data;
};

float value_at(int row, int column) { return static_cast<float>((row * 64 + column) * 7 % 61 - 30); }
float weight_at(int row, int k) { return static_cast<float>((row * 16 + k) * 11 % 53 - 26); }

// Two heads of 60 rows of 64 columns: a box of 64 rows goes past their end.
const std::vector<uint16_t>& tensor() {
  static const std::vector<uint16_t> all = [] {
    std::vector<uint16_t> made(2 * 60 * 64);
    for (int i = 0; i < 2 * 60 * 64; ++i) {
      made[i] = gpu::from_float<gpu::Bfloat16>(value_at(i / 64 % 60, i % 64) * (i < 60 * 64 ? 1 : -1)).bits;
    }
    return made;
  }();
  return all;
}

unsigned char* aligned() {
  auto* raw = gpu::shared_memory<unsigned char>();
  return raw + (-gpu::shared_address(raw) & (gpu::kSwizzle - 1));
}
gpu::Barrier* barrier(int i = 0) { return reinterpret_cast<gpu::Barrier*>(aligned() + 2 * 8192) + i; }

void prepare(int count = 1) {
  if (gpu::thread() == 0) {
    for (int i = 0; i < 4; ++i) gpu::barrier_init(barrier(i), count);
    gpu::barriers_visible();
  }
  gpu::sync_threads();
}

void fetch(const Params& p, unsigned char* to, int head, gpu::Barrier* at = barrier()) {
  if (gpu::thread() != 0) return;
  gpu::barrier_expect(at, 8192);
  gpu::copy_box(to, p.map, at, 0, 0, head, 0);
}

// The first head's tile is there.
void load(const Params& p) {
  prepare();
  fetch(p, aligned(), 0);
  gpu::barrier_wait(barrier(), 0);
}

// A product of the tile with itself, over 16 elements, to be waited for.
void issue(float (&d)[32]) {
  gpu::products_begin();
  gpu::product<gpu::Bfloat16, 64>(d, gpu::rows_of(aligned()), gpu::rows_of(aligned()), false);
  gpu::products_commit();
}

void run(void (*kernel)(Params), int threads = gpu::kWarpgroup, int items = 1) {
  const gpu::TensorMap map =
      gpu::tensor_map<gpu::Bfloat16>(tensor().data(), 1, 2, 60, 64, {2 * 60 * 64, 60 * 64, 64}, kRows);
  gpu::launch_persistent(kernel, items, 1, threads, 20 * 1024, nullptr, Params{map, tensor().data()});
}

float expected(int row, int column, int head = 0) { return row < 60 ? (head ? -1 : 1) * value_at(row, column) : 0.0f; }

void box(const Params p) {
  prepare();
  fetch(p, aligned(), 1);
  gpu::barrier_wait(barrier(), 0);
  for (int i = gpu::thread(); i < kRows * 64; i += gpu::kWarpgroup) {
    const int row = i / 64, column = i % 64, chunk = column / 8 ^ row % 8;
    const auto bits = *reinterpret_cast<const uint16_t*>(aligned() + row * 128 + chunk * 16 + column % 8 * 2);
    EXPECT(gpu::to_float(gpu::Bfloat16{bits}) == expected(row, column, 1));
  }
}

int row_of(int i) { return gpu::thread() / 32 % 4 * 16 + gpu::lane() / 4 + i / 2 % 2 * 8; }
int column_of(int i) { return i / 4 * 8 + gpu::lane() % 4 * 2 + i % 2; }

// Both operands with their lines as rows: a product of the tile with itself.
void rows(const Params p) {
  load(p);
  float d[32];
  gpu::products_begin();
  for (int k = 0; k < kDeep / 16; ++k) {
    gpu::product<gpu::Bfloat16, 64>(d, gpu::rows_of(aligned(), k * 16), gpu::rows_of(aligned(), k * 16), k > 0);
  }
  gpu::products_commit();
  gpu::products_wait<0>();
  for (int i = 0; i < 32; ++i) {
    float sum = 0;
    for (int k = 0; k < kDeep; ++k) sum += expected(row_of(i), k) * expected(column_of(i), k);
    EXPECT(d[i] == sum);
  }
}

// Lines are the contraction's: 16 weights in registers times 16 lines, added to what was there.
void columns(const Params p) {
  load(p);
  float d[32];
  uint32_t a[4];
  for (int i = 0; i < 32; ++i) d[i] = static_cast<float>(i);
  for (int r = 0; r < 4; ++r) {
    const int row = row_of(0) + r % 2 * 8, k = gpu::lane() % 4 * 2 + r / 2 * 8;
    a[r] = gpu::pack<gpu::Bfloat16>(weight_at(row, k), weight_at(row, k + 1));
  }
  gpu::products_begin();
  gpu::product<gpu::Bfloat16, 64>(d, a, gpu::columns_of(aligned() + 16 * 128, 8192), true);
  gpu::products_commit();
  gpu::products_wait<0>();
  for (int i = 0; i < 32; ++i) {
    float sum = static_cast<float>(i);
    for (int k = 0; k < 16; ++k) sum += weight_at(row_of(i), k) * expected(16 + k, column_of(i));
    EXPECT(d[i] == sum);
  }
}

void result_too_early(const Params p) {
  load(p);
  float d[32];
  issue(d);
  for (int i = 0; i < 32; ++i) EXPECT(std::bit_cast<uint32_t>(d[i]) == gpu::emulation::poison());
  gpu::products_wait<0>();
  for (int i = 0; i < 32; ++i) EXPECT(std::fabs(d[i]) < 1e6f);
}

void bytes_too_early(const Params p) {
  prepare();
  fetch(p, aligned(), 0);
  gpu::sync_threads();
  EXPECT(std::isnan(*reinterpret_cast<const float*>(aligned() + 128 * gpu::lane())));
  gpu::barrier_wait(barrier(), 0);
  EXPECT(!std::isnan(*reinterpret_cast<const float*>(aligned() + 128 * gpu::lane())));
}

// Phases go on and on; whoever waits for one that has ended does not wait.
void phases(const Params) {
  prepare(gpu::kWarpgroup);
  gpu::barrier_wait(barrier(), 1);
  for (uint32_t i = 0; i < 5; ++i) {
    gpu::barrier_arrive(barrier());
    gpu::barrier_wait(barrier(), i & 1);
  }
}

void named(const Params) {
  auto* words = gpu::shared_memory<uint32_t>();
  const int group = gpu::thread() / 64;
  words[gpu::thread()] = gpu::thread();
  gpu::named_sync(1 + group, 64);
  EXPECT(words[group * 64 + 63 - gpu::thread() % 64] == static_cast<uint32_t>(group * 64 + 63 - gpu::thread() % 64));
}

int seen_items = 0;
void persistent(const Params) {
  for (int item = gpu::block().x; item < 5; item += gpu::grid().x) seen_items += gpu::thread() == 0;
}

// What breaks a rule.
void operand_changes(const Params p) {
  load(p);
  float d[32];
  issue(d);
  fetch(p, aligned(), 1, barrier(1));
  gpu::products_wait<0>();
  gpu::barrier_wait(barrier(1), 0);
}

void without_fence(const Params p, bool fenced) {
  load(p);
  gpu::write(reinterpret_cast<uint32_t*>(aligned() + 128 * (gpu::thread() % 64) + gpu::thread() / 64 * 4), 0u);
  if (fenced) gpu::fence_async();
  gpu::sync_threads();
  float d[32];
  issue(d);
  gpu::products_wait<0>();
}

void not_begun(const Params) {
  float d[32];
  gpu::product<gpu::Bfloat16, 64>(d, gpu::rows_of(aligned()), gpu::rows_of(aligned()), false);
}

void not_waited(const Params p) {
  load(p);
  static float d[gpu::kWarpgroup][32];
  gpu::products_begin();
  gpu::product<gpu::Bfloat16, 64>(d[gpu::thread()], gpu::rows_of(aligned()), gpu::rows_of(aligned()), false);
  gpu::products_commit();
}

void half_a_group(const Params) {
  float d[32];
  gpu::products_begin();
  if (gpu::thread() < 64) gpu::product<gpu::Bfloat16, 64>(d, gpu::rows_of(aligned()), gpu::rows_of(aligned()), false);
}

void wrong_phase(const Params p) {
  load(p);
  gpu::barrier_wait(barrier(), 1);
}

void nobody_brings(const Params) {
  prepare();
  if (gpu::thread() == 0) gpu::barrier_expect(barrier(), 16);
  gpu::barrier_wait(barrier(), 0);
}

void too_many(const Params) {
  prepare();
  if (gpu::thread() > 0) return;
  gpu::barrier_expect(barrier(), 16);
  gpu::barrier_arrive(barrier());
}

void not_visible(const Params p) {
  if (gpu::thread() == 0) {
    gpu::barrier_init(barrier(), 1);
    fetch(p, aligned(), 0);
  }
}

void left_alone(const Params p) {
  prepare();
  fetch(p, aligned(), 0);
}

void not_initialised(const Params) { gpu::barrier_arrive(barrier()); }

void named_by_too_few(const Params) {
  if (gpu::warp() == 0) gpu::named_sync(1, 64);
}

// Races, which ThreadSanitizer finds: a slot is filled again while another thread reads it.
void refilled(const Params p, bool waits) {
  prepare();
  if (gpu::thread() == 0) gpu::barrier_init(barrier(4), 96), gpu::barriers_visible();
  gpu::sync_threads();
  fetch(p, aligned(), 0);
  gpu::barrier_wait(barrier(), 0);
  if (gpu::warp() > 0) {
    const uint32_t word = *reinterpret_cast<const volatile uint32_t*>(aligned() + 128 * (gpu::thread() % 64));
    gpu::barrier_arrive(barrier(4));
    EXPECT(word == word);
  } else {
    if (waits) gpu::barrier_wait(barrier(4), 0);
    fetch(p, aligned(), 1, barrier(1));
    gpu::barrier_wait(barrier(1), 0);
  }
}

const std::map<std::string, void (*)()> kAll = {
    {"box", [] { run(box); }},
    {"rows", [] { run(rows); }},
    {"columns", [] { run(columns); }},
    {"result too early", [] { run(result_too_early); }},
    {"bytes too early", [] { run(bytes_too_early); }},
    {"phases", [] { run(phases); }},
    {"named", [] { run(named); }},
    {"persistent",
     [] {
       run(persistent, gpu::kWarpgroup, 5);
       EXPECT(seen_items == 5);
     }},
    {"fenced", [] { run([](Params p) { without_fence(p, true); }); }},
    {"refilled in time", [] { run([](Params p) { refilled(p, true); }); }},
    {"operand changes", [] { run(operand_changes); }},
    {"without fence", [] { run([](Params p) { without_fence(p, false); }); }},
    {"not begun", [] { run(not_begun); }},
    {"not waited", [] { run(not_waited); }},
    {"half a group", [] { run(half_a_group); }},
    {"wrong phase", [] { run(wrong_phase); }},
    {"nobody brings", [] { run(nobody_brings); }},
    {"too many", [] { run(too_many); }},
    {"not visible", [] { run(not_visible); }},
    {"left alone", [] { run(left_alone); }},
    {"not initialised", [] { run(not_initialised); }},
    {"named by too few", [] { run(named_by_too_few); }},
    {"refilled too early", [] { run([](Params p) { refilled(p, false); }); }},
};

}  // namespace

int main(int arguments, char** argument) {
  const auto found = kAll.find(arguments > 1 ? argument[1] : "");
  if (found == kAll.end()) return 2;
  for (int i = 2; i < arguments; ++i) gpu::emulation::options.reversed = std::string(argument[i]) == "--reversed";
  found->second();
  std::puts("held");
  return 0;
}
