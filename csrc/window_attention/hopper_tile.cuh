// What the Hopper kernels share: what a launch is given, instances, the block's shared memory, items and their tiles.
#pragma once

#include "gpu_hopper.h"
#include "mma_dropout.cuh"

namespace pyprof::window::hopper {

using mma_kernels::Band;
using mma_kernels::keys_of;
using mma_kernels::kInfinity;
using mma_kernels::kLn2;
using mma_kernels::Span;

inline constexpr int kGroupRows = 64;  // queries of a consumer warpgroup

// The tensor of a problem, for what is not copied in boxes.
struct Rows {
  void* data;
  Strides strides;
};

struct ForwardParams {
  gpu::TensorMap query_map, key_map, value_map;
  Rows query, key, value, output;
  float* lse;
  const int64_t* key_lengths;
  Dropout dropout;  // without its seed
  const uint64_t* seed;
  int32_t heads, key_heads, length, left, right, tiles, items;
  float scale_log2;  // size of scale * log2(e), never 0
  float slack;       // scores may exceed the base by so much, 8 powers of 2, before it is raised
  bool negative;
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
    const int row = item / p.tiles;
    first = item % p.tiles * rows;
    batch = row / p.heads;
    head = row % p.heads;
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

}  // namespace pyprof::window::hopper
