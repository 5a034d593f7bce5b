// The backward pass in float32: the products of its sweep, from rows as they lie in memory or as they are packed.
#pragma once

#include "window_attention/cpu_backward_sweep.h"
#include "window_attention/cpu_global.h"

namespace pyprof::window {
namespace {

struct FloatBackward final : BackwardSweep {
  Rows keys, values;           // key j is at row j - base
  Rows queries, grad_outputs;  // of the tile at hand, where they lie or copied
  Lead lead;
  float scales[kTile];  // the problem's scale, for each row of a product

  FloatBackward(const Problem& p, const Backward& b, const Slice& s, void* memory, int64_t turn, int64_t turns)
      : BackwardSweep(p, b, s, memory, turn, turns) {
    for (float& scale : scales) scale = static_cast<float>(p.scale);
    sums_global_keys = true;
  }

  void take_keys(int64_t begin, int64_t end) override {
    const int64_t key_stride = problem.key_strides.row, value_stride = problem.value_strides.row;
    if (!plan.packed) {
      // Rows that lie in memory are counted from the first of all, so that a product may read some before `begin`.
      base = 0;
      keys = rows_in_place(rows.key(0), key_stride);
      values = rows_in_place(rows.value(0), value_stride);
      return;
    }
    base = begin;
    keys = {buffers.keys, dims.padded};
    values = {buffers.values, dims.padded};
    load_rows(problem.type, rows.key(begin), key_stride, end - begin, dims, keys.data);
    load_rows(problem.type, rows.value(begin), value_stride, end - begin, dims, values.data);
    // A product of fewer keys reads up to kSpare rows all the same, to which nothing else has written.
    for (int64_t d = (end - begin) * dims.padded; d < kSpare * dims.padded; ++d) keys.data[d] = values.data[d] = 0;
  }

  // Queries and gradients are wanted both ways: as lanes, which scores are made of, and as rows, which the keys' and
  // values' sums are made of.
  void take_queries(const QueryTile& tile, bool whole) override {
    queries = take_rows(rows.query(tile.head, tile.first), problem.query_strides.row, tile.rows, buffers.query);
    grad_outputs = take_rows(rows.grad_output(tile.head, tile.first), rows.backward.grad_output_strides.row, tile.rows,
                             buffers.grad);
    for (int64_t first = 0; first < tile.rows; first += kStrip) {
      const int64_t start = first * dims.padded, count = smaller(kStrip, tile.rows - first);
      transpose_strip({queries.data + start, dims.padded}, count, dims.padded, query_factor,
                      buffers.query_lanes + start);
      transpose_strip({grad_outputs.data + start, dims.padded}, count, dims.padded, 1, buffers.grad_lanes + start);
    }
    statistics.take(rows, tile);
    if (whole && problem.global_keys > 0)
      GlobalKeys(problem, slice.batch, slice.head, scratch.next)
          .add_sums(statistics, tile, buffers.query_lanes, buffers.grad_lanes);
    // The output's rows have the room of the queries' sums, which begin after this.
    if (!whole) statistics.add_output_products(rows, tile, grad_outputs, buffers.grad_query);
  }

  // A tile's rows, copied unless they lie close together as float32 already.
  Rows take_rows(const void* from, int64_t stride, int64_t count, float* copy) const {
    if (is_direct(problem) && stride == dims.padded) return rows_in_place(from, stride);
    load_rows(problem.type, from, stride, count, dims, copy);
    return {copy, dims.padded};
  }

  void take_scores(const Part& part, const Scores* weights, const Scores* grads, int strips) override {
    look_ahead(part);
    scores(keys.data, dims.padded, weights, strips, lead);
    scores(values.data, dims.padded, grads, strips, lead);
  }

  // The rows of the tile after the part's one; keys and values that are packed, of the block whose turn is next.
  void look_ahead(const Part& part) {
    lead.clear();
    if (!plan.direct || plan.wide || dims.padded != 64 || !part.for_keys || !part.for_queries) return;
    const Backward& backward = rows.backward;
    const QueryTile tile = next_tile(part.tile);
    const Next turn = next_turn();
    const int64_t key = turn.block + (part.tile.first - block) + dims.right;
    lead.add(rows.query(tile.head, tile.first), problem.query_strides.row);
    lead.add(rows.grad_output(tile.head, tile.first), backward.grad_output_strides.row);
    lead.add(rows.key(key, turn.on), problem.key_strides.row);
    lead.add(rows.value(key, turn.on), problem.value_strides.row);
    lead.add(rows.grad_key(key, turn.on), backward.grad_key_strides.row);
    lead.add(rows.grad_value(key, turn.on), backward.grad_value_strides.row);
    lead.add(rows.grad_query(tile.head, tile.first), backward.grad_query_strides.row);
  }

  // The products with the tile's weights and the gradients of its scores.
  void give_grads(const Part& part, const Sight* sights, int strips) override {
    for (int s = 0; s < strips; ++s) {
      const int64_t place = (sights[s].begin - part.begin) * kTile + s * kStrip;
      fringe(buffers.weights + place, sights[s].count());
      fringe(buffers.grads + place, sights[s].count());
    }
    if (part.for_queries) add_to_queries(part, sights, strips);
    if (part.for_keys) add_to_keys(part, larger(part.begin, slice.begin), smaller(part.end, slice.end));
  }

  // Blocks of keys can begin before a strip's first key and end after its last: the weights there are zeros.
  static void fringe(float* scores, int64_t count) {
    const auto zero = Vec::set1(0);
    for (int64_t j = 1; j < kRows; ++j)
      for (int g = 0; g < kGroups; ++g) {
        Vec::store(scores - j * kTile + g * kLanes, zero);
        Vec::store(scores + (count + j - 1) * kTile + g * kLanes, zero);
      }
  }

  // The strips take turns at every kProductRows keys, so that these are still in the first-level cache for the second.
  void add_to_queries(const Part& part, const Sight* sights, int strips) {
    const Rows to = query_sums.of(part.tile);
    for (int64_t j = part.begin; j < part.end; j += kProductRows)
      for (int s = 0; s < strips; ++s) {
        const int64_t first = s * kStrip, query = part.tile.first + first;
        const StripProduct product{dims,
                                   query,
                                   smaller(kStrip, part.tile.rows - first),
                                   sights[s],
                                   buffers.grads + (sights[s].begin - part.begin) * kTile + first,
                                   keys,
                                   base,
                                   {to.row(first), dims.padded},
                                   scales,
                                   part.begin > dims.first(query)};
        product.run(j, smaller(part.end, j + kProductRows), lead);
      }
  }

  // Adds what the tile gives to the keys and values [first, end): for every few keys a product over the tile's queries
  // that see any of them, which in a narrow window are not many.
  void add_to_keys(const Part& part, int64_t first, int64_t end) const {
    for (int64_t j = first; j < end; j += kRows) {
      const int64_t count = smaller(kRows, end - j);
      const int64_t from = larger(0, j - dims.right - part.tile.first);
      const int64_t to = smaller(part.tile.rows, j + count + dims.left - part.tile.first);
      if (from >= to) continue;
      const int64_t weight = (j - part.begin) * kTile + from, row = from * dims.padded, steps = to - from;
      const Rows grads{grad_outputs.data + row, dims.padded}, own{queries.data + row, dims.padded};
      product<kRows, true, false>({buffers.weights + weight, grads, steps, key_sums.values(j), count, kOnes, true},
                                  dims.padded, {});
      product<kRows, true, false>({buffers.grads + weight, own, steps, key_sums.keys(j), count, scales, true},
                                  dims.padded, {});
    }
  }
};

inline void backward_slice(const Problem& problem, const Backward& backward, const Slice& slice, void* scratch) {
  sweep_in_turns<FloatBackward>(problem, backward, slice, scratch);
}

inline size_t backward_scratch(const Problem& problem) {
  Scratch scratch(nullptr);
  const BackwardPlan plan(problem);
  BackwardBuffers buffers(problem, plan, scratch);
  return plan.heads * kSweepBytes + scratch.used() + (problem.global_keys > 0 ? global_scratch(problem) : 0);
}

}  // namespace
}  // namespace pyprof::window
