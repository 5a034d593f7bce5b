// The rows of global tokens in bfloat16, forward: scores are products of pairs, of keys as they lie in memory, and
// values are widened in registers, so that neither is written anywhere in float32.
#pragma once

#include "window_attention/cpu_bfloat16.h"
#include "window_attention/cpu_global_rows.h"

namespace pyprof::window {
namespace {

// Row r of `to` += sum over j < keys of weights[j][r] * values[j], for R rows and N times 32 columns. Each vector of
// values holds 16 elements in its low halves and 16 in its high ones. Meanwhile rows of keys and values that come after
// these are asked for.
template <int R, int N>
[[gnu::noinline]] void add_widened(const float* weights, const uint16_t* values, int64_t stride, int64_t keys,
                                   const Rows& to, const uint16_t* next, int64_t next_stride) {
  Vec::Reg even[R][N], odd[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) even[r][n] = odd[r][n] = Vec::set1(0);
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (int64_t j = 0; j < keys; ++j, weights += kTile, values += stride, next += next_stride) {
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      Lead::fetch(reinterpret_cast<const char*>(values + kKeyBlock * stride + n * 32));
      Lead::fetch(reinterpret_cast<const char*>(next + n * 32));
      const __m512i both = load_row(values + n * 32);
      const auto first = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
      const auto second = _mm512_castsi512_ps(_mm512_and_si512(both, high));
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const auto weight = Vec::set1(weights[r]);
        even[r][n] = Vec::fma(weight, first, even[r][n]);
        odd[r][n] = Vec::fma(weight, second, odd[r][n]);
      }
    }
  }
  const __m512i low_half = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512i high_half = _mm512_add_epi32(low_half, _mm512_set1_epi32(8));
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      float* row = to.row(r) + n * 32;
      Vec::store(row, Vec::add(Vec::load(row), _mm512_permutex2var_ps(even[r][n], low_half, odd[r][n])));
      Vec::store(row + 16, Vec::add(Vec::load(row + 16), _mm512_permutex2var_ps(even[r][n], high_half, odd[r][n])));
    }
}

struct TileRowsForward final : GlobalRowsForwardPass {
  TileRowsForward(const Problem& p, const GlobalRowsForward& f, const Slice& s, void* memory)
      : GlobalRowsForwardPass(p, f, s, memory) {
    score_factor = exponent_factor(query_factor());
  }

 private:
  const uint16_t* elements(const void* of, const Strides& strides, int64_t i) const {
    return static_cast<const uint16_t*>(row(of, strides, i));
  }

  void take_lanes() const override {
    make_lanes(elements(problem.query, problem.query_strides, first), problem.query_strides.row, count, dims.dim,
               query_factor() < 0, buffers.query_lanes);
  }

  // Rows of keys are read where they lie, the last ones from a copy, as there are none after them.
  void take_scores(int64_t begin, int64_t end) const override {
    auto* last = reinterpret_cast<uint16_t*>(buffers.keys);
    for (int64_t j = begin; j < end; j += kTile) {
      const uint16_t* keys = elements(problem.key, problem.key_strides, j);
      int64_t stride = problem.key_strides.row;
      if (end - j < kTile) {
        copy_rows(keys, stride, end - j, dims.dim, last);
        keys = last;
        stride = dims.dim;
      }
      float* to = buffers.weights + (j - begin) * kTile;
      Tiles::multiply<true>({keys, keys + 16 * stride, stride * 2, 64, buffers.query_lanes, buffers.query_lanes, 64,
                             1024, dims.dim / 32, to, to + 16 * kTile, kTile * 4, false});
    }
  }

  void add_values(int64_t begin, int64_t end) const override {
    for (int64_t i = 0; i < count; i += 4) {
      const int64_t rows = smaller(4, count - i);
      int64_t d = 0;
      for (; d + 64 <= dims.dim; d += 64) add_columns<2>(rows, i, d, begin, end);
      if (d < dims.dim) add_columns<1>(rows, i, d, begin, end);
    }
  }

  template <int N>
  void add_columns(int64_t rows, int64_t i, int64_t d, int64_t begin, int64_t end) const {
    const auto add = rows == 1 ? add_widened<1, N> : rows == 2 ? add_widened<2, N> : add_widened<4, N>;
    add(buffers.weights + i, elements(problem.value, problem.value_strides, begin) + d, problem.value_strides.row,
        end - begin, {buffers.sums + i * dims.padded + d, dims.padded},
        elements(problem.key, problem.key_strides, begin + kKeyBlock) + d, problem.key_strides.row);
  }
};

inline void tile_rows_forward(const Problem& problem, const GlobalRowsForward& forward, const Slice& slice,
                              void* scratch) {
  if (!has_tiles(problem)) return global_rows_forward(problem, forward, slice, scratch);
  const Tiles tiles;
  TileRowsForward(problem, forward, slice, scratch).run();
}

}  // namespace
}  // namespace pyprof::window
