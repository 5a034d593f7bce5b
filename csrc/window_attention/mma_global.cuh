// The gradients of global keys and of their values from the queries whose windows begin after them: as many queries as
// the sequence has, so pieces of the sequence are summed by blocks of their own, and a second kernel adds these sums,
// in their order, to what the window gave.
#pragma once

#include "mma_backward.cuh"

namespace pyprof::window::mma_kernels {

inline constexpr int kGlobalQueries = 512;              // of a piece: whole stages
inline constexpr int kSumRows = kThreads / gpu::kWarp;  // of a block that adds sums: one to a warp

template <int D>
constexpr int64_t global_key_shared_bytes() {
  return int64_t{2} * D * 2 * (kRows + kColumns<D>)+kColumns<D> * int64_t{sizeof(gpu::Float2)};
}

// Rows are global keys: key j is seen before their windows by the queries from j + left + 1 on.
PYPROF_DEVICE Band band_of_later_queries(const Shape& shape, int keys) {
  const int before = -shape.left - PYPROF_MUTANT(last_query_of_the_band_counts_twice, 1, 0);
  return {before, shape.length, shape.global_keys < keys ? shape.global_keys : keys, shape.length};
}

// Where the sums of a piece are for global key `row` of a head: head_dim of the key, then as many of its value.
template <int D>
PYPROF_DEVICE float* global_sums_of(const BackwardParams& p, int batch, int head, int piece, int row) {
  const int64_t number = (int64_t{batch} * p.shape.key_heads + head) * p.global_pieces + piece;
  return p.global_sums + (number * p.shape.global_keys + row) * 2 * D;
}

// Blocks are pieces of the sequence for 64 global keys of a head.
struct GlobalPlace {
  int piece;
  Place place;

  // `pieces` is that of the parameters.
  PYPROF_DEVICE GlobalPlace(const Shape& shape, int pieces)
      : piece(gpu::block().x % pieces), place(of(shape, gpu::block().x / pieces)) {}
  // What of some queries is in the piece.
  PYPROF_DEVICE Span within(Span queries) const {
    const int begin = piece * kGlobalQueries, end = begin + kGlobalQueries;
    return {queries.begin > begin ? queries.begin : begin, queries.end < end ? queries.end : end};
  }

 private:
  PYPROF_DEVICE static Place of(const Shape& shape, int number) {
    const int tiles = (shape.global_keys + kRows - 1) / kRows, head_row = number / tiles;
    return {number % tiles * kRows, head_row % shape.key_heads, head_row / shape.key_heads};
  }
};

template <class T, int D, bool Dropped>
PYPROF_KERNEL(kThreads, kGradKeyBlocks<D, Dropped>)
void mma_global_key_kernel(const BackwardParams p) {
  constexpr int kWidth = kColumns<D>, kTile = kWidth * D;
  static_assert(kGlobalQueries % kWidth == 0);
  const GlobalPlace at(p.shape, p.global_pieces);
  const Place& place = at.place;
  const int group = p.shape.heads / p.shape.key_heads, keys = keys_of(p.shape, place.batch);
  const Band band = band_of_later_queries(p.shape, keys);
  const Stages stages(at.within(band.any(place.first, kRows)), kWidth);

  T* const key_tile = gpu::shared_memory<T>();
  T* const value_tile = key_tile + kRows * D;
  T* const queries = value_tile + kRows * D;
  T* const grads = queries + kTile;
  gpu::Float2* const statistics = reinterpret_cast<gpu::Float2*>(grads + kTile);
  load_tile<D, kRows>(key_tile, Matrix<T>(p.shape.key, place.batch, place.head), place.first, {0, keys});
  load_tile<D, kRows>(value_tile, Matrix<T>(p.shape.value, place.batch, place.head), place.first, {0, keys});
  gpu::copy_commit();
  gpu::copy_wait<0>();
  gpu::sync_threads();
  using Loaded = Rows<T, D, false>;
  GradKeyWarp<T, D, Dropped, false> own{p, Loaded(key_tile), Loaded(value_tile), Warp(band, place.first),
                                        dropout_of(p.shape)};
  own.warp.any = at.within(own.warp.any);
  PYPROF_UNROLL_BY(1) for (int head = place.head * group; head < (place.head + 1) * group; ++head) {
    const int head_row = place.batch * p.shape.heads + head;
    PYPROF_UNROLL_BY(1) for (int stage = 0; stage < stages.count; ++stage) {
      const int column = stages.start + stage * kWidth;
      load_tile<D, kWidth>(queries, Matrix<T>(p.shape.query, place.batch, head), column, stages.span);
      load_tile<D, kWidth>(grads, Matrix<T>(p.grad_output, place.batch, head), column, stages.span);
      const int pair = 2 * gpu::thread();  // 16 bytes are the statistics of two queries
      if (pair < kWidth) {
        const bool valid = column + pair < p.padded;
        gpu::copy_async(statistics + pair, p.statistics + int64_t{head_row} * p.padded + (valid ? column + pair : 0),
                        valid);
      }
      gpu::copy_commit();
      gpu::copy_wait<0>();
      gpu::sync_threads();
      const Groups groups(own.warp.any, column, kWidth);
      PYPROF_UNROLL_BY(1) for (int g = groups.begin; g < groups.end; ++g) {
        uint32_t operand[4];
        own.group(queries + g * kGroup * D, grads + g * kGroup * D, statistics + g * kGroup, column + g * kGroup,
                  head_row, operand);
      }
      PYPROF_MUTANT(later_queries_are_overwritten_while_they_are_read, gpu::sync_threads(), (void)0);
    }
  }
  // Where this block is once more, as nothing may be kept in registers for this meanwhile.
  const GlobalPlace again(p.shape, gpu::anew(p.global_pieces));
  const int rows = band_of_later_queries(p.shape, keys_of(p.shape, again.place.batch)).rows;
  PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
    const int row = own.warp.row + gpu::lane() / 4 + 8 * half;
    if (row >= rows) continue;
    float* const to = global_sums_of<D>(p, again.place.batch, again.place.head, again.piece, row) + gpu::lane() % 4 * 2;
    PYPROF_UNROLL for (int n = 0; n < D / 8; ++n) {
      const gpu::Float2 of_key{own.key_sums[n][2 * half], own.key_sums[n][2 * half + 1]};
      const gpu::Float2 of_value{own.value_sums[n][2 * half], own.value_sums[n][2 * half + 1]};
      gpu::write(reinterpret_cast<gpu::Float2*>(to + 8 * n), of_key);
      gpu::write(reinterpret_cast<gpu::Float2*>(to + D + 8 * n), of_value);
    }
  }
}

// row += factor * sums.
template <class T, int D>
PYPROF_DEVICE void add_to_row(const Matrix<T>& matrix, int row, float factor, const Spread<T, D>& sums) {
  Spread<T, D> before(matrix, row);
  before.add(factor, sums);
  before.store(matrix, row, 1.0f);
}

// A warp adds up the pieces of one global key. Sums that are not finite are computed again, as in mma_exact.cuh.
template <class T, int D>
PYPROF_KERNEL(kThreads)
void mma_global_sum_kernel(const BackwardParams p) {
  const int number = gpu::block().x * kSumRows + gpu::warp(), others = number / p.shape.global_keys;
  const int row = number % p.shape.global_keys, head = others % p.shape.key_heads, batch = others / p.shape.key_heads;
  if (batch >= p.batch) return;
  const int keys = keys_of(p.shape, batch);
  if (row >= keys) return;
  Spread<T, D> key, value;
  PYPROF_UNROLL_BY(1)
  for (int piece = 0; piece < PYPROF_MUTANT(last_piece_is_lost, p.global_pieces, p.global_pieces - 1); ++piece) {
    const float* const from = global_sums_of<D>(p, batch, head, piece, row) + gpu::lane();
    PYPROF_UNROLL for (int n = 0; n < Spread<T, D>::kOwn; ++n) {
      key.at[n] += from[n * gpu::kWarp];
      value.at[n] += from[D + n * gpu::kWarp];
    }
  }
  auto odd = static_cast<uint32_t>(!key.finite() || !value.finite());
  PYPROF_UNROLL for (int mask = 1; mask < gpu::kWarp; mask *= 2) odd |= gpu::shuffle_xor(odd, mask);
  float factor = p.shape.dropout.scale;
  if (PYPROF_MUTANT(spoiled_global_sums_are_left, odd, 0) != 0) {
    const KeySums<T, D, true> sums(p, Place(0, head, batch), band_of_later_queries(p.shape, keys), row);
    key = sums.key, value = sums.value, factor = 1.0f;
  }
  add_to_row(Matrix<T>(p.grad_key, batch, head), row, PYPROF_MUTANT(global_keys_miss_the_scale, p.shape.scale, 1.0f),
             key);
  add_to_row(Matrix<T>(p.grad_value, batch, head), row, factor, value);
}

}  // namespace pyprof::window::mma_kernels
