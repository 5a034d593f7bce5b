// The backward pass in float32: weights are computed again from the log-sum-exp, tile by tile, in one sweep that gives
// the gradients of a tile's queries and adds to those of the keys and values that it sees.
//
// A slice owns queries and keys of the same numbers. Queries of neighbouring slices that see its keys are computed here
// too, for these keys alone: no two threads write the same row, and sums have the same order for any slices.
#pragma once

#include "window_attention/cpu_backward_plan.h"

namespace pyprof::window {
namespace {

struct BackwardSlice {
  const Problem& problem;
  const Backward& backward;
  const Slice& slice;
  const Dims dims;
  const Dropout dropout;
  const BackwardPlan plan;
  Scratch scratch;
  const BackwardBuffers buffers;
  int64_t head = 0;   // the query head at hand
  Rows keys, values;  // key j is at row j - base
  int64_t base = 0;
  Rows queries, grad_outputs;   // of the tile at hand, where they lie or copied
  Rows grad_keys, grad_values;  // key j is at row j - sums_begin
  mutable Lead lead;
  float query_factor, score_factor = 1;  // their product, times query and key, is the exponent of two
  float scales[kTile];                   // the problem's scale, for each row of a product
  int64_t sums_begin = 0, sums_end = 0;  // the keys whose sums have begun and aren't finished

  BackwardSlice(const Problem& p, const Backward& b, const Slice& s, void* memory)
      : problem(p),
        backward(b),
        slice(s),
        dims(p, s.batch),
        dropout(p.dropout_p, p.seed),
        plan(p),
        scratch(memory),
        buffers(p, plan, scratch) {
    query_factor = static_cast<float>(p.scale) * kLog2e;
    for (float& scale : scales) scale = static_cast<float>(p.scale);
    sums_begin = sums_end = s.begin;
    if (plan.direct) {
      grad_keys = {static_cast<float*>(grad_key(s.begin)), b.grad_key_strides.row};
      grad_values = {static_cast<float*>(grad_value(s.begin)), b.grad_value_strides.row};
    } else {
      grad_keys = {buffers.grad_keys, dims.padded};
      grad_values = {buffers.grad_values, dims.padded};
    }
  }

  int64_t offset(const Strides& strides, int64_t at_head, int64_t row) const {
    return slice.batch * strides.batch + at_head * strides.head + row * strides.row;
  }
  const void* input(const void* from, const Strides& strides, int64_t at_head, int64_t row) const {
    return at(problem.type, from, offset(strides, at_head, row));
  }
  void* grad_key(int64_t j) const {
    return at(problem.type, backward.grad_key, offset(backward.grad_key_strides, slice.head, j));
  }
  void* grad_value(int64_t j) const {
    return at(problem.type, backward.grad_value, offset(backward.grad_value_strides, slice.head, j));
  }
  const float* statistic(const void* from, int64_t i) const {
    return static_cast<const float*>(from) + (slice.batch * problem.heads + head) * dims.length + i;
  }

  void run() {
    if (plan.wide) {
      sweep_queries();
      sweep_keys();
    } else {
      sweep();
    }
  }

  // The queries that see any key of [begin, end), from the start of a tile.
  int64_t first_query(int64_t begin) const { return larger(0, begin - dims.right) / kTile * kTile; }
  int64_t end_query(int64_t end) const { return smaller(dims.length, end + dims.left); }

  void sweep() {
    const int64_t stop = end_query(slice.end);
    for (int64_t block = first_query(slice.begin); block < stop; block += plan.block) {
      const int64_t end = smaller(stop, block + plan.block);
      const int64_t first = dims.first(block), last = dims.end(end - 1);
      if (first < last) {
        take_keys(first, last);
        advance(smaller(slice.end, larger(first, slice.begin)), smaller(last, slice.end));
      }
      for (int64_t tile = block; tile < end; tile += kTile) {
        const int64_t rows = smaller(kTile, dims.length - tile);
        const bool own = tile >= slice.begin && tile < slice.end;
        for (head = first_head(); head < end_head(); ++head) run_tile(tile, rows, own);
      }
    }
    advance(slice.end, slice.end);
  }

  int64_t first_head() const { return slice.head * (problem.heads / problem.key_heads); }
  int64_t end_head() const { return (slice.head + 1) * (problem.heads / problem.key_heads); }

  void run_tile(int64_t tile, int64_t rows, bool own) {
    const int64_t begin = dims.first(tile), end = dims.end(tile + rows - 1);
    const bool whole = end - begin <= plan.chunk;
    if (begin < end) prepare(tile, rows, whole);
    for (int64_t from = begin; from < end; from += plan.chunk) {
      const int64_t to = smaller(end, from + plan.chunk);
      if (own || (from < slice.end && to > slice.begin)) run_chunk({tile, rows, from, to, own, true, whole});
    }
    if (own) store_grad_query(tile, rows, begin < end);
  }

  // Gradients of queries alone, then of keys and values alone, where a window has too many keys for one sweep.
  void sweep_queries() {
    for (int64_t tile = slice.begin; tile < slice.end; tile += kTile) {
      const int64_t rows = smaller(kTile, dims.length - tile);
      const int64_t begin = dims.first(tile), end = dims.end(tile + rows - 1);
      for (head = first_head(); head < end_head(); ++head) {
        if (begin < end) prepare(tile, rows, false);
        for (int64_t from = begin; from < end; from += plan.chunk) {
          const int64_t to = smaller(end, from + plan.chunk);
          take_keys(from, to);
          run_chunk({tile, rows, from, to, true, false, false});
        }
        store_grad_query(tile, rows, begin < end);
      }
    }
  }

  void sweep_keys() {
    const int64_t stop = smaller(slice.end, dims.keys);
    for (int64_t from = slice.begin; from < stop; from += plan.chunk) {
      const int64_t to = smaller(stop, from + plan.chunk), last = end_query(to);
      take_keys(from, to);
      advance(from, to);
      for (int64_t tile = first_query(from); tile < last; tile += kTile) {
        const int64_t rows = smaller(kTile, dims.length - tile);
        const int64_t begin = larger(from, dims.first(tile)), end = smaller(to, dims.end(tile + rows - 1));
        if (begin >= end) continue;
        for (head = first_head(); head < end_head(); ++head) {
          prepare(tile, rows, false);
          run_chunk({tile, rows, begin, end, false, true, false});
        }
      }
    }
    advance(slice.end, slice.end);
  }

  virtual void take_keys(int64_t begin, int64_t end) {
    if (!plan.packed) {
      base = 0;
      keys = {const_cast<float*>(static_cast<const float*>(input(problem.key, problem.key_strides, slice.head, 0))),
              problem.key_strides.row};
      values = {
          const_cast<float*>(static_cast<const float*>(input(problem.value, problem.value_strides, slice.head, 0))),
          problem.value_strides.row};
      return;
    }
    base = begin;
    keys = {buffers.keys, dims.padded};
    values = {buffers.values, dims.padded};
    load_rows(problem.type, input(problem.key, problem.key_strides, slice.head, begin), problem.key_strides.row,
              end - begin, dims, keys.data);
    load_rows(problem.type, input(problem.value, problem.value_strides, slice.head, begin), problem.value_strides.row,
              end - begin, dims, values.data);
    for (int64_t d = (end - begin) * dims.padded; d < kSpare * dims.padded; ++d) keys.data[d] = values.data[d] = 0;
  }

  // Finishes the sums of keys before `begin` and begins those of keys up to `end`.
  void advance(int64_t begin, int64_t end) {
    if (plan.direct) {
      end = larger(end, begin);
      clear(sums_end - slice.begin, end - slice.begin);
      sums_end = larger(end, sums_end);
      return;
    }
    const int64_t done = smaller(begin, sums_end) - sums_begin, rest = (sums_end - sums_begin - done) * dims.padded;
    if (done > 0) {
      store_sums(sums_begin, done);
      for (int64_t d = 0; d < rest; d += kLanes) {
        Vec::store(grad_keys.data + d, Vec::load(grad_keys.row(done) + d));
        Vec::store(grad_values.data + d, Vec::load(grad_values.row(done) + d));
      }
      sums_begin += done;
    }
    // Keys that no query sees have no sums; the first row is free to write their zeros from.
    if (sums_end < begin) clear(0, 1);
    for (; sums_end < begin; sums_begin = ++sums_end) store_sums(sums_end, 1);
    clear(sums_end - sums_begin, end - sums_begin);
    sums_end = larger(end, sums_end);
  }

  void store_sums(int64_t key, int64_t count) const {
    store_rows(problem.type, grad_key(key), backward.grad_key_strides.row, count, dims, grad_keys.data, kOnes, 0);
    store_rows(problem.type, grad_value(key), backward.grad_value_strides.row, count, dims, grad_values.data, kOnes, 0);
  }

  void clear(int64_t from, int64_t to) const {
    const auto zero = Vec::set1(0);
    for (int64_t row = from; row < to; ++row)
      for (int64_t d = 0; d < dims.padded; d += kLanes) {
        Vec::store(grad_keys.row(row) + d, zero);
        Vec::store(grad_values.row(row) + d, zero);
      }
  }

  // A tile's queries and gradients as rows and as lanes, and its statistics.
  virtual void prepare(int64_t tile, int64_t rows, bool whole) {
    queries = take_rows(problem.query, problem.query_strides, tile, rows, buffers.query);
    grad_outputs = take_rows(backward.grad_output, backward.grad_output_strides, tile, rows, buffers.grad);
    for (int64_t first = 0; first < rows; first += kStrip) {
      const int64_t start = first * dims.padded, count = smaller(kStrip, rows - first);
      transpose_strip({queries.data + start, dims.padded}, count, dims.padded, query_factor,
                      buffers.query_lanes + start);
      transpose_strip({grad_outputs.data + start, dims.padded}, count, dims.padded, 1, buffers.grad_lanes + start);
    }
    take_statistics(tile, rows);
    if (!whole) add_output_products(tile, rows);
  }

  // A tile's rows, copied unless they lie close together as float32 already.
  Rows take_rows(const void* base, const Strides& strides, int64_t tile, int64_t rows, float* copy) const {
    const void* from = input(base, strides, head, tile);
    if (is_direct(problem) && strides.row == dims.padded)
      return {const_cast<float*>(static_cast<const float*>(from)), dims.padded};
    load_rows(problem.type, from, strides.row, rows, dims, copy);
    return {copy, dims.padded};
  }

  void take_statistics(int64_t tile, int64_t rows) const {
    for (int64_t r = 0; r < kTile; ++r) {
      buffers.delta[r] = r < rows && backward.grad_lse ? -*statistic(backward.grad_lse, tile + r) : 0;
      buffers.lse[r] = r < rows ? *statistic(backward.lse, tile + r) * kLog2e : 0;
    }
  }

  // What softmax's derivative subtracts is the sum over all keys of weight times its gradient. Where a tile's keys are
  // not at hand all at once, it is taken as output times its gradient, which is the same but for the output's rounding.
  void add_output_products(int64_t tile, int64_t rows) const {
    load_rows(problem.type, input(backward.output, backward.output_strides, head, tile), backward.output_strides.row,
              rows, dims, buffers.grad_query);
    for (int64_t r = 0; r < kTile; r += kLanes) {
      Vec::Reg sums[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        sums[lane] = Vec::set1(0);
        const int64_t row = smaller(r + lane, rows - 1) * dims.padded;
        for (int64_t d = row; d < row + dims.padded; d += kLanes)
          sums[lane] = Vec::fma(Vec::load(grad_outputs.data + d), Vec::load(buffers.grad_query + d), sums[lane]);
      }
      Vec::transpose(sums);
      for (int lane = 1; lane < kLanes; ++lane) sums[0] = Vec::add(sums[0], sums[lane]);
      Vec::store(buffers.delta + r, Vec::add(sums[0], Vec::load(buffers.delta + r)));
    }
  }

  // A tile and the keys [begin, end) of those it sees: which gradients they give, and whether they are all.
  struct Part {
    int64_t tile, rows, begin, end;
    bool for_queries, for_keys, whole;
  };

  void run_chunk(const Part& part) {
    const int64_t tile = part.tile, rows = part.rows, begin = part.begin, end = part.end;
    const int strips = rows > kStrip ? 2 : 1;
    const Sight sights[2] = {Sight(dims, tile, smaller(kStrip, rows), begin, end),
                             Sight(dims, tile + (strips - 1) * kStrip, rows - (strips - 1) * kStrip, begin, end)};
    Scores weights[2], grads[2];
    for (int s = 0; s < strips; ++s) {
      const int64_t from = sights[s].begin, to = sights[s].end, first = s * kStrip;
      float* place = buffers.weights + (from - begin) * kTile + first;
      weights[s] = {from - base, to - base, buffers.query_lanes + first * dims.padded, place};
      place = buffers.grads + (from - begin) * kTile + first;
      grads[s] = {from - base, to - base, buffers.grad_lanes + first * dims.padded, place};
    }
    look_ahead(part);
    take_scores(weights, grads, strips);
    for (int s = 0; s < strips; ++s) {
      if (dropout.active())
        dropout_factors(dropout, static_cast<uint32_t>(slice.batch * problem.heads + head), tile + s * kStrip,
                        sights[s].begin, sights[s].end, buffers.factors);
      for (int g = 0; g < kGroups; ++g) {
        if (part.whole)
          take_grads<true>(sights[s], s, g, weights[s].to, grads[s].to);
        else
          take_grads<false>(sights[s], s, g, weights[s].to, grads[s].to);
      }
    }
    give_grads(part, sights, strips);
  }

  virtual void take_scores(const Scores* weights, const Scores* grads, int strips) const {
    scores(keys.data, dims.padded, weights, strips, lead);
    scores(values.data, dims.padded, grads, strips, lead);
  }

  // The rows of the tile after the part's one.
  void look_ahead(const Part& part) const {
    lead.clear();
    if (plan.packed || dims.padded != 64 || !part.for_keys || !part.for_queries) return;
    const int64_t next = part.tile + kTile, key = next + dims.right;
    lead.add(input(problem.query, problem.query_strides, head, next), problem.query_strides.row);
    lead.add(input(backward.grad_output, backward.grad_output_strides, head, next), backward.grad_output_strides.row);
    lead.add(keys.row(key), keys.stride);
    lead.add(values.row(key), values.stride);
    lead.add(grad_key(key), backward.grad_key_strides.row);
    lead.add(grad_value(key), backward.grad_value_strides.row);
    lead.add(at(problem.type, backward.grad_query, offset(backward.grad_query_strides, head, next)),
             backward.grad_query_strides.row);
  }

  // The products with the tile's weights and the gradients of its scores.
  virtual void give_grads(const Part& part, const Sight* sights, int strips) const {
    const int64_t begin = part.begin, end = part.end;
    for (int s = 0; s < strips; ++s) {
      const int64_t place = (sights[s].begin - begin) * kTile + s * kStrip;
      fringe(buffers.weights + place, sights[s].count());
      fringe(buffers.grads + place, sights[s].count());
    }
    const Rows to = grad_queries(part.tile);
    for (int64_t j = begin; part.for_queries && j < end; j += kProductRows)
      for (int s = 0; s < strips; ++s) {
        const int64_t first = s * kStrip;
        const StripProduct product{dims,
                                   part.tile + first,
                                   smaller(kStrip, part.rows - first),
                                   sights[s],
                                   buffers.grads + (sights[s].begin - begin) * kTile + first,
                                   keys,
                                   base,
                                   {to.row(first), dims.padded},
                                   scales,
                                   begin > dims.first(part.tile + first)};
        product.run(j, smaller(end, j + kProductRows), lead);
      }
    if (part.for_keys) add_to_keys(part.tile, part.rows, begin, larger(begin, slice.begin), smaller(end, slice.end));
  }

  // Weights from scores, and the scores' gradients from the weights' ones.
  template <bool kWhole>
  void take_grads(const Sight& sight, int strip, int group, float* weights, float* grads) const {
    const int64_t lane = group * kLanes, start = strip * kStrip + lane;
    const Mask mask(sight, group);
    const auto shift = Vec::mul(Vec::load(buffers.lse + start), Vec::set1(-1));
    const auto factor = Vec::set1(score_factor), zero = Vec::set1(0);
    const int64_t all_begin = sight.all_begin - sight.begin, all_end = sight.all_end - sight.begin;
    const bool drops = dropout.active();
    auto delta = Vec::load(buffers.delta + start), sum = zero, products = zero;
    for (int64_t j = 0; j < sight.count(); ++j) {
      float *weight = weights + j * kTile + lane, *grad = grads + j * kTile + lane;
      auto p = Vec::exp2(Vec::fma(Vec::load(weight), factor, shift)), g = Vec::load(grad);
      if (drops) g = Vec::mul(g, Vec::load(buffers.factors + j * kStrip + lane));
      if (j < all_begin || j >= all_end) {
        p = mask.apply(j, p, zero);
        g = mask.apply(j, g, zero);
        Vec::store(grad, g);
      }
      Vec::store(weight, p);
      if (kWhole) {
        sum = Vec::add(sum, p);
        products = Vec::fma(p, g, products);
        if (drops) Vec::store(grad, g);
      } else {
        Vec::store(grad, Vec::mul(p, Vec::sub(g, delta)));
      }
    }
    // The rounding of a large log-sum-exp is a common factor of a query's weights, which must sum to one.
    const auto inverse = Vec::div(Vec::set1(1), Vec::max(sum, Vec::set1(1e-30f)));
    delta = Vec::fma(products, inverse, delta);
    for (int64_t j = 0; kWhole && j < sight.count(); ++j) {
      float *weight = weights + j * kTile + lane, *grad = grads + j * kTile + lane;
      const auto p = Vec::mul(Vec::load(weight), inverse);
      Vec::store(weight, p);
      Vec::store(grad, Vec::mul(p, Vec::sub(Vec::load(grad), delta)));
    }
    for (int64_t j = 0; drops && j < sight.count(); ++j) {
      float* weight = weights + j * kTile + lane;
      Vec::store(weight, Vec::mul(Vec::load(weight), Vec::load(buffers.factors + j * kStrip + lane)));
    }
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

  // Adds what the tile gives to the keys and values [first, end); weights are those of the keys from `begin` on.
  void add_to_keys(int64_t tile, int64_t rows, int64_t begin, int64_t first, int64_t end) const {
    for (int64_t j = first; j < end; j += kRows) {
      const int64_t count = smaller(kRows, end - j);
      const int64_t from = larger(0, j - dims.right - tile), to = smaller(rows, j + count + dims.left - tile);
      if (from >= to) continue;
      const int64_t weight = (j - begin) * kTile + from, row = from * dims.padded;
      product<kRows, true, false>({buffers.weights + weight,
                                   {grad_outputs.data + row, dims.padded},
                                   to - from,
                                   {grad_values.row(j - sums_begin_row()), grad_values.stride},
                                   count,
                                   kOnes,
                                   true},
                                  dims.padded, nullptr);
      product<kRows, true, false>({buffers.grads + weight,
                                   {queries.data + row, dims.padded},
                                   to - from,
                                   {grad_keys.row(j - sums_begin_row()), grad_keys.stride},
                                   count,
                                   scales,
                                   true},
                                  dims.padded, nullptr);
    }
  }
  int64_t sums_begin_row() const { return plan.direct ? slice.begin : sums_begin; }

  // The sums of a tile's queries, where they belong if rows lie close together there.
  Rows grad_queries(int64_t tile) const {
    if (!is_direct(problem) || backward.grad_query_strides.row != dims.padded) return {buffers.grad_query, dims.padded};
    return {static_cast<float*>(backward.grad_query) + offset(backward.grad_query_strides, head, tile), dims.padded};
  }

  void store_grad_query(int64_t tile, int64_t rows, bool any) const {
    const Rows from = grad_queries(tile);
    for (int64_t d = 0; !any && d < rows * dims.padded; ++d) from.data[d] = 0;
    if (from.data != buffers.grad_query) return;
    store_rows(problem.type, at(problem.type, backward.grad_query, offset(backward.grad_query_strides, head, tile)),
               backward.grad_query_strides.row, rows, dims, buffers.grad_query, kOnes, 0);
  }
};

inline void backward_slice(const Problem& problem, const Backward& backward, const Slice& slice, void* scratch) {
  BackwardSlice(problem, backward, slice, scratch).run();
}

inline size_t backward_scratch(const Problem& problem) {
  Scratch scratch(nullptr);
  const BackwardPlan plan(problem);
  BackwardBuffers buffers(problem, plan, scratch);
  return scratch.used();
}

}  // namespace
}  // namespace pyprof::window
