// What the tensor-core kernels share: who computes what, tiles in shared memory, fragments, the band.
//
// A block has four warps and 64 rows, 16 to a warp; rows are queries (forward, gradient of the query) or keys
// (gradients of key and value). The other side, the columns, streams through shared memory in two stages. A warp works
// on groups of 16 columns, leaves out the groups that its rows' band does not touch, and masks only those that the
// band's edge cuts.
#pragma once

#include "gpu.h"
#include "mutant.h"
#include "window.h"

namespace pyprof::window::mma_kernels {

inline constexpr int kThreads = 128;
inline constexpr int kRows = 64;      // of a block
inline constexpr int kWarpRows = 16;  // of a warp: the M of m16n8k16
inline constexpr int kGroup = 16;     // columns that are computed or left out together: the K of m16n8k16
inline constexpr int kChunk = 8;      // elements in 16 bytes
inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;
inline constexpr float kInfinity = __builtin_huge_valf();

// Columns of one stage. With head_dim 128 half as many, so that two blocks and more fit on one multiprocessor.
template <int D>
inline constexpr int kColumns = D == 128 ? 32 : 64;

// A tensor (batch, heads, length, head_dim); `aligned` when every row starts on 16 bytes.
struct Tensor {
  void* data;
  Strides strides;
  bool aligned;
};

// The problem in the numbers that kernels need; left and right are clipped to the length.
struct Shape {
  Tensor query, key, value;
  const int64_t* key_lengths;
  Dropout dropout;  // without its seed, see dropout_of
  const uint64_t* seed;
  int32_t heads, key_heads, length, left, right, tiles;
  float scale;
  int32_t global_keys;
};

// One head of a tensor: a matrix of `length` rows.
template <class T>
struct Matrix {
  T* data;
  int64_t stride;
  bool aligned;

  PYPROF_DEVICE Matrix(const Tensor& tensor, int batch, int head)
      : data(static_cast<T*>(tensor.data) + batch * tensor.strides.batch +
             head * PYPROF_MUTANT(heads_stride_is_a_rows, tensor.strides.head, tensor.strides.row)),
        stride(tensor.strides.row),
        aligned(tensor.aligned) {}

  PYPROF_DEVICE T* at(int row, int chunk) const { return data + row * stride + chunk * kChunk; }
};

// Blocks are numbered with the tile first, so that neighbours in time share keys in the second-level cache.
struct Place {
  int first, head, batch;

  PYPROF_DEVICE Place(int row, int of_head, int of_batch) : first(row), head(of_head), batch(of_batch) {}
  PYPROF_DEVICE Place(int tiles, int heads) {
    const int row = gpu::block().x / tiles;
    first = gpu::block().x % tiles * kRows;
    head = row % heads;
    batch = row / heads;
  }
};

// Keys that take part, of a kernel's parameters that have key_lengths and length.
template <class Numbers>
PYPROF_DEVICE int keys_of(const Numbers& shape, int batch) {
  if (shape.key_lengths == nullptr) return shape.length;
  const int64_t keys = shape.key_lengths[batch];
  return keys < 0 ? 0 : keys < shape.length ? static_cast<int>(keys) : shape.length;
}

// Columns [begin, end).
struct Span {
  int begin, end;

  PYPROF_DEVICE bool holds(int column) const { return column >= begin && column < end; }
  PYPROF_DEVICE bool covers(int first, int count) const {
    return first >= begin && first + count <= PYPROF_MUTANT(group_counts_as_whole_too_early, end, end + 1);
  }
};

// Which columns a row sees. With queries as rows: `before` is left, `after` is right, `columns` the keys that take
// part, of which the first `global_keys` are seen before the band too (`leading`). With keys as rows the two sides
// change places: query i sees key j where j - right <= i <= j + left.
struct Band {
  int before, after, rows, columns;
  int global_keys = 0;

  PYPROF_DEVICE Span of(int row) const {
    if (row >= rows) return {0, 0};
    return {static_cast<int>(first_key(row, before)), static_cast<int>(end_key(row, after, columns))};
  }
  // The columns [0, leading) are seen before the band.
  PYPROF_DEVICE int leading(int row) const {
    return row >= rows ? 0 : leading_keys<int>(row, before, global_keys, columns);
  }
  // Seen by at least one of the rows from `first` on: both ends of the band only grow with the row.
  PYPROF_DEVICE Span any(int first, int count) const {
    if (first >= rows) return {0, 0};
    return {of(first).begin, of(last_of(first, count)).end};
  }
  // Seen by all of them; none where some rows are not rows at all.
  PYPROF_DEVICE Span all(int first, int count) const {
    if (first + count > rows) return {0, 0};
    return {of(first + count - 1).begin, of(first).end};
  }
  // The leading columns of at least one of them.
  PYPROF_DEVICE int leading(int first, int count) const { return first >= rows ? 0 : leading(last_of(first, count)); }

 private:
  PYPROF_DEVICE int last_of(int first, int count) const {
    return first + count < rows ? first + count - PYPROF_MUTANT(last_rows_group_is_lost, 1, 2) : rows - 1;
  }
};

// What a warp's rows see, which are 16 or as many as are said: `any` of them and `all` of them. Does not change over
// the stages.
struct Warp {
  int row;  // the first
  Span any, all;
  int before, width, columns;

  PYPROF_DEVICE Warp(const Band& band, int first, int rows = kWarpRows)
      : row(first + gpu::warp() * rows),
        any(band.any(row, rows)),
        all(band.all(row, rows)),
        before(band.before),
        width(band.before + band.after),
        columns(band.columns) {}

  // Whether result d[i] of the eight columns from `column` on counts, in the fewest numbers that have to be kept; of
  // the warp's rows from `below` on. Says nothing about rows that are not rows: those are left out, or made zeros, when
  // they are stored.
  PYPROF_DEVICE bool holds(int column, int i, int below = 0) const {
    const int mine = row + below + gpu::lane() / 4 + i / 2 * 8, other = column + gpu::lane() % 4 * 2 + i % 2;
    const auto from_begin =
        static_cast<uint32_t>(other - mine + PYPROF_MUTANT(band_begins_a_key_early, before, before + 1));
    const auto most = static_cast<uint32_t>(width);
    return PYPROF_MUTANT(band_ends_a_key_early, from_begin <= most, from_begin < most) &&
           PYPROF_MUTANT(key_length_is_ignored_in_the_last_group, other < columns, true);
  }

  // The same of the first `leading` columns, where the band comes after them.
  PYPROF_DEVICE bool leads(int column, int i, int leading) const {
    const int mine = row + gpu::lane() / 4 + i / 2 * 8, other = column + gpu::lane() % 4 * 2 + i % 2;
    return PYPROF_MUTANT(a_leading_key_counts_twice, other < mine - before, other <= mine - before) &&
           PYPROF_MUTANT(a_leading_key_too_many, other < leading, other <= leading);
  }
};

// The groups of one stage that a warp has to do: those that the span of its rows touches.
struct Groups {
  int begin, end;

  PYPROF_DEVICE Groups(Span any, int column, int width) {
    const int low = any.begin - column, high = any.end - column;
    begin = low > 0 ? PYPROF_MUTANT(first_group_is_lost, low, low + kGroup - 1) / kGroup : 0;
    end = any.end <= any.begin
              ? 0
              : (high < width ? PYPROF_MUTANT(last_group_is_lost, high + kGroup - 1, high) : width) / kGroup;
  }
};

// The stages that a block goes through: `start` is rounded down to whole groups, which also keeps dropout's quads
// whole.
struct Stages {
  Span span;
  int start, count;

  PYPROF_DEVICE Stages(Span columns, int width)
      : span(columns),
        start(PYPROF_MUTANT(stages_begin_between_groups, columns.begin / kGroup * kGroup, columns.begin)) {
    count = columns.end > columns.begin
                ? (columns.end - start + PYPROF_MUTANT(last_stage_is_lost, width - 1, 0)) / width
                : 0;
  }
};

// Where 16 bytes of a tile lie, in elements. The eight rows that a matrix load or a row's store touches at once get
// eight different groups of four banks, for which the place of a chunk in its row is changed by the row's number.
template <int D>
PYPROF_DEVICE int place(int row, int chunk) {
  constexpr int kInRow = D / kChunk;
  const int swizzled = kInRow >= 8 ? chunk ^ (row % 8) : chunk ^ (row / 2 % 4);
  return row * D + swizzled * kChunk;
}

// place(row, chunk + 2 * k) from place(row, chunk), for a chunk of 0 or 1: one instruction and no register to keep.
PYPROF_DEVICE int step(int place, int k) {
  return PYPROF_MUTANT(swizzles_disagree, place ^ (2 * kChunk * k), place + 2 * kChunk * k);
}

// Eight elements, one by one: for rows that do not start on 16 bytes.
template <class T>
PYPROF_DEVICE gpu::Words4 gather(const T* from) {
  uint32_t pairs[4];
  PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
    pairs[i] = from[2 * i].bits | static_cast<uint32_t>(from[2 * i + 1].bits) << 16;
  }
  return {pairs[0], pairs[1], pairs[2], pairs[3]};
}

template <class T>
PYPROF_DEVICE void scatter(T* to, gpu::Words4 words) {
  const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
  PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
    to[2 * i].bits = static_cast<uint16_t>(pairs[i]);
    to[2 * i + 1].bits = static_cast<uint16_t>(pairs[i] >> 16);
  }
}

template <class T>
PYPROF_DEVICE gpu::Words4 read_chunk(const Matrix<T>& from, int row, int chunk) {
  const T* source = from.at(row, chunk);
  return from.aligned ? gpu::read(reinterpret_cast<const gpu::Words4*>(source)) : gather(source);
}

// Rows first to first + Count - 1 of a matrix into a tile, by the whole block; zeros for rows outside of `wanted`,
// which are never read: they may lie outside of the tensor, or hold NaN beyond a sequence's end.
template <int D, int Count, class T>
PYPROF_DEVICE void load_tile(T* tile, const Matrix<T>& from, int first, Span wanted) {
  constexpr int kInRow = D / kChunk, kStep = kThreads / kInRow;  // rows that the block's threads take at once
  static_assert(Count % kStep == 0 && kStep % 8 == 0, "then a thread's rows differ by whole swizzles");
  const int own = gpu::thread() / kInRow, chunk = gpu::thread() % kInRow;
  T* const to = tile + place<D>(own, chunk);
  PYPROF_UNROLL_BY(1) for (int row = 0; row < Count; row += kStep) {
    const int index = first + own + row;
    const bool valid = PYPROF_MUTANT(rows_past_the_end_are_read, wanted.holds(index), true);
    const T* const source = valid ? from.at(index, chunk) : from.data;
    if (from.aligned) {
      gpu::copy_async(to + row * D, source, valid);
    } else {
      PYPROF_UNROLL_BY(1) for (int i = 0; i < kChunk; i += 2) {
        const uint32_t pair = valid ? source[i].bits | static_cast<uint32_t>(source[i + 1].bits) << 16 : 0;
        gpu::write(reinterpret_cast<uint32_t*>(to + row * D + i), pair);
      }
    }
  }
}

// The leading keys and values of a block whose rows are queries, a stage at a time and each waited for, since they are
// few: they come after those of the band, whose stages have no register left to tell them apart by. Calls
// `group(keys, values, column, leading)` for every 16 of them that a warp has to do.
template <int D, class T, class Group>
PYPROF_DEVICE void each_leading_group(const Shape& shape, T* stage, const Group& group) {
  constexpr int kWidth = kColumns<D>;
  PYPROF_UNROLL_BY(1) for (int column = 0;; column += kWidth) {
    // Where it is once more, as nothing may be kept in registers for this meanwhile.
    const Place place(gpu::anew(shape.tiles), shape.heads);
    const Band band{shape.left, shape.right, shape.length, keys_of(shape, place.batch), shape.global_keys};
    const int leading = band.leading(place.first, kRows), key_head = place.head / (shape.heads / shape.key_heads);
    if (column >= leading) break;
    load_tile<D, kWidth>(stage, Matrix<T>(shape.key, place.batch, key_head), column, {0, leading});
    load_tile<D, kWidth>(stage + kWidth * D, Matrix<T>(shape.value, place.batch, key_head), column, {0, leading});
    gpu::copy_commit();
    gpu::copy_wait<0>();
    gpu::sync_threads();
    PYPROF_UNROLL_BY(1) for (int first = 0; first < kWidth && column + first < leading; first += kGroup) {
      group(stage + first * D, stage + (kWidth + first) * D, column + first, leading);
    }
    PYPROF_MUTANT(leading_keys_are_overwritten_while_they_are_read, gpu::sync_threads(), (void)0);
  }
}

// The 16 rows of a warp as left operands: kept in registers, or where they would be too many, loaded at each use.
template <class T, int D, bool Kept>
struct Rows {
  const T* tile;
  int own;
  uint32_t kept[Kept ? D / 16 : 1][4];

  PYPROF_DEVICE explicit Rows(const T* from)
      : tile(from), own(place<D>(gpu::warp() * kWarpRows + gpu::lane() % 16, gpu::lane() / 16)) {
    if constexpr (Kept) {
      PYPROF_UNROLL for (int k = 0; k < D / 16; ++k) gpu::load_matrices(kept[k], tile + step(own, k));
    }
  }
  PYPROF_DEVICE void get(int k, uint32_t (&a)[4]) const {
    if constexpr (Kept) {
      PYPROF_UNROLL for (int i = 0; i < 4; ++i) a[i] = kept[k][i];
    } else {
      gpu::load_matrices(a, tile + step(own, k));
    }
  }
};

// d (16 rows, 16 columns) = rows * (the 16 columns from `columns` on)^T, over head_dim.
template <class T, int D, bool Kept>
PYPROF_DEVICE void multiply_transposed(float (&d)[2][4], const Rows<T, D, Kept>& rows, const T* columns) {
  PYPROF_UNROLL for (int n = 0; n < 2; ++n) { PYPROF_UNROLL for (int i = 0; i < 4; ++i) d[n][i] = 0.0f; }
  const int lane = gpu::lane();
  const int own = PYPROF_MUTANT(fragments_are_swapped, place<D>(lane % 8 + lane / 16 * 8, lane / 8 % 2),
                                place<D>(lane % 16, lane / 16));
  PYPROF_UNROLL for (int k = 0; k < D / 16; ++k) {
    uint32_t a[4], b[4];
    rows.get(k, a);
    gpu::load_matrices(b, columns + step(own, k));
    const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
    gpu::mma<T>(d[0], a, low);
    gpu::mma<T>(d[1], a, high);
  }
}

// d (16 rows, head_dim) += a (16 rows, 16 columns) * (the 16 columns from `columns` on).
template <int D, class T>
PYPROF_DEVICE void multiply_add(float (&d)[D / 8][4], const uint32_t (&a)[4], const T* columns) {
  const int own = place<D>(gpu::lane() % 16, gpu::lane() / 16);
  PYPROF_UNROLL for (int n = 0; n < D / 16; ++n) {
    uint32_t b[4];
    PYPROF_MUTANT(tile_is_not_transposed, gpu::load_matrices_transposed(b, columns + step(own, n)),
                  gpu::load_matrices(b, columns + step(own, n)));
    const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
    gpu::mma<T>(d[2 * n], a, low);
    gpu::mma<T>(d[2 * n + 1], a, high);
  }
}

// A result of multiply_transposed as the left operand of multiply_add: the two layouts agree lane by lane.
template <class T>
PYPROF_DEVICE void to_operand(uint32_t (&a)[4], const float (&d)[2][4]) {
  PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
    a[i] = gpu::pack<T>(PYPROF_MUTANT(quarters_of_an_operand_are_swapped, d[i / 2][i % 2 * 2], d[i % 2][i / 2 * 2]),
                        d[i / 2][i % 2 * 2 + 1]);
  }
}

// A warp's 16 rows times a factor to rows from `first` on, below `end`, in whole rows of 16-byte stores. They go
// through the warp's rows of `tile`, which must have been its own: no other warp may read them any more. Rows that are
// not `wanted` become zeros whatever they hold. Bit r of what is returned says that row first + r is below the end and
// is not finite.
template <class T, int D>
PYPROF_DEVICE uint32_t store_rows(T* tile, const float (&d)[D / 8][4], const float (&factor)[2],
                                  const bool (&wanted)[2], const Matrix<T>& to, int first, int end) {
  constexpr int kInRow = D / kChunk;
  const int own = gpu::warp() * kWarpRows, lane = gpu::lane();
  float zeros[2] = {0.0f, 0.0f};  // NaN where a row is not finite
  gpu::sync_warp();
  PYPROF_UNROLL for (int n = 0; n < D / 8; ++n) {
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      T* pair = tile + place<D>(own + lane / 4 + 8 * half, n) + lane % 4 * 2;
      const float low = d[n][2 * half] * factor[half], high = d[n][2 * half + 1] * factor[half];
      zeros[half] = fmaf(low, 0.0f, fmaf(high, 0.0f, zeros[half]));
      gpu::write(reinterpret_cast<uint32_t*>(pair), wanted[half] ? gpu::pack<T>(low, high) : 0);
    }
  }
  PYPROF_MUTANT(rows_are_stored_before_all_lanes_wrote, gpu::sync_warp(), (void)0);
  PYPROF_UNROLL for (int i = 0; i < kWarpRows * kInRow / gpu::kWarp; ++i) {
    const int piece = lane + i * gpu::kWarp, row = piece / kInRow, chunk = piece % kInRow;
    if (first + row >= PYPROF_MUTANT(rows_past_the_end_are_written, end, end + kRows)) continue;
    const auto words = gpu::read(reinterpret_cast<const gpu::Words4*>(tile + place<D>(own + row, chunk)));
    T* target = to.at(first + row, chunk);
    if (to.aligned) {
      gpu::write(reinterpret_cast<gpu::Words4*>(target), words);
    } else {
      scatter(target, words);
    }
  }
  uint32_t odd = 0;
  PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    odd |= static_cast<uint32_t>(wanted[half] && first + row < end && zeros[half] != 0.0f) << row;
  }
  PYPROF_UNROLL for (int mask = 1; mask < gpu::kWarp; mask *= 2) odd |= gpu::shuffle_xor(odd, mask);
  return odd;
}

}  // namespace pyprof::window::mma_kernels
