// The rows of global tokens: a few queries that see every key. What they cost is the reading of keys and values, which
// both passes do once, and in the backward pass the writing of their gradients. Queries lie in the lanes of a strip,
// and keys are taken in blocks that stay in the cache.
#pragma once

#include "window_attention/cpu_global.h"

namespace pyprof::window {
namespace {

constexpr int64_t kKeyBlock = 128;

// The queries' own are for all of them, in whole strips.
struct GlobalRowsBuffers : PairBuffers {
  float *sums, *top, *total, *rest;

  GlobalRowsBuffers(const Problem& p, int64_t queries, Scratch& scratch)
      : PairBuffers(p, kKeyBlock, in_strips(queries), scratch) {
    sums = scratch.floats(in_strips(queries) * ((p.head_dim + 15) / 16 * 16));
    top = scratch.floats(in_strips(queries));
    total = scratch.floats(in_strips(queries));
    rest = scratch.floats(in_strips(queries));
  }

  static int64_t in_strips(int64_t queries) { return (queries + kStrip - 1) / kStrip * kStrip; }
};

// Some queries of a head: one strip of them in the forward pass, all in the backward one.
struct GlobalRowsPass {
  const Problem& problem;
  const int64_t batch, head, first, count;  // queries [first, first + count)
  const Dims dims;
  const Dropout dropout;
  Scratch scratch;
  const GlobalRowsBuffers buffers;
  float scales[kRows];  // the problem's scale, for each row of a product

  GlobalRowsPass(const Problem& p, const Slice& s, void* memory)
      : problem(p),
        batch(s.batch),
        head(s.head),
        first(s.begin),
        count(s.end - s.begin),
        dims(p, s.batch),
        dropout(Dropout(p.dropout_p).seeded(p.seed)),
        scratch(memory),
        buffers(p, count, scratch) {
    for (float& scale : scales) scale = static_cast<float>(p.scale);
  }

  int64_t in_strip(int64_t strip) const { return smaller(kStrip, count - strip); }

  const void* row(const void* of, const Strides& strides, int64_t i) const {
    return at(problem.type, of, batch * strides.batch + head * strides.head + i * strides.row);
  }
  void* row(void* of, const Strides& strides, int64_t i) const {
    return const_cast<void*>(row(static_cast<const void*>(of), strides, i));
  }

  // The queries, or what else has rows like theirs, times a factor as lanes.
  void take(const void* of, const Strides& strides, float factor, float* copy, float* lanes) const {
    load_rows(problem.type, row(of, strides, first), strides.row, count, dims, copy);
    for (int64_t strip = 0; strip < count; strip += kStrip)
      transpose_strip({copy + strip * dims.padded, dims.padded}, in_strip(strip), dims.padded, factor,
                      lanes + strip * dims.padded);
  }
  void take_queries() const {
    take(problem.query, problem.query_strides, query_factor(), buffers.query, buffers.query_lanes);
  }
  // It makes of a query's products with keys what is an exponent of two.
  float query_factor() const { return static_cast<float>(problem.scale) * kLog2e; }

  // Keys or values of a block: key j is at row j - base.
  struct Block {
    Rows rows;
    int64_t base, begin, end;
    int64_t size() const { return end - begin; }
    Rows here() const { return {rows.row(begin - base), rows.stride}; }
  };
  Block block(const void* of, const Strides& strides, int64_t begin, float* copy) const {
    const int64_t end = smaller(dims.keys, begin + kKeyBlock);
    // Rows in memory are counted from the first of all, so that a product may read some before `begin`.
    if (!is_packed(problem, strides))
      return {{const_cast<float*>(static_cast<const float*>(row(of, strides, 0))), strides.row}, 0, begin, end};
    load_rows(problem.type, row(of, strides, begin), strides.row, end - begin, dims, copy);
    for (int64_t d = (end - begin) * dims.padded; d < kSpare * dims.padded; ++d) copy[d] = 0;
    return {{copy, dims.padded}, begin, begin, end};
  }

  // to[key][query] of a strip's lanes. Meanwhile rows of the block after this one are asked for.
  void multiply(const Block& keys, const float* lanes, float* to) const {
    const Scores wanted{keys.begin - keys.base, keys.end - keys.base, lanes, to};
    Lead lead;
    for (int64_t ahead = 0; keys.base == 0 && ahead < 3 * 2 * kStrip; ahead += 2 * kStrip)
      lead.add(keys.rows.row(keys.begin + kKeyBlock + ahead), keys.rows.stride);
    scores(keys.rows.data, dims.padded, &wanted, 1, lead);
  }

  // Factors of dropout for a strip and the keys [begin, end), where it is active.
  void draw(int64_t strip, int64_t begin, int64_t end) const {
    if (dropout.active())
      dropout_factors(dropout, static_cast<uint32_t>(batch * problem.heads + head), first + strip, begin, end,
                      buffers.factors);
  }

  // Row i of the strip's sums += scale * sum over the block's keys j of weights[j][i] * of[j].
  void add_to_queries(int64_t strip, const float* weights, const Block& of, const float* scale) const {
    for (int64_t i = 0; i < in_strip(strip); i += kRows) {
      float* to = buffers.sums + (strip + i) * dims.padded;
      const int64_t rows = smaller(kRows, in_strip(strip) - i);
      const Product part{weights + i, of.here(), of.size(), {to, dims.padded}, rows, scale, true};
      if (rows <= kStrip % kRows)
        product<kStrip % kRows, false, false>(part, dims.padded, {});
      else
        product<kRows, false, false>(part, dims.padded, {});
    }
  }
};

// The output and what weights are made of again: the largest score in powers of two, and one over their sum.
struct GlobalRowsForwardPass : GlobalRowsPass {
  const GlobalRowsForward& forward;
  float score_factor = 1;  // scores times it are exponents of two

  GlobalRowsForwardPass(const Problem& p, const GlobalRowsForward& f, const Slice& s, void* memory)
      : GlobalRowsPass(p, s, memory), forward(f) {
    for (int64_t i = 0; i < kStrip; ++i) {
      buffers.top[i] = -1e35f;  // finite, as infinity less itself is not
      buffers.total[i] = 0;
    }
    for (int64_t d = 0; d < kStrip * dims.padded; ++d) buffers.sums[d] = 0;
  }

  void run() const {
    take_lanes();
    for (int64_t begin = 0; begin < dims.keys; begin += kKeyBlock) {
      const int64_t end = smaller(dims.keys, begin + kKeyBlock);
      take_scores(begin, end);
      draw(0, begin, end);
      for (int g = 0; g < kGroups; ++g) weigh(end - begin, g * kLanes);
      for (int64_t i = 0; i < count; ++i) shrink(buffers.rest[i], buffers.sums + i * dims.padded);
      add_values(begin, end);
    }
    const int64_t place = (batch * problem.heads + head) * forward.rows + first;
    for (int64_t i = 0; i < count; ++i) {
      const float inverse = dims.keys > 0 ? 1 / buffers.total[i] : 0;
      buffers.total[i] = forward.statistics[2 * (place + i) + 1] = inverse;
      forward.statistics[2 * (place + i)] = buffers.top[i];
    }
    store_rows(Type::float32, forward.output + place * dims.dim, dims.dim, count, dims, buffers.sums, buffers.total, 1);
  }

 private:
  virtual void take_lanes() const { take_queries(); }
  virtual void take_scores(int64_t begin, int64_t) const {
    multiply(block(problem.key, problem.key_strides, begin, buffers.keys), buffers.query_lanes, buffers.weights);
  }
  virtual void add_values(int64_t begin, int64_t) const {
    add_to_queries(0, buffers.weights, block(problem.value, problem.value_strides, begin, buffers.values), kOnes);
  }

  // Scores become weights beside the largest score so far; `rest` is what remains of those before.
  void weigh(int64_t keys, int64_t lane) const {
    const auto before = Vec::load(buffers.top + lane), factor = Vec::set1(score_factor);
    auto top = Vec::set1(-__builtin_inff());
    for (int64_t j = 0; j < keys; ++j) top = Vec::max(Vec::load(buffers.weights + j * kTile + lane), top);
    top = Vec::max(Vec::mul(top, factor), before);
    const auto rest = Vec::exp2(Vec::sub(before, top)), shift = Vec::sub(Vec::set1(0), top);
    auto total = Vec::mul(Vec::load(buffers.total + lane), rest);
    for (int64_t j = 0; j < keys; ++j) {
      float* place = buffers.weights + j * kTile + lane;
      auto weight = Vec::exp2(Vec::fma(Vec::load(place), factor, shift));
      total = Vec::add(total, weight);
      if (dropout.active()) weight = Vec::mul(weight, Vec::load(buffers.factors + j * kStrip + lane));
      Vec::store(place, weight);
    }
    Vec::store(buffers.top + lane, top);
    Vec::store(buffers.total + lane, total);
    Vec::store(buffers.rest + lane, rest);
  }

  void shrink(float rest, float* sums) const {
    for (int64_t d = 0; d < dims.padded && rest != 1; d += kLanes)
      Vec::store(sums + d, Vec::mul(Vec::set1(rest), Vec::load(sums + d)));
  }
};

struct GlobalRowsBackwardPass : GlobalRowsPass {
  const GlobalRowsBackward& backward;

  GlobalRowsBackwardPass(const Problem& p, const GlobalRowsBackward& b, const Slice& s, void* memory)
      : GlobalRowsPass(p, s, memory), backward(b) {}

  void run() const {
    take_queries();
    take(backward.grad_output, backward.grad_output_strides, 1, buffers.grad, buffers.grad_lanes);
    take_statistics();
    for (int64_t d = 0; d < count * dims.padded; ++d) buffers.sums[d] = 0;
    for (int64_t begin = 0; begin < dims.keys; begin += kKeyBlock) run_block(begin);
    clear(backward.grad_key, backward.grad_key_strides);
    clear(backward.grad_value, backward.grad_value_strides);
    float* to = backward.grad_query + ((batch * problem.heads + head) * backward.rows + first) * dims.dim;
    store_rows(Type::float32, to, dims.dim, count, dims, buffers.sums, kOnes, 0);
  }

 private:
  // delta: what the output says of the sum over all keys of a weight times its gradient.
  void take_statistics() const {
    const int64_t place = (batch * problem.heads + head) * backward.rows + first;
    for (int64_t i = 0; i < GlobalRowsBuffers::in_strips(count); ++i) {
      const bool exists = i < count;
      buffers.top[i] = exists ? backward.statistics[2 * (place + i)] : 0;
      buffers.total[i] = exists ? backward.statistics[2 * (place + i) + 1] : 0;
      float delta = 0;
      for (int64_t d = 0; exists && d < dims.dim; ++d)
        delta += backward.output[(place + i) * dims.dim + d] * buffers.grad[i * dims.padded + d];
      buffers.delta[i] = delta;
    }
  }

  void run_block(int64_t begin) const {
    const Block keys = block(problem.key, problem.key_strides, begin, buffers.keys);
    const Block values = block(problem.value, problem.value_strides, begin, buffers.values);
    const bool direct = is_direct(problem);
    void* grad_key = row(backward.grad_key, backward.grad_key_strides, begin);
    void* grad_value = row(backward.grad_value, backward.grad_value_strides, begin);
    const Rows key_sums = sums_of(grad_key, backward.grad_key_strides, buffers.grad_keys);
    const Rows value_sums = sums_of(grad_value, backward.grad_value_strides, buffers.grad_values);
    for (int64_t strip = 0; strip < count; strip += kStrip) {
      multiply(keys, buffers.query_lanes + strip * dims.padded, buffers.weights);
      multiply(values, buffers.grad_lanes + strip * dims.padded, buffers.grads);
      draw(strip, keys.begin, keys.end);
      for (int g = 0; g < kGroups; ++g) differentiate(keys.size(), strip + g * kLanes, g * kLanes);
      add_to_queries(strip, buffers.grads, keys, scales);
      add_to_keys(strip, buffers.grads, buffers.query, keys.size(), key_sums, scales);
      add_to_keys(strip, buffers.weights, buffers.grad, keys.size(), value_sums, kOnes);
    }
    if (direct) return;
    store_rows(problem.type, grad_key, backward.grad_key_strides.row, keys.size(), dims, key_sums.data, kOnes, 0);
    store_rows(problem.type, grad_value, backward.grad_value_strides.row, keys.size(), dims, value_sums.data, kOnes, 0);
  }

  // Where they belong, or beside.
  Rows sums_of(void* to, const Strides& strides, float* beside) const {
    if (is_direct(problem)) return {static_cast<float*>(to), strides.row};
    return {beside, dims.padded};
  }

  // Scores become weights, and the weights' gradients those of the scores: see ScoreGradients.
  void differentiate(int64_t keys, int64_t query, int64_t lane) const {
    const auto top = Vec::load(buffers.top + query), inverse = Vec::load(buffers.total + query);
    const auto delta = Vec::load(buffers.delta + query);
    for (int64_t j = 0; j < keys; ++j) {
      float *weight = buffers.weights + j * kTile + lane, *grad = buffers.grads + j * kTile + lane;
      const auto p = Vec::mul(inverse, Vec::exp2(Vec::sub(Vec::load(weight), top)));
      auto kept = p, g = Vec::load(grad);
      if (dropout.active()) {
        const auto factor = Vec::load(buffers.factors + j * kStrip + lane);
        kept = Vec::mul(p, factor);
        g = Vec::mul(g, factor);
      }
      Vec::store(weight, kept);
      Vec::store(grad, Vec::mul(p, Vec::sub(g, delta)));
    }
  }

  // Row j of `to` (+)= scale * sum over the strip's queries i of weights[j][i] * of[i]; the first strip writes it.
  void add_to_keys(int64_t strip, const float* weights, float* of, int64_t keys, const Rows& to,
                   const float* scale) const {
    const Rows queries{of + strip * dims.padded, dims.padded};
    for (int64_t j = 0; j < keys; j += kRows)
      product<kRows, true, false>({weights + j * kTile,
                                   queries,
                                   in_strip(strip),
                                   {to.row(j), to.stride},
                                   smaller(kRows, keys - j),
                                   scale,
                                   strip > 0},
                                  dims.padded, {});
  }

  // Keys that take no part have no gradient.
  void clear(void* of, const Strides& strides) const {
    const int64_t bytes = dims.dim * (problem.type == Type::float32 ? 4 : 2);
    for (int64_t j = dims.keys; j < dims.length; ++j) __builtin_memset(row(of, strides, j), 0, bytes);
  }
};

inline void global_rows_forward(const Problem& problem, const GlobalRowsForward& forward, const Slice& slice,
                                void* scratch) {
  GlobalRowsForwardPass(problem, forward, slice, scratch).run();
}

inline void global_rows_backward(const Problem& problem, const GlobalRowsBackward& backward, const Slice& slice,
                                 void* scratch) {
  GlobalRowsBackwardPass(problem, backward, slice, scratch).run();
}

inline size_t global_rows_scratch(const Problem& problem, int64_t rows) {
  Scratch scratch(nullptr);
  GlobalRowsBuffers buffers(problem, rows, scratch);
  return scratch.used();
}

}  // namespace
}  // namespace pyprof::window
