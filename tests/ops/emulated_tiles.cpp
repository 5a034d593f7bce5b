// The host kernels for AMX with tiles that are emulated, beside those for AVX-512, which compute in float32: so that a
// CPU without AMX tests them too. Prints "all alike".
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

namespace emulated {
struct Tile {
  alignas(64) char bytes[16][64];
};
static Tile tiles[8];

static void load(int tile, const void* from, int64_t stride) {
  for (int row = 0; row < 16; ++row)
    std::memcpy(tiles[tile].bytes[row], static_cast<const char*>(from) + row * stride, 64);
}
static void store(int tile, void* to, int64_t stride) {
  for (int row = 0; row < 16; ++row) std::memcpy(static_cast<char*>(to) + row * stride, tiles[tile].bytes[row], 64);
}
static float element(const Tile& tile, int row, int column) {
  uint16_t half;
  std::memcpy(&half, tile.bytes[row] + column * 2, 2);
  const uint32_t bits = uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
static void multiply(int to, int left, int right) {
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 16; ++column) {
      float sum;
      char* const place = tiles[to].bytes[row] + column * 4;
      std::memcpy(&sum, place, 4);
      for (int k = 0; k < 32; ++k)
        sum += element(tiles[left], row, k) * element(tiles[right], k / 2, column * 2 + k % 2);
      std::memcpy(place, &sum, 4);
    }
}
}  // namespace emulated

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadd(tile, from, stride) emulated::load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated::store(tile, to, stride)
#define _tile_zero(tile) (emulated::tiles[tile] = {})
#define _tile_dpbf16ps(to, left, right) emulated::multiply(to, left, right)
#define _tile_storeconfig(to) std::memset(to, 0, 64)
#define _tile_loadconfig(from) static_cast<void>(from)
#define _tile_release() static_cast<void>(0)
#include "window_attention/cpu_amx.cpp"

namespace {
using namespace pyprof::window;

struct Case {
  int64_t batch, heads, key_heads, length, head_dim, left, right, keys;  // keys of the first sequence
  double scale, dropout_p;
};

float number(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

using Halves = std::vector<uint16_t>;

// Bits of numbers whose magnitudes are in [1/4, 1), or [1/2, 2) for those that are not as likely.
Halves numbers(size_t count) {
  Halves made(count);
  for (uint16_t& one : made) one = static_cast<uint16_t>((std::rand() % 2 << 15) + 0x3e80 + std::rand() % 0x100);
  return made;
}

struct Memory {
  void* start;
  explicit Memory(size_t bytes) : start(std::aligned_alloc(64, (bytes + 63) / 64 * 64)) {
    std::memset(start, 0xff, bytes);  // numbers that are none: what is read must have been written
  }
  ~Memory() { std::free(start); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
};

// Output, and gradients of query, key and value.
std::vector<Halves> run(const Kernels& kernels, const Case& c, const Halves& query, const Halves& key,
                        const Halves& value, const Halves& grad) {
  const uint64_t seed = 5;
  std::vector<int64_t> keys(c.batch, c.length);
  keys[0] = c.keys;
  const Strides many{c.heads * c.length * c.head_dim, c.length * c.head_dim, c.head_dim},
      few{c.key_heads * c.length * c.head_dim, c.length * c.head_dim, c.head_dim};
  const Problem problem{Type::bfloat16, c.batch,      c.heads,     c.key_heads,  c.length, c.head_dim, c.left,
                        c.right,        query.data(), key.data(),  value.data(), many,     few,        few,
                        keys.data(),    c.scale,      c.dropout_p, &seed,        0};
  std::vector<Halves> results{Halves(query.size()), Halves(query.size()), Halves(key.size()), Halves(key.size())};
  std::vector<float> lse(c.batch * c.heads * c.length);
  const Forward forward{results[0].data(), many, lse.data()};
  {
    const Memory scratch(kernels.forward_scratch(problem));
    for (int64_t head = 0; head < c.batch * c.heads; ++head)
      for (int64_t begin = 0; begin < c.length; begin += kForwardBlock)
        kernels.forward(problem, forward,
                        {head / c.heads, head % c.heads, begin, std::min(c.length, begin + kForwardBlock)},
                        scratch.start);
  }
  const Backward backward{grad.data(),
                          many,
                          nullptr,
                          results[0].data(),
                          many,
                          lse.data(),
                          results[1].data(),
                          results[2].data(),
                          results[3].data(),
                          many,
                          few,
                          few};
  const Memory scratch(kernels.backward_scratch(problem));
  for (int64_t batch = 0; batch < c.batch; ++batch)
    kernels.backward(problem, backward, {batch, 0, 0, c.length, {}, c.key_heads}, scratch.start);
  return results;
}

bool alike(const Case& c) {
  const size_t many = c.batch * c.heads * c.length * c.head_dim, few = many / c.heads * c.key_heads;
  const Halves query = numbers(many), key = numbers(few), value = numbers(few), grad = numbers(many);
  const auto mine = run(amx_kernels, c, query, key, value, grad),
             other = run(avx512_kernels, c, query, key, value, grad);
  bool all = true;
  for (size_t tensor = 0; tensor < mine.size(); ++tensor) {
    float largest = 0, error = 0;
    for (size_t i = 0; i < mine[tensor].size(); ++i) {
      const float a = number(mine[tensor][i]), b = number(other[tensor][i]);
      largest = std::max(largest, std::fabs(b));
      error = std::isfinite(a) && std::isfinite(b) ? std::max(error, std::fabs(a - b))
                                                   : std::numeric_limits<float>::infinity();
    }
    if (error <= largest / 64 && largest > 0) continue;
    std::printf("length %d, window %d and %d, tensor %d: error %g of %g\n", static_cast<int>(c.length),
                static_cast<int>(c.left), static_cast<int>(c.right), static_cast<int>(tensor), error, largest);
    all = false;
  }
  return all;
}
}  // namespace

int main() {
  const Case cases[] = {
      {1, 2, 2, 130, 64, 16, 16, 130, 0.125, 0},   {2, 4, 2, 97, 64, 3, 40, 38, 0.125, 0},
      {1, 2, 1, 200, 32, 9, 70, 200, -0.3, 0},     {1, 3, 1, 33, 96, 100, 100, 33, 0.1, 0},
      {1, 1, 1, 430, 256, 400, 390, 430, 0.1, 0},  {1, 1, 1, 333, 256, 100, 33, 333, 0.1, 0},
      {1, 2, 2, 150, 64, 21, 30, 150, 0.125, 0.4},
  };
  bool all = true;
  for (const Case& one : cases) all &= alike(one);
  std::puts(all ? "all alike" : "not all alike");
  return all ? 0 : 1;
}
