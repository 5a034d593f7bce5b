// What the plain float32 kernels share: who computes what, tiles in shared memory, the band, dropout.
//
// A block has 32 rows, four lanes (a quad) to each; rows are queries (forward, gradient of the query) or keys
// (gradients of key and value). A lane holds every fourth chunk of four elements of its row, so that a quad reads 64
// neighbouring bytes of a column's row at once and a dot product ends with two shuffles. The other side, the columns,
// comes through shared memory 32 at a time, and only those that some row of the block sees.
#pragma once

#include "gpu.h"
#include "mutant.h"
#include "window.h"

namespace pyprof::window::plain_kernels {

inline constexpr int kThreads = 128;
inline constexpr int kQuad = 4;
inline constexpr int kRows = kThreads / kQuad;  // of a block
inline constexpr int kColumns = 32;             // of a tile; a multiple of 4, as dropout draws for four keys at once
inline constexpr int kGroup = 16;               // columns whose scores are held at once
inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;
inline constexpr float kInfinity = __builtin_huge_valf();

// Blocks that must fit on one multiprocessor, which bounds the registers of a thread to 128, 168 and 255. Without a
// number the compiler picks one, and has spilled a few registers to reach it.
template <int D>
inline constexpr int kBlocks = D == 32   ? 4
                               : D == 64 ? 3
                                         : 2;

struct Params {
  Problem problem;
  Forward forward;    // of the forward kernel
  Backward backward;  // of the two others
  Dropout dropout;    // without its seed, see dropout_of
  int64_t tiles;      // of kRows rows in the length
};

// Two matrices of kColumns rows, and two numbers for each.
template <int D>
inline constexpr size_t kSharedBytes = (2 * kColumns * D + 2 * kColumns) * sizeof(float);

PYPROF_DEVICE float dot(const gpu::Float4& a, const gpu::Float4& b, float sum) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

PYPROF_DEVICE void add(gpu::Float4& sum, float factor, const gpu::Float4& value) {
  sum = {fmaf(factor, value.x, sum.x), fmaf(factor, value.y, sum.y), fmaf(factor, value.z, sum.z),
         fmaf(factor, value.w, sum.w)};
}

PYPROF_DEVICE float sum_of_quad(float value) {
  value += gpu::shuffle_xor(value, 1);
  return value + gpu::shuffle_xor(value, 2);
}

// The rows of one head of a tensor. They need not be aligned to more than an element.
struct Matrix {
  float* data;
  int64_t stride;
  bool aligned;

  PYPROF_DEVICE Matrix(const void* tensor, const Strides& strides, int64_t batch, int64_t head)
      : data(static_cast<float*>(const_cast<void*>(tensor)) + batch * strides.batch + head * strides.head),
        stride(strides.row),
        aligned((reinterpret_cast<uintptr_t>(data) | static_cast<uintptr_t>(stride * sizeof(float))) % 16 == 0) {}

  PYPROF_DEVICE gpu::Float4 get(int64_t row, int chunk) const {
    const float* from = data + row * stride + chunk * 4;
    if (aligned) return gpu::read(reinterpret_cast<const gpu::Float4*>(from));
    return {from[0], from[1], from[2], from[3]};
  }

  PYPROF_DEVICE void put(int64_t row, int chunk, const gpu::Float4& value) const {
    float* to = data + row * stride + chunk * 4;
    if (aligned) return gpu::write(reinterpret_cast<gpu::Float4*>(to), value);
    to[0] = value.x, to[1] = value.y, to[2] = value.z, to[3] = value.w;
  }
};

// This lane's share of one row: chunks quad_lane, quad_lane + 4, ...
template <int D>
struct Share {
  static constexpr int kChunks = D / 4 / kQuad;
  gpu::Float4 chunk[kChunks];

  PYPROF_DEVICE static int place(int n) { return n * kQuad + gpu::lane() % kQuad; }

  PYPROF_DEVICE void clear() {
    PYPROF_UNROLL
    for (int n = 0; n < kChunks; ++n) chunk[n] = {0.0f, 0.0f, 0.0f, 0.0f};
  }

  PYPROF_DEVICE void load(const Matrix& matrix, int64_t row, bool valid) {
    clear();
    if (!valid) return;
    PYPROF_UNROLL
    for (int n = 0; n < kChunks; ++n) chunk[n] = matrix.get(row, place(n));
  }

  PYPROF_DEVICE void store(const Matrix& matrix, int64_t row, bool valid, float factor) const {
    if (!valid) return;
    PYPROF_UNROLL
    for (int n = 0; n < kChunks; ++n) {
      const gpu::Float4& c = chunk[n];
      matrix.put(row, place(n), {c.x * factor, c.y * factor, c.z * factor, c.w * factor});
    }
  }

  // With a row in shared memory; the same result in all lanes of the quad.
  PYPROF_DEVICE float dot_with(const gpu::Float4* row) const {
    float sum = 0.0f;
    PYPROF_UNROLL
    for (int n = 0; n < kChunks; ++n) sum = dot(chunk[n], gpu::read(row + place(n)), sum);
    return sum_of_quad(sum);
  }

  // Where it is not seen, nothing: a factor of 0 would not do, which times NaN or infinity is NaN.
  PYPROF_DEVICE void add_row(float factor, const gpu::Float4* row, bool seen) {
    PYPROF_UNROLL
    for (int n = 0; n < kChunks; ++n) {
      const gpu::Float4 other = gpu::read(row + place(n));
      if (seen) add(chunk[n], factor, other);
    }
  }

  PYPROF_DEVICE void multiply(float factor) {
    PYPROF_UNROLL
    for (int n = 0; n < kChunks; ++n) {
      chunk[n] = {chunk[n].x * factor, chunk[n].y * factor, chunk[n].z * factor, chunk[n].w * factor};
    }
  }
};

// Where a block is: which rows of which head.
struct Place {
  int64_t first, batch, head;

  PYPROF_DEVICE Place(const Params& params, int64_t heads)
      : first(gpu::block().x % params.tiles * kRows),
        batch(gpu::block().x / params.tiles / heads),
        head(gpu::block().x / params.tiles % heads) {}

  PYPROF_DEVICE int64_t row() const { return first + gpu::thread() / kQuad; }  // may lie beyond the length
};

PYPROF_DEVICE int64_t keys_of(const Problem& problem, int64_t batch) {
  const int64_t keys = problem.key_lengths ? problem.key_lengths[batch] : problem.length;
  return keys < 0 ? 0 : PYPROF_MUTANT(more_keys_than_there_are, keys < problem.length, true) ? keys : problem.length;
}

// The columns first, first + 1, ... of two matrices, in shared memory; zeros from `end` on, as what lies there must not
// be read and must not spoil a sum.
template <int D>
struct Tile {
  static constexpr int kChunks = D / 4;

  PYPROF_DEVICE static gpu::Float4* one(int column) { return gpu::shared_memory<gpu::Float4>() + column * kChunks; }
  PYPROF_DEVICE static gpu::Float4* other(int column) { return one(kColumns + column); }
  PYPROF_DEVICE static float* numbers() { return reinterpret_cast<float*>(one(2 * kColumns)); }

  PYPROF_DEVICE static void load(const Matrix& first_matrix, const Matrix& second_matrix, int64_t first, int64_t end) {
    for (int i = gpu::thread(); i < kColumns * kChunks; i += kThreads) {
      const int column = i / kChunks, chunk = i % kChunks;
      const bool valid = first + column < end;
      const gpu::Float4 zeros = {0.0f, 0.0f, 0.0f, 0.0f};
      gpu::write(one(column) + chunk, valid ? first_matrix.get(first + column, chunk) : zeros);
      gpu::write(other(column) + chunk, PYPROF_MUTANT(rows_past_the_end_are_read, valid, true)
                                            ? second_matrix.get(first + column, chunk)
                                            : zeros);
    }
  }
};

// Read from the device's memory by each thread that draws.
PYPROF_DEVICE Dropout dropout_of(const Params& params) {
  return PYPROF_MUTANT(the_seed_is_not_taken, params.dropout.seeded(params.problem.seed), params.dropout);
}

// Bit n says whether query i keeps key first + n; first is a multiple of four. The lanes of a quad draw for four keys
// each.
PYPROF_DEVICE uint32_t keeps_of_query(const Dropout& dropout, int64_t head, int64_t i, int64_t first) {
  if (!dropout.active()) return 0xffffu;
  const int mine = gpu::lane() % kQuad;
  uint32_t words[4], bits = 0;
  dropout.words(static_cast<uint32_t>(head), static_cast<uint32_t>(i), static_cast<uint32_t>(first / 4 + mine), words);
  PYPROF_UNROLL
  for (int n = 0; n < 4; ++n) bits |= static_cast<uint32_t>(words[n] >= dropout.threshold) << (4 * mine + n);
  bits |= gpu::shuffle_xor(bits, 1);
  return bits | gpu::shuffle_xor(bits, 2);
}

// Bit n says whether query first + n keeps key j.
PYPROF_DEVICE uint32_t keeps_of_key(const Dropout& dropout, int64_t head, int64_t first, int64_t j) {
  if (!dropout.active()) return 0xffffu;
  const int mine = gpu::lane() % kQuad * 4;
  uint32_t bits = 0;
  PYPROF_UNROLL
  for (int n = 0; n < 4; ++n) {
    uint32_t words[4];
    dropout.words(static_cast<uint32_t>(head),
                  static_cast<uint32_t>(first + PYPROF_MUTANT(dropout_is_of_another_query, mine + n, n)),
                  static_cast<uint32_t>(j / 4), words);
    const uint32_t word = j % 4 < 2 ? (j % 4 == 0 ? words[0] : words[1]) : (j % 4 == 2 ? words[2] : words[3]);
    bits |= static_cast<uint32_t>(word >= dropout.threshold) << (mine + n);
  }
  bits |= gpu::shuffle_xor(bits, 1);
  return bits | gpu::shuffle_xor(bits, 2);
}

// The keys that rows from `first` on see, as one range whose begin is a multiple of four.
struct Range {
  int64_t begin, end;
};

PYPROF_DEVICE Range keys_of_rows(const Problem& problem, int64_t first, int64_t keys) {
  const int64_t last = first + kRows < problem.length
                           ? first + kRows - PYPROF_MUTANT(last_keys_of_the_last_rows_are_lost, 1, 4)
                           : problem.length - 1;
  const int64_t begin = first_key(first, problem.left);
  return {PYPROF_MUTANT(dropout_draws_for_other_keys, begin / 4 * 4, begin), end_key(last, problem.right, keys)};
}

}  // namespace pyprof::window::plain_kernels
