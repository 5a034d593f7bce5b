// Backward on tensor cores, in three kernels without atomics, so that two runs give the same bits:
//   statistics   for each query: lse * log2(e), and delta = sum(grad_output * output) - grad_lse
//   gradients of key and value   rows are keys; columns are the queries that see them, of all heads that share the key
//   gradient of the query        rows are queries; columns are keys, as in forward
// Each of the two latter computes the scores for itself: whichever side a kernel has as rows, the sums of the other
// side would be of many blocks. Weights are computed again from lse, since to keep length * window of them is what a
// fused kernel is there to avoid. With weights w and what reaches them d = dropped * grad_output . value,
//   grad_score = w * (d - delta),  grad_query = scale * grad_score . key,  grad_key = scale * grad_score^T . query,
//   grad_value = (w * dropped)^T . grad_output.
// No sum runs over a row, so each group of 16 columns is done with before the next begins, which keeps registers low.
#pragma once

#include "mma_exact.cuh"

namespace pyprof::window::mma_kernels {

// With head_dim 128 the fragments of both row operands are loaded at each use, since 128 registers of sums leave no
// room.
template <int D>
inline constexpr bool kRowsKept = D < 128;

// Blocks that are to share a multiprocessor: as many as the registers allow without spilling.
template <int D, bool Dropped>
inline constexpr int kGradQueryBlocks = D == 128 || (D == 64 && Dropped) ? 3 : 4;
template <int D, bool Dropped>
inline constexpr int kGradKeyBlocks = D == 32               ? 4
                                      : D == 64 && !Dropped ? 3
                                                            : 2;

template <int D>
constexpr int64_t grad_query_shared_bytes() {
  return int64_t{2} * D * (2 * kRows + 2 * 2 * kColumns<D>);
}

template <int D>
constexpr int64_t grad_key_shared_bytes() {
  return grad_query_shared_bytes<D>() + 2 * kColumns<D> * int64_t{sizeof(gpu::Float2)};
}

template <int D>
constexpr int kStatisticsRows = kThreads / (D / kChunk);  // of a block

// lse * log2(e) and delta of one query, by the lanes that share its row, 16 bytes each.
template <class T, int D>
PYPROF_DEVICE gpu::Float2 statistics_of(const BackwardParams& p, int head_row, int query) {
  constexpr int kLanes = D / kChunk;
  const int chunk = gpu::thread() % kLanes, head = head_row % p.shape.heads, batch = head_row / p.shape.heads;
  const bool valid = query < p.shape.length;
  float delta = 0.0f;
  if (valid) {
    const gpu::Words4 a = read_chunk(Matrix<T>(p.output, batch, head), query, chunk);
    const gpu::Words4 b = read_chunk(Matrix<T>(p.grad_output, batch, head), query, chunk);
    const uint32_t left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
    PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
      float left_low, left_high, right_low, right_high;
      gpu::unpack<T>(left[i], left_low, left_high);
      gpu::unpack<T>(right[i], right_low, right_high);
      delta += left_low * right_low + left_high * right_high;
    }
  }
  PYPROF_UNROLL for (int mask = kLanes / PYPROF_MUTANT(delta_misses_half_a_row, 2, 4); mask > 0; mask /= 2) {
    delta += gpu::shuffle_xor(delta, mask);
  }
  const int64_t place = static_cast<int64_t>(head_row) * p.shape.length + query;
  const float lse = valid ? p.lse[place] : -kInfinity;
  // A query without keys, or beyond the length, gets a weight of exp2(-inf) = 0 for every key, and no delta that could
  // be NaN.
  if (lse == -kInfinity) return {kInfinity, 0.0f};
  return {lse * kLog2E, p.grad_lse == nullptr ? delta
                                              : PYPROF_MUTANT(wrong_sign_of_grad_lse, delta - p.grad_lse[place],
                                                              delta + p.grad_lse[place])};
}

// A kernel of its own, since a query's numbers are wanted by the blocks of all keys that it sees, none of which would
// otherwise read its output.
template <class T, int D>
PYPROF_KERNEL(kThreads)
void mma_statistics_kernel(const BackwardParams p) {
  constexpr int kLanes = D / kChunk, kBlockRows = kStatisticsRows<D>;
  const int tiles = (p.padded + kBlockRows - 1) / kBlockRows, head_row = gpu::block().x / tiles;
  const int query = gpu::block().x % tiles * kBlockRows + gpu::thread() / kLanes;
  const gpu::Float2 pair = statistics_of<T, D>(p, head_row, query);
  if (gpu::thread() % kLanes != 0 || query >= p.padded) return;
  gpu::write(p.statistics + static_cast<int64_t>(head_row) * p.padded + query, pair);
}

// An instance of its own where there are global keys: they take registers that four blocks to a multiprocessor lack.
template <class T, int D, bool Dropped, bool Global>
PYPROF_KERNEL(kThreads, kGradQueryBlocks<D, Dropped> - (Global && D > 32))
void mma_grad_query_kernel(const BackwardParams p) {
  constexpr int kWidth = kColumns<D>, kTile = kWidth * D;
  const Place place(p.shape.tiles, p.shape.heads);
  const int head_row = place.batch * p.shape.heads + place.head;
  const int key_head = place.head / (p.shape.heads / p.shape.key_heads);
  const Matrix<T> query(p.shape.query, place.batch, place.head), grad(p.grad_output, place.batch, place.head);
  const Matrix<T> key(p.shape.key, place.batch, key_head), value(p.shape.value, place.batch, key_head);
  const Band band{p.shape.left, p.shape.right, p.shape.length, keys_of(p.shape, place.batch),
                  Global ? p.shape.global_keys : 0};
  const Stages stages(band.any(place.first, kRows), kWidth);

  T* const query_tile = gpu::shared_memory<T>();
  T* const grad_tile = query_tile + kRows * D;
  T* const ring = grad_tile + kRows * D;  // key and value of two stages
  const auto load_stage = [&](int stage) {
    T* const tile = ring + stage % 2 * 2 * kTile;
    if (stage < stages.count) {
      load_tile<D, kWidth>(tile, key, stages.start + stage * kWidth, stages.span);
      load_tile<D, kWidth>(tile + kTile, value, stages.start + stage * kWidth, stages.span);
    }
    gpu::copy_commit();  // of nothing after the last stage, so that waits can count groups
  };
  // The rows' tiles are in the group of the first stage.
  load_tile<D, kRows>(query_tile, query, place.first, {0, p.shape.length});
  load_tile<D, kRows>(grad_tile, grad, place.first, {0, p.shape.length});
  load_stage(0);
  load_stage(1);

  // While the copies are under way: what comes to registers from global memory.
  const Warp warp(band, place.first);
  gpu::Float2 statistics[2];
  PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
    const int mine = warp.row + gpu::lane() / 4 + 8 * half;
    statistics[half] = {kInfinity, 0.0f};
    if (PYPROF_MUTANT(statistics_past_the_end_are_read, mine < p.padded, true)) {
      statistics[half] = gpu::read(p.statistics + static_cast<int64_t>(head_row) * p.padded + mine);
    }
  }
  gpu::copy_wait<1>();  // for the first group: the second stage may still be on its way
  gpu::sync_threads();  // a wait is for the thread's own copies, and a tile is copied by all threads
  const Rows<T, D, kRowsKept<D>> queries(query_tile), grads(grad_tile);
  const Dropout dropout = dropout_of(p.shape);

  float sums[D / 8][4] = {};
  PYPROF_UNROLL_BY(1) for (int stage = 0; stage < stages.count; ++stage) {
    const T* const keys = ring + stage % 2 * 2 * kTile;
    const T* const values = keys + kTile;
    const int column = stages.start + stage * kWidth;
    const Groups groups(warp.any, column, kWidth);
    PYPROF_UNROLL_BY(1) for (int g = groups.begin; g < groups.end; ++g) {
      const int first = column + g * kGroup;
      const bool whole = warp.all.covers(first, kGroup);
      float scores[2][4], reached[2][4];
      multiply_transposed(scores, queries, keys + g * kGroup * D);
      multiply_transposed(reached, grads, values + g * kGroup * D);
      PYPROF_UNROLL for (int n = 0; n < 2; ++n) {
        uint32_t kept = 0;
        if constexpr (Dropped) kept = kept_by_query(dropout, head_row, warp.row, first + 8 * n);
        PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
          const bool inside = whole || warp.holds(first + 8 * n, i);
          const float weight = inside ? gpu::exp2(scores[n][i] * p.scale_log2 - statistics[i / 2].x) : 0.0f;
          float upstream = reached[n][i];
          if constexpr (Dropped) upstream = (kept >> i & 1) != 0 ? upstream * p.shape.dropout.scale : 0.0f;
          const float delta = statistics[i / 2].y;
          scores[n][i] = weight * PYPROF_MUTANT(wrong_sign_of_delta, (upstream - delta), (upstream + delta));
        }
      }
      uint32_t grad_scores[4];
      to_operand<T>(grad_scores, scores);
      multiply_add<D>(sums, grad_scores, keys + g * kGroup * D);
    }
    // One barrier to a stage does for both: after it the next stage is there, as each thread has waited for its part of
    // it, and this one is free to be filled again, as all warps are done with it.
    gpu::copy_wait<0>();
    PYPROF_MUTANT(keys_are_overwritten_while_they_are_read, gpu::sync_threads(), (void)0);
    load_stage(stage + 2);
  }
  if constexpr (Global) {
    each_leading_group<D>(p.shape, ring, [&](const T* keys, const T* values, int column, int leading) {
      float scores[2][4], reached[2][4];
      multiply_transposed(scores, queries, keys);
      multiply_transposed(reached, grads, values);
      PYPROF_UNROLL for (int n = 0; n < 2; ++n) {
        uint32_t kept = 0;
        if constexpr (Dropped) kept = kept_by_query(dropout, head_row, warp.row, column + 8 * n);
        PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
          const bool inside = warp.leads(column + 8 * n, i, leading);
          const float weight = inside ? gpu::exp2(scores[n][i] * p.scale_log2 - statistics[i / 2].x) : 0.0f;
          float upstream = reached[n][i];
          if constexpr (Dropped) upstream = (kept >> i & 1) != 0 ? upstream * p.shape.dropout.scale : 0.0f;
          scores[n][i] = weight * (upstream - statistics[i / 2].y);
        }
      }
      uint32_t grad_scores[4];
      to_operand<T>(grad_scores, scores);
      multiply_add<D>(sums, grad_scores, keys);
    });
  }
  const float scale = PYPROF_MUTANT(the_scale_is_missing_for_the_query, p.shape.scale, 1.0f);
  const float factor[2] = {scale, scale};
  const bool wanted[2] = {true, true};
  const uint32_t odd = store_rows<T, D>(query_tile, sums, factor, wanted,
                                        Matrix<T>(p.grad_query, place.batch, place.head), warp.row, p.shape.length);
  if (PYPROF_MUTANT(spoiled_grad_queries_are_left, odd, 0) != 0) exact_grad_query<T, D>(p, place, band, warp.row, odd);
}

// What a warp carries from stage to stage: the sums for its 16 keys.
template <class T, int D, bool Dropped, bool Kept = kRowsKept<D>>
struct GradKeyWarp {
  const BackwardParams& p;
  Rows<T, D, Kept> keys, values;
  Warp warp;
  Dropout dropout;
  float key_sums[D / 8][4] = {}, value_sums[D / 8][4] = {};

  // The 16 queries from `first` on. The value's part is finished before the key's begins, to save registers: they
  // share `reached`, which is first what dropout leaves of the weights, then what reaches them. In `operand` the
  // scores' gradients are left.
  PYPROF_DEVICE void group(const T* queries, const T* grads, const gpu::Float2* statistics, int first, int head_row,
                           uint32_t (&operand)[4]) {
    float weights[2][4], reached[2][4];
    uint32_t kept[2] = {0, 0};
    gpu::Float4 pairs[2];  // of two queries side by side: lse and delta of one, then of the other
    multiply_transposed(weights, keys, queries);
    const bool whole = warp.all.covers(first, kGroup);
    PYPROF_UNROLL for (int n = 0; n < 2; ++n) {
      pairs[n] = gpu::read(reinterpret_cast<const gpu::Float4*>(statistics + 8 * n + gpu::lane() % 4 * 2));
      if constexpr (Dropped) kept[n] = kept_by_key(dropout, head_row, warp.row, first + 8 * n);
      PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
        const bool inside = whole || warp.holds(first + 8 * n, i);
        const float lse = i % 2 == 0 ? pairs[n].x : pairs[n].z;
        weights[n][i] = inside ? gpu::exp2(weights[n][i] * p.scale_log2 - lse) : 0.0f;
        reached[n][i] = !Dropped || (kept[n] >> i & 1) != 0 ? weights[n][i] : 0.0f;
      }
    }
    to_operand<T>(operand, reached);
    multiply_add<D>(value_sums, operand, grads);

    multiply_transposed(reached, values, grads);
    PYPROF_UNROLL for (int n = 0; n < 2; ++n) {
      PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
        float upstream = reached[n][i];
        if constexpr (Dropped) {
          const float scale = PYPROF_MUTANT(dropouts_scale_is_missing_for_the_key, p.shape.dropout.scale, 1.0f);
          upstream = (kept[n] >> i & 1) != 0 ? upstream * scale : 0.0f;
        }
        reached[n][i] = weights[n][i] * (upstream - (i % 2 == 0 ? pairs[n].y : pairs[n].w));
      }
    }
    to_operand<T>(operand, reached);
    multiply_add<D>(key_sums, operand, queries);
  }
};

// Goes over all stages of one head, then over those of the next.
struct Walk {
  int head, column, start, end;

  PYPROF_DEVICE void next(int width) {
    column += width;
    if (column < end) return;
    column = PYPROF_MUTANT(next_head_begins_where_the_last_one_ended, start, column);
    ++head;
  }
};

template <class T, int D, bool Dropped>
PYPROF_KERNEL(kThreads, kGradKeyBlocks<D, Dropped>)
void mma_grad_key_kernel(const BackwardParams p) {
  constexpr int kWidth = kColumns<D>, kTile = kWidth * D;
  const Place place(p.shape.tiles, p.shape.key_heads);
  const int group = p.shape.heads / p.shape.key_heads, keys = keys_of(p.shape, place.batch);
  const Matrix<T> key(p.shape.key, place.batch, place.head), value(p.shape.value, place.batch, place.head);
  const Band band = PYPROF_MUTANT(left_is_taken_for_right, Band(p.shape.right, p.shape.left, keys, p.shape.length),
                                  Band(p.shape.left, p.shape.right, keys, p.shape.length));
  const Stages stages(band.any(place.first, kRows), kWidth);
  const Walk begin{place.head * group, stages.start, stages.start, stages.start + stages.count * kWidth};
  // Stages left: one number says when to end, whether to load ahead and which of the two slots is next.
  int left = stages.count * PYPROF_MUTANT(only_the_first_head_of_a_group_counts, group, 1);

  T* const key_tile = gpu::shared_memory<T>();
  T* const value_tile = key_tile + kRows * D;
  T* const ring = value_tile + kRows * D;  // query and grad_output of two stages, then their statistics
  gpu::Float2* const statistics_ring = reinterpret_cast<gpu::Float2*>(ring + 4 * kTile);
  const auto load_stage = [&](const Walk& to, int slot, bool there) {
    if (there) {
      T* const tile = ring + slot * 2 * kTile;
      load_tile<D, kWidth>(tile, Matrix<T>(p.shape.query, place.batch, to.head), to.column, stages.span);
      load_tile<D, kWidth>(tile + kTile, Matrix<T>(p.grad_output, place.batch, to.head), to.column, stages.span);
      const int pair = 2 * gpu::thread();  // 16 bytes are the statistics of two queries
      if (pair < kWidth) {
        const int64_t head_row = int64_t{place.batch} * p.shape.heads + to.head;
        const bool valid = to.column + pair < p.padded;
        gpu::copy_async(
            statistics_ring + PYPROF_MUTANT(statistics_of_both_stages_share_a_place, slot * kWidth, 0) + pair,
            p.statistics + head_row * p.padded + (valid ? to.column + pair : 0), valid);
      }
    }
    gpu::copy_commit();  // of nothing after the last stage, so that waits can count groups
  };
  // The rows' tiles are in the group of the first stage. Keys that take no part may hold anything and are not read.
  load_tile<D, kRows>(key_tile, key, place.first, {0, keys});
  load_tile<D, kRows>(value_tile, value, place.first, {0, keys});
  Walk ahead = begin;
  PYPROF_UNROLL for (int stage = 0; stage < 2; ++stage) {
    load_stage(ahead, (left - stage) % 2, left > stage);
    ahead.next(kWidth);
  }
  gpu::copy_wait<1>();
  gpu::sync_threads();
  using Kept = Rows<T, D, kRowsKept<D>>;
  GradKeyWarp<T, D, Dropped> own{p, Kept(key_tile), Kept(value_tile), Warp(band, place.first), dropout_of(p.shape)};
  PYPROF_UNROLL_BY(1) for (Walk now = begin; left > 0; --left, now.next(kWidth)) {
    const int slot = left % 2;
    const T* const tile = ring + slot * 2 * kTile;
    const Groups groups(own.warp.any, now.column, kWidth);
    PYPROF_UNROLL_BY(1) for (int g = groups.begin; g < groups.end; ++g) {
      const T* const queries = tile + g * kGroup * D;
      uint32_t operand[4];
      own.group(queries, queries + kTile, statistics_ring + slot * kWidth + g * kGroup, now.column + g * kGroup,
                place.batch * p.shape.heads + now.head, operand);
    }
    gpu::copy_wait<0>();  // and one barrier, as for the gradient of the query
    PYPROF_MUTANT(queries_are_overwritten_while_they_are_read, gpu::sync_threads(), (void)0);
    load_stage(ahead, slot, left > 2);
    ahead.next(kWidth);
  }
  // Where this block is and how many keys take part is found out once more: kept over the stages it takes registers
  // that sm_90 does not have.
  const Place again(gpu::anew(p.shape.tiles), p.shape.key_heads);
  const int taking_part = keys_of(p.shape, again.batch);
  // Keys that take no part have been computed as rows of zeros, whose weights are not zero.
  bool wanted[2];
  PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
    wanted[half] = own.warp.row + gpu::lane() / 4 + 8 * half <
                   PYPROF_MUTANT(keys_that_take_no_part_get_a_gradient, taking_part, p.shape.length);
  }
  const float of_value = PYPROF_MUTANT(dropouts_scale_is_missing_for_the_value, p.shape.dropout.scale, 1.0f);
  const float key_factor[2] = {p.shape.scale, p.shape.scale}, value_factor[2] = {of_value, of_value};
  const Matrix<T> grad_key(p.grad_key, again.batch, again.head), grad_value(p.grad_value, again.batch, again.head);
  uint32_t odd = store_rows<T, D>(key_tile, own.key_sums, key_factor, wanted, grad_key, own.warp.row, p.shape.length);
  odd |= store_rows<T, D>(value_tile, own.value_sums, value_factor, wanted, grad_value, own.warp.row, p.shape.length);
  if (PYPROF_MUTANT(spoiled_grad_keys_are_left, odd, 0) != 0) {
    // Where it is once more, as nothing may be kept in registers for this meanwhile.
    exact_grad_key<T, D>(p, Place(gpu::anew(p.shape.tiles), p.shape.key_heads), own.warp.row, odd);
  }
}

}  // namespace pyprof::window::mma_kernels
