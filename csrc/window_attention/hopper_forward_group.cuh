// What a consumer warpgroup of the Hopper forward does with a tile: scores, weights, sums, and the result.
//
// Scores stay unscaled, as in mma_forward.cuh; a negative scale changes their sign. Products of a whole tile meet
// values that a query does not see, with a weight of 0: where such a value is infinite or NaN, the result is NaN, and
// the row is computed again from the keys that it does see.
#pragma once

#include "hopper_tile.cuh"

namespace pyprof::window::hopper {

// What a warpgroup carries from tile to tile; each thread its part of two rows, `row` and `row + 8`.
template <class C>
struct ForwardGroup {
  using T = typename C::T;
  static constexpr int D = C::D, N = C::N;
  const ForwardParams& p;
  const Dropout dropout;
  int row = 0, keys = 0, head_row = 0;
  float out[D / 2], scores[N / 2];
  uint32_t weights[N / 16][4];
  float top[2], total[2], shrink[2];
  bool grown;

  PYPROF_DEVICE explicit ForwardGroup(const ForwardParams& params)
      : p(params), dropout(C::Dropped ? mma_kernels::dropout_of(params.plain.shape) : params.plain.shape.dropout) {}

  PYPROF_DEVICE void start(int first_row, int count, int head) {
    row = first_row, keys = count, head_row = head;
    PYPROF_UNROLL for (int i = 0; i < D / 2; ++i) out[i] = 0.0f;
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) top[half] = -kInfinity, total[half] = 0.0f;
  }

  PYPROF_DEVICE void issue_scores(const unsigned char* query, const unsigned char* tile) {
    gpu::products_begin();
    PYPROF_UNROLL for (int k = 0; k < D / 16; ++k) {
      gpu::product<T, N>(scores, gpu::rows_of(query + k / 4 * C::kRows * gpu::kLine, k % 4 * 16),
                         gpu::rows_of(tile + k / 4 * N * gpu::kLine, k % 4 * 16), k > 0);
    }
    gpu::products_commit();
  }

  PYPROF_DEVICE void issue_output(const unsigned char* tile) {
    gpu::products_begin();
    PYPROF_UNROLL for (int k = 0; k < N / 16; ++k) {
      gpu::product<T, D>(out, weights[k], gpu::columns_of(tile + k * 16 * gpu::kLine, N * gpu::kLine), true);
    }
    gpu::products_commit();
  }

  // Scores of the N columns from `column` on become weights, in place. Sets shrink and grown, for `rescale`.
  PYPROF_DEVICE void soften(int column) {
    const int first = row - gpu::lane() / 4, own_column = column + gpu::lane() % 4 * 2;
    if (p.negative) {
      PYPROF_UNROLL for (int i = 0; i < N / 2; ++i) scores[i] = -scores[i];
    }
    const auto& shape = p.plain.shape;
    const bool whole = column >= first + 15 - shape.left &&
                       column + N <= first + shape.right + PYPROF_MUTANT(hopper_tile_counts_as_whole_too_early, 1, 2) &&
                       column + N <= keys;
    if (!whole) mask(own_column);
    float best[2];
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      float even = scores[2 * half], odd = scores[2 * half + 1];
      PYPROF_UNROLL for (int i = 1; i < N / 8; ++i) {
        even = fmaxf(even, scores[4 * i + 2 * half]);
        odd = fmaxf(odd, scores[4 * i + 2 * half + 1]);
      }
      even = fmaxf(even, odd);
      even = fmaxf(even, gpu::shuffle_xor(even, 1));
      best[half] = fmaxf(even, gpu::shuffle_xor(even, 2));
    }
    // The base is raised only when it would be too low by a factor of 2^8: weights stay in range for both types.
    grown = gpu::any(best[0] > top[0] + p.slack || best[1] > top[1] + p.slack);
    if (grown) {
      PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
        const float raised = fmaxf(top[half], best[half]);
        shrink[half] = gpu::exp2(top[half] * p.plain.scale_log2 - base_of(raised));
        top[half] = raised;
        total[half] *= PYPROF_MUTANT(hopper_total_is_not_scaled, shrink[half], 1.0f);
      }
    }
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      const float base = base_of(top[half]);
      float sum[2] = {0.0f, 0.0f};
      PYPROF_UNROLL for (int i = 0; i < N / 8; ++i) {
        PYPROF_UNROLL for (int e = 0; e < 2; ++e) {
          float& score = scores[4 * i + 2 * half + e];
          score = gpu::exp2(score * p.plain.scale_log2 - base);
          sum[e] += score;
        }
      }
      total[half] += sum[0] + sum[1];
    }
    if constexpr (C::Dropped) drop(column, first);
  }

  PYPROF_DEVICE float base_of(float score) const { return score == -kInfinity ? 0.0f : score * p.plain.scale_log2; }

  PYPROF_DEVICE void mask(int own_column) {
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      const int query = row + 8 * half, low = query - p.plain.shape.left,
                last = query + p.plain.shape.right + 1;  // at most 2^31 - 1
      const int high = last < keys ? last : keys;
      const auto width = static_cast<uint32_t>(high > low ? high - low : 0);
      PYPROF_UNROLL for (int i = 0; i < N / 8; ++i) {
        PYPROF_UNROLL for (int e = 0; e < 2; ++e) {
          float& score = scores[4 * i + 2 * half + e];
          const auto from_begin = static_cast<uint32_t>(own_column + 8 * i + e - low);
          score =
              PYPROF_MUTANT(hopper_band_ends_a_key_late, from_begin < width, from_begin <= width) ? score : -kInfinity;
        }
      }
    }
  }

  PYPROF_DEVICE void drop(int column, int first) {
    PYPROF_UNROLL for (int part = 0; part < N / 32; ++part) {
      uint32_t kept = 0;  // for few scores at once, as drawing takes registers
      PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
        kept |= mma_kernels::kept_by_query(dropout, static_cast<uint32_t>(head_row), first, column + 32 * part + 8 * i)
                << 4 * i;
      }
      PYPROF_UNROLL for (int i = 0; i < 16; ++i) {
        float& score = scores[16 * part + i];
        score = (kept >> i & 1) != 0 ? score : 0.0f;
      }
    }
  }

  PYPROF_DEVICE void rescale() {
    if (!grown) return;
    PYPROF_UNROLL for (int i = 0; i < D / 2; ++i) {
      out[i] *= PYPROF_MUTANT(hopper_sums_are_not_scaled, shrink[i / 2 % 2], 1.0f);
    }
  }

  PYPROF_DEVICE void to_weights() {
    PYPROF_UNROLL for (int i = 0; i < N / 4; ++i) {
      weights[i / 4][i % 4] = gpu::pack<T>(scores[2 * i], scores[2 * i + 1]);
    }
  }

  PYPROF_DEVICE void finish(const Item& at) {
    const auto& shape = p.plain.shape;
    const int first = row - gpu::lane() / 4;
    const Band band{shape.left, shape.right, shape.length, keys};
    float factor[2];
    bool wanted[2];
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      float all = total[half];
      all += gpu::shuffle_xor(all, 1);
      all += gpu::shuffle_xor(all, 2);
      const int query = row + 8 * half;
      const Span seen = band.of(query);
      wanted[half] = PYPROF_MUTANT(hopper_scores_of_minus_infinity_are_no_keys, seen.begin < seen.end, all != 0.0f);
      factor[half] = shape.dropout.scale / all;
      // The best key alone adds 1 at least once, so a sum of 0 is of scores that are all -infinity: 0 / 0 makes it NaN.
      const float log = (base_of(top[half]) + gpu::log2(all)) * (all / all);
      if (gpu::lane() % 4 == 0 && query < shape.length) {
        gpu::write(p.plain.lse + (static_cast<int64_t>(at.batch) * shape.heads + at.head) * shape.length + query,
                   wanted[half] ? log * kLn2 : -kInfinity);
      }
    }
    const uint32_t spoilt = store_rows<T, D>(at_row<T>(p.plain.output, at.batch, at.head, first),
                                             p.plain.output.strides.row, out, factor, wanted, shape.length - first);
    if (gpu::any(PYPROF_MUTANT(hopper_what_is_masked_shows, spoilt != 0, false))) {
      uint32_t odd = ((spoilt & 1) | (spoilt & 2) << 7) << gpu::lane() / 4;
      PYPROF_UNROLL for (int mask = 1; mask < gpu::kWarp; mask *= 2) odd |= gpu::shuffle_xor(odd, mask);
      mma_kernels::exact_output<T, D>(p.plain, mma_kernels::Place(0, at.head, at.batch), band, first, odd);
    }
  }
};

}  // namespace pyprof::window::hopper
