// Forward on Hopper. A block has one to three consumer warpgroups of 64 queries each and a producer warp, of which one
// thread copies boxes of keys and values into one ring of slots, in the order in which consumers want them. Blocks are
// persistent: the producer is in the next item while consumers finish the last.
#pragma once

#include "hopper_forward_group.cuh"

namespace pyprof::window::hopper {

template <class C>
PYPROF_DEVICE void produce(const ForwardParams& p, const ForwardShared<C>& shared) {
  Ring<C::kSlots> ring;
  Ring<C::kQuerySlots> query_ring;
  for (int item = gpu::block().x; item < p.items; item += gpu::grid().x) {
    const Item at(p, item, C::kRows);
    const int key_head =
        PYPROF_MUTANT(hopper_heads_of_a_group_read_another_key,
                      at.head / (p.plain.shape.heads / p.plain.shape.key_heads), at.head % p.plain.shape.key_heads);
    const auto& shape = p.plain.shape;
    const Band band{shape.left, shape.right, shape.length, keys_of(shape, at.batch)};
    const Tiles tiles(band.any(at.first, C::kRows), C::N);
    const auto load = [&](const gpu::TensorMap& map, int j) {
      PYPROF_MUTANT(slot_is_filled_while_it_is_read, gpu::barrier_wait(shared.empty + ring.slot, ring.parity ^ 1),
                    (void)0);
      gpu::barrier_expect(shared.full + ring.slot, C::kTileBytes);
      for (int panel = 0; panel < C::kPanels; ++panel) {
        gpu::copy_box(shared.tile(ring) + panel * C::N * gpu::kLine, map, shared.full + ring.slot, panel * gpu::kPanel,
                      tiles.start + j * C::N, key_head, at.batch);
      }
      ring.next();
    };
    PYPROF_MUTANT(query_is_overwritten_while_it_is_read,
                  gpu::barrier_wait(shared.query_empty + query_ring.slot, query_ring.parity ^ 1), (void)0);
    gpu::barrier_expect(shared.query_full + query_ring.slot, C::kQueryBytes);
    for (int panel = 0; panel < C::kPanels; ++panel) {
      gpu::copy_box(shared.query + query_ring.slot * C::kQueryBytes + panel * C::kRows * gpu::kLine, p.query_map,
                    shared.query_full + query_ring.slot, panel * gpu::kPanel, at.first, at.head, at.batch);
    }
    query_ring.next();
    for (int j = 0; j < tiles.count; ++j) {
      load(p.key_map, j);
      if (!C::kOverlap) load(p.value_map, j);
      if (C::kOverlap && j > 0) load(p.value_map, j - 1);
    }
    if (C::kOverlap && tiles.count > 0) load(p.value_map, tiles.count - 1);
  }
}

template <class C>
PYPROF_DEVICE void consume(const ForwardParams& p, const ForwardShared<C>& shared) {
  const int group = gpu::warp() / 4;
  const auto& shape = p.plain.shape;
  Ring<C::kSlots> ring;
  Ring<C::kQuerySlots> query_ring;
  ForwardGroup<C> own(p);
  const auto wait = [&] {
    PYPROF_MUTANT(slot_is_read_before_it_is_there, gpu::barrier_wait(shared.full + ring.slot, ring.parity), (void)0);
  };
  const auto release = [&](const Ring<C::kSlots>& at) {
    if (gpu::lane() == 0) gpu::barrier_arrive(shared.empty + at.slot);
  };
  const auto done = [&] {
    release(ring);
    ring.next();
  };
  const auto skip = [&] {
    gpu::barrier_wait(shared.full + ring.slot, ring.parity);
    done();
  };

  for (int item = gpu::block().x; item < p.items; item += gpu::grid().x) {
    const Item at(p, item, C::kRows);
    const int first = at.first + kGroupRows * group, keys = keys_of(shape, at.batch);
    const Band band{shape.left, shape.right, shape.length, keys};
    const Tiles tiles(band.any(at.first, C::kRows), C::N);
    // This warpgroup's tiles are those from `begin` to before `end`; it lets the others pass.
    const Span span = band.any(first, kGroupRows);
    int begin = 0, end = 0;
    if (span.end > span.begin) {
      begin = (span.begin - tiles.start) / C::N;
      end = (span.end - tiles.start + C::N - 1) / C::N;
    }
    own.start(first + gpu::warp() % 4 * 16 + gpu::lane() / 4, keys, at.batch * shape.heads + at.head);
    PYPROF_MUTANT(query_is_read_before_it_is_there,
                  gpu::barrier_wait(shared.query_full + query_ring.slot, query_ring.parity), (void)0);
    const unsigned char* const query =
        shared.query + query_ring.slot * C::kQueryBytes + group * kGroupRows * gpu::kLine;
    const auto query_is_done = [&] {
      if (gpu::lane() == 0) gpu::barrier_arrive(shared.query_empty + query_ring.slot);
      query_ring.next();
    };
    const auto scores_alone = [&](int j) {
      wait();
      own.issue_scores(query, shared.tile(ring));
      PYPROF_MUTANT(scores_are_read_before_they_are_there, gpu::products_wait<0>(), gpu::products_wait<1>());
      gpu::hold(own.scores);
      done();
      own.soften(tiles.start + j * C::N);
    };
    const auto output_alone = [&] {
      wait();
      own.issue_output(shared.tile(ring));
      PYPROF_MUTANT(values_are_released_before_they_are_used, gpu::products_wait<0>(), (void)0);
      gpu::hold(own.out);
      done();
    };

    if constexpr (!C::kOverlap) {
      for (int j = 0; j < begin; ++j) skip(), skip();
      for (int j = begin; j < end; ++j) {
        scores_alone(j);
        own.rescale();
        own.to_weights();
        output_alone();
      }
      query_is_done();
      for (int j = end; j < tiles.count; ++j) skip(), skip();
    } else {
      // Slots hold K0, K1, V0, K2, V1, ...: values of a tile come after the keys of the next one.
      for (int j = 0; j < begin; ++j) {
        skip();
        if (j > 0) skip();
      }
      if (end > begin) {
        scores_alone(begin);
        if (begin > 0) skip();
        own.to_weights();
        for (int j = begin + 1; j < end; ++j) {
          const Ring<C::kSlots> at_keys = ring;
          wait();
          ring.next();
          own.issue_scores(query, shared.tile(at_keys));
          wait();
          own.issue_output(shared.tile(ring));
          gpu::products_wait<1>();
          gpu::hold(own.scores);
          release(at_keys);
          own.soften(tiles.start + j * C::N);
          PYPROF_MUTANT(sums_are_scaled_before_they_are_there, gpu::products_wait<0>(), gpu::products_wait<1>());
          gpu::hold(own.out);
          done();
          own.rescale();
          own.to_weights();
        }
        query_is_done();
        if (end < tiles.count) skip();
        output_alone();
        for (int j = end + 1; j < tiles.count; ++j) skip(), skip();
        if (end < tiles.count) skip();
      } else {
        query_is_done();
        for (int j = 0; j < tiles.count; ++j) {
          skip();
          if (j > 0) skip();
        }
        if (tiles.count > 0) skip();
      }
    }
    own.finish(Item(p, item, C::kRows));  // made anew, as keeping it would cost registers
  }
}

template <class C>
PYPROF_KERNEL(C::kThreads, C::kBlocks)
void hopper_forward_kernel(const PYPROF_GRID_CONSTANT ForwardParams p) {
#ifdef PYPROF_NOT_HOPPER
  gpu::stop();
#else
  const ForwardShared<C> shared;
  if (gpu::thread() == 0) {
    for (int i = 0; i < C::kSlots; ++i) {
      gpu::barrier_init(shared.full + i, 1);
      gpu::barrier_init(shared.empty + i, PYPROF_MUTANT(one_warp_releases_a_slot_for_all, C::kWarps, 1));
    }
    for (int i = 0; i < C::kQuerySlots; ++i) {
      gpu::barrier_init(shared.query_full + i, 1);
      gpu::barrier_init(shared.query_empty + i, C::kWarps);
    }
    gpu::barriers_visible();
  }
  gpu::sync_threads();
  if (gpu::warp() >= C::kWarps) {
    gpu::set_registers<C::kProducerRegisters, false>();
    if (gpu::thread() == gpu::kWarp * C::kWarps) produce(p, shared);
  } else {
    gpu::set_registers<C::kConsumerRegisters, true>();
    consume(p, shared);
  }
#endif
}

}  // namespace pyprof::window::hopper
