// Small kernels that show what the emulation does and what it finds, one a name on the command line. Each says "held",
// or is ended by the emulation or by a sanitizer.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "expect.h"
#include "window_attention/gpu.h"

namespace gpu = pyprof::gpu;

namespace {

struct Params {
  const uint32_t* in = nullptr;
  uint32_t* out = nullptr;
};

void run(void (*kernel)(Params), int threads, size_t shared_bytes, const Params& params = {}, int blocks = 1) {
  gpu::launch(kernel, {blocks, 1, 1}, threads, shared_bytes, nullptr, params);
}

uint32_t* words() { return gpu::shared_memory<uint32_t>(); }
bool is_nan(uint32_t bits) { return std::isnan(std::bit_cast<float>(bits)); }

// Fragments by the formulas of the PTX ISA, which number the elements i of a lane's fragment: for A there are eight,
// for B four, for C and D four.
struct Cell {
  int row, column;
};
Cell cell_of_a(int lane, int i) {
  const int group = lane >> 2, in_group = lane % 4;
  return {(i < 2 || (4 <= i && i < 6)) ? group : group + 8,
          i < 4 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8};
}
Cell cell_of_b(int lane, int i) { return {i < 2 ? lane % 4 * 2 + (i & 1) : lane % 4 * 2 + (i & 1) + 8, lane >> 2}; }
Cell cell_of_c(int lane, int i) { return {i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)}; }

// Small whole numbers, so that every sum is exact, without any symmetry that could hide two that changed places.
float a_at(Cell c) { return static_cast<float>((c.row * 16 + c.column) * 7 % 61 - 30); }
float b_at(Cell c) { return static_cast<float>((c.row * 8 + c.column) * 11 % 53 - 26); }
float c_at(Cell c) { return static_cast<float>((c.row * 8 + c.column) * 5 % 37); }

template <class T>
void product(const Params) {
  const int lane = gpu::lane();
  uint32_t a[4], b[2];
  float d[4];
  for (int r = 0; r < 4; ++r) a[r] = gpu::pack<T>(a_at(cell_of_a(lane, 2 * r)), a_at(cell_of_a(lane, 2 * r + 1)));
  for (int r = 0; r < 2; ++r) b[r] = gpu::pack<T>(b_at(cell_of_b(lane, 2 * r)), b_at(cell_of_b(lane, 2 * r + 1)));
  for (int i = 0; i < 4; ++i) d[i] = c_at(cell_of_c(lane, i));
  gpu::mma<T>(d, a, b);
  for (int i = 0; i < 4; ++i) {
    const Cell at = cell_of_c(lane, i);
    float sum = c_at(at);
    for (int k = 0; k < 16; ++k) sum += a_at({at.row, k}) * b_at({k, at.column});
    EXPECT(d[i] == sum);
  }
}

void matrices(const Params) {
  auto* elements = gpu::shared_memory<uint16_t>();
  const int lane = gpu::lane();
  for (int i = lane; i < 256; i += 32) elements[i] = static_cast<uint16_t>(i);  // row i / 8, column i % 8
  gpu::sync_warp();
  uint32_t straight[4], transposed[4];
  gpu::load_matrices(straight, elements + lane * 8);
  gpu::load_matrices_transposed(transposed, elements + lane * 8);
  for (int m = 0; m < 4; ++m) {
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4, column = lane % 4 * 2 + half;
      EXPECT((straight[m] >> 16 * half & 0xffff) == static_cast<uint32_t>(m * 64 + row * 8 + column));
      EXPECT((transposed[m] >> 16 * half & 0xffff) == static_cast<uint32_t>(m * 64 + column * 8 + row));
    }
  }
}

void conversions() {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float wide = gpu::to_float(gpu::Float16{half});
    if (!std::isnan(wide)) EXPECT(gpu::from_float<gpu::Float16>(wide).bits == half);
    const float wider = gpu::to_float(gpu::Bfloat16{half});
    if (!std::isnan(wider)) EXPECT(gpu::from_float<gpu::Bfloat16>(wider).bits == half);
  }
  const std::map<float, uint16_t> halves = {{1.0f, 0x3c00},
                                            {-2.0f, 0xc000},
                                            {65504.0f, 0x7bff},
                                            {65519.0f, 0x7bff},
                                            {65520.0f, 0x7c00},
                                            {0x1p-24f, 0x0001},
                                            {0x1p-25f, 0x0000},
                                            {0x3p-25f, 0x0002},
                                            {1.0f + 0x1p-11f, 0x3c00},
                                            {1.0f + 0x3p-11f, 0x3c02},
                                            {0x1.ff8p-15f, 0x03ff},
                                            {0x1.ffcp-15f, 0x0400}};
  for (const auto& [value, bits] : halves) EXPECT(gpu::from_float<gpu::Float16>(value).bits == bits);
  const std::map<float, uint16_t> bfloats = {
      {1.0f, 0x3f80}, {1.0f + 0x1p-8f, 0x3f80}, {1.0f + 0x3p-8f, 0x3f82}, {-INFINITY, 0xff80}, {0x1.fffp127f, 0x7f80}};
  for (const auto& [value, bits] : bfloats) EXPECT(gpu::from_float<gpu::Bfloat16>(value).bits == bits);
  EXPECT(std::isnan(gpu::to_float(gpu::from_float<gpu::Float16>(NAN))));
  EXPECT(std::isnan(gpu::to_float(gpu::from_float<gpu::Bfloat16>(NAN))));
  EXPECT(gpu::pack<gpu::Float16>(1.0f, -2.0f) == 0xc0003c00u);
  float low, high;
  gpu::unpack<gpu::Bfloat16>(0xc0003f80u, low, high);
  EXPECT(low == 1.0f && high == -2.0f);
  EXPECT(gpu::exp2(-INFINITY) == 0.0f && gpu::log2(0.0f) == -INFINITY && gpu::exp2(-140.0f) == 0.0f);
}

void shuffles(const Params) {
  for (const int mask : {1, 2, 4, 8, 16, 31}) {
    EXPECT(gpu::shuffle_xor(gpu::lane(), mask) == (gpu::lane() ^ mask));
    EXPECT(gpu::shuffle_xor(0.5f * static_cast<float>(gpu::lane()), mask) ==
           0.5f * static_cast<float>(gpu::lane() ^ mask));
  }
  EXPECT(gpu::any(gpu::lane() == 7) && !gpu::any(false));
}

void fresh(const Params) {
  for (int i = gpu::thread(); i < 1024; i += 64) EXPECT(is_nan(words()[i]));
  gpu::sync_threads();
  for (int i = gpu::thread(); i < 1024; i += 64) words()[i] = 0;
}

bool is_lost(uint32_t word) { return word == gpu::emulation::poison(); }

void deferred(const Params params) {
  uint32_t* mine = words() + 12 * gpu::thread();
  for (int i = 0; i < 12; ++i) mine[i] = 5;
  gpu::copy_async(mine, params.in);
  gpu::copy_commit();
  gpu::copy_async(mine + 4, params.in + 4);
  gpu::copy_async(mine + 8, nullptr, false);
  gpu::copy_commit();
  for (int i = 0; i < 12; ++i) EXPECT(is_lost(mine[i]));
  gpu::copy_wait<2>();
  EXPECT(is_lost(mine[0]));
  gpu::copy_wait<1>();
  EXPECT(mine[0] == 1 && mine[3] == 4 && is_lost(mine[4]) && is_lost(mine[8]));
  gpu::copy_wait<0>();
  EXPECT(mine[4] == 5 && mine[7] == 8 && mine[8] == 0 && mine[11] == 0);
}

void unwaited(const Params params) {
  gpu::copy_async(words() + 4 * gpu::thread(), params.in);
  gpu::copy_commit();
}

void uncommitted(const Params params) {
  gpu::copy_async(words() + 4 * gpu::thread(), params.in);
  gpu::copy_wait<0>();
}

void misaligned(const Params params) {
  gpu::copy_async(words() + 4 * gpu::thread() + 1, params.in);
  gpu::copy_wait<0>();
}

void half_a_block(const Params) {
  if (gpu::warp() == 0) gpu::sync_threads();
}

void half_a_warp(const Params) {
  if (gpu::lane() < 16) gpu::shuffle_xor(1.0f, 1);
}

void two_places(const Params) {
  if (gpu::warp() == 0) {
    gpu::sync_threads();
  } else {
    gpu::sync_threads();
  }
}

void two_functions(const Params) {
  if (gpu::lane() < 16) {
    gpu::shuffle_xor(1.0f, 1);
  } else {
    gpu::sync_warp();
  }
}

void past_the_end(const Params) { words()[32 + gpu::thread()] = 0; }  // of 128 bytes

void order(const Params params) {
  uint32_t* next = params.out;
  params.out[1 + (*next)++] = static_cast<uint32_t>(gpu::block().x * 32 + gpu::thread());
}

// Accesses whose bank conflicts are known, each by a warp of its own.
template <int kStride>  // in bytes, from lane to lane
void matrix_rows(const Params) {
  uint32_t r[4];
  gpu::load_matrices(r, gpu::shared_memory<unsigned char>(gpu::lane() * kStride));
}

template <class V, int kStride>
void accesses(const Params) {
  gpu::write(gpu::shared_memory<V>(gpu::lane() * kStride), V{});
}

// After a warp function the lanes run on in another order, which must not change what is counted.
void accesses_after_a_shuffle(const Params) {
  gpu::shuffle_xor(1.0f, 1);
  gpu::write(gpu::shared_memory<gpu::Float4>(gpu::lane() * 16), gpu::Float4{});
}

void conflicts() {
  const auto count = [](void (*kernel)(Params)) {
    gpu::emulation::counters = {};
    gpu::emulation::options.count_conflicts = true;
    run(kernel, 32, 32 * 256);
    return gpu::emulation::counters.matrix_conflicts + gpu::emulation::counters.conflicts;
  };
  EXPECT(count(matrix_rows<16>) == 0);
  EXPECT(count(matrix_rows<128>) == 4 * 7);  // all eight rows of each matrix in the same four banks
  EXPECT(count(matrix_rows<144>) == 0);
  EXPECT(count(matrix_rows<64>) == 4 * 3);
  EXPECT(count(matrix_rows<0>) == 0);
  EXPECT((count(accesses<float, 4>) == 0));
  EXPECT((count(accesses<float, 8>) == 1));
  EXPECT((count(accesses<float, 128>) == 31));
  EXPECT((count(accesses<float, 0>) == 0));
  EXPECT((count(accesses<gpu::Float2, 8>) == 0));
  EXPECT((count(accesses<gpu::Float2, 128>) == 2 * 15));
  EXPECT((count(accesses<gpu::Float4, 16>) == 0));
  EXPECT(count(accesses_after_a_shuffle) == 0);
  EXPECT((count(accesses<gpu::Float4, 32>) == 4 * 1));
  EXPECT((count(accesses<gpu::Float4, 128>) == 4 * 7));
  EXPECT(gpu::emulation::counters.accesses == 1);
}

// For ThreadSanitizer: who reads what another thread writes, and what stands between.
enum class Between { nothing, shuffle, sync_warp, sync_threads };

template <Between kBetween, int kDistance>
void neighbours(const Params) {
  words()[gpu::thread()] = static_cast<uint32_t>(gpu::thread());
  if (kBetween == Between::shuffle) gpu::shuffle_xor(1.0f, 1);
  if (kBetween == Between::sync_warp) gpu::sync_warp();
  if (kBetween == Between::sync_threads) gpu::sync_threads();
  EXPECT(words()[gpu::thread() ^ kDistance] != 77);
}

template <bool kSync>
void refilled(const Params params) {
  uint32_t* mine = words() + 4 * gpu::thread();
  gpu::copy_async(mine, params.in);
  gpu::copy_commit();
  gpu::copy_wait<0>();
  gpu::sync_threads();
  const uint32_t seen = words()[(4 * gpu::thread() + 128) % 256];
  EXPECT(seen != 77);
  if (kSync) gpu::sync_threads();
  gpu::copy_async(mine, params.in);
  gpu::copy_commit();
  gpu::sync_threads();
  gpu::copy_wait<0>();
}

void one_output(const Params params) {
  if (gpu::thread() == 0) *params.out = 1;
}

void own_output(const Params params) {
  for (int round = 0; round < 3; ++round) gpu::sync_threads();
  params.out[gpu::block().x * 64 + gpu::thread()] = 1;
}

std::map<std::string, std::function<void()>> scenarios() {
  static std::vector<uint32_t> given = {1, 2, 3, 4, 5, 6, 7, 8};
  static std::vector<uint32_t> taken(64 * 50);
  static void* aligned = std::aligned_alloc(64, 64);
  std::memcpy(aligned, given.data(), 32);
  static const Params params = {static_cast<const uint32_t*>(aligned), taken.data()};
  return {
      {"products", [] { run(product<gpu::Float16>, 32, 0), run(product<gpu::Bfloat16>, 64, 0); }},
      {"matrices", [] { run(matrices, 32, 512); }},
      {"conversions", conversions},
      {"shuffles", [] { run(shuffles, 128, 0); }},
      {"fresh", [] { run(fresh, 64, 4096, {}, 3); }},
      {"deferred", [] { run(deferred, 32, 32 * 48, params); }},
      {"conflicts", conflicts},
      {"order",
       [] {
         run(order, 32, 0, params, 2);
         for (uint32_t i = 0; i < 64; ++i) EXPECT(taken[1 + i] == (gpu::emulation::options.reversed ? 63 - i : i));
       }},
      {"unwaited", [] { run(unwaited, 32, 512, params); }},
      {"uncommitted", [] { run(uncommitted, 32, 512, params); }},
      {"misaligned", [] { run(misaligned, 32, 1024, params); }},
      {"half a block", [] { run(half_a_block, 64, 0); }},
      {"half a warp", [] { run(half_a_warp, 32, 0); }},
      {"two places", [] { run(two_places, 64, 0); }},
      {"two functions", [] { run(two_functions, 32, 0); }},
      {"past the end", [] { run(past_the_end, 32, 128); }},
      {"too much shared memory", [] { run(shuffles, 32, 200 * 1024); }},
      {"race", [] { run(neighbours<Between::nothing, 1>, 32, 1024); }},
      {"race across a shuffle", [] { run(neighbours<Between::shuffle, 1>, 32, 1024); }},
      {"race of warps", [] { run(neighbours<Between::sync_warp, 32>, 64, 1024); }},
      {"ordered in a warp", [] { run(neighbours<Between::sync_warp, 1>, 64, 1024); }},
      {"ordered in a block", [] { run(neighbours<Between::sync_threads, 33>, 64, 1024, {}, 5); }},
      {"refilled too early", [] { run(refilled<false>, 64, 1024, params); }},
      {"refilled in time", [] { run(refilled<true>, 64, 1024, params, 2); }},
      {"two blocks at one place", [] { run(one_output, 32, 0, params, 2); }},
      {"two blocks at their places",
       [] {
         run(own_output, 64, 128, params, 50);
         run(own_output, 64, 128, params, 50);
         for (const uint32_t value : taken) EXPECT(value == 1);
       }},
  };
}

}  // namespace

int main(int arguments, char** argument) {
  const auto all = scenarios();
  if (arguments < 2 || !all.contains(argument[1])) return 2;
  gpu::emulation::options.reversed = arguments > 2 && std::string(argument[2]) == "--reversed";
  all.at(argument[1])();
  std::printf("held\n");
  return 0;
}
