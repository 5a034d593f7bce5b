// What a consumer warpgroup of the Hopper backward does: 64 keys of a block of 128, tile after tile of queries.
//
// Rows are keys. Scores and what reaches the weights come from products of keys and values with queries and gradients
// of the output; weights and their gradients are left operands, from registers, for the gradients of values and keys.
// For the query's gradient both warpgroups put the scores' gradients into shared memory, and each computes half of the
// columns.
//
// A tile that only one of the warpgroups sees, at the band's edge, has no products with the other's keys; both still
// compute their columns of the query's gradient.
//
// Whole tiles meet what they do not see, with a weight of 0. Where that is infinite or NaN the sum is NaN. A warp that
// has stored something that is not finite goes over all that it wrote when there are no more items, and computes such
// rows again from what they see alone (mma_exact.cuh): before, sums take all registers that there are.
#pragma once

#include "hopper_backward_rows.cuh"

namespace pyprof::window::hopper {

template <class C>
struct BackwardGroup {
  using T = typename C::T;
  static constexpr int D = C::D, kPart = C::kPart;
  const BackwardParams& p;
  const BackwardShared<C>& shared;
  Ring<C::kSlots> ring;
  Ring<C::kKeySlots> key_ring;
  Ring<C::kAdders> sums_at;
  int buffer = 0;  // of the scores' gradients
  float grad_key[D / 2], grad_value[D / 2], scores[32], reached[32], part[kPart / 2];
  uint32_t weights[4][4], grads[4][4], kept_key[C::kKept ? D / 16 : 1][4], kept_value[C::kKept ? D / 16 : 1][4];
  uint32_t kept = 0;    // by dropout: a bit for each score
  uint32_t spoilt = 0;  // not 0 where this thread has stored what is not finite

  PYPROF_DEVICE BackwardGroup(const BackwardParams& params, const BackwardShared<C>& memory)
      : p(params), shared(memory) {}

  PYPROF_DEVICE void run() {
    for (;; key_ring.next()) {
      PYPROF_MUTANT(hopper_keys_are_read_before_they_are_there,
                    gpu::barrier_wait(shared.keys_full + key_ring.slot, key_ring.parity), (void)0);
      const int number = gpu::read(shared.items + key_ring.slot);
      if (number < 0) {
        if (gpu::any(PYPROF_MUTANT(hopper_spoiled_gradients_are_left, spoilt, 0u) != 0))
          look_again<C>(p, no_more(number));
        return;
      }
      const KeyItem at(p, number);
      start(at);
      bool ahead = false;  // the scores of this tile are there
      for (Step now(p, at); now.there(at); now.next(at)) {
        if (!sees<C>(at, now.tile, group())) {
          assist(at, now);
          continue;
        }
        if (C::kAhead && !ahead) {
          wait_for_tile(ring);
          issue_scores(ring.slot);
          gpu::products_wait<0>();
          gpu::hold(scores);
        }
        ahead = work(at, now);
      }
      PYPROF_MUTANT(hopper_keys_are_released_before_all_lanes_are_done, gpu::sync_warp(), (void)0);
      if (gpu::lane() == 0) gpu::barrier_arrive(shared.keys_empty + key_ring.slot);
      finish(KeyItem(p, number));  // made anew, as keeping it would cost registers
    }
  }

  PYPROF_DEVICE void start(const KeyItem& at) {
    PYPROF_UNROLL for (int i = 0; i < D / 2; ++i) grad_key[i] = grad_value[i] = 0.0f;
    // Keys that take no part can hold anything, and the query's gradient would multiply it by 0.
    if (at.reach.keys < at.reach.length && at.block * kKeyBlock + kKeyBlock > at.reach.keys) {
      const int there = at.reach.keys - at.block * kKeyBlock - group() * kGroupRows;
      const int from = there < 0 ? 0 : there < kGroupRows ? there : kGroupRows;
      for (int i = gpu::thread() % gpu::kWarpgroup; i < (kGroupRows - from) * 8; i += gpu::kWarpgroup) {
        PYPROF_UNROLL for (int panel = 0; panel < C::kPanels; ++panel) {
          const int place = (panel * kKeyBlock + group() * kGroupRows + from) * gpu::kLine + i * 16;
          gpu::write(reinterpret_cast<gpu::Words4*>(shared.key(key_ring.slot) + place), gpu::Words4{0, 0, 0, 0});
          gpu::write(reinterpret_cast<gpu::Words4*>(shared.value(key_ring.slot) + place), gpu::Words4{0, 0, 0, 0});
        }
      }
      PYPROF_MUTANT(hopper_cleared_keys_are_not_fenced, gpu::fence_async(), (void)0);
      gpu::named_sync(1, C::kWarps * gpu::kWarp);
    }
    if constexpr (C::kKept) {
      const int mine = gpu::warp() % 4 * 16 + gpu::lane() % 16;
      PYPROF_UNROLL for (int k = 0; k < D / 16; ++k) {
        const int chunk = (k % 4 * 2 + gpu::lane() / 16) ^ (mine % 8);
        const int place = (k / 4 * kKeyBlock + group() * kGroupRows + mine) * gpu::kLine + chunk * 16;
        gpu::load_matrices(kept_key[k], shared.key(key_ring.slot) + place);
        gpu::load_matrices(kept_value[k], shared.value(key_ring.slot) + place);
      }
    }
  }

  PYPROF_DEVICE void wait_for_tile(const Ring<C::kSlots>& of) {
    PYPROF_MUTANT(hopper_tile_is_read_before_it_is_there, gpu::barrier_wait(shared.full + of.slot, of.parity), (void)0);
  }

  // d (keys, queries) = keys or values * (a tile's rows)^T.
  PYPROF_DEVICE void issue(float (&d)[32], const unsigned char* rows,
                           const uint32_t (&kept_rows)[C::kKept ? D / 16 : 1][4], const unsigned char* tile) {
    gpu::products_begin();
    PYPROF_UNROLL for (int k = 0; k < D / 16; ++k) {
      const auto columns = gpu::rows_of(tile + k / 4 * kQueryTile * gpu::kLine, k % 4 * 16);
      if constexpr (C::kKept) {
        gpu::product<T, kQueryTile>(d, kept_rows[k], columns, k > 0);
      } else {
        const int place = (k / 4 * kKeyBlock + group() * kGroupRows) * gpu::kLine;
        gpu::product<T, kQueryTile>(d, gpu::rows_of(rows + place, k % 4 * 16), columns, k > 0);
      }
    }
    gpu::products_commit();
  }
  PYPROF_DEVICE void issue_scores(int slot) { issue(scores, shared.key(key_ring.slot), kept_key, shared.query(slot)); }

  // sums (keys, head_dim) += left operand * tile.
  PYPROF_DEVICE void issue_sums(float (&sums)[D / 2], const uint32_t (&left)[4][4], const unsigned char* tile) {
    gpu::products_begin();
    PYPROF_UNROLL for (int k = 0; k < 4; ++k) {
      gpu::product<T, D>(sums, left[k], gpu::columns_of(tile + k * 16 * gpu::kLine, kQueryTile * gpu::kLine), true);
    }
    gpu::products_commit();
  }

  // part (queries, this warpgroup's columns) = (the scores' gradients)^T * keys, over the keys of the warpgroups from
  // `of` on that see the tile.
  template <int kGroups>
  PYPROF_DEVICE void issue_part(int of) {
    const int first = of * kGroupRows * gpu::kLine;
    const unsigned char* const left = shared.scores + buffer * C::kScoreBytes + first;
    const unsigned char* const keys = shared.key(key_ring.slot) +
                                      (kPart == gpu::kPanel ? group() * kKeyBlock * gpu::kLine : group() * kPart * 2) +
                                      first;
    gpu::products_begin();
    PYPROF_UNROLL for (int k = 0; k < kGroups * kGroupRows / 16; ++k) {
      gpu::product<T, kPart>(part, gpu::columns_of(left + k * 16 * gpu::kLine, 16),
                             gpu::columns_of(keys + k * 16 * gpu::kLine, 16), k > 0);
    }
    gpu::products_commit();
  }

  // One tile that only the other warpgroup sees.
  PYPROF_DEVICE void assist(const KeyItem& at, const Step& now) {
    PYPROF_MUTANT(hopper_assistants_do_not_meet, gpu::named_sync(1, C::kWarps * gpu::kWarp), (void)0);
    issue_part<1>(PYPROF_MUTANT(hopper_assistants_take_their_own_keys, 1 - group(), group()));
    gpu::products_wait<0>();
    gpu::hold(part);
    hand_over(at, now);
    release_tile();
  }
  PYPROF_DEVICE void release_tile() {
    if (gpu::lane() == 0) gpu::barrier_arrive(shared.empty + ring.slot);
    ring.next();
    buffer ^= PYPROF_MUTANT(hopper_one_buffer_of_grads, 1, 0);
  }

  // One tile, whose scores are there already where they are computed ahead. Returns whether those of the next one are,
  // which this warpgroup may not see.
  PYPROF_DEVICE bool work(const KeyItem& at, const Step& now) {
    const int slot = ring.slot;
    bool ahead = false;
    if constexpr (C::Dropped) draw(at, now);  // before products have taken the registers
    if constexpr (!C::kAhead) {
      wait_for_tile(ring);
      issue_scores(slot);
    }
    issue(reached, shared.value(key_ring.slot), kept_value, shared.grad(slot));
    if constexpr (!C::kAhead) {
      PYPROF_MUTANT(hopper_scores_are_used_too_early, gpu::products_wait<1>(), (void)0);
      gpu::hold(scores);
    }
    to_weights(at, now.tile * kQueryTile, shared.statistics + slot * kQueryTile);
    PYPROF_MUTANT(hopper_reached_is_used_too_early, gpu::products_wait<0>(), (void)0);
    gpu::hold(reached);
    issue_sums(grad_value, weights, shared.grad(slot));
    to_grads(shared.statistics + slot * kQueryTile);
    share_grads();
    if (PYPROF_MUTANT(hopper_grads_that_are_not_there_are_added, sees<C>(at, now.tile, 1 - group()), true)) {
      issue_part<2>(0);
    } else {
      issue_part<1>(group());
    }
    issue_sums(grad_key, grads, shared.query(slot));
    if constexpr (C::kAhead) {
      Step then = now;
      then.next(at);
      ahead = then.there(at) && sees<C>(at, then.tile, group());
      Ring<C::kSlots> next = ring;
      next.next();
      if (ahead) wait_for_tile(next);
      issue_scores(ahead ? next.slot : slot);  // the last ones are the same once more, which nobody reads
      gpu::products_wait<2>();
    } else {
      gpu::products_wait<1>();
    }
    gpu::hold(part);
    gpu::hold(grad_value);
    hand_over(at, now);
    gpu::products_wait<0>();
    if constexpr (C::kAhead) gpu::hold(scores);
    gpu::hold(grad_key);
    release_tile();
    return ahead;
  }

  // The seed is read for each tile: kept it would take registers that there are not.
  PYPROF_DEVICE void draw(const KeyItem& at, const Step& now) {
    const Dropout dropout = mma_kernels::dropout_of(p.plain.shape);
    const auto head_row = static_cast<uint32_t>(now.row(p, at));
    kept = 0;
    PYPROF_UNROLL for (int i = 0; i < 8; ++i) {
      kept |= mma_kernels::kept_by_key(dropout, head_row, first_of(at), now.tile * kQueryTile + 8 * i) << 4 * i;
    }
  }

  // Scores of 64 queries from `column` on become weights, in place, and what dropout leaves of them a left operand.
  PYPROF_DEVICE void to_weights(const KeyItem& at, int column, const gpu::Float2* statistics) {
    const auto& shape = p.plain.shape;
    PYPROF_UNROLL for (int i = 0; i < 8; ++i) {
      const auto pairs = gpu::read(reinterpret_cast<const gpu::Float4*>(statistics + 8 * i + gpu::lane() % 4 * 2));
      PYPROF_UNROLL for (int e = 0; e < 4; ++e) {
        scores[4 * i + e] = gpu::exp2(scores[4 * i + e] * p.plain.scale_log2 - (e % 2 == 0 ? pairs.x : pairs.z));
      }
    }
    const int first = first_of(at);
    const bool whole = column >= first + 15 - shape.right &&
                       column + kQueryTile <=
                           first + shape.left + PYPROF_MUTANT(hopper_tile_of_queries_counts_as_whole_too_early, 1, 2) &&
                       first + 16 <= at.reach.keys;
    if (!whole) mask(at, column + gpu::lane() % 4 * 2);
    PYPROF_UNROLL for (int i = 0; i < 16; ++i) {
      float low = scores[2 * i], high = scores[2 * i + 1];
      if constexpr (C::Dropped) low = keeps(2 * i) ? low : 0.0f, high = keeps(2 * i + 1) ? high : 0.0f;
      weights[i / 4][i % 4] = gpu::pack<T>(low, high);
    }
  }

  PYPROF_DEVICE bool keeps(int i) const { return (kept >> i & 1) != 0; }

  // Query i sees key j where j - right <= i <= j + left.
  PYPROF_DEVICE void mask(const KeyItem& at, int own_column) {
    const auto& shape = p.plain.shape;
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      const int key = first_of(at) + gpu::lane() / 4 + 8 * half;
      // Keys that take no part are zeros by now, but zeros may have weights that are too large for their type.
      const uint32_t width =
          key < at.reach.keys ? static_cast<uint32_t>(shape.left) + static_cast<uint32_t>(shape.right) + 1 : 0;
      const auto from = static_cast<uint32_t>(own_column + shape.right - key);
      PYPROF_UNROLL for (int i = 0; i < 8; ++i) {
        PYPROF_UNROLL for (int e = 0; e < 2; ++e) {
          float& score = scores[4 * i + 2 * half + e];
          score = PYPROF_MUTANT(hopper_band_ends_a_query_late, from + 8 * i + e < width, from + 8 * i + e <= width)
                      ? score
                      : 0.0f;
        }
      }
    }
  }

  // Without dropout's scale, which the sums get in the end.
  PYPROF_DEVICE void to_grads(const gpu::Float2* statistics) {
    PYPROF_UNROLL for (int i = 0; i < 8; ++i) {
      const auto pairs = gpu::read(reinterpret_cast<const gpu::Float4*>(statistics + 8 * i + gpu::lane() % 4 * 2));
      float grad[4];
      PYPROF_UNROLL for (int e = 0; e < 4; ++e) {
        float upstream = reached[4 * i + e], delta = e % 2 == 0 ? pairs.y : pairs.w;
        if constexpr (C::Dropped) upstream = keeps(4 * i + e) ? upstream : 0.0f, delta *= p.share_kept;
        grad[e] = scores[4 * i + e] * (upstream - delta);
      }
      grads[i / 2][i % 2 * 2] = gpu::pack<T>(grad[0], grad[1]);
      grads[i / 2][i % 2 * 2 + 1] = gpu::pack<T>(grad[2], grad[3]);
    }
  }

  // Both warpgroups need all of them.
  PYPROF_DEVICE void share_grads() {
    // Places are found anew for each tile: kept they would take registers that there are not.
    const int lane = gpu::anew(gpu::thread()) % gpu::kWarp;
    const int row = gpu::warp() * 16 + lane / 8 % 2 * 8 + lane % 8;
    PYPROF_UNROLL for (int k = 0; k < 4; ++k) {
      const int chunk = (2 * k + lane / 16) ^ (row % 8);
      gpu::store_matrices(shared.scores + buffer * C::kScoreBytes + row * gpu::kLine + chunk * 16, grads[k]);
    }
    PYPROF_MUTANT(hopper_shared_grads_are_not_fenced, gpu::fence_async(), (void)0);
    PYPROF_MUTANT(hopper_warpgroups_do_not_meet, gpu::named_sync(1, C::kWarps * gpu::kWarp), (void)0);
  }

  // This block's part of dQ goes to an adder; the last block of a tile gets the sum of the others from it instead, and
  // writes the result.
  PYPROF_DEVICE void hand_over(const KeyItem& at, const Step& now) {
    const int thread = gpu::anew(gpu::thread()), part_of = thread / gpu::kWarpgroup;
    auto* const sums = reinterpret_cast<gpu::Float4*>(shared.sums + sums_at.slot * C::kSumBytes) +
                       part_of * (kPart / 8) * gpu::kWarpgroup + thread % gpu::kWarpgroup;
    const Span blocks = at.reach.blocks_of(now.tile);
    PYPROF_MUTANT(hopper_buffer_is_filled_too_early,
                  gpu::barrier_wait(shared.sums_ready + sums_at.slot, sums_at.parity), (void)0);
    if (at.block != blocks.begin) {
      PYPROF_UNROLL for (int i = 0; i < kPart / 8; ++i) {
        gpu::write(sums + i * gpu::kWarpgroup,
                   gpu::Float4{part[4 * i], part[4 * i + 1], part[4 * i + 2], part[4 * i + 3]});
      }
    } else {
      if (at.block != blocks.end - 1) {
        PYPROF_UNROLL for (int i = 0; i < kPart / 8; ++i) {
          const auto others = gpu::read(sums + i * gpu::kWarpgroup);
          part[4 * i] += others.x, part[4 * i + 1] += others.y, part[4 * i + 2] += others.z,
              part[4 * i + 3] += others.w;
        }
      }
      const auto& shape = p.plain.shape;
      const int row = now.tile * kQueryTile + gpu::warp() % 4 * 16;
      const float scale = shape.scale * shape.dropout.scale, factor[2] = {scale, scale};
      const bool wanted[2] = {true, true};
      T* const to = at_row<T>(p.plain.grad_query, at.batch, now.head, row) + part_of * kPart;
      spoilt |= store_rows<T, kPart>(to, p.plain.grad_query.strides.row, part, factor, wanted, shape.length - row);
    }
    PYPROF_MUTANT(hopper_sums_are_not_fenced, gpu::fence_async(), (void)0);
    gpu::sync_warp();
    if (gpu::lane() == 0) gpu::barrier_arrive(shared.sums_full + sums_at.slot);
    sums_at.next();
  }

  PYPROF_DEVICE void finish(const KeyItem& at) {
    const auto& shape = p.plain.shape;
    const int first = first_of(at);
    bool wanted[2];
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) wanted[half] =
        first + gpu::lane() / 4 + 8 * half < at.reach.keys;
    const float of_value = PYPROF_MUTANT(hopper_dropouts_scale_is_missing, shape.dropout.scale, 1.0f);
    const float key_factor[2] = {shape.scale * shape.dropout.scale, shape.scale * shape.dropout.scale};
    const float value_factor[2] = {of_value, of_value};
    const int rows = shape.length - first;
    const auto& to_key = p.plain.grad_key;
    const auto& to_value = p.plain.grad_value;
    spoilt |= store_rows<T, D>(at_row<T>(to_key, at.batch, at.head, first), to_key.strides.row, grad_key, key_factor,
                               wanted, rows);
    spoilt |= store_rows<T, D>(at_row<T>(to_value, at.batch, at.head, first), to_value.strides.row, grad_value,
                               value_factor, wanted, rows);
  }
};

}  // namespace pyprof::window::hopper
