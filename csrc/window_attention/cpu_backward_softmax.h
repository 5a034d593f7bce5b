// Softmax's derivative. With weights w = exp(score - lse) and their gradients g = dropped * grad_output . value,
//   gradient of a score = w * (g - delta),  delta = sum over all keys of w * g, less grad_lse.
#pragma once

#include "window_attention/cpu_backward_rows.h"

namespace pyprof::window {
namespace {

// lse and delta of a tile's queries, in powers of two and as far as it is known before the tile's scores are. Of keys
// that are not among the tile's, `sum` has the weights and `products` the weights times their gradients; where those
// are all, they become what the weights were multiplied by, and delta.
struct BackwardStatistics {
  float *lse, *delta, *sum, *products;

  void take(const BackwardRows& rows, const QueryTile& tile) const {
    const Backward& backward = rows.backward;
    for (int64_t r = 0; r < kTile; ++r) {
      const bool exists = r < tile.rows;
      const int64_t i = tile.first + r;
      delta[r] = exists && backward.grad_lse ? -*rows.statistic(backward.grad_lse, tile.head, i) : 0;
      lse[r] = exists ? *rows.statistic(backward.lse, tile.head, i) * kLog2e : 0;
      sum[r] = products[r] = 0;
    }
  }

  // Where a tile's keys are not at hand all at once, delta's sum over them is taken as output times its gradient, which
  // is the same but for the output's rounding. `copy` is room for the output's rows.
  void add_output_products(const BackwardRows& rows, const QueryTile& tile, const Rows& grad_outputs,
                           float* copy) const {
    const int64_t padded = rows.dims.padded;
    load_rows(rows.problem.type, rows.output(tile.head, tile.first), rows.backward.output_strides.row, tile.rows,
              rows.dims, copy);
    for (int64_t r = 0; r < kTile; r += kLanes) {
      Vec::Reg sums[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        sums[lane] = Vec::set1(0);
        const int64_t row = smaller(r + lane, tile.rows - 1) * padded;
        for (int64_t d = row; d < row + padded; d += kLanes)
          sums[lane] = Vec::fma(Vec::load(grad_outputs.data + d), Vec::load(copy + d), sums[lane]);
      }
      Vec::transpose(sums);
      for (int lane = 1; lane < kLanes; ++lane) sums[0] = Vec::add(sums[0], sums[lane]);
      Vec::store(delta + r, Vec::add(sums[0], Vec::load(delta + r)));
    }
  }
};

// Turns the scores of a strip into weights, and the weights' gradients into those of the scores, both in place.
struct ScoreGradients {
  const float *lse, *delta;  // of the strip's queries
  float *sum, *products;     // see BackwardStatistics
  const float* factors;      // dropout's: [key][query of the strip]; null without
  float score_factor;        // times a score is the exponent of two

  // For one vector of the strip's queries; `weights` and `grads` are the strip's scores and its weights' gradients.
  //
  // Where these are all the keys that the queries see (kWhole), delta is summed from the weights themselves, and a
  // second pass over the keys subtracts it: the output need not be read. The same pass divides by the weights' sum,
  // since the rounding of a large log-sum-exp is a common factor of a query's weights, which must sum to one. Of a part
  // of the keys neither sum is known, and the statistics are taken as they are.
  template <bool kWhole>
  void run(const Sight& sight, int group, float* weights, float* grads) const {
    const int64_t lane = group * kLanes;
    const Mask mask(sight, group);
    const auto shift = Vec::mul(Vec::load(lse + lane), Vec::set1(-1));
    const auto factor = Vec::set1(score_factor), zero = Vec::set1(0);
    const int64_t all_begin = sight.all_begin - sight.begin, all_end = sight.all_end - sight.begin;
    const bool drops = factors != nullptr;
    auto correction = Vec::load(delta + lane), all = Vec::load(sum + lane), together = Vec::load(products + lane);
    for (int64_t j = 0; j < sight.count(); ++j) {
      float *weight = weights + j * kTile + lane, *grad = grads + j * kTile + lane;
      auto p = Vec::exp2(Vec::fma(Vec::load(weight), factor, shift)), g = Vec::load(grad);
      if (drops) g = Vec::mul(g, Vec::load(factors + j * kStrip + lane));
      if (j < all_begin || j >= all_end) {
        p = mask.apply(j, p, zero);
        g = mask.apply(j, g, zero);
        Vec::store(grad, g);
      }
      Vec::store(weight, p);
      if (kWhole) {
        all = Vec::add(all, p);
        together = Vec::fma(p, g, together);
        if (drops) Vec::store(grad, g);
      } else {
        Vec::store(grad, Vec::mul(p, Vec::sub(g, correction)));
      }
    }
    const auto inverse = Vec::div(Vec::set1(1), Vec::max(all, Vec::set1(1e-30f)));
    correction = Vec::fma(together, inverse, correction);
    if (kWhole) {
      Vec::store(sum + lane, inverse);
      Vec::store(products + lane, correction);
    }
    for (int64_t j = 0; kWhole && j < sight.count(); ++j) {
      float *weight = weights + j * kTile + lane, *grad = grads + j * kTile + lane;
      const auto p = Vec::mul(Vec::load(weight), inverse);
      Vec::store(weight, p);
      Vec::store(grad, Vec::mul(p, Vec::sub(Vec::load(grad), correction)));
    }
    // Last, because delta and the scores' gradients want the weights as they were before dropout; from here on only
    // the values' gradients use them, and these want what dropout left.
    for (int64_t j = 0; drops && j < sight.count(); ++j) {
      float* weight = weights + j * kTile + lane;
      Vec::store(weight, Vec::mul(Vec::load(weight), Vec::load(factors + j * kStrip + lane)));
    }
  }
};

}  // namespace
}  // namespace pyprof::window
