// How the backward pass divides its work, and the scratch that it takes.
#pragma once

#include "window_attention/cpu_tile.h"

namespace pyprof::window {
namespace {

struct BackwardPlan {
  bool packed;    // keys and values are copied
  bool direct;    // gradients of keys and values are summed where they belong, else in float32 beside
  bool wide;      // a block and its window have more keys than fit: gradients of queries get a sweep of their own
  int64_t chunk;  // keys that are at hand at once
  int64_t block;  // queries that share packed keys
  int64_t sums;   // keys whose sums are unfinished at a time
  int64_t heads;  // of which at most so many take turns, a block each

  explicit BackwardPlan(const Problem& p) {
    const int64_t padded = (p.head_dim + 15) / 16 * 16;
    direct = is_direct(p);
    packed = is_packed(p, p.key_strides) || is_packed(p, p.value_strides);
    chunk = smaller(1024, (direct ? 65536 : 40960) / padded / 64 * 64);
    const int64_t reach = smaller(p.left, p.length) + smaller(p.right, p.length);
    block = packed ? larger(kTile, smaller(128, (chunk - reach) / kTile * kTile)) : kTile;
    wide = packed && block + reach > chunk;
    sums = (wide ? chunk : smaller(chunk, block + reach)) + kBeyond;
    // Each has sums of its own beside, unless they are made where they belong.
    constexpr int64_t kMostHeads = 16, kMostBytes = 512 << 10;
    heads = wide ? 1 : direct ? kMostHeads : larger(1, smaller(kMostHeads, kMostBytes / (2 * sums * padded * 4)));
  }
};

struct BackwardBuffers {
  float *query, *grad, *query_lanes, *grad_lanes, *delta, *lse, *sum, *products, *weights, *grads, *grad_query,
      *factors;
  float *keys, *values, *grad_keys, *grad_values;

  // Of head number `turn` of those that take turns: all but the sums of keys and values is for one block alone.
  BackwardBuffers(const Problem& p, const BackwardPlan& plan, Scratch& scratch, int64_t turn = 0) {
    const int64_t padded = (p.head_dim + 15) / 16 * 16, tile = kTile * padded;
    const int64_t scores = (plan.chunk + kSpare + kBeyond) * kTile, rows = (plan.chunk + kBeyond) * padded;
    const int64_t sums = plan.direct ? 0 : plan.sums * padded;
    query = scratch.floats(tile);
    grad = scratch.floats(tile);
    query_lanes = scratch.floats(tile);
    grad_lanes = scratch.floats(tile);
    grad_query = scratch.floats(tile);
    delta = scratch.floats(kTile);
    lse = scratch.floats(kTile);
    sum = scratch.floats(kTile);
    products = scratch.floats(kTile);
    weights = scratch.floats(scores) + kSpare * kTile;
    grads = scratch.floats(scores) + kSpare * kTile;
    factors = scratch.floats(p.dropout_p > 0 ? plan.chunk * kStrip : 0);
    keys = scratch.floats(plan.packed ? rows : 0);
    values = scratch.floats(plan.packed ? rows : 0);
    grad_keys = scratch.floats(plan.heads * sums) + turn * sums;
    grad_values = scratch.floats(plan.heads * sums) + turn * sums;
  }
};

}  // namespace
}  // namespace pyprof::window
