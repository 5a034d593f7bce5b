// The backward pass in bfloat16 with products of pairs, in vectors. Rows of queries, keys, values and gradients are
// pairs as they are where they are multiplied along the head's dimension, and are packed where along queries or keys.
#pragma once

#include "window_attention/cpu_pairs.h"

namespace pyprof::window {
namespace {

struct PairBackward final : BackwardSweep {
  float *const key_rows, *const key_pairs, *const value_rows;  // from `base` on; pairs of keys lie side by side
  Lead lead;
  float scales[kTile];  // the problem's scale, for each row of a product

  PairBackward(const Problem& p, const Backward& b, const Slice& s, void* memory, int64_t turn, int64_t turns)
      : BackwardSweep(p, b, s, memory, turn, turns),
        key_rows(buffers.keys),
        key_pairs(buffers.keys + (plan.chunk + kSpare) * dims.dim / 2),
        value_rows(buffers.values) {
    score_factor = exponent_factor(query_factor);
    for (float& scale : scales) scale = static_cast<float>(p.scale);
  }

  void take_keys(int64_t begin, int64_t end) override {
    const auto *key = static_cast<const uint16_t*>(rows.key(begin)),
               *value = static_cast<const uint16_t*>(rows.value(begin));
    base = begin;
    copy_pairs(key, problem.key_strides.row, end - begin, dims.dim, key_rows);
    pair_rows(key, problem.key_strides.row, end - begin, dims.dim, key_pairs);
    copy_pairs(value, problem.value_strides.row, end - begin, dims.dim, value_rows);
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
    pair_rows(query, query_stride, tile.rows, dims.dim, buffers.query);
    pair_rows(grad, grad_stride, tile.rows, dims.dim, buffers.grad);
  }

  // Queries and what belongs to them of the next tile, keys and values of the block whose turn is next, and where the
  // gradients of keys go that are finished when it begins.
  void look_ahead(const QueryTile& tile) {
    lead.clear();
    if (dims.dim != 64) return;
    const Backward& backward = rows.backward;
    const QueryTile next = next_tile(tile);
    const Next turn = next_turn();
    const int64_t place = turn.block + (tile.first - block), key = place + dims.right;
    const int64_t done = larger(slice.begin, place - plan.block - dims.left);
    lead.add(rows.key(key, turn.on), problem.key_strides.row, 2);
    lead.add(rows.value(key, turn.on), problem.value_strides.row, 2);
    lead.add(rows.query(next.head, next.first), problem.query_strides.row, 2);
    lead.add(rows.grad_output(next.head, next.first), backward.grad_output_strides.row, 2);
    lead.add(rows.grad_query(next.head, next.first), backward.grad_query_strides.row, 2);
    lead.add(rows.grad_key(done, turn.on), backward.grad_key_strides.row, 2);
    lead.add(rows.grad_value(done, turn.on), backward.grad_value_strides.row, 2);
  }

  void take_scores(const Part& part, const Scores* weights, const Scores* grads, int strips) override {
    look_ahead(part.tile);
    scores<Pair>(key_rows, dims.dim / 2, weights, strips, lead);
    scores<Pair>(value_rows, dims.dim / 2, grads, strips, lead);
  }

  // Pairs of keys are those of the packed keys, so that the first one may lie before the part.
  void give_grads(const Part& part, const Sight* sights, int strips) override {
    const int64_t count = part.end - part.begin, start = -((part.begin - base) % 2);
    const int64_t extent = count + kRows;  // blocks of keys may end beyond the last
    for (int s = 0; s < 2; ++s) {
      const int64_t from = s < strips ? sights[s].begin - part.begin : count;
      clear_rows(s, start, from);
      clear_rows(s, s < strips ? sights[s].end - part.begin : count, extent);
    }
    narrow_scores(start, extent);
    if (part.for_queries) add_to_queries(part, sights, strips, start);
    if (part.for_keys) add_to_keys(part, larger(part.begin, slice.begin), smaller(part.end, slice.end));
  }

  void clear_rows(int strip, int64_t from, int64_t to) const {
    for (int64_t j = from; j < to; ++j) {
      Vec::store(buffers.weights + j * kTile + strip * kStrip, Vec::set1(0));
      Vec::store(buffers.grads + j * kTile + strip * kStrip, Vec::set1(0));
    }
  }

  // In place: the first half of a row becomes the key's 32 weights, and its 32 scores' gradients. The second halves
  // become the latter's pairs of keys: beside weights of the first strip, beside gradients of the second.
  void narrow_scores(int64_t start, int64_t end) const {
    float *first_pair = buffers.weights + start * kTile + kStrip, *second_pair = buffers.grads + start * kTile + kStrip;
    for (int64_t j = start; j < end; j += 2, first_pair += kTile, second_pair += kTile) {
      float *weight = buffers.weights + j * kTile, *grad = buffers.grads + j * kTile;
      narrow_row(weight);
      narrow_row(weight + kTile);
      const auto first = pairs_of(Vec::load(grad), Vec::load(grad + kTile));
      const auto second = pairs_of(Vec::load(grad + kStrip), Vec::load(grad + kTile + kStrip));
      narrow_row(grad);
      narrow_row(grad + kTile);
      Vec::store(first_pair, first);
      Vec::store(second_pair, second);
    }
  }
  static void narrow_row(float* row) {
    _mm512_storeu_si512(row, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(Vec::load(row + kStrip), Vec::load(row))));
  }

  void add_to_queries(const Part& part, const Sight* sights, int strips, int64_t start) {
    const int64_t origin = part.begin + start;  // of the pairs
    const float* const pairs[2] = {buffers.weights + start * kTile + kStrip, buffers.grads + start * kTile + kStrip};
    const bool add = part.begin > rows.first_key_of(part.tile);
    for (int s = 0; s < strips; ++s) {
      const int64_t end = smaller(part.tile.rows, (s + 1) * kStrip);
      for (int64_t r = s * kStrip; r < end; r += kRows) {
        const int64_t some = smaller(kRows, end - r), i = part.tile.first + r;
        const int64_t from = larger(sights[s].begin, dims.first(i)) - origin;
        const int64_t until = smaller(sights[s].end, dims.end(i + some - 1)) - origin;
        const int64_t steps = larger(0, (until + 1) / 2 - from / 2);
        const float* keys = key_pairs + ((origin - base) / 2 + from / 2) * dims.dim;
        const Product product_of{pairs[s] + from / 2 * kTile + r % kStrip,
                                 {const_cast<float*>(keys), dims.dim},
                                 steps,
                                 {buffers.grad_query + r * dims.dim, dims.dim},
                                 some,
                                 scales,
                                 add};
        const bool all = r % kStrip + kRows <= kStrip, leads = lead.any();
        const Lead::Piece ahead = lead.take(nullptr);
        constexpr int kLast = kStrip % kRows;
        const auto run = all     ? leads ? product<kRows, false, true, Pair> : product<kRows, false, false, Pair>
                         : leads ? product<kLast, false, true, Pair>
                                 : product<kLast, false, false, Pair>;
        run(product_of, dims.dim, ahead);
      }
    }
  }

  // For every few keys a product over the pairs of queries that see any of them.
  void add_to_keys(const Part& part, int64_t first, int64_t end) const {
    for (int64_t j = first; j < end; j += kRows) {
      const int64_t count = smaller(kRows, end - j);
      const int64_t from = larger(0, j - dims.right - part.tile.first) / 2;
      const int64_t to = (smaller(part.tile.rows, j + count + dims.left - part.tile.first) + 1) / 2;
      if (from >= to) continue;
      const int64_t weight = (j - part.begin) * kTile + from, row = from * dims.dim, steps = to - from;
      const Rows grads{buffers.grad + row, dims.dim}, own{buffers.query + row, dims.dim};
      product<kRows, true, false, Pair>(
          {buffers.weights + weight, grads, steps, key_sums.values(j), count, kOnes, true}, dims.dim, {});
      product<kRows, true, false, Pair>({buffers.grads + weight, own, steps, key_sums.keys(j), count, scales, true},
                                        dims.dim, {});
    }
  }
};

inline void pair_backward(const Problem& problem, const Backward& backward, const Slice& slice, void* scratch) {
  if (!has_tiles(problem)) return backward_slice(problem, backward, slice, scratch);
  sweep_in_turns<PairBackward>(problem, backward, slice, scratch);
}

}  // namespace
}  // namespace pyprof::window
