// Backward on tensor cores in one pass over blocks of 64 keys, with the same bits every time: five products, where the
// two kernels of mma_backward.cuh have seven, since scores are computed once.
//
// A block keeps keys and values in shared memory and their gradients in registers, as mma_grad_key_kernel does, and
// goes over the queries that see them, 32 at a time. The scores' gradients go through shared memory too, and each warp
// multiplies them by the keys for 16 queries and half of the columns: a part of the query's gradient.
//
// Such a piece is a sum over blocks. Their parts are added up in float32 in global memory, each lane its own numbers in
// the order of registers, and in a fixed order: from the last block of keys that the 16 queries see to the first, which
// writes the result in its final type. The first one stores, so nothing has to be zeros. A number for each piece says
// whose turn it is, and warps wait for it one by one, not blocks.
//
// A block takes its item when it begins: an item waits only for items that blocks have taken that run, or have run,
// however few of the blocks the device has room for and in whatever order they begin. Blocks that go on with one item
// after another would have to keep more in registers than there are.
#pragma once

#include "mma_one_pass_tile.cuh"

namespace pyprof::window::mma_kernels {

// d (16 queries, half of the columns) = (the scores' gradients)^T * keys, over those of the block's four groups of 16
// keys that meet the 16 queries: what lies in `grads` for others is of another stage.
template <class T, int D>
PYPROF_DEVICE void multiply_piece(float (&d)[kPassPart<D> / 8][4], const PassShared<T, D>& shared, const Shape& shape,
                                  const PassItem& at, const Piece& piece, int column) {
  PYPROF_UNROLL for (int n = 0; n < kPassPart<D> / 8; ++n) { PYPROF_UNROLL for (int i = 0; i < 4; ++i) d[n][i] = 0.0f; }
  const int lane = gpu::lane();
  const int own = step(place<D>(lane % 16, lane / 16), piece.half * (kPassPart<D> / 16));
  const int from = place<kPassQueries>(lane / 16 * 8 + lane % 8, (piece.first - column) / kChunk + lane / 8 % 2);
  const Band band = at.of_keys(shape);
  PYPROF_UNROLL_BY(1) for (int k = 0; k < kRows; k += kGroup) {
    const Span meets = band.any(at.first() + k, kGroup);
    if (piece.first >= meets.end ||
        piece.first + PYPROF_MUTANT(one_pass_first_keys_are_lost, kGroup, 0) <= meets.begin) {
      continue;
    }
    uint32_t a[4], b[4];
    PYPROF_MUTANT(one_pass_grads_are_not_transposed,
                  gpu::load_matrices_transposed(a, shared.grads + k * kPassQueries + from),
                  gpu::load_matrices(a, shared.grads + k * kPassQueries + from));
    PYPROF_UNROLL for (int n = 0; n < kPassPart<D> / 16; ++n) {
      gpu::load_matrices_transposed(b, shared.keys + k * D + step(own, n));
      const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
      gpu::mma<T>(d[2 * n], a, low);
      gpu::mma<T>(d[2 * n + 1], a, high);
    }
  }
}

// What this block found of a piece is added to what the blocks before it found, when it is its turn. The last one gets
// the whole sum back, in `d`.
template <int N>
PYPROF_DEVICE void add_in_turn(const OnePassParams& p, const Piece& piece, int head_row, float (&d)[N][4]) {
  const int64_t number = piece.number(p, head_row);
  int* const turn = p.turns + number;
  auto* const sums = reinterpret_cast<gpu::Float4*>(p.sums) + number * (N * gpu::kWarp) + gpu::lane();
  if (piece.order > 0) {
    if (gpu::lane() == 0) {
      PYPROF_MUTANT(one_pass_parts_are_added_out_of_turn,
                    PYPROF_MUTANT(one_pass_turn_is_waited_for_without_acquire, gpu::wait_until(turn, piece.order),
                                  gpu::wait_unordered(turn, piece.order)),
                    (void)0);
    }
    // One lane has learnt of it; the others learn from it.
    PYPROF_MUTANT(one_pass_sums_are_read_before_it_is_their_turn, gpu::sync_warp(), (void)0);
  }
  if (piece.order > PYPROF_MUTANT(one_pass_the_first_one_adds, 0, -1)) {
    PYPROF_UNROLL for (int n = 0; n < N; ++n) {
      const gpu::Float4 others = gpu::read(sums + n * gpu::kWarp);
      PYPROF_MUTANT(one_pass_parts_are_not_added, d[n][0] += others.x, d[n][0]);
      d[n][1] += others.y, d[n][2] += others.z, d[n][3] += others.w;
    }
  }
  if (piece.last) return;
  PYPROF_UNROLL for (int n = 0; n < N; ++n) {
    gpu::write_for_others(sums + n * gpu::kWarp, gpu::Float4{d[n][0], d[n][1], d[n][2], d[n][3]});
  }
  PYPROF_MUTANT(one_pass_sums_are_not_fenced, gpu::fence(), (void)0);
  PYPROF_MUTANT(one_pass_turn_is_published_before_all_lanes_wrote, gpu::sync_warp(), (void)0);
  if (gpu::lane() == 0) {
    PYPROF_MUTANT(one_pass_turn_is_published_without_release, gpu::publish(turn, piece.order + 1),
                  gpu::publish_unordered(turn, piece.order + 1));
  }
}

// The gradients of 16 keys and 16 queries of a stage, as a warp has them, to where all warps see them. Those of keys
// that take no part become zeros, as the keys themselves are: their weights may be too large for the type.
template <class T>
PYPROF_DEVICE void share_grads(T* grads, const uint32_t (&operand)[4], int key, int keys, int chunk) {
  const int lane = gpu::lane(), row = gpu::warp() * kWarpRows + lane / 4;
  PYPROF_UNROLL for (int i = 0; i < 4; ++i) {
    T* const to = grads + place<kPassQueries>(row + i % 2 * 8, chunk + i / 2) + lane % 4 * 2;
    gpu::write(reinterpret_cast<uint32_t*>(to), key + lane / 4 + i % 2 * 8 < keys ? operand[i] : 0);
  }
}

// Pieces that this warp has written of an item, those of its rows that are not finite: once more, from what they see.
template <class T, int D>
PYPROF_DEVICE void exact_pieces(const OnePassParams& p, const PassItem& at) {
  const Shape& shape = p.plain.shape;
  const int group = shape.heads / shape.key_heads;
  const Stages stages = at.stages(shape);
  gpu::sync_warp();  // other lanes have written these rows
  PYPROF_UNROLL_BY(1) for (int head = at.head * group; head < (at.head + 1) * group; ++head) {
    const Matrix<T> grad_query(p.plain.grad_query, at.batch, head);
    PYPROF_UNROLL_BY(1) for (int stage = 0; stage < stages.count; ++stage) {
      const Piece piece(shape, at, stages.start + stage * kPassQueries);
      if (!piece.there || !piece.last) continue;
      const uint32_t odd = odd_rows<T, D>(grad_query, piece.first, shape.length, piece.half, kPassParts);
      exact_grad_query<T, D>(p.plain, Place(0, head, at.batch), at.of_queries(shape), piece.first, odd, piece.half,
                             kPassParts);
    }
  }
}

// Not 0 where something is not finite. In 32 columns at a time, which takes fewer registers.
template <class T, int D>
PYPROF_DEVICE uint32_t store_piece(const OnePassParams& p, const PassShared<T, D>& shared, const Piece& piece, int head,
                                   const float (&part)[kPassPart<D> / 8][4]) {
  const float scale = PYPROF_MUTANT(one_pass_scale_is_missing, p.plain.shape.scale, 1.0f), factor[2] = {scale, scale};
  const bool wanted[2] = {true, true};
  uint32_t odd = 0;
  PYPROF_UNROLL for (int from = 0; from < kPassPart<D>; from += 32) {
    Matrix<T> to(p.plain.grad_query, gpu::read(shared.item).batch, head);
    to.data += piece.half * kPassPart<D> + from;
    const auto& columns = reinterpret_cast<const float (&)[4][4]>(part[from / 8]);
    odd |= store_rows<T, 32>(shared.rows, columns, factor, wanted, to, piece.first, p.plain.shape.length);
  }
  return odd;
}

// Queries, gradients of the output and statistics of one stage. Of nothing after the last one, so that waits can count
// groups of copies.
template <class T, int D>
PYPROF_DEVICE void load_stage(const OnePassParams& p, const PassShared<T, D>& shared, const Walk& to, int slot,
                              bool there) {
  constexpr int kWidth = kPassQueries;
  if (there) {
    const Shape& shape = p.plain.shape;
    const PassItem at = gpu::read(shared.item);
    const Span span = at.stages(shape).span;
    T* const tile = shared.ring + slot * 2 * shared.kTile;
    load_tile<D, kWidth>(tile, Matrix<T>(shape.query, at.batch, to.head), to.column, span);
    load_tile<D, kWidth>(tile + shared.kTile, Matrix<T>(p.plain.grad_output, at.batch, to.head), to.column, span);
    const int pair = 2 * gpu::thread();  // 16 bytes are the statistics of two queries
    if (pair < kWidth) {
      const int64_t head_row = int64_t{at.batch} * shape.heads + to.head;
      const bool valid = to.column + pair < p.plain.padded;
      gpu::copy_async(shared.statistics + slot * kWidth + pair,
                      p.plain.statistics + head_row * p.plain.padded + (valid ? to.column + pair : 0), valid);
    }
  }
  gpu::copy_commit();
}

// The item is read from shared memory at each use, and what follows from it is found out again: sums take all registers
// that there are.
template <class T, int D, bool Dropped>
PYPROF_KERNEL(kThreads, kPassBlocks<D, Dropped>)
void mma_one_pass_kernel(const OnePassParams p) {
  constexpr int kWidth = kPassQueries, kTile = kWidth * D;
  const PassShared<T, D> shared;
  if (gpu::thread() == 0) gpu::write(shared.item, PassItem(p, gpu::take(p.counter)));
  PYPROF_MUTANT(one_pass_item_is_read_before_it_is_there, gpu::sync_threads(), (void)0);
  const Shape& shape = p.plain.shape;
  Walk now{};
  int left = 0;
  {
    const PassItem at = gpu::read(shared.item);
    load_tile<D, kRows>(shared.keys, Matrix<T>(shape.key, at.batch, at.head), at.first(), {0, at.keys});
    load_tile<D, kRows>(shared.values, Matrix<T>(shape.value, at.batch, at.head), at.first(), {0, at.keys});
    const Stages stages = at.stages(shape);
    const int group = shape.heads / shape.key_heads;
    now = {at.head * group, stages.start, stages.start, stages.start + stages.count * kWidth};
    left = stages.count * group;
    Walk ahead = now;
    PYPROF_UNROLL for (int stage = 0; stage < 2; ++stage) {
      load_stage<T, D>(p, shared, ahead, (left - stage) % 2, left > stage);
      ahead.next(kWidth);
    }
  }
  gpu::copy_wait<1>();
  gpu::sync_threads();
  using Loaded = Rows<T, D, false>;  // at each use: registers are few
  const auto warp = [&] {
    const PassItem at = gpu::read(shared.item);
    return Warp(at.of_keys(shape), at.first());
  };
  GradKeyWarp<T, D, Dropped, false> own{p.plain, Loaded(shared.keys), Loaded(shared.values), warp(), Dropout(0.0)};
  uint32_t odd = 0;  // not 0 where this warp has stored what is not finite
  PYPROF_UNROLL_BY(1) for (; left > 0; --left, now.next(kWidth)) {
    const int slot = left % 2;
    {
      const PassItem at = gpu::read(shared.item);
      const T* const tile = shared.ring + slot * 2 * kTile;
      own.warp = warp();
      if constexpr (Dropped) own.dropout = dropout_of(shape);
      const Groups groups(own.warp.any, now.column, kWidth);
      PYPROF_UNROLL_BY(1) for (int g = groups.begin; g < groups.end; ++g) {
        const T* const queries = tile + g * kGroup * D;
        uint32_t operand[4];
        own.group(queries, queries + kTile, shared.statistics + slot * kWidth + g * kGroup, now.column + g * kGroup,
                  at.batch * shape.heads + now.head, operand);
        share_grads(shared.grads, operand, own.warp.row, at.keys, g * (kGroup / kChunk));
      }
    }
    // All gradients of scores are there, and this stage is free to be filled again.
    PYPROF_MUTANT(one_pass_grads_are_read_before_they_are_there, gpu::sync_threads(), (void)0);
    {
      Walk ahead = now;
      ahead.next(kWidth);
      ahead.next(kWidth);
      load_stage<T, D>(p, shared, ahead, slot, left > 2);
    }
    const PassItem at = gpu::read(shared.item);
    const Piece piece(shape, at, now.column);
    if (piece.there) {
      float part[kPassPart<D> / 8][4];
      multiply_piece<T, D>(part, shared, shape, at, piece, now.column);
      add_in_turn(p, piece, at.batch * shape.heads + now.head, part);
      if (piece.last) odd |= store_piece<T, D>(p, shared, piece, now.head, part);
    }
    PYPROF_MUTANT(one_pass_stage_is_read_before_it_is_there, gpu::copy_wait<1>(), (void)0);
    // The next stage is there, and no warp reads the scores' gradients any more, nor after the last one the keys.
    PYPROF_MUTANT(one_pass_grads_are_overwritten_while_they_are_read, gpu::sync_threads(), (void)0);
  }
  gpu::copy_wait<0>();
  const PassItem at = gpu::read(shared.item);
  const int row = at.first() + gpu::warp() * kWarpRows;
  bool wanted[2];
  PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
    wanted[half] = row + gpu::lane() / 4 + 8 * half <
                   PYPROF_MUTANT(one_pass_keys_that_take_no_part_get_a_gradient, at.keys, shape.length);
  }
  const float key_factor[2] = {shape.scale, shape.scale};
  const float value_factor[2] = {shape.dropout.scale, shape.dropout.scale};
  const Matrix<T> grad_key(p.plain.grad_key, at.batch, at.head), grad_value(p.plain.grad_value, at.batch, at.head);
  uint32_t odd_keys = store_rows<T, D>(shared.keys, own.key_sums, key_factor, wanted, grad_key, row, shape.length);
  odd_keys |= store_rows<T, D>(shared.values, own.value_sums, value_factor, wanted, grad_value, row, shape.length);
  if (PYPROF_MUTANT(one_pass_spoiled_grad_keys_are_left, odd_keys, 0u) != 0) {
    exact_grad_key<T, D>(p.plain, Place(0, at.head, at.batch), row, odd_keys);
  }
  if (PYPROF_MUTANT(one_pass_spoiled_grad_queries_are_left, odd, 0u) != 0) exact_pieces<T, D>(p, at);
}

// The statistics of each query, the numbers of turns, and zeros for queries without keys, which may have no block.
template <class T, int D>
PYPROF_KERNEL(kThreads)
void mma_one_pass_statistics_kernel(const OnePassParams p) {
  constexpr int kLanes = D / kChunk, kBlockRows = kStatisticsRows<D>;
  const Shape& shape = p.plain.shape;
  const int tiles = (p.plain.padded + kBlockRows - 1) / kBlockRows, head_row = gpu::block().x / tiles;
  const int query = gpu::block().x % tiles * kBlockRows + gpu::thread() / kLanes, chunk = gpu::thread() % kLanes;
  const gpu::Float2 pair = statistics_of<T, D>(p.plain, head_row, query);
  if (PYPROF_MUTANT(one_pass_queries_without_keys_are_left, pair.x == kInfinity, false) && query < shape.length) {
    const Matrix<T> to(p.plain.grad_query, head_row / shape.heads, head_row % shape.heads);
    if (to.aligned) {
      gpu::write(reinterpret_cast<gpu::Words4*>(to.at(query, chunk)), gpu::Words4{0, 0, 0, 0});
    } else {
      scatter(to.at(query, chunk), gpu::Words4{0, 0, 0, 0});
    }
  }
  if (gpu::block().x == 0 && gpu::thread() == 0) gpu::write(p.counter, 0);
  if (chunk != 0 || query >= p.plain.padded) return;
  gpu::write(p.plain.statistics + static_cast<int64_t>(head_row) * p.plain.padded + query, pair);
  if (query % kGroup >= kPassParts) return;
  const int64_t piece = (static_cast<int64_t>(head_row) * p.plain.padded + query) / kGroup;
  gpu::write(p.turns + piece * kPassParts + query % kGroup, PYPROF_MUTANT(one_pass_turns_begin_anywhere, 0, 1));
}

}  // namespace pyprof::window::mma_kernels
