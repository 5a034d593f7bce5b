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
      : p(params), dropout(C::Dropped ? params.dropout.seeded(params.seed) : params.dropout) {}

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
    const bool whole = column >= first + 15 - p.left &&
                       column + N <= first + p.right + PYPROF_MUTANT(hopper_tile_counts_as_whole_too_early, 1, 2) &&
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
        shrink[half] = gpu::exp2(top[half] * p.scale_log2 - base_of(raised));
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
          score = gpu::exp2(score * p.scale_log2 - base);
          sum[e] += score;
        }
      }
      total[half] += sum[0] + sum[1];
    }
    if constexpr (C::Dropped) drop(column, first);
  }

  PYPROF_DEVICE float base_of(float score) const { return score == -kInfinity ? 0.0f : score * p.scale_log2; }

  PYPROF_DEVICE void mask(int own_column) {
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      const int query = row + 8 * half, low = query - p.left, last = query + p.right + 1;  // at most 2^31 - 1
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
    PYPROF_UNROLL for (int i = 0; i < N / 8; ++i) {
      const uint32_t kept = mma_kernels::kept_by_query(dropout, static_cast<uint32_t>(head_row), first, column + 8 * i);
      PYPROF_UNROLL for (int e = 0; e < 4; ++e) scores[4 * i + e] = (kept >> e & 1) != 0 ? scores[4 * i + e] : 0.0f;
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
    float factor[2];
    bool spoilt[2];
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      float all = total[half];
      all += gpu::shuffle_xor(all, 1);
      all += gpu::shuffle_xor(all, 2);
      const bool empty = all == 0.0f;  // NaN goes through
      factor[half] = empty ? 0.0f : p.dropout.scale / all;
      const int query = row + 8 * half;
      if (gpu::lane() % 4 == 0 && query < p.length) {
        gpu::write(lse_of(at, query), empty ? -kInfinity : (base_of(top[half]) + gpu::log2(all)) * kLn2);
      }
      bool is_nan = false;
      PYPROF_UNROLL for (int i = 0; i < D / 4; ++i) {
        is_nan = is_nan || out[i / 2 * 4 + 2 * half + i % 2] != out[i / 2 * 4 + 2 * half + i % 2];
      }
      spoilt[half] = PYPROF_MUTANT(hopper_what_is_masked_shows, is_nan && all == all && !empty, false);
    }
    store(at, factor);
    if (gpu::any(spoilt[0] || spoilt[1])) compute_again(at, spoilt);
  }

  // Two rows times a factor each, 16 bytes a lane. A factor of 0 makes zeros of whatever is there.
  PYPROF_DEVICE void store(const Item& at, const float (&factor)[2]) {
    T* const to = row_of(p.output, at.batch, at.head, row) + gpu::lane() % 4 * 8;
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      uint32_t pairs[D / 8];
      PYPROF_UNROLL for (int i = 0; i < D / 8; ++i) {
        const float low = out[4 * i + 2 * half] * factor[half], high = out[4 * i + 2 * half + 1] * factor[half];
        pairs[i] = factor[half] == 0.0f ? 0u : gpu::pack<T>(low, high);
      }
      transpose_quads(pairs);
      if (row + 8 * half >= PYPROF_MUTANT(hopper_rows_past_the_end_are_written, p.length, p.length + 64)) continue;
      PYPROF_UNROLL for (int i = 0; i < D / 8; i += 4) {
        gpu::write(reinterpret_cast<gpu::Words4*>(to + 8 * half * p.output.strides.row + i * 8),
                   gpu::Words4{pairs[i], pairs[i + 1], pairs[i + 2], pairs[i + 3]});
      }
    }
  }

  // Four lanes of a quad hold 4 bytes each of column block i in w[i]. Afterwards lane t has all 16 bytes of block
  // i + t in w[i] to w[i + 3], for every fourth i.
  template <int Count>
  PYPROF_DEVICE static void transpose_quads(uint32_t (&w)[Count]) {
    const bool odd = gpu::lane() & 1, upper = gpu::lane() & 2;
    PYPROF_UNROLL for (int q = 0; q < Count; q += 4) {
      PYPROF_UNROLL for (int i = q; i < q + 4; i += 2) {
        const uint32_t got = gpu::shuffle_xor(odd ? w[i] : w[i + 1], 1), kept = odd ? w[i + 1] : w[i];
        w[i] = odd ? got : kept, w[i + 1] = odd ? kept : got;
      }
      PYPROF_UNROLL for (int i = q; i < q + 2; ++i) {
        const uint32_t got = gpu::shuffle_xor(upper ? w[i] : w[i + 2], 2), kept = upper ? w[i + 2] : w[i];
        w[i] = upper ? got : kept, w[i + 2] = upper ? kept : got;
      }
    }
  }

  PYPROF_DEVICE static T* row_of(const Rows& tensor, int batch, int head, int index) {
    const Strides& s = tensor.strides;
    return static_cast<T*>(tensor.data) + batch * s.batch + head * s.head + index * s.row;
  }

  PYPROF_DEVICE float* lse_of(const Item& at, int query) const {
    return p.lse + (static_cast<int64_t>(at.batch) * p.heads + at.head) * p.length + query;
  }

  // The rows of this warp whose result a key outside of their band has spoilt, from what they do see alone.
  PYPROF_DEVICE void compute_again(const Item& at, const bool (&spoilt)[2]) {
    constexpr int kOwn = D / gpu::kWarp;
    const int first = row - gpu::lane() / 4, key_head = at.head / (p.heads / p.key_heads), own = gpu::lane() * kOwn;
    gpu::sync_warp();  // what was stored is overwritten, and log-sum-exp is read
    PYPROF_UNROLL_BY(1) for (int i = 0; i < 16; ++i) {
      const int query = first + i;
      if (!gpu::any(gpu::lane() / 4 == i % 8 && (i < 8 ? spoilt[0] : spoilt[1])) || query >= p.length) continue;
      const float base_of_row = *lse_of(at, query) * mma_kernels::kLog2E;
      const T* const from = row_of(p.query, at.batch, at.head, query) + own;
      float sum[kOwn] = {};
      const int begin = static_cast<int>(first_key(query, p.left)),
                end = static_cast<int>(end_key(query, p.right, keys));
      PYPROF_UNROLL_BY(1) for (int key = begin; key < end; ++key) {
        const T* const at_key = row_of(p.key, at.batch, key_head, key) + own;
        const T* const at_value = row_of(p.value, at.batch, key_head, key) + own;
        float score = 0.0f;
        PYPROF_UNROLL for (int e = 0; e < kOwn; ++e) score += gpu::to_float(from[e]) * gpu::to_float(at_key[e]);
        PYPROF_UNROLL for (int mask = 1; mask < gpu::kWarp; mask *= 2) score += gpu::shuffle_xor(score, mask);
        const float weight = gpu::exp2((p.negative ? -score : score) * p.scale_log2 - base_of_row);
        const bool kept =
            !C::Dropped || (mma_kernels::kept_of_quad(dropout, static_cast<uint32_t>(head_row),
                                                      static_cast<uint32_t>(query), static_cast<uint32_t>(key / 4)) >>
                                key % 4 &
                            1) != 0;
        PYPROF_UNROLL for (int e = 0; e < kOwn; ++e) {
          sum[e] += kept ? weight * p.dropout.scale * gpu::to_float(at_value[e]) : 0.0f;
        }
      }
      T* const to = row_of(p.output, at.batch, at.head, query) + own;
      PYPROF_UNROLL for (int e = 0; e < kOwn; ++e) to[e] = gpu::from_float<T>(sum[e]);
    }
  }
};

}  // namespace pyprof::window::hopper
