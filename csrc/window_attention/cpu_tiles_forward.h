// The forward pass in bfloat16, whose products are of tiles. Weights become pairs of keys where they lie, times values
// that are transposed when they are packed; the output of a strip comes out transposed.
#pragma once

#include "window_attention/cpu_bfloat16.h"

namespace pyprof::window {
namespace {

// to[i][d] = scale[i] * columns[d][i] for the `rows` queries of a strip. Whether all columns are finite numbers, as
// `all_finite` says it.
inline bool store_transposed(const float* columns, int64_t dim, const float* scale, int64_t rows, uint16_t* to,
                             int64_t stride) {
  __m512 block[16], sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int64_t d = 0; d < dim; d += 16) {
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {
      block[k] = Vec::load(columns + (d + k) * kStrip);
      sums[k % 2] = Vec::add(sums[k % 2], block[k]);
    }
    Vec::transpose(block);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      if (i < rows)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i * stride + d),
                            narrow(Vec::mul(block[i], Vec::set1(scale[i]))));
  }
  return Vec::is_finite(Vec::add(sums[0], sums[1]));
}

struct TileForward final : ForwardSlice {
  uint16_t *rows, *columns;  // keys, and values transposed
  int64_t columns_stride;
  mutable RowsAhead ahead;

  TileForward(const Problem& p, const Forward& f, const Slice& s, void* memory)
      : ForwardSlice(p, f, s, memory),
        rows(reinterpret_cast<uint16_t*>(buffers.keys)),
        columns(reinterpret_cast<uint16_t*>(buffers.values)),
        columns_stride(chunk + 32),
        ahead(p.head_dim) {
    score_factor = exponent_factor(query_factor);
  }

  const uint16_t* elements(const void* from, const Strides& strides, int64_t head, int64_t row) const {
    return static_cast<const uint16_t*>(input(from, strides, head, row));
  }

  void take_keys(int64_t begin, int64_t end) override {
    const int64_t head = slice.head / (problem.heads / problem.key_heads);
    base = begin;
    copy_rows(elements(problem.key, problem.key_strides, head, begin), problem.key_strides.row, end - begin, dims.dim,
              rows);
    transpose_rows(elements(problem.value, problem.value_strides, head, begin), problem.value_strides.row, end - begin,
                   dims.dim, columns, columns_stride);
  }

  void take_scores(const Strip* strips, int count) override {
    look_ahead(strips[0].first / kTile * kTile);
    for (int s = 0; s < count; ++s) {
      const Strip& strip = strips[s];
      make_lanes(elements(problem.query, problem.query_strides, slice.head, strip.first), problem.query_strides.row,
                 strip.rows, dims.dim, query_factor < 0, strip.lanes);
    }
    for (int s = 0; s < count; ++s)
      multiply_scores(rows + (strips[s].sight.begin - base) * dims.dim, dims.dim, strips[s].sight.count(),
                      strips[s].lanes, strips[s].scores, ahead);
  }

  // Queries and output of the tile after the one at `tile`, and as many keys and values of the next slice.
  void look_ahead(int64_t tile) const {
    ahead.clear();
    const Place next = tile_after(tile), keyed = slice.after;
    if (keyed.batch >= 0) {
      const Place key = keys_at(keyed, tile - slice.begin);
      ahead.add(input(problem.key, problem.key_strides, key), problem.key_strides.row);
      ahead.add(input(problem.value, problem.value_strides, key), problem.value_strides.row);
    }
    if (next.batch < 0) return;
    ahead.add(input(problem.query, problem.query_strides, next), problem.query_strides.row);
    ahead.add(input(forward.output, forward.output_strides, next), forward.output_strides.row);
  }

  // One kind of work for both strips before the next: tiles wait for what vectors have just stored.
  void multiply_values(const Strip* strips, int count, int64_t, int64_t) const override {
    for (int s = 0; s < count; ++s) make_weights(strips[s].scores, strips[s].sight.count());
    for (int s = 0; s < count; ++s) multiply_columns(strips[s]);
    for (int s = 0; s < count; ++s) store_output(strips[s]);
  }

  // The output of a strip, transposed, takes the place of its queries.
  void multiply_columns(const Strip& strip) const {
    const uint16_t* values_at = columns + strip.sight.begin - base;
    for (int64_t d = 0; d < dims.dim; d += 32) {
      ahead.fetch();
      const uint16_t* left = values_at + d * columns_stride;
      Tiles::multiply<true>({left, left + 16 * columns_stride, columns_stride * 2, 64, strip.scores, strip.scores,
                             kTile * 8, kTile * 4 * 32, round_up(strip.sight.count()) / 32, strip.lanes + d * kStrip,
                             strip.lanes + (d + 16) * kStrip, kStrip * 4, false});
    }
  }

  void store_output(const Strip& strip) const {
    float inverse[kStrip];
    for (int64_t r = 0; r < kStrip; ++r) inverse[r] = 1 / strip.sum[r];
    bool finite;
    if (strip.starts && strip.ends) {
      finite = store_transposed(strip.lanes, dims.dim, inverse, strip.rows, static_cast<uint16_t*>(output(strip.first)),
                                forward.output_strides.row);
    } else {
      float* to = buffers.output + (strip.first - slice.begin) * dims.padded;
      add_transposed(strip.lanes, dims.dim, strip.shrink, !strip.starts, to);
      if (!strip.ends) return;
      store_rows(problem.type, output(strip.first), forward.output_strides.row, strip.rows, dims, to, inverse, 1);
      finite = all_finite({to, dims.padded}, kStrip, dims.padded);
    }
    if (!finite) store_exactly(strip);
  }

  // Pairs of keys take the place of the first key's weights.
  static void make_weights(float* weights, int64_t count) {
    for (int64_t j = 0; j < round_up(count); j += 2) {
      float* row = weights + j * kTile;
      const auto first = j < count ? Vec::load(row) : Vec::set1(0);
      const auto second = j + 1 < count ? Vec::load(row + kTile) : Vec::set1(0);
      _mm512_storeu_si512(row, pairs(_mm512_cvtepu16_epi32(narrow(first)), _mm512_cvtepu16_epi32(narrow(second))));
    }
  }
};

inline void tile_forward(const Problem& problem, const Forward& forward, const Slice& slice, void* scratch) {
  if (!has_tiles(problem)) return forward_slice(problem, forward, slice, scratch);
  const Tiles tiles;
  TileForward(problem, forward, slice, scratch).run();
}

}  // namespace
}  // namespace pyprof::window
