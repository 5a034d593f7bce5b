// What the parts of the backward in one pass share: what a launch is given, items, the block's shared memory, and which
// queries and blocks of keys meet.
#pragma once

#include "gpu_hopper.h"
#include "mma_backward.cuh"

namespace pyprof::window::mma_kernels {

inline constexpr int kPassQueries = 32;  // of a stage

// Columns of dQ that a warp computes, of 16 queries.
template <int D>
inline constexpr int kPassPart = D / 2;
inline constexpr int kPassParts = 2;

// Blocks that are to share a multiprocessor, of sm_80's: others have less shared memory and take fewer by themselves.
template <int D, bool Dropped>
inline constexpr int kPassBlocks = D == 64 && !Dropped ? 3 : 2;

struct OnePassParams {
  BackwardParams plain;
  float* sums;   // (batch, heads, padded / 16, 2, 16 * head_dim / 2), in the order of registers
  int* turns;    // (batch, heads, padded / 16, 2)
  int* counter;  // the number of the next item
  int32_t blocks, together;
};

// What a block computes: a block of keys of one head. Numbers go over a few heads together, and over the blocks of
// keys from the last one down: an item waits only for items with smaller numbers.
struct alignas(16) PassItem {
  int block, head, batch, keys;

  PYPROF_DEVICE PassItem() = default;
  PYPROF_DEVICE PassItem(const OnePassParams& p, int number) {
    const int set = p.together * p.blocks, rest = number % set;
    const int row = number / set * p.together + rest % p.together;
    block = PYPROF_MUTANT(one_pass_blocks_wait_for_later_ones, p.blocks - 1 - rest / p.together, rest / p.together);
    batch = row / p.plain.shape.key_heads;
    head = row % p.plain.shape.key_heads;
    keys = keys_of(p.plain.shape, batch);
  }
  PYPROF_DEVICE int first() const { return block * kRows; }
  PYPROF_DEVICE Band of_keys(const Shape& shape) const { return {shape.right, shape.left, keys, shape.length}; }
  PYPROF_DEVICE Band of_queries(const Shape& shape) const { return {shape.left, shape.right, shape.length, keys}; }
  PYPROF_DEVICE Stages stages(const Shape& shape) const { return {of_keys(shape).any(first(), kRows), kPassQueries}; }
};

// In shared memory, one after another.
template <class T, int D>
struct PassShared {
  static constexpr int kTile = kPassQueries * D;
  T *keys, *values;
  T* ring;                  // query and grad_output of two stages
  T* grads;                 // of scores: (keys, queries)
  T* rows;                  // where 32 columns of a piece of dQ are put together
  gpu::Float2* statistics;  // of two stages
  PassItem* item;

  PYPROF_DEVICE PassShared() {
    keys = gpu::shared_memory<T>();
    values = keys + kRows * D;
    ring = values + kRows * D;
    grads = ring + 4 * kTile;
    rows = grads + kRows * kPassQueries;
    statistics = reinterpret_cast<gpu::Float2*>(rows + kRows * 32);
    item = reinterpret_cast<PassItem*>(statistics + 2 * kPassQueries);
  }
  static constexpr int64_t bytes() {
    constexpr int kElements = 2 * kRows * D + 4 * kTile + kRows * kPassQueries + kRows * 32;
    return int64_t{kElements} * sizeof(T) + 2 * kPassQueries * sizeof(gpu::Float2) + sizeof(PassItem);
  }
};

// This warp's piece of dQ at a stage: 16 queries, and which half of the columns.
struct Piece {
  int first, half;
  int order;  // how many blocks come before this one
  bool there, last;

  PYPROF_DEVICE Piece(const Shape& shape, const PassItem& at, int column)
      : first(column + gpu::warp() / kPassParts * kGroup), half(gpu::warp() % kPassParts) {
    // These queries see the block's keys exactly if the block is among those that they see: both follow from one band.
    const Span seen = at.of_queries(shape).any(first, kGroup);
    const int begin = seen.begin / kRows;
    const int end = PYPROF_MUTANT(one_pass_last_block_is_lost, (seen.end - 1) / kRows + 1, seen.end / kRows);
    there = seen.end > seen.begin && at.block >= begin && at.block < end;
    order = end - 1 - at.block;
    last = at.block == begin;
  }
  // Which of the pieces of all queries.
  PYPROF_DEVICE int64_t number(const OnePassParams& p, int head_row) const {
    return (static_cast<int64_t>(head_row) * (p.plain.padded / kGroup) + first / kGroup) * kPassParts + half;
  }
};

}  // namespace pyprof::window::mma_kernels
