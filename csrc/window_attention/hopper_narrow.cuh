// Backward on Hopper for narrow windows, in one launch.
//
// A block has 64 rows of one head, as queries and as keys, and loads everything that they meet at once: N rows of
// query, gradient of the output, output, key and value. One warpgroup computes the gradients of its keys and values,
// the other that of its queries. Scores are computed twice, which costs little here, and nothing is added up across
// blocks. The statistics are computed on the way.
//
// Where heads share keys a block goes over all of them, in order, and keeps the sums for its keys in registers. While
// it works on one head the next one is on its way.
#pragma once

#include "hopper_narrow_tile.cuh"

namespace pyprof::window::hopper {

// The statistics of the queries that are there, and zeros for keys that take no part and may hold anything.
template <class C>
PYPROF_DEVICE void prepare_narrow(const NarrowParams& p, const NarrowShared<C>& shared, const NarrowPlace& at,
                                  int number) {
  using T = typename C::T;
  constexpr int kOfRow = C::D / 8, kChunks = C::N * kOfRow;  // chunks of 16 bytes
  static_assert(kChunks % C::kThreads == 0 && gpu::kWarp % kOfRow == 0);
  const int slot = number % C::kSlots, head = narrow_head<C>(p, at, number);
  const auto& shape = p.plain.shape;
  PYPROF_UNROLL for (int n = 0; n < kChunks / C::kThreads; ++n) {
    const int i = n * C::kThreads + gpu::thread(), row = i / kOfRow;
    const int place = i % kOfRow / 8 * C::kPanelBytes + row * gpu::kLine + ((i % 8) ^ (row % 8)) * 16;
    const auto a = gpu::read(reinterpret_cast<const gpu::Words4*>(shared.grad(slot) + place));
    const auto b = gpu::read(reinterpret_cast<const gpu::Words4*>(shared.output(slot) + place));
    const uint32_t left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
    float delta = 0.0f;
    PYPROF_UNROLL for (int w = 0; w < 4; ++w) {
      float left_low, left_high, right_low, right_high;
      gpu::unpack<T>(left[w], left_low, left_high);
      gpu::unpack<T>(right[w], right_low, right_high);
      delta += left_low * right_low + left_high * right_high;
    }
    PYPROF_UNROLL for (int mask = 1; mask < kOfRow; mask *= 2) delta += gpu::shuffle_xor(delta, mask);
    if (i % kOfRow != 0) continue;
    const int query = at.first - at.query_offset + row;
    const int64_t place_of = (static_cast<int64_t>(at.batch) * shape.heads + head) * shape.length + query;
    const float lse = query >= 0 && query < shape.length ? p.plain.lse[place_of] : -kInfinity;
    gpu::Float2 pair{kInfinity, 0.0f};  // a query without keys, or that is none, has no weights
    if (lse != -kInfinity) {
      if (p.plain.grad_lse != nullptr) delta -= p.plain.grad_lse[place_of];
      pair = {lse * mma_kernels::kLog2E, delta};
    }
    gpu::write(shared.statistics_of(slot) + row, pair);
  }
  const int key = at.first - at.key_offset;
  if (number > 0 || at.keys == shape.length || key + C::N <= at.keys) return;
  const int from = at.keys > key ? at.keys - key : 0;
  for (int i = gpu::thread(); i < (C::N - from) * 8; i += C::kThreads) {
    PYPROF_UNROLL for (int panel = 0; panel < C::kPanels; ++panel) {
      const int place = panel * C::kPanelBytes + from * gpu::kLine + i * 16;
      gpu::write(reinterpret_cast<gpu::Words4*>(shared.key + place), gpu::Words4{0, 0, 0, 0});
      gpu::write(reinterpret_cast<gpu::Words4*>(shared.value + place), gpu::Words4{0, 0, 0, 0});
    }
  }
  PYPROF_MUTANT(hopper_narrow_cleared_keys_are_not_fenced, gpu::fence_async(), (void)0);
}

// Both warpgroups come here before each head, and so have finished the one before it, whose place the next one takes.
template <class C>
PYPROF_DEVICE void begin_head(const NarrowParams& p, int number) {
  const NarrowShared<C> shared;
  const NarrowPlace at(p.plain.shape);
  const uint32_t parity = PYPROF_MUTANT(hopper_narrow_later_heads_are_not_waited_for, number / C::kSlots % 2, 0);
  PYPROF_MUTANT(hopper_narrow_rows_are_read_before_they_are_there,
                gpu::barrier_wait(shared.there + number % C::kSlots, parity), (void)0);
  prepare_narrow(p, shared, at, number);
  PYPROF_MUTANT(hopper_narrow_statistics_are_read_too_early, gpu::named_sync(1, C::kThreads), (void)0);
  if constexpr (C::kShared) {
    const int next = number + PYPROF_MUTANT(hopper_narrow_head_is_overwritten_while_it_is_read, 1, 2);
    if (number > 0 && next < narrow_heads<C>(p) && gpu::thread() == 0) fetch_narrow(p, shared, at, next);
  }
}

// Rows are keys; columns are the queries that see them.
template <class C>
PYPROF_DEVICE void narrow_keys(const NarrowParams& p) {
  using T = typename C::T;
  const auto& shape = p.plain.shape;
  float grad_key[C::D / 2], grad_value[C::D / 2];
  if constexpr (C::kShared) {
    PYPROF_UNROLL for (int i = 0; i < C::D / 2; ++i) grad_key[i] = grad_value[i] = 0.0f;
  }
  uint32_t spoilt = 0;
  const auto store_values = [&] {
    spoilt = narrow_store<C>(p, p.plain.grad_value, grad_value, shape.dropout.scale, true);
  };
  PYPROF_UNROLL_BY(1) for (int number = 0; number < narrow_heads<C>(p); ++number) {
    begin_head<C>(p, number);
    const NarrowShared<C> shared;
    NarrowGroup<C, C::kPacked> own(p);  // of each head anew, so that nothing of the last one is kept
    const int slot = number % C::kSlots;
    own.multiply(own.scores, shared.key + key_offset(shape) * gpu::kLine, shared.query(slot));
    gpu::products_wait<0>();
    gpu::hold(own.scores);
    const NarrowPlace at(shape);
    const int lane = gpu::anew(gpu::thread()) % gpu::kWarp, first = at.first_of_warp(),
              query = at.first - at.query_offset;
    uint32_t from[2], width[2];  // query i sees key j where j - right <= i <= j + left
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      const int key = first + lane / 4 + 8 * half;
      from[half] = static_cast<uint32_t>(query + lane % 4 * 2 - key + shape.right);
      width[half] = key >= at.keys ? 0
                                   : static_cast<uint32_t>(shape.left + shape.right +
                                                           PYPROF_MUTANT(hopper_narrow_band_ends_a_query_early, 1, 0));
    }
    PYPROF_UNROLL for (int i = 0; i < C::N / 8; ++i) {
      const auto pairs =
          gpu::read(reinterpret_cast<const gpu::Float4*>(shared.statistics_of(slot) + lane % 4 * 2 + 8 * i));
      PYPROF_UNROLL for (int e = 0; e < 4; ++e) {
        float& score = own.scores[4 * i + e];
        score = gpu::exp2(score * p.plain.scale_log2 - (e % 2 == 0 ? pairs.x : pairs.z));
        score = from[e / 2] + 8 * i + e % 2 < width[e / 2] ? score : 0.0f;
      }
      if constexpr (C::Dropped) {
        const Dropout dropout = mma_kernels::dropout_of(shape);
        const uint32_t head_row = at.head_row(p, narrow_head<C>(p, at, number));
        own.kept[i / 8] |= mma_kernels::kept_by_key(dropout, head_row, first, query + 8 * i) << i % 8 * 4;
      }
      own.pack_weights(i);
    }
    const bool more = PYPROF_MUTANT(hopper_narrow_sums_begin_anew_with_each_head, C::kShared, false);
    if constexpr (C::kPacked && C::Dropped) {
      uint32_t left[C::N / 16][4];
      own.drop(left);
      own.add_up(grad_value, left, shared.grad(slot), more);
    } else {
      own.add_up(grad_value, own.weights, shared.grad(slot), more);
    }
    if constexpr (!C::kShared) store_values();
    own.multiply(own.reached, shared.value + key_offset(shape) * gpu::kLine, shared.grad(slot));
    PYPROF_MUTANT(hopper_narrow_reached_is_used_too_early, gpu::products_wait<0>(), (void)0);
    gpu::hold(own.reached);
    const gpu::Float2* const statistics = shared.statistics_of(slot) + gpu::anew(gpu::thread()) % 4 * 2;
    own.to_grads([&](int i, int e) { return gpu::read(statistics + 8 * i + e % 2).y; });
    own.add_up(grad_key, own.weights, shared.query(slot), more);
  }
  if constexpr (C::kShared) store_values();
  spoilt |= narrow_store<C>(p, p.plain.grad_key, grad_key, shape.scale * shape.dropout.scale, true);
  if (!gpu::any(PYPROF_MUTANT(hopper_narrow_spoiled_keys_are_left, spoilt, 0u) != 0)) return;
  const NarrowPlace again(shape);
  const int row = again.first + gpu::warp() % 4 * 16;
  gpu::sync_warp();  // other lanes have written these rows
  const Matrix<T> stored_key(p.plain.grad_key, again.batch, again.key_head),
      stored_value(p.plain.grad_value, again.batch, again.key_head);
  const uint32_t odd = mma_kernels::odd_rows<T, C::D>(stored_key, row, again.keys) |
                       mma_kernels::odd_rows<T, C::D>(stored_value, row, again.keys);
  mma_kernels::exact_grad_key<T, C::D, false>(p.plain, mma_kernels::Place(0, again.key_head, again.batch), row, odd);
}

// Rows are queries; columns are the keys that they see.
template <class C>
PYPROF_DEVICE void narrow_queries(const NarrowParams& p) {
  using T = typename C::T;
  const auto& shape = p.plain.shape;
  uint32_t spoilt = 0;
  PYPROF_UNROLL_BY(1) for (int number = 0; number < narrow_heads<C>(p); ++number) {
    begin_head<C>(p, number);
    const NarrowShared<C> shared;
    NarrowGroup<C, false> own(p);  // of each head anew, so that nothing of the last one is kept
    const int slot = number % C::kSlots;
    const unsigned char* const grads = shared.grad(slot) + query_offset(shape) * gpu::kLine;
    own.multiply(own.scores, shared.query(slot) + query_offset(shape) * gpu::kLine, shared.key);
    own.multiply(own.reached, grads, shared.value);
    PYPROF_MUTANT(hopper_narrow_scores_are_used_too_early, gpu::products_wait<1>(), (void)0);
    gpu::hold(own.scores);
    const NarrowPlace at(shape);
    const int lane = gpu::anew(gpu::thread()) % gpu::kWarp, first = at.first_of_warp(), key = at.first - at.key_offset;
    const int own_key = key + lane % 4 * 2, query = first + lane / 4;
    const auto from = static_cast<uint32_t>(own_key - query + shape.left);
    const auto width =
        static_cast<uint32_t>(shape.left + shape.right + PYPROF_MUTANT(hopper_narrow_band_ends_a_key_late, 1, 2));
    const bool whole = key >= 0 && key + C::N <= at.keys;
    float lse[2];
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      lse[half] = gpu::read(shared.statistics_of(slot) + at.query_offset + query - at.first + 8 * half).x;
    }
    PYPROF_UNROLL for (int i = 0; i < C::N / 8; ++i) {
      PYPROF_UNROLL for (int e = 0; e < 4; ++e) {
        float& score = own.scores[4 * i + e];
        score = gpu::exp2(score * p.plain.scale_log2 - lse[e / 2]);
        const bool there = whole || static_cast<uint32_t>(own_key + 8 * i + e % 2) < static_cast<uint32_t>(at.keys);
        score = there && from + 8 * i + e % 2 - e / 2 * 8 < width ? score : 0.0f;
      }
      if constexpr (C::Dropped) {
        const Dropout dropout = mma_kernels::dropout_of(shape);
        own.kept[i / 8] |=
            mma_kernels::kept_by_query(dropout, at.head_row(p, narrow_head<C>(p, at, number)), first, key + 8 * i)
            << i % 8 * 4;
      }
    }
    gpu::products_wait<0>();
    gpu::hold(own.reached);
    float delta[2];
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      const int line = gpu::anew(gpu::thread()) % gpu::kWarpgroup / gpu::kWarp * 16 + gpu::lane() / 4 + 8 * half;
      delta[half] = gpu::read(shared.statistics_of(slot) + query_offset(shape) + line).y;
    }
    own.to_grads([&](int, int e) { return delta[e / 2]; });
    float grad_query[C::D / 2];
    own.add_up(grad_query, own.weights, shared.key, false);
    spoilt |= narrow_store<C>(p, p.plain.grad_query, grad_query, shape.scale * shape.dropout.scale, false, number);
  }
  if (!gpu::any(PYPROF_MUTANT(hopper_narrow_spoiled_queries_are_left, spoilt, 0u) != 0)) return;
  const NarrowPlace again(shape);
  const int row = again.first + gpu::warp() % 4 * 16;
  gpu::sync_warp();
  PYPROF_UNROLL_BY(1) for (int number = 0; number < narrow_heads<C>(p); ++number) {
    const int head = narrow_head<C>(p, again, number);
    const Matrix<T> grad_query(p.plain.grad_query, again.batch, head);
    mma_kernels::exact_grad_query<T, C::D, false>(p.plain, mma_kernels::Place(0, head, again.batch),
                                                  Band{shape.left, shape.right, shape.length, again.keys}, row,
                                                  mma_kernels::odd_rows<T, C::D>(grad_query, row, shape.length));
  }
}

template <class C>
PYPROF_KERNEL(C::kThreads, C::kBlocks)
void hopper_narrow_kernel(const PYPROF_GRID_CONSTANT NarrowParams p) {
#ifdef PYPROF_NOT_HOPPER
  gpu::stop();
#else
  const NarrowShared<C> shared;
  const NarrowPlace at(p.plain.shape);
  if (gpu::thread() == 0) {
    for (int slot = 0; slot < C::kSlots; ++slot) gpu::barrier_init(shared.there + slot, 1);
    gpu::barriers_visible();
    for (int number = 0; number < C::kSlots && number < narrow_heads<C>(p); ++number) {
      fetch_narrow(p, shared, at, number);
    }
  }
  gpu::sync_threads();
  if (gpu::warp() < 4) {
    narrow_keys<C>(p);
  } else {
    narrow_queries<C>(p);
  }
#endif
}

}  // namespace pyprof::window::hopper
