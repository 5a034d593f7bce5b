// Forward for wide windows: a block takes 128 queries, 32 to a warp in two tiles of 16, so that each fragment of keys
// and of values that a warp loads is multiplied twice. In a narrow window the band's edges cost more than that saves.
//
// The rest is as in mma_forward.cuh, but that the maximum is raised only when a weight would become larger than 2^8,
// which both types bear: most passes have nothing to scale. Registers are what there is least of. Queries are loaded at
// each use, and what is needed once a stage or at the end alone is computed again there.
#pragma once

#include "mma_exact.cuh"

namespace pyprof::window::mma_kernels {

inline constexpr int kWideTiles = 2;  // of a warp, 16 queries each
inline constexpr int kWideWarpRows = kWideTiles * kWarpRows;
inline constexpr int kWideRows = kThreads / gpu::kWarp * kWideWarpRows;  // of a block
inline constexpr int kPassGroups = 2;                                    // groups of columns that are softened together
inline constexpr int kPass = kPassGroups * kGroup;
inline constexpr float kWideSlack = 8.0f;  // how far scores may exceed the maximum, in powers of two

// As many stages and blocks on a multiprocessor as its shared memory and registers allow.
template <int D>
inline constexpr int kWideStages = D == 128 ? 3 : 2;
template <int D>
inline constexpr int kWideBlocks = D == 128 ? 2 : 3;

template <int D>
constexpr int64_t wide_shared_bytes() {
  return int64_t{2} * D * (kWideRows + kWideStages<D> * 2 * kColumns<D>);
}

// The tile of 128 queries that a block takes: where it is, computed again each time.
PYPROF_DEVICE Place wide_place(const Shape& shape) {
  Place place(gpu::anew(shape.tiles), shape.heads);
  place.first *= kWideRows / kRows;
  return place;
}

PYPROF_DEVICE Band wide_band(const Shape& shape, const Place& place) {
  return {shape.left, shape.right, shape.length, keys_of(shape, place.batch)};
}

// What a warp carries from stage to stage; each thread its part of two rows of each tile.
template <class T, int D, bool Dropped>
struct WideWarp {
  using Scores = float[2 * kPassGroups][4];              // of one tile
  using Weights = uint32_t[kPassGroups][kWideTiles][4];  // of all, as left operands
  const ForwardParams& p;
  const T* queries;  // of the warp
  Warp warp;
  int head_row, own;
  Dropout dropout;
  float sums[kWideTiles][D / 8][4] = {};
  float top[kWideTiles][2], total[kWideTiles][2];  // of scores; of this thread's columns

  PYPROF_DEVICE WideWarp(const ForwardParams& params, const T* of_block, const Place& place, const Band& band)
      : p(params),
        queries(of_block + gpu::warp() * kWideWarpRows * D),
        warp(band, place.first, kWideWarpRows),
        head_row(place.batch * params.shape.heads + place.head),
        own(mma_kernels::place<D>(gpu::lane() % 16, gpu::lane() / 16)),
        dropout(Dropped ? dropout_of(params.shape) : params.shape.dropout) {
    PYPROF_UNROLL for (int t = 0; t < kWideTiles; ++t) {
      PYPROF_UNROLL for (int half = 0; half < 2; ++half) top[t][half] = -kInfinity, total[t][half] = 0.0f;
    }
  }

  PYPROF_DEVICE void multiply_keys(float (&scores)[kWideTiles][2 * kPassGroups][4], const T* keys) const {
    const int lane = gpu::lane();
    const int column =
        PYPROF_MUTANT(wide_fragments_are_swapped, mma_kernels::place<D>(lane % 8 + lane / 16 * 8, lane / 8 % 2), own);
    PYPROF_UNROLL for (int k = 0; k < D / 16; ++k) {
      uint32_t a[kWideTiles][4];
      PYPROF_UNROLL for (int t = 0; t < kWideTiles; ++t) {
        gpu::load_matrices(a[t], queries + t * kWarpRows * D + step(own, k));
      }
      PYPROF_UNROLL for (int g = 0; g < kPassGroups; ++g) {
        uint32_t b[4];
        gpu::load_matrices(b, keys + g * kGroup * D + step(column, k));
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        PYPROF_UNROLL for (int t = 0; t < kWideTiles; ++t) {
          gpu::mma<T>(scores[t][2 * g], a[t], low);
          gpu::mma<T>(scores[t][2 * g + 1], a[t], high);
        }
      }
    }
  }

  PYPROF_DEVICE void multiply_values(const Weights& weights, const T* values) {
    PYPROF_UNROLL for (int g = 0; g < kPassGroups; ++g) {
      PYPROF_UNROLL for (int n = 0; n < D / 16; ++n) {
        uint32_t b[4];
        const T* const from = values + g * kGroup * D + step(own, n);
        PYPROF_MUTANT(wide_values_are_not_transposed, gpu::load_matrices_transposed(b, from),
                      gpu::load_matrices(b, from));
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        PYPROF_UNROLL for (int t = 0; t < kWideTiles; ++t) {
          gpu::mma<T>(sums[t][2 * n], weights[g][t], low);
          gpu::mma<T>(sums[t][2 * n + 1], weights[g][t], high);
        }
      }
    }
  }

  // What is subtracted in the exponent; while nothing is seen all weights become 0.
  PYPROF_DEVICE float base_of(float score) const {
    return PYPROF_MUTANT(wide_rows_that_saw_nothing_yet, score == -kInfinity, false) ? 0.0f : score * p.scale_log2;
  }

  PYPROF_DEVICE void mask(int t, Scores& scores, int first) const {
    const int below = PYPROF_MUTANT(wide_lower_tile_is_masked_as_the_upper, t, 0) * kWarpRows;
    PYPROF_UNROLL for (int n = 0; n < 2 * kPassGroups; ++n) {
      PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
        if (!warp.holds(first + 8 * n, i, below)) scores[n][i] = -kInfinity;
      }
    }
  }

  // Scores of a tile become weights, in place.
  PYPROF_DEVICE void soften(int t, Scores& scores) {
    float best[2] = {-kInfinity, -kInfinity};
    PYPROF_UNROLL for (int n = 0; n < 2 * kPassGroups; ++n) {
      PYPROF_UNROLL for (int i = 0; i < 4; ++i) best[i / 2] = fmaxf(best[i / 2], scores[n][i]);
    }
    bool grown = false;
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      best[half] = fmaxf(best[half], gpu::shuffle_xor(best[half], 1));
      best[half] = fmaxf(best[half], gpu::shuffle_xor(best[half], 2));
      // Not where both are the same infinity, whose difference is NaN.
      grown = grown || (best[half] - top[t][half]) * p.scale_log2 > kWideSlack;
    }
    if (gpu::any(grown)) {
      float shrink[2];
      PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
        const float raised = fmaxf(top[t][half], best[half]);
        shrink[half] = gpu::exp2(top[t][half] * p.scale_log2 - base_of(raised));
        top[t][half] = raised;
        total[t][half] *= PYPROF_MUTANT(wide_total_is_not_scaled, shrink[half], 1.0f);
      }
      PYPROF_UNROLL for (int n = 0; n < D / 8; ++n) {
        PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
          sums[t][n][i] *= PYPROF_MUTANT(wide_sums_are_not_scaled, shrink[i / 2], 1.0f);
        }
      }
    }
    const float base[2] = {base_of(top[t][0]), base_of(top[t][1])};
    PYPROF_UNROLL for (int n = 0; n < 2 * kPassGroups; ++n) {
      PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
        scores[n][i] = gpu::exp2(scores[n][i] * p.scale_log2 - base[i / 2]);
        total[t][i / 2] += scores[n][i];
      }
    }
  }

  // Draws first, and for two results at once, as drawing takes registers.
  PYPROF_DEVICE void drop(int t, Scores& scores, int first) const {
    const int query = warp.row + PYPROF_MUTANT(wide_lower_tile_drops_as_the_upper, t, 0) * kWarpRows;
    uint32_t kept = 0;
    PYPROF_UNROLL_BY(2) for (int n = 0; n < 2 * kPassGroups; ++n) {
      kept |= kept_by_query(dropout, head_row, query, first + 8 * n) << 4 * n;
    }
    PYPROF_UNROLL for (int n = 0; n < 2 * kPassGroups; ++n) {
      PYPROF_UNROLL for (int i = 0; i < 4; ++i) scores[n][i] = (kept >> (4 * n + i) & 1) != 0 ? scores[n][i] : 0.0f;
    }
  }

  // The keys and values of the 32 columns from `first` on.
  PYPROF_DEVICE void pass(const T* keys, const T* values, int first) {
    float scores[kWideTiles][2 * kPassGroups][4] = {};
    Weights weights;
    multiply_keys(scores, keys);
    const bool whole = warp.all.covers(first, kPass);
    PYPROF_UNROLL for (int t = 0; t < kWideTiles; ++t) {
      if (!whole) mask(t, scores[t], first);
      soften(t, scores[t]);
      if constexpr (Dropped) drop(t, scores[t], first);
      PYPROF_UNROLL for (int g = 0; g < kPassGroups; ++g) {
        PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
          const auto& from = scores[t][2 * g + PYPROF_MUTANT(wide_quarters_of_an_operand_are_swapped, i / 2, 0)];
          weights[g][t][i] = gpu::pack<T>(from[i % 2 * 2], from[i % 2 * 2 + 1]);
        }
      }
    }
    multiply_values(weights, values);
  }

  // Which rows of a tile are not finite, one bit each.
  PYPROF_DEVICE uint32_t finish(int t, T* of_block, const Matrix<T>& output, const Band& band) const {
    float factor[2];
    bool wanted[2];
    const int row = warp.row + t * kWarpRows;
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      float all = total[t][half];
      all += gpu::shuffle_xor(all, 1);
      all += gpu::shuffle_xor(all, 2);
      const int query = row + gpu::lane() / 4 + 8 * half;
      const Span seen = band.of(query);
      wanted[half] = PYPROF_MUTANT(wide_scores_of_minus_infinity_are_no_keys, seen.begin < seen.end, all != 0.0f);
      factor[half] = p.shape.dropout.scale / all;
      // What raised the maximum has added 1, so that a sum of 0 is of scores that are all -infinity: 0 / 0 makes that
      // NaN.
      const float log = (base_of(top[t][half]) + gpu::log2(all)) * (all / all);
      const float lse = wanted[half] ? log * PYPROF_MUTANT(wide_log_sum_exp_in_powers_of_two, kLn2, 1.0f) : -kInfinity;
      if (gpu::lane() % 4 == 0 && query < p.shape.length) {
        gpu::write(p.lse + static_cast<int64_t>(head_row) * p.shape.length + query, lse);
      }
    }
    // It takes 16 rows for each warp, and each warp before this one has 16 more.
    const int skipped = PYPROF_MUTANT(wide_warps_store_through_the_same_rows, gpu::warp(), 0) * kWarpRows;
    return store_rows<T, D>(of_block + (skipped + t * kWarpRows) * D, sums[t], factor, wanted, output, row,
                            p.shape.length);
  }
};

// Changes the signs of the warp's queries, for a negative scale.
template <int D, class T>
PYPROF_DEVICE void flip_queries(T* of_block, uint32_t signs) {
  T* const own = of_block + gpu::warp() * kWideWarpRows * D + gpu::lane() * kChunk;
  PYPROF_UNROLL_BY(1) for (int at = 0; at < kWideWarpRows * D; at += gpu::kWarp * kChunk) {
    auto* const piece = reinterpret_cast<gpu::Words4*>(own + at);
    const auto words = gpu::read(piece);
    gpu::write(piece, gpu::Words4{words.x ^ signs, words.y ^ signs, words.z ^ signs, words.w ^ signs});
  }
  PYPROF_MUTANT(wide_signs_are_read_before_they_are_there, gpu::sync_warp(), (void)0);
}

template <class T, int D, bool Dropped>
PYPROF_KERNEL(kThreads, kWideBlocks<D>)
void mma_wide_kernel(const ForwardParams p) {
  constexpr int kWidth = kColumns<D>, kTile = kWidth * D, kStages = kWideStages<D>;
  static_assert(kWidth % kPass == 0 && kStages >= 2);
  const Place place = wide_place(p.shape);
  const int shared_by = p.shape.heads / p.shape.key_heads;
  const int key_head =
      PYPROF_MUTANT(wide_heads_of_a_group_read_another_key, place.head / shared_by, place.head % p.shape.key_heads);
  const Band band = wide_band(p.shape, place);
  const Stages stages(band.any(place.first, kWideRows), kWidth);

  T* const queries = gpu::shared_memory<T>();
  T* const ring = queries + kWideRows * D;  // key and value of each stage
  const auto load_stage = [&](int stage) {
    T* const tile = ring + stage % kStages * 2 * kTile;
    if (stage < stages.count) {
      const int batch = gpu::anew(place.batch), head = gpu::anew(key_head), column = stages.start + stage * kWidth;
      load_tile<D, kWidth>(tile, Matrix<T>(p.shape.key, batch, head), column, stages.span);
      load_tile<D, kWidth>(tile + kTile, Matrix<T>(p.shape.value, batch, head), column, stages.span);
    }
    gpu::copy_commit();
  };

  // All stages are under way before the first wait; from then on, one wait and one sync to a stage.
  load_tile<D, kWideRows>(queries, Matrix<T>(p.shape.query, place.batch, place.head), place.first, {0, p.shape.length});
  PYPROF_UNROLL for (int stage = 0; stage < kStages; ++stage) load_stage(stage);
  PYPROF_MUTANT(wide_first_stage_is_read_before_it_is_there, gpu::copy_wait<kStages - 1>(), gpu::copy_wait<kStages>());
  gpu::sync_threads();
  const bool negative = PYPROF_MUTANT(wide_signs_are_left, p.flip_signs, 0) != 0;
  if (negative) flip_queries<D>(queries, p.flip_signs);
  WideWarp<T, D, Dropped> own(p, queries, place, band);
  PYPROF_UNROLL_BY(1) for (int stage = 0; stage < stages.count; ++stage) {
    const T* const tile = ring + PYPROF_MUTANT(wide_the_next_stage_is_read, stage, (stage + 1)) % kStages * 2 * kTile;
    const int column = stages.start + stage * kWidth;
    const Groups groups(own.warp.any, column, kWidth);
    const int begin = PYPROF_MUTANT(wide_passes_begin_anywhere, groups.begin / kPassGroups * kPassGroups, groups.begin);
    PYPROF_UNROLL_BY(1) for (int g = begin; g < groups.end; g += kPassGroups) {
      const T* const keys = tile + g * kGroup * D;
      own.pass(keys, keys + kTile, column + g * kGroup);
    }
    PYPROF_MUTANT(wide_stage_is_read_before_it_is_there, gpu::copy_wait<kStages - 2>(), gpu::copy_wait<kStages - 1>());
    // The next stage is visible to all, and this one is free.
    PYPROF_MUTANT(wide_stage_is_overwritten_while_it_is_read, gpu::sync_threads(), (void)0);
    load_stage(stage + kStages);
  }
  const Place again = wide_place(p.shape);
  const Band seen = wide_band(p.shape, again);
  const Matrix<T> output(p.output, again.batch, again.head);
  uint32_t odd = 0;
  PYPROF_UNROLL for (int t = 0; t < kWideTiles; ++t) {
    const uint32_t of_tile = own.finish(t, queries, output, seen);
    odd |= PYPROF_MUTANT(wide_spoiled_rows_of_the_lower_tile_are_left, of_tile, (t == 0 ? of_tile : 0))
           << t * kWarpRows;
  }
  if (PYPROF_MUTANT(wide_spoiled_outputs_are_left, odd, 0) != 0) {
    exact_output<T, D>(p, again, seen, own.warp.row, odd);
  }
}

}  // namespace pyprof::window::mma_kernels
