// Backward on Hopper, in one pass over blocks of 128 keys, with the same bits every time.
//
// A block keeps keys and values in shared memory and their gradients in registers, and walks upwards over the tiles of
// 64 queries that see them. Scores are computed once: five products, where the two kernels of mma_backward.cuh have
// seven.
//
// A tile's gradient of the query is a sum over blocks. Their parts are added up in float32 in global memory, by bulk
// additions, in a fixed order: from the tile's last block of keys to its first, whose block writes the result in its
// final type. The first one stores, so nothing has to be zeros. A number for each tile says whose turn it is. Items are
// numbered so that those on one tile are two tiles apart when they run, and nobody waits for long.
//
// Blocks are persistent and take the next item when they are ready for it: an item waits only for items that running
// blocks have taken, however few of the blocks the device has room for.
#pragma once

#include "hopper_backward_group.cuh"

namespace pyprof::window::hopper {

// One thread takes items and copies what they need.
template <class C>
PYPROF_DEVICE void fetch(const BackwardParams& p, const BackwardShared<C>& shared) {
  Ring<C::kSlots> ring;
  Ring<C::kKeySlots> key_ring;
  int* const last = shared.items + C::kKeySlots;
  gpu::write(last, -1);
  for (;; key_ring.next()) {
    const int number = gpu::take(p.counter);
    gpu::Barrier* const keys_full = shared.keys_full + key_ring.slot;
    PYPROF_MUTANT(hopper_keys_are_overwritten_while_they_are_read,
                  gpu::barrier_wait(shared.keys_empty + key_ring.slot, key_ring.parity ^ 1), (void)0);
    gpu::write(shared.items + key_ring.slot, number < p.items ? number : no_more(gpu::read(last)));
    if (number >= p.items) {
      gpu::barrier_arrive(keys_full);
      return;
    }
    gpu::write(p.before + number, gpu::read(last));
    gpu::write(last, number);
    const KeyItem at(p, number);
    gpu::barrier_expect(keys_full, 2 * C::kKeyBytes);
    PYPROF_UNROLL for (int panel = 0; panel < C::kPanels; ++panel) {
      const int place = panel * kKeyBlock * gpu::kLine;
      gpu::copy_box(shared.key(key_ring.slot) + place, p.key_map, keys_full, panel * gpu::kPanel, at.block * kKeyBlock,
                    at.head, at.batch);
      gpu::copy_box(shared.value(key_ring.slot) + place, p.value_map, keys_full, panel * gpu::kPanel,
                    at.block * kKeyBlock, at.head, at.batch);
    }
    PYPROF_UNROLL_BY(1) for (Step now(p, at); now.there(at); now.next(at), ring.next()) {
      PYPROF_MUTANT(hopper_tile_is_overwritten_while_it_is_read,
                    gpu::barrier_wait(shared.empty + ring.slot, ring.parity ^ 1), (void)0);
      gpu::Barrier* const full = shared.full + ring.slot;
      gpu::barrier_expect(full, 2 * C::kTileBytes + C::kStatisticsBytes);
      PYPROF_UNROLL for (int panel = 0; panel < C::kPanels; ++panel) {
        const int place = panel * kQueryTile * gpu::kLine;
        gpu::copy_box(shared.query(ring.slot) + place, p.query_map, full, panel * gpu::kPanel, now.tile * kQueryTile,
                      now.head, at.batch);
        gpu::copy_box(shared.grad(ring.slot) + place, p.grad_map, full, panel * gpu::kPanel, now.tile * kQueryTile,
                      now.head, at.batch);
      }
      gpu::copy_bulk(shared.statistics + ring.slot * kQueryTile,
                     p.plain.statistics + (now.row(p, at) * p.plain.padded + now.tile * kQueryTile),
                     C::kStatisticsBytes, full);
    }
  }
}

// A few threads take turns to add up what the consumers found of dQ.
template <class C>
PYPROF_DEVICE void add_up(const BackwardParams& p, const BackwardShared<C>& shared, int own) {
  Ring<C::kKeySlots> key_ring;
  // Addresses are found anew at each use: there are few registers to keep them in.
  const auto ready = [&] { return shared.sums_ready + gpu::anew(own); };
  int count = 0;  // steps of this block; every so many are this thread's own
  for (;; key_ring.next()) {
    gpu::barrier_wait(shared.keys_full + key_ring.slot, key_ring.parity);
    const int number = gpu::read(shared.items + key_ring.slot);
    if (number < 0) return;
    gpu::barrier_arrive(shared.keys_empty + key_ring.slot);
    const KeyItem at(p, number);
    const int span = at.tiles.end - at.tiles.begin;
    int left = span * (at.end_head - at.first_head(p)), tile = at.tiles.begin;
    int place = (at.batch * p.plain.shape.heads + at.first_head(p)) * p.plain.shape.tiles + tile;
    PYPROF_UNROLL_BY(1) for (; left > 0; --left, ++count, ++place, ++tile) {
      if (tile == at.tiles.end) tile -= span, place += p.plain.shape.tiles - span;
      if (count % C::kAdders != own) continue;
      const Span blocks = at.reach.blocks_of(tile);
      const int order = blocks.end - 1 - at.block;
      const bool last = at.block == blocks.begin;
      const auto to = [&] { return p.sums + int64_t{place} * (kQueryTile * C::D); };
      const auto buffer = [&] { return shared.sums + gpu::anew(own) * C::kSumBytes; };
      if (!last || order == 0) gpu::barrier_arrive(ready());
      if (order > 0) {
        gpu::wait_until(p.turns + place, order);
        PYPROF_MUTANT(hopper_turns_are_not_fenced, gpu::fence_async_global(), (void)0);
        if (last) {
          gpu::barrier_expect(ready(), C::kSumBytes);
          gpu::copy_bulk(buffer(), to(), C::kSumBytes, ready());
        }
      }
      PYPROF_MUTANT(hopper_sums_are_sent_before_they_are_there,
                    gpu::barrier_wait(shared.sums_full + gpu::anew(own), count / C::kAdders % 2), (void)0);
      if (last) continue;
      if (order == 0) {
        gpu::store_bulk(to(), buffer(), C::kSumBytes);
      } else {
        PYPROF_MUTANT(hopper_sums_are_not_added, gpu::add_bulk(to(), buffer(), C::kSumBytes),
                      gpu::store_bulk(to(), buffer(), C::kSumBytes));
      }
      gpu::bulk_commit();
      PYPROF_MUTANT(hopper_sums_are_not_waited_for, gpu::bulk_wait(), (void)0);
      PYPROF_MUTANT(hopper_sums_are_not_shown, gpu::fence_async_global(), (void)0);
      gpu::publish(p.turns + place, order + 1);
    }
  }
}

template <class C>
PYPROF_KERNEL(C::kThreads, C::kBlocks)
void hopper_backward_kernel(const PYPROF_GRID_CONSTANT BackwardParams p) {
#ifdef PYPROF_NOT_HOPPER
  gpu::stop();
#else
  const BackwardShared<C> shared;
  if (gpu::thread() == 0) {
    for (int i = 0; i < C::kSlots; ++i) {
      gpu::barrier_init(shared.full + i, 1);
      gpu::barrier_init(shared.empty + i, C::kWarps);
    }
    for (int i = 0; i < C::kKeySlots; ++i) {
      gpu::barrier_init(shared.keys_full + i, 1);
      gpu::barrier_init(shared.keys_empty + i, C::kWarps + C::kAdders);
    }
    for (int i = 0; i < C::kAdders; ++i) {
      gpu::barrier_init(shared.sums_full + i, PYPROF_MUTANT(hopper_one_warp_hands_over_for_all, C::kWarps, 1));
      gpu::barrier_init(shared.sums_ready + i, 1);
    }
    gpu::barriers_visible();
  }
  gpu::sync_threads();
  if (gpu::warp() >= C::kWarps) {
    gpu::set_registers<C::kOtherRegisters, false>();
    const int own = gpu::warp() - C::kWarps - 1;
    if (own < 0 && gpu::lane() == 0) fetch(p, shared);
    if (own >= 0 && own < C::kAdders && gpu::lane() == 0) add_up(p, shared, own);
  } else {
    gpu::set_registers<C::kConsumerRegisters, true>();
    BackwardGroup<C>(p, shared).run();
  }
#endif
}

// The statistics of each query, the numbers of turns, and zeros for queries without keys, whose tile may have no block.
template <class T, int D>
PYPROF_KERNEL(mma_kernels::kThreads)
void hopper_statistics_kernel(const PYPROF_GRID_CONSTANT BackwardParams p) {
#ifdef PYPROF_NOT_HOPPER
  gpu::stop();
#else
  constexpr int kLanes = D / mma_kernels::kChunk, kBlockRows = mma_kernels::kStatisticsRows<D>;
  static_assert(kQueryTile % kBlockRows == 0);
  const auto& shape = p.plain.shape;
  const int pieces = p.plain.padded / kBlockRows, head_row = gpu::block().x / pieces;
  const int query = gpu::block().x % pieces * kBlockRows + gpu::thread() / kLanes, chunk = gpu::thread() % kLanes;
  const gpu::Float2 pair = mma_kernels::statistics_of<T, D>(p.plain, head_row, query);
  if (pair.x == kInfinity && query < shape.length) {
    T* const row = at_row<T>(p.plain.grad_query, head_row / shape.heads, head_row % shape.heads, query);
    gpu::write(reinterpret_cast<gpu::Words4*>(row) + chunk, gpu::Words4{0, 0, 0, 0});
  }
  if (chunk != 0) return;
  gpu::write(p.plain.statistics + static_cast<int64_t>(head_row) * p.plain.padded + query, pair);
  if (query % kQueryTile == 0) {
    gpu::write(p.turns + static_cast<int64_t>(head_row) * shape.tiles + query / kQueryTile, 0);
  }
  if (gpu::block().x == 0 && gpu::thread() == 0) gpu::write(p.counter, 0);
#endif
}

}  // namespace pyprof::window::hopper
