// What the warp functions compute, by the fragment layouts of the PTX ISA (sections "Matrix Fragments for mma.m16n8k16"
// and "ldmatrix"), and the 16-bit types.
#include <algorithm>
#include <vector>

#include "window_attention/gpu.h"

namespace pyprof::gpu::emulation {

namespace {

using Lanes = Slot* const (&)[kWarp];

float widen_float16_slowly(uint16_t bits) {
  const int sign = bits >> 15, exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float size = exponent == 31  ? (fraction ? std::nanf("") : INFINITY)
                     : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                     : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  return sign ? -size : size;
}

void shuffle(Lanes lanes) {
  for (int i = 0; i < kWarp; ++i) {
    const int other = i ^ lanes[i]->mask;
    if (other < 0 || other >= kWarp) broken("a shuffle's mask leaves the warp", Place::current());
    lanes[i]->result[0] = lanes[other]->value;
  }
}

// Eight rows of 16 bytes: a row takes one of eight places in the banks, and equal rows are served together.
int passes_of_rows(Lanes lanes, int first) {
  int rows_at[8] = {}, most = 1;
  for (int r = 0; r < 8; ++r) {
    const uintptr_t row = lanes[first + r]->address / 16;
    bool again = false;
    for (int before = 0; before < r; ++before) again = again || lanes[first + before]->address / 16 == row;
    if (!again) most = std::max(most, ++rows_at[row % 8]);
  }
  return most;
}

// Lane 8 * m + r has brought row r of matrix m: eight 16-bit elements.
void distribute(Lanes lanes, bool transposed) {
  const auto element = [&](int m, int row, int column) {
    return lanes[8 * m + row]->words[column / 2] >> (column % 2 * 16) & 0xffff;
  };
  for (int i = 0; i < kWarp; ++i) {
    const int row = i / 4, column = i % 4 * 2;
    for (int m = 0; m < 4; ++m) {
      const uint32_t low = transposed ? element(m, column, row) : element(m, row, column);
      const uint32_t high = transposed ? element(m, column + 1, row) : element(m, row, column + 1);
      lanes[i]->result[m] = low | high << 16;
    }
  }
  for (int m = 0; m < 4; ++m) {
    ++counters.matrix_loads;
    counters.matrix_conflicts += passes_of_rows(lanes, 8 * m) - 1;
  }
}

// The way back: lane 8 * m + r gets row r of matrix m.
void collect(Lanes lanes) {
  for (int i = 0; i < kWarp; ++i) {
    for (int part = 0; part < 4; ++part) lanes[i]->result[part] = lanes[i % 8 * 4 + part]->words[i / 8];
  }
  for (int m = 0; m < 4; ++m) {
    ++counters.matrix_loads;
    counters.matrix_conflicts += passes_of_rows(lanes, 8 * m) - 1;
  }
}

template <auto kWiden>
void multiply(Lanes lanes) {
  float a[16][16], b[8][16];  // a[row][k], b[column][k]
  for (int i = 0; i < kWarp; ++i) {
    const int group = i / 4, k = i % 4 * 2;
    const Slot& lane = *lanes[i];
    for (int r = 0; r < 4; ++r) {
      float* to = &a[group + r % 2 * 8][k + r / 2 * 8];
      to[0] = kWiden(static_cast<uint16_t>(lane.words[r])), to[1] = kWiden(static_cast<uint16_t>(lane.words[r] >> 16));
    }
    for (int r = 0; r < 2; ++r) {
      float* to = &b[group][k + r * 8];
      to[0] = kWiden(static_cast<uint16_t>(lane.b[r])), to[1] = kWiden(static_cast<uint16_t>(lane.b[r] >> 16));
    }
  }
  for (int i = 0; i < kWarp; ++i) {
    for (int r = 0; r < 4; ++r) {
      const int row = i / 4 + r / 2 * 8, column = i % 4 * 2 + r % 2;
      float sum = lanes[i]->d[r];
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[column][k];
      lanes[i]->d[r] = sum;
    }
  }
  ++counters.products;
}

}  // namespace

void compute(Slot* const (&lanes)[kWarp]) {
  switch (lanes[0]->operation) {
    case Operation::sync_warp:
      return;
    case Operation::shuffle:
      return shuffle(lanes);
    case Operation::load_matrices:
      return distribute(lanes, false);
    case Operation::load_matrices_transposed:
      return distribute(lanes, true);
    case Operation::store_matrices:
      return collect(lanes);
    case Operation::mma_float16:
      return multiply<widen_float16>(lanes);
    case Operation::mma_bfloat16:
      return multiply<widen_bfloat16>(lanes);
  }
}

float widen_float16(uint16_t bits) {
  static const std::vector<float>& table = *[] {
    auto* all = new std::vector<float>(65536);
    for (uint32_t i = 0; i < 65536; ++i) (*all)[i] = widen_float16_slowly(static_cast<uint16_t>(i));
    return all;
  }();
  return table[bits];
}

uint16_t round_float16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float size = std::fabs(value);
  if (std::isnan(value)) return 0x7fff;
  if (size >= 65520.0f) return sign | 0x7c00;
  // Steps are 2^-24 below the smallest normal number, and 2^-10 of the leading bit above.
  const int exponent = size < 0x1p-14f ? -14 : std::ilogb(size);
  const float steps = std::nearbyint(std::ldexp(size, 10 - exponent));  // up to 2048: then it carries by itself
  return static_cast<uint16_t>(sign | (static_cast<int>(steps) + (exponent + 14) * 1024));
}

float widen_bfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t round_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace pyprof::gpu::emulation
