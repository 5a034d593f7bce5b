// Which weights dropout keeps, drawn by the lanes of a warp for the places where the tensor-core kernels hold them.
#pragma once

#include "mma_tile.cuh"

namespace pyprof::window::mma_kernels {

// Read from the device's memory by each thread that draws.
PYPROF_DEVICE Dropout dropout_of(const Shape& shape) {
  return PYPROF_MUTANT(the_seed_is_not_taken, shape.dropout.seeded(shape.seed), shape.dropout);
}

// One bit for each of Philox's four words.
PYPROF_DEVICE uint32_t kept_of_quad(const Dropout& dropout, uint32_t row, uint32_t query, uint32_t quad) {
  uint32_t words[4], kept = 0;
  dropout.words(row, query, quad, words);
  PYPROF_UNROLL for (int i = 0; i < 4; ++i) kept |= static_cast<uint32_t>(words[i] >= dropout.threshold) << i;
  return kept;
}

// Which of this lane's four results (16 queries from `query`, 8 keys from `key`) dropout keeps: bit i for d[i]. A quad
// of keys lies in two lanes and two rows: each lane draws for one row, and they exchange.
PYPROF_DEVICE uint32_t kept_by_query(const Dropout& dropout, uint32_t row, int query, int key) {
  const int lane = gpu::lane(), odd = lane % 2;
  uint32_t kept = kept_of_quad(dropout, row, query + lane / 4 + 8 * odd, key / 4 + lane % 4 / 2) << 4 * odd;
  kept |= gpu::shuffle_xor(kept, 1);
  kept >>= PYPROF_MUTANT(lanes_of_a_quad_draw_the_same, 2 * odd, 0);
  return (kept & 3) | (kept >> 4 & 3) << 2;
}

// The same with 16 keys as rows and 8 queries as columns. A quad of keys lies in four lanes, each of which needs its
// word of two quads for two queries: each lane draws one of these four.
PYPROF_DEVICE uint32_t kept_by_key(const Dropout& dropout, uint32_t row, int key, int query) {
  const int lane = gpu::lane(), own = lane / 4 % 4;
  const int first_of_quad = key + lane / 16 * 4 + own / 2 * 8;
  uint32_t kept = kept_of_quad(dropout, row, query + lane % 4 * 2 + own % 2, first_of_quad / 4) << 4 * own;
  kept |= gpu::shuffle_xor(kept, 4);
  kept |= gpu::shuffle_xor(kept, 8);
  kept >>= PYPROF_MUTANT(keys_of_a_quad_draw_the_same, own, 0);
  return (kept & 1) | (kept >> 4 & 1) << 1 | (kept >> 8 & 1) << 2 | (kept >> 12 & 1) << 3;
}

}  // namespace pyprof::window::mma_kernels
