// The forward pass in bfloat16 with products of pairs, in vectors: that of float32, whose sums take two elements at a
// time. Rows of queries and keys are pairs as they are; values are packed so that those of two keys lie side by side,
// and weights as they are made.
#pragma once

#include "window_attention/cpu_pairs.h"

namespace pyprof::window {
namespace {

// What makes weights of scores, and what leaves weights as they are.
struct Softmax {
  Vec::Reg factor, shift;
  Softmax(float factor, const float* maximum)
      : factor(Vec::set1(factor)), shift(Vec::mul(Vec::load(maximum), Vec::set1(-factor))) {}
  Vec::Reg operator()(Vec::Reg score) const { return Vec::exp2(Vec::fma(score, factor, shift)); }
};
struct Same {
  Same() {}
  Vec::Reg operator()(Vec::Reg weight) const { return weight; }
};

// Rows of a product times its scale as bfloat16. Adds what they were before to `all`.
template <int R, int N, bool kLead>
[[gnu::always_inline]] inline void narrow_panel(const Product& p, int64_t column, const Lead::Piece& lead, uint16_t* to,
                                                int64_t stride, Vec::Reg (&all)[2]) {
  Vec::Reg sums[R][N];
  product_sums<Pair, R, N, false, kLead>(p, column, lead, sums);
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    if (r >= p.count) break;
    const auto scale = Vec::set1(p.scale[r]);
#pragma GCC unroll 2
    for (int n = 0; n < N; n += 2) {
      all[0] = Vec::add(all[0], sums[r][n]);
      all[1] = Vec::add(all[1], sums[r][n + 1]);
      const auto both = _mm512_cvtne2ps_pbh(Vec::mul(sums[r][n + 1], scale), Vec::mul(sums[r][n], scale));
      _mm512_storeu_si512(to + r * stride + column + n * kLanes, reinterpret_cast<__m512i>(both));
    }
  }
}

// Whether all sums are finite numbers, as `all_finite` says it.
template <int R, bool kLead>
[[gnu::noinline]] bool narrow_product(const Product& p, int64_t dim, const Lead::Piece& lead, uint16_t* to,
                                      int64_t stride) {
  Vec::Reg all[2] = {Vec::set1(0), Vec::set1(0)};
  int64_t column = 0;
  for (; column + 64 <= dim; column += 64) narrow_panel<R, 4, kLead>(p, column, lead, to, stride, all);
  if (column < dim) narrow_panel<R, 2, kLead>(p, column, lead, to, stride, all);
  return Vec::is_finite(Vec::add(all[0], all[1]));
}

struct PairForward final : ForwardSlice {
  PairForward(const Problem& p, const Forward& f, const Slice& s, void* memory) : ForwardSlice(p, f, s, memory) {
    score_factor = exponent_factor(query_factor);
  }

  const uint16_t* elements(const void* from, const Strides& strides, int64_t head, int64_t row) const {
    return static_cast<const uint16_t*>(input(from, strides, head, row));
  }

  void take_keys(int64_t begin, int64_t end) override {
    const int64_t head = slice.head / (problem.heads / problem.key_heads);
    base = begin;
    copy_pairs(elements(problem.key, problem.key_strides, head, begin), problem.key_strides.row, end - begin, dims.dim,
               buffers.keys);
    pair_rows(elements(problem.value, problem.value_strides, head, begin), problem.value_strides.row, end - begin,
              dims.dim, buffers.values);
  }

  void take_scores(const Strip* strips, int count) override {
    Scores wanted[2];
    for (int s = 0; s < count; ++s) {
      const Strip& strip = strips[s];
      make_lanes(elements(problem.query, problem.query_strides, slice.head, strip.first), problem.query_strides.row,
                 strip.rows, dims.dim, query_factor < 0, strip.lanes);
      wanted[s] = {strip.sight.begin - base, strip.sight.end - base, strip.lanes, strip.scores};
    }
    look_ahead(strips[0].first / kTile * kTile);
    scores<Pair>(buffers.keys, dims.dim / 2, wanted, count, lead);
  }

  // Queries and output of the tile after the one at `tile`, and as many keys and values of the next slice.
  void look_ahead(int64_t tile) const {
    lead.clear();
    if (dims.dim != 64) return;
    const Place next = tile_after(tile), keyed = slice.after;
    if (next.batch >= 0) lead.add(input(problem.query, problem.query_strides, next), problem.query_strides.row, 2);
    if (keyed.batch >= 0) {
      const Place key = keys_at(keyed, tile - slice.begin);
      lead.add(input(problem.key, problem.key_strides, key), problem.key_strides.row, 2);
      lead.add(input(problem.value, problem.value_strides, key), problem.value_strides.row, 2);
    }
    if (next.batch >= 0) lead.add(input(forward.output, forward.output_strides, next), forward.output_strides.row, 2);
  }

  // Weights of two keys become pairs, which are those of the packed values: the first key may be the second of one.
  void take_weights(const Strip& strip) const override {
    if (dropout.active()) {
      ForwardSlice::take_weights(strip);
      pack(strip, Same());
      return;
    }
    auto sum = pack(strip, Softmax(score_factor, strip.maximum));
    if (!strip.starts) sum = Vec::fma(Vec::load(strip.sum), Vec::load(strip.shrink), sum);
    Vec::store(strip.sum, sum);
  }

  // Pairs of weights, in place: in every row those of two keys. Returns the weights' sum.
  template <class Weight>
  Vec::Reg pack(const Strip& strip, const Weight& weight) const {
    const auto none = Vec::set1(0);
    auto even = none, odd = none;
    const float* from = strip.scores;
    const float* const end = from + strip.sight.count() * kTile;
    float* to = strip.scores;
    if ((strip.sight.begin - base) % 2 != 0) {
      even = weight(Vec::load(from));
      Vec::store(to, pairs_of(none, even));
      from += kTile;
      to += kTile;
    }
    for (; from + kTile < end; from += 2 * kTile, to += kTile) {
      const auto first = weight(Vec::load(from)), second = weight(Vec::load(from + kTile));
      Vec::store(to, pairs_of(first, second));
      even = Vec::add(even, first), odd = Vec::add(odd, second);
    }
    if (from < end) {
      const auto last = weight(Vec::load(from));
      Vec::store(to, pairs_of(last, none));
      even = Vec::add(even, last);
    }
    return Vec::add(even, odd);
  }

  void multiply_values(const Strip* strips, int count, int64_t, int64_t) const override {
    for (int s = 0; s < count; ++s)
      if (!multiply(strips[s])) store_exactly(strips[s]);
  }

  // Whether what was stored, if anything, are finite numbers.
  bool multiply(const Strip& strip) const {
    alignas(64) float inverse[kStrip];
    Vec::store(inverse, Vec::div(Vec::set1(1), Vec::load(strip.sum)));
    const bool whole = strip.starts && strip.ends;
    const Rows sums{buffers.output + (strip.first - slice.begin) * dims.dim, dims.dim};
    for (int64_t r = 0; r < strip.rows && !strip.starts; ++r)
      for (int64_t d = 0; d < dims.dim; d += kLanes)
        Vec::store(sums.row(r) + d, Vec::mul(Vec::load(sums.row(r) + d), Vec::set1(strip.shrink[r])));
    bool finite = true;
    const int64_t first_pair = (strip.sight.begin - base) / 2;
    for (int64_t r = 0; r < strip.rows; r += kRows) {
      const int64_t some = smaller(kRows, strip.rows - r), i = strip.first + r;
      const int64_t from = larger(strip.sight.begin, dims.first(i)) - base;
      const int64_t end = smaller(strip.sight.end, dims.end(i + some - 1)) - base;
      const int64_t pair = from / 2, steps = larger(0, (end + 1) / 2 - pair);
      const Product part{strip.scores + (pair - first_pair) * kTile + r,
                         {buffers.values + pair * dims.dim, dims.dim},
                         steps,
                         {sums.row(r), sums.stride},
                         some,
                         whole ? inverse + r : kOnes,
                         !strip.starts};
      const bool all = r + kRows <= kStrip, leads = lead.any();
      const Lead::Piece ahead = lead.take(nullptr);
      if (whole) {
        constexpr int kLast = kStrip % kRows;
        const auto run = all     ? leads ? narrow_product<kRows, true> : narrow_product<kRows, false>
                         : leads ? narrow_product<kLast, true>
                                 : narrow_product<kLast, false>;
        const int64_t stride = forward.output_strides.row;
        finite &= run(part, dims.dim, ahead, static_cast<uint16_t*>(output(i)), stride);
      } else {
        const auto run = all ? product<kRows, false, false, Pair> : product<kStrip % kRows, false, false, Pair>;
        run(part, dims.dim, ahead);
      }
    }
    if (whole || !strip.ends) return finite;
    store_rows(problem.type, output(strip.first), forward.output_strides.row, strip.rows, dims, sums.data, inverse, 1);
    return all_finite(sums, strip.rows, dims.dim);
  }
};

inline void pair_forward(const Problem& problem, const Forward& forward, const Slice& slice, void* scratch) {
  if (!has_tiles(problem)) return forward_slice(problem, forward, slice, scratch);
  PairForward(problem, forward, slice, scratch).run();
}

}  // namespace
}  // namespace pyprof::window
