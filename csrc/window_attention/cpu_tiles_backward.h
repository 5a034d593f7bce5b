// The backward pass in bfloat16, whose products are of tiles.
#pragma once

#include "window_attention/cpu_bfloat16.h"

namespace pyprof::window {
namespace {

// 32 rows, of which `rows` exist, as 16 rows of pairs: the right matrix of the gradients of keys and values.
inline void make_row_pairs(const uint16_t* from, int64_t stride, int64_t rows, int64_t dim, float* to) {
  for (int64_t r = 0; r < 32; r += 2)
    for (int64_t d = 0; d < dim; d += 16, to += 16) {
      const __m512i none = _mm512_setzero_si512();
      const __m512i first = r < rows ? widen(from + r * stride + d) : none;
      const __m512i second = r + 1 < rows ? widen(from + (r + 1) * stride + d) : none;
      _mm512_storeu_si512(to, pairs(first, second));
    }
}

struct TileBackward final : BackwardSweep {
  uint16_t *key_rows, *key_columns, *value_rows;
  int64_t columns_stride;
  float* columns;  // the gradients of a strip's queries, transposed
  mutable RowsAhead ahead;

  TileBackward(const Problem& p, const Backward& b, const Slice& s, void* memory, int64_t turn, int64_t turns)
      : BackwardSweep(p, b, s, memory, turn, turns),
        key_rows(reinterpret_cast<uint16_t*>(buffers.keys)),
        key_columns(key_rows + (plan.chunk + 32) * dims.dim),
        value_rows(reinterpret_cast<uint16_t*>(buffers.values)),
        columns_stride(plan.chunk + 32),
        columns(scratch.floats(kStrip * dims.padded)),
        ahead(p.head_dim) {
    score_factor = exponent_factor(query_factor);
  }

  void take_keys(int64_t begin, int64_t end) override {
    base = begin;
    const auto *key = static_cast<const uint16_t*>(rows.key(begin)),
               *value = static_cast<const uint16_t*>(rows.value(begin));
    copy_rows(key, problem.key_strides.row, end - begin, dims.dim, key_rows);
    transpose_rows(key, problem.key_strides.row, end - begin, dims.dim, key_columns, columns_stride);
    copy_rows(value, problem.value_strides.row, end - begin, dims.dim, value_rows);
  }

  void take_queries(const QueryTile& tile, bool whole) override {
    const auto* query = static_cast<const uint16_t*>(rows.query(tile.head, tile.first));
    const auto* grad = static_cast<const uint16_t*>(rows.grad_output(tile.head, tile.first));
    const int64_t query_stride = problem.query_strides.row, grad_stride = rows.backward.grad_output_strides.row;
    statistics.take(rows, tile);
    if (!whole) {
      // Rows of float32 are wanted for this alone; then pairs take the place of one, and sums that of the other.
      load_rows(problem.type, grad, grad_stride, tile.rows, dims, buffers.grad);
      statistics.add_output_products(rows, tile, {buffers.grad, dims.padded}, buffers.grad_query);
    }
    for (int64_t first = 0; first < tile.rows; first += kStrip) {
      const int64_t start = first * dims.padded, some = smaller(kStrip, tile.rows - first);
      make_lanes(query + first * query_stride, query_stride, some, dims.dim, query_factor < 0,
                 buffers.query_lanes + start);
      make_lanes(grad + first * grad_stride, grad_stride, some, dims.dim, false, buffers.grad_lanes + start);
    }
    make_row_pairs(query, query_stride, tile.rows, dims.dim, buffers.query);
    make_row_pairs(grad, grad_stride, tile.rows, dims.dim, buffers.grad);
  }

  // Queries and what belongs to them of the next tile, keys and values of the block whose turn is next, and where the
  // gradients of keys go that are finished when it begins.
  void look_ahead(const QueryTile& tile) const {
    const Backward& backward = rows.backward;
    const QueryTile next = next_tile(tile);
    const Next turn = next_turn();
    const int64_t place = turn.block + (tile.first - block), key = place + dims.right;
    const int64_t done = larger(slice.begin, place - plan.block - dims.left);
    ahead.clear();
    ahead.add(rows.key(key, turn.on), problem.key_strides.row);
    ahead.add(rows.value(key, turn.on), problem.value_strides.row);
    ahead.add(rows.query(next.head, next.first), problem.query_strides.row);
    ahead.add(rows.grad_output(next.head, next.first), backward.grad_output_strides.row);
    ahead.add(rows.grad_query(next.head, next.first), backward.grad_query_strides.row);
    ahead.add(rows.grad_key(done, turn.on), backward.grad_key_strides.row);
    ahead.add(rows.grad_value(done, turn.on), backward.grad_value_strides.row);
  }

  void take_scores(const Part& part, const Scores* weights, const Scores* grads, int strips) override {
    look_ahead(part.tile);
    for (int s = 0; s < strips; ++s) {
      const int64_t from = weights[s].begin * dims.dim, count = weights[s].end - weights[s].begin;
      multiply_scores(key_rows + from, dims.dim, count, weights[s].lanes, weights[s].to, ahead);
      multiply_scores(value_rows + from, dims.dim, count, grads[s].lanes, grads[s].to, ahead);
    }
  }

  void give_grads(const Part& part, const Sight* sights, int strips) override {
    // Blocks of 16 keys can begin at any key, so that zeros must follow the last one.
    const int64_t count = part.end - part.begin, extent = round_up(count + 15);
    for (int s = 0; s < 2; ++s) {
      const int64_t from = s < strips ? sights[s].begin - part.begin : count;
      clear_rows(s, 0, from);
      clear_rows(s, s < strips ? sights[s].end - part.begin : count, extent);
    }
    narrow_scores(extent);
    for (int s = 0; s < strips && part.for_queries; ++s) add_to_queries(part, s);
    if (part.for_keys) add_to_keys(part, larger(part.begin, slice.begin), smaller(part.end, slice.end));
  }

  void add_to_queries(const Part& part, int strip) const {
    const float* right = buffers.grads + strip * kTile + kTile / 2;
    for (int64_t d = 0; d < dims.dim; d += 32) {
      ahead.fetch();
      const uint16_t* block = key_columns + d * columns_stride + part.begin - base;
      Tiles::multiply<true>({block, block + 16 * columns_stride, columns_stride * 2, 64, right, right, kTile * 8,
                             kTile * 4 * 32, round_up(part.end - part.begin) / 32, columns + d * kStrip,
                             columns + (d + 16) * kStrip, kStrip * 4, false});
    }
    add_transposed(columns, dims.dim, kOnes, part.begin > rows.first_key_of(part.tile),
                   buffers.grad_query + strip * kStrip * dims.padded);
  }

  void add_to_keys(const Part& part, int64_t first, int64_t end) const {
    for (int64_t j = first; j < end; j += 16) {
      ahead.fetch();
      const int64_t weight = (j - part.begin) * kTile;
      multiply_rows(buffers.weights + weight, buffers.grad, key_sums.values(j).data);
      multiply_rows(buffers.grads + weight, buffers.query, key_sums.keys(j).data);
    }
  }

  void clear_rows(int strip, int64_t from, int64_t to) const {
    for (int64_t j = from; j < to; ++j) {
      Vec::store(buffers.weights + j * kTile + strip * kStrip, Vec::set1(0));
      Vec::store(buffers.grads + j * kTile + strip * kStrip, Vec::set1(0));
    }
  }

  // In place: the first half of a row becomes the key's 32 weights, and its 32 scores' gradients. The second half, of
  // the latter, becomes pairs of keys: of the first strip in even rows, of the second in odd ones.
  void narrow_scores(int64_t count) const {
    const auto scale = Vec::set1(static_cast<float>(problem.scale));
    for (int64_t j = 0; j < count; j += 2) {
      for (int64_t row = j; row < j + 2; ++row) {
        float* weight = buffers.weights + row * kTile;
        const __m256i low = narrow(Vec::load(weight)), high = narrow(Vec::load(weight + kStrip));
        _mm512_storeu_si512(weight, _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
      }
      float *even = buffers.grads + j * kTile, *odd = even + kTile;
      const __m256i a = narrow(Vec::mul(scale, Vec::load(even))), b = narrow(Vec::mul(scale, Vec::load(even + kStrip)));
      const __m256i c = narrow(Vec::mul(scale, Vec::load(odd))), d = narrow(Vec::mul(scale, Vec::load(odd + kStrip)));
      _mm512_storeu_si512(even, _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1));
      _mm512_storeu_si512(even + kStrip, pairs(_mm512_cvtepu16_epi32(a), _mm512_cvtepu16_epi32(c)));
      _mm512_storeu_si512(odd, _mm512_inserti64x4(_mm512_castsi256_si512(c), d, 1));
      _mm512_storeu_si512(odd + kStrip, pairs(_mm512_cvtepu16_epi32(b), _mm512_cvtepu16_epi32(d)));
    }
  }

  // to[16 keys][:] += weights of 32 queries times their rows.
  void multiply_rows(const float* weights, const float* row_pairs, float* to) const {
    for (int64_t d = 0; d < dims.dim; d += 32)
      Tiles::multiply<false>({weights, weights, kTile * 4, 0, row_pairs + d, row_pairs + d + 16, dims.dim * 4, 0, 1,
                              to + d, to + d + 16, dims.dim * 4, true});
  }
};

inline void tile_backward(const Problem& problem, const Backward& backward, const Slice& slice, void* scratch) {
  if (!has_tiles(problem)) return backward_slice(problem, backward, slice, scratch);
  const Tiles tiles;
  sweep_in_turns<TileBackward>(problem, backward, slice, scratch);
}

inline size_t tile_backward_scratch(const Problem& problem) {
  return backward_scratch(problem) + kStrip * 4 * static_cast<size_t>(problem.head_dim + 16);
}

}  // namespace
}  // namespace pyprof::window
