// What the Hopper kernels share, and the forward's launch: what it is given, instances, shared memory, items and tiles.
#pragma once

#include "gpu_hopper.h"
#include "mma_exact.cuh"

namespace pyprof::window::hopper {

using mma_kernels::Band;
using mma_kernels::keys_of;
using mma_kernels::kInfinity;
using mma_kernels::kLn2;
using mma_kernels::Matrix;
using mma_kernels::Span;
using mma_kernels::Tensor;

inline constexpr int kGroupRows = 64;  // queries of a consumer warpgroup

struct ForwardParams {
  gpu::TensorMap query_map, key_map, value_map;
  mma_kernels::ForwardParams plain;  // for what is not copied in boxes; tiles are those of an instance
  int32_t items;
  float slack;    // scores may exceed the base by so much, 8 powers of 2, before it is raised
  bool negative;  // scale
};

// N: columns of a tile. Overlap: the scores of the next tile are under way while the weights of this one are applied.
// Blocks: of a multiprocessor.
template <class T_, int D_, bool Dropped_, int N_, int Groups, int Slots, int QuerySlots, bool Overlap, int Blocks>
struct ForwardConfig {
  using T = T_;
  static constexpr int D = D_, N = N_, kGroups = Groups, kSlots = Slots, kQuerySlots = QuerySlots, kBlocks = Blocks;
  static constexpr bool Dropped = Dropped_, kOverlap = Overlap;
  static constexpr int kRows = kGroupRows * kGroups, kThreads = gpu::kWarpgroup * (kGroups + 1), kWarps = 4 * kGroups;
  static constexpr int kPanels = D / gpu::kPanel;
  static constexpr int kTileBytes = N * D * 2, kQueryBytes = kRows * D * 2;
  static constexpr int kSharedBytes =
      gpu::kSwizzle + kQuerySlots * kQueryBytes + kSlots * kTileBytes + 2 * (kSlots + kQuerySlots) * 8;
  // Registers move from the producer's warpgroup to the consumers.
  static constexpr int kEntryRegisters = 65536 / (kThreads * kBlocks) / 8 * 8, kProducerRegisters = 24;
  static constexpr int kWanted = (kEntryRegisters * (kGroups + 1) - kProducerRegisters) / kGroups / 8 * 8;
  static constexpr int kConsumerRegisters = kWanted < 240 ? kWanted : 240;
};

// A place in a ring of slots, and the parity of its barriers' current phase.
template <int Slots>
struct Ring {
  int slot = 0;
  uint32_t parity = 0;
  PYPROF_DEVICE void next() {
    if (++slot == Slots) slot = 0, parity ^= 1;
  }
};

template <class C>
struct ForwardShared {
  unsigned char *query, *ring;
  gpu::Barrier *full, *empty, *query_full, *query_empty;

  PYPROF_DEVICE ForwardShared() {
    auto* raw = gpu::shared_memory<unsigned char>();
    query = raw + PYPROF_MUTANT(tiles_are_not_aligned, (-gpu::shared_address(raw) & (gpu::kSwizzle - 1)), 0u);
    ring = query + C::kQuerySlots * C::kQueryBytes;
    full = reinterpret_cast<gpu::Barrier*>(ring + C::kSlots * C::kTileBytes);
    empty = full + C::kSlots;
    query_full = empty + C::kSlots;
    query_empty = query_full + C::kQuerySlots;
  }
  PYPROF_DEVICE unsigned char* tile(const Ring<C::kSlots>& at) const { return ring + at.slot * C::kTileBytes; }
};

// What a block computes next: rows from `first` on, of one head.
struct Item {
  int first, head, batch;
  PYPROF_DEVICE Item(const ForwardParams& p, int item, int rows) {
    const auto& shape = p.plain.shape;
    const int row = item / shape.tiles;
    first = item % shape.tiles * rows;
    batch = row / shape.heads;
    head = row % shape.heads;
  }
};

// The tiles of an item: tile j begins at column start + j * N; quads of keys stay whole, for dropout.
struct Tiles {
  int start, count;
  PYPROF_DEVICE Tiles(Span span, int width) {
    start = PYPROF_MUTANT(hopper_tiles_split_quads, span.begin & ~3, span.begin);
    count = span.end > span.begin ? (span.end - start + width - 1) / width : 0;
  }
};

template <class T>
PYPROF_DEVICE T* at_row(const Tensor& tensor, int batch, int head, int row) {
  const Strides& s = tensor.strides;
  return static_cast<T*>(tensor.data) + batch * s.batch + head * s.head + row * s.row;
}

// Four lanes of a quad hold 4 bytes each of column block i in w[i]. Afterwards lane t has all 16 bytes of block i + t
// in w[i] to w[i + 3], for every fourth i.
template <int Count>
PYPROF_DEVICE void transpose_quads(uint32_t (&w)[Count]) {
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

// A warp's 16 rows of D columns, times a factor each, to the first `rows` rows from `to` on, 16 bytes a lane. Rows that
// are not `wanted` become zeros whatever they hold. Bit `half` of what is returned says that this thread's part of row
// lane / 4 + 8 * half is not finite.
template <class T, int D>
PYPROF_DEVICE uint32_t store_rows(T* to, int64_t stride, const float (&d)[D / 2], const float (&factor)[2],
                                  const bool (&wanted)[2], int rows) {
  uint32_t spoilt = 0;
  PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
    const int row = gpu::lane() / 4 + 8 * half;
    uint32_t pairs[D / 8];
    float zero = 0.0f;  // NaN where the row is not finite
    PYPROF_UNROLL for (int i = 0; i < D / 8; ++i) {
      const float low = d[4 * i + 2 * half] * factor[half], high = d[4 * i + 2 * half + 1] * factor[half];
      zero = fmaf(low, 0.0f, fmaf(high, 0.0f, zero));
      pairs[i] = wanted[half] ? gpu::pack<T>(low, high) : 0u;
    }
    transpose_quads(pairs);
    if (row >= PYPROF_MUTANT(hopper_rows_past_the_end_are_written, rows, rows + 64)) continue;
    spoilt |= static_cast<uint32_t>(wanted[half] && zero != 0.0f) << half;
    PYPROF_UNROLL for (int i = 0; i < D / 8; i += 4) {
      gpu::write(reinterpret_cast<gpu::Words4*>(to + row * stride + gpu::lane() % 4 * 8 + i * 8),
                 gpu::Words4{pairs[i], pairs[i + 1], pairs[i + 2], pairs[i + 3]});
    }
  }
  return spoilt;
}

}  // namespace pyprof::window::hopper
