// Which rows a warp of the Hopper backward has, what they see, and how it makes good those that are not finite.
#pragma once

#include "hopper_backward_tile.cuh"

namespace pyprof::window::hopper {

PYPROF_DEVICE int group() { return gpu::warp() / 4; }
// The first key of this warp; this thread has parts of keys first_of(at) + lane / 4 and 8 further.
PYPROF_DEVICE int first_of(const KeyItem& at) { return at.block * kKeyBlock + gpu::warp() * 16; }

// Whether the keys of warpgroup `of` see a tile; at least one's do. With head_dim 128 there are no registers to find
// out.
template <class C>
PYPROF_DEVICE bool sees(const KeyItem& at, int tile, int of) {
  if constexpr (C::D == 128) return true;
  const int first = gpu::anew(at.block) * kKeyBlock + of * kGroupRows;
  const int count = PYPROF_MUTANT(hopper_last_key_of_a_warpgroup_sees_nothing, kGroupRows, kGroupRows - 1);
  return at.reach.tiles_of(first, count).holds(tile);
}

// All that this warp has written, from the item `number` back to the first one.
template <class C>
PYPROF_DEVICE void look_again(const BackwardParams& p, int number) {
  using T = typename C::T;
  constexpr int D = C::D;
  const auto& shape = p.plain.shape;
  gpu::sync_warp();  // other lanes have written these rows
  PYPROF_UNROLL_BY(1) for (; number >= 0; number = gpu::read(p.before + number)) {
    const KeyItem at(p, number);
    const int key = first_of(at);
    const Matrix<T> grad_key_of(p.plain.grad_key, at.batch, at.head),
        grad_value_of(p.plain.grad_value, at.batch, at.head);
    const uint32_t odd = mma_kernels::odd_rows<T, D>(grad_key_of, key, at.reach.keys) |
                         mma_kernels::odd_rows<T, D>(grad_value_of, key, at.reach.keys);
    mma_kernels::exact_grad_key<T, D>(p.plain, mma_kernels::Place(0, at.head, at.batch), key, odd);
    PYPROF_UNROLL_BY(1) for (Step now(p, at); now.there(at); now.next(at)) {
      if (at.block != at.reach.blocks_of(now.tile).begin) continue;
      const int query = now.tile * kQueryTile + gpu::warp() % 4 * 16;
      const Matrix<T> grad_query_of(p.plain.grad_query, at.batch, now.head);
      mma_kernels::exact_grad_query<T, D>(
          p.plain, mma_kernels::Place(0, now.head, at.batch),
          Band{shape.left, shape.right, shape.length, at.reach.keys}, query,
          mma_kernels::odd_rows<T, D>(grad_query_of, query, shape.length, group(), C::kGroups), group(), C::kGroups);
    }
  }
}

}  // namespace pyprof::window::hopper
