// Forward on tensor cores: a block takes 64 queries of one head and walks over the stages of keys and values that their
// band touches, with the maximum and the sum of the softmax carried along ("online"). Weights never leave registers.
//
// Scores stay unscaled; exp2 takes scale * log2(e) in the same multiply-add that subtracts the maximum. That needs a
// positive scale: the launcher gives its size, and a negative one changes the sign of the query.
#pragma once

#include "mma_exact.cuh"

namespace pyprof::window::mma_kernels {

// Blocks that are to share a multiprocessor: as many as the registers allow without spilling.
template <int D, bool Dropped>
inline constexpr int kForwardBlocks = D == 128             ? 2
                                      : D == 64 && Dropped ? 3
                                                           : 4;

template <int D>
constexpr int64_t forward_shared_bytes() {
  return int64_t{2} * D * (kRows + 2 * 2 * kColumns<D>);
}

// What a warp carries from stage to stage; each thread its part of two rows.
template <class T, int D, bool Dropped>
struct ForwardWarp {
  const ForwardParams& p;
  Rows<T, D, true> queries;
  Warp warp;
  int head_row;
  Dropout dropout;
  float sums[D / 8][4] = {};
  float top[2] = {-kInfinity, -kInfinity};  // of scores
  float total[2] = {0.0f, 0.0f};            // of this thread's columns

  // Raises the maximum to `best`, and gives what is subtracted in the exponent.
  PYPROF_DEVICE void rescale(const float (&best)[2], float (&base)[2]) {
    float shrink[2];
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      float raised = fmaxf(top[half], best[half]);
      raised = fmaxf(raised, gpu::shuffle_xor(raised, 1));
      raised = fmaxf(raised, gpu::shuffle_xor(raised, 2));
      const bool none = PYPROF_MUTANT(rows_that_saw_nothing_yet, raised == -kInfinity, false);
      base[half] = none ? 0.0f : raised * p.scale_log2;  // nothing seen yet: all weights become 0
      shrink[half] = gpu::exp2(top[half] * p.scale_log2 - base[half]);
      top[half] = raised;
      total[half] *= PYPROF_MUTANT(total_is_not_scaled_to_a_larger_score, shrink[half], 1.0f);
    }
    PYPROF_UNROLL for (int n = 0; n < D / 8; ++n) {
      PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
        sums[n][i] *= PYPROF_MUTANT(sums_are_not_scaled_to_a_larger_score, shrink[i / 2], 1.0f);
      }
    }
  }

  // `count` groups of keys, 1 or 2; of those that lead, of which there are `leading`, or of the band.
  template <bool Leads>
  PYPROF_DEVICE void pass(const T* keys, const T* values, int first, int count, int leading) {
    float scores[2][2][4], best[2] = {-kInfinity, -kInfinity}, base[2];
    PYPROF_UNROLL for (int g = 0; g < 2; ++g) {
      if (g >= count) break;
      multiply_transposed(scores[g], queries, keys + g * kGroup * D);
      const bool whole = !Leads && warp.all.covers(first + g * kGroup, kGroup);
      PYPROF_UNROLL for (int n = 0; n < 2; ++n) {
        PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
          const int column = first + g * kGroup + 8 * n;
          const bool seen = whole || (Leads ? warp.leads(column, i, leading) : warp.holds(column, i));
          if (!seen) scores[g][n][i] = -kInfinity;
          best[i / 2] = fmaxf(best[i / 2], scores[g][n][i]);
        }
      }
    }
    rescale(best, base);
    PYPROF_UNROLL for (int g = 0; g < 2; ++g) {
      if (g >= count) break;
      PYPROF_UNROLL for (int n = 0; n < 2; ++n) {
        uint32_t kept = 0;
        if constexpr (Dropped) {
          kept = kept_by_query(dropout, head_row, warp.row, first + g * kGroup + 8 * n);
        }
        PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
          const float weight = gpu::exp2(scores[g][n][i] * p.scale_log2 - base[i / 2]);
          total[i / 2] += weight;
          scores[g][n][i] = !Dropped || (kept >> i & 1) != 0 ? weight : 0.0f;
        }
      }
      uint32_t weights[4];
      to_operand<T>(weights, scores[g]);
      multiply_add<D>(sums, weights, values + g * kGroup * D);
    }
  }

  // Which of the warp's rows are not finite, one bit each.
  PYPROF_DEVICE uint32_t finish(T* tile, const Matrix<T>& output, const Band& band) {
    float factor[2];
    bool wanted[2];
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      float all = total[half];
      all += gpu::shuffle_xor(all, 1);
      all += gpu::shuffle_xor(all, 2);
      const int query = warp.row + gpu::lane() / 4 + 8 * half;
      const Span seen = band.of(query);
      const bool any = seen.begin < seen.end || PYPROF_MUTANT(leading_keys_are_none, band.leading(query) > 0, false);
      wanted[half] = PYPROF_MUTANT(scores_of_minus_infinity_are_no_keys, any, all != 0.0f);
      factor[half] = p.shape.dropout.scale / all;
      const float unit = PYPROF_MUTANT(log_sum_exp_in_powers_of_two, kLn2, 1.0f);
      // The best key alone adds 1, so that a sum of 0 is of scores that are all -infinity: 0 / 0 makes that NaN.
      const float log = (top[half] * p.scale_log2 + gpu::log2(all)) * (all / all);
      const float lse = wanted[half] ? log * unit : -kInfinity;
      if (gpu::lane() % 4 == 0 && query < p.shape.length) {
        gpu::write(p.lse + static_cast<int64_t>(head_row) * p.shape.length + query, lse);
      }
    }
    return store_rows<T, D>(tile, sums, factor, wanted, output, warp.row, p.shape.length);
  }
};

template <class T, int D, bool Dropped>
PYPROF_KERNEL(kThreads, kForwardBlocks<D, Dropped>)
void mma_forward_kernel(const ForwardParams p) {
  constexpr int kWidth = kColumns<D>, kTile = kWidth * D;
  const Place place(p.shape.tiles, p.shape.heads);
  const int shared_by = p.shape.heads / p.shape.key_heads;
  const int key_head =
      PYPROF_MUTANT(heads_of_a_group_read_another_key, place.head / shared_by, place.head % p.shape.key_heads);
  const Matrix<T> query(p.shape.query, place.batch, place.head);
  const Matrix<T> key(p.shape.key, place.batch, key_head), value(p.shape.value, place.batch, key_head);
  const Band band{p.shape.left, p.shape.right, p.shape.length, keys_of(p.shape, place.batch), p.shape.global_keys};
  const Stages stages(band.any(place.first, kRows), kWidth);

  T* const query_tile = gpu::shared_memory<T>();
  T* const ring = query_tile + kRows * D;  // key and value of two stages
  const auto load_stage = [&](int stage) {
    T* const tile = ring + stage % 2 * 2 * kTile;
    if (stage < stages.count) {
      load_tile<D, kWidth>(tile, key, stages.start + stage * kWidth, stages.span);
      load_tile<D, kWidth>(tile + kTile, value, stages.start + stage * kWidth, stages.span);
    }
    gpu::copy_commit();
  };

  // Both stages are under way before the first wait; from then on, one wait and one sync to a stage.
  load_tile<D, kRows>(query_tile, query, place.first, {0, p.shape.length});
  load_stage(0);
  load_stage(1);
  PYPROF_MUTANT(first_stage_is_read_before_it_is_there, gpu::copy_wait<1>(), gpu::copy_wait<2>());
  gpu::sync_threads();
  ForwardWarp<T, D, Dropped> own{p, Rows<T, D, true>(query_tile), Warp(band, place.first),
                                 place.batch * p.shape.heads + place.head, dropout_of(p.shape)};
  PYPROF_UNROLL for (int k = 0; k < D / 16; ++k) {
    PYPROF_UNROLL for (int i = 0; i < 4; ++i) own.queries.kept[k][i] ^= p.flip_signs;
  }
  PYPROF_UNROLL_BY(1) for (int stage = 0; stage < stages.count; ++stage) {
    const T* const tile = ring + PYPROF_MUTANT(the_other_stage_is_read, stage, (stage + 1)) % 2 * 2 * kTile;
    const int column = stages.start + stage * kWidth;
    const Groups groups(own.warp.any, column, kWidth);
    PYPROF_UNROLL_BY(1) for (int g = groups.begin; g < groups.end; g += 2) {
      const T* const keys = tile + g * kGroup * D;
      own.template pass<false>(keys, keys + kTile, column + g * kGroup,
                               g + 1 < groups.end ? 2 : PYPROF_MUTANT(pass_does_a_group_too_many, 1, 2), 0);
    }
    PYPROF_MUTANT(stage_is_read_before_it_is_there, gpu::copy_wait<0>(), gpu::copy_wait<1>());
    // The next stage is visible to all, and this one is free.
    PYPROF_MUTANT(stage_is_overwritten_while_it_is_read, gpu::sync_threads(), (void)0);
    load_stage(stage + 2);
  }
  if (p.shape.global_keys > 0) {
    each_leading_group<D>(p.shape, ring, [&](const T* keys, const T* values, int column, int leading) {
      own.template pass<true>(keys, values, column, 1, leading);
    });
  }
  const uint32_t odd = own.finish(query_tile, Matrix<T>(p.output, place.batch, place.head), band);
  if (PYPROF_MUTANT(spoiled_outputs_are_left, odd, 0) != 0) exact_output<T, D>(p, place, band, own.warp.row, odd);
}

}  // namespace pyprof::window::mma_kernels
