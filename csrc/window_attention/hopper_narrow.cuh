// Backward on Hopper for narrow windows with head_dim 64, in one launch.
//
// A block has 64 rows of one head, as queries and as keys, and loads everything that they meet at once: N rows of
// query, gradient of the output, output, key and value. One warpgroup computes the gradients of its keys and values,
// the other that of its queries. Scores are computed twice, which costs little here, and nothing is added up across
// blocks. The statistics are computed on the way.
#pragma once

#include "hopper_backward_tile.cuh"

namespace pyprof::window::hopper {

struct NarrowParams {
  gpu::TensorMap query_map, key_map, value_map, grad_map, output_map;
  mma_kernels::BackwardParams plain;  // without statistics
  float share_kept;                   // by dropout: 1 over its scale
};

// N: rows of everything that 64 rows meet. Blocks: of a multiprocessor; two hide each other's copies.
template <class T_, bool Dropped_, int N_, int Blocks>
struct NarrowConfig {
  using T = T_;
  static constexpr int D = 64, N = N_, kBlocks = Blocks, kThreads = 2 * gpu::kWarpgroup, kTileBytes = N * D * 2;
  static constexpr bool Dropped = Dropped_;
  static constexpr int kSharedBytes = gpu::kSwizzle + 5 * kTileBytes + N * int{sizeof(gpu::Float2)} + 8;
};

// How many rows everything has that 64 rows meet. Tiles begin at multiples of 8 rows, as products want them.
PYPROF_BOTH int64_t narrow_rows(int64_t left, int64_t right) {
  return kGroupRows + (left + 7) / 8 * 8 + (right + 7) / 8 * 8;
}

template <class C>
struct NarrowShared {
  unsigned char *query, *grad, *output, *key, *value;
  gpu::Float2* statistics;
  gpu::Barrier* there;

  PYPROF_DEVICE NarrowShared() {
    auto* raw = gpu::shared_memory<unsigned char>();
    query = raw + (-gpu::shared_address(raw) & (gpu::kSwizzle - 1));
    grad = query + C::kTileBytes;
    output = grad + C::kTileBytes;
    key = output + C::kTileBytes;
    value = key + C::kTileBytes;
    statistics = reinterpret_cast<gpu::Float2*>(value + C::kTileBytes);
    there = reinterpret_cast<gpu::Barrier*>(statistics + C::N);
  }
};

// Where a block is: rows from `first` on; what they meet begins `query_offset` and `key_offset` rows before.
struct NarrowPlace {
  int first, head, batch, keys, query_offset, key_offset;

  PYPROF_DEVICE explicit NarrowPlace(const mma_kernels::Shape& shape) {
    const mma_kernels::Place place(gpu::anew(shape.tiles), shape.heads);
    first = place.first, head = place.head, batch = place.batch;
    keys = keys_of(shape, batch);
    query_offset = (shape.right + 7) / 8 * 8;
    key_offset = (shape.left + 7) / 8 * 8;
  }
};

// What both warpgroups do: 64 rows against N columns.
template <class C>
struct NarrowGroup {
  using T = typename C::T;
  static constexpr int N = C::N;
  const NarrowParams& p;
  const NarrowPlace& at;
  float scores[N / 2], reached[N / 2], sums[C::D / 2];
  uint32_t weights[N / 16][4];
  uint32_t kept[(N + 63) / 64] = {};  // by dropout: a bit for each score

  PYPROF_DEVICE NarrowGroup(const NarrowParams& params, const NarrowPlace& place) : p(params), at(place) {}

  // d (64 rows, N columns) = rows * columns^T.
  PYPROF_DEVICE static void multiply(float (&d)[N / 2], const unsigned char* rows, const unsigned char* columns) {
    gpu::products_begin();
    PYPROF_UNROLL for (int k = 0; k < C::D / 16; ++k) {
      gpu::product<T, N>(d, gpu::rows_of(rows, k * 16), gpu::rows_of(columns, k * 16), k > 0);
    }
    gpu::products_commit();
  }

  // sums (64 rows, head_dim) = left operand * columns.
  PYPROF_DEVICE void add_up(const uint32_t (&left)[N / 16][4], const unsigned char* columns) {
    gpu::products_begin();
    PYPROF_UNROLL for (int k = 0; k < N / 16; ++k) {
      gpu::product<T, C::D>(sums, left[k], gpu::columns_of(columns + k * 16 * gpu::kLine, 16), k > 0);
    }
    gpu::products_commit();
    PYPROF_MUTANT(hopper_narrow_sums_are_used_too_early, gpu::products_wait<0>(), (void)0);
    gpu::hold(sums);
  }

  PYPROF_DEVICE bool keeps(int i) const { return (kept[i / 32] >> i % 32 & 1) != 0; }

  // Of column block i: what dropout leaves of the weights.
  PYPROF_DEVICE void pack_weights(int i) {
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      const int place = 4 * i + 2 * half;
      float low = scores[place], high = scores[place + 1];
      if constexpr (C::Dropped) low = keeps(place) ? low : 0.0f, high = keeps(place + 1) ? high : 0.0f;
      weights[i / 2][i % 2 * 2 + half] = gpu::pack<T>(low, high);
    }
  }

  // Weights become the scores' gradients, as a left operand; `delta_of(i, e)` of result e of column block i.
  template <class Delta>
  PYPROF_DEVICE void to_grads(const Delta& delta_of) {
    PYPROF_UNROLL for (int i = 0; i < N / 8; ++i) {
      PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
        uint32_t& pair = weights[i / 2][i % 2 * 2 + half];
        float grad[2];
        PYPROF_UNROLL for (int e = 0; e < 2; ++e) {
          const int place = 4 * i + 2 * half + e;
          float upstream = reached[place], delta = delta_of(i, 2 * half + e);
          if constexpr (C::Dropped) upstream = keeps(place) ? upstream : 0.0f, delta *= p.share_kept;
          grad[e] = scores[place] * (upstream - delta);
        }
        pair = gpu::pack<T>(grad[0], grad[1]);
      }
    }
  }

  PYPROF_DEVICE uint32_t store(const Tensor& to, float factor, bool keys) const {
    // Where this block is is found out once more: kept it would take registers that there are not.
    const NarrowPlace again(p.plain.shape);
    const int first = again.first + gpu::warp() % 4 * 16;
    const float factors[2] = {factor, factor};
    bool wanted[2];
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      wanted[half] = !keys || first + gpu::lane() / 4 + 8 * half < again.keys;
    }
    return store_rows<T, C::D>(at_row<T>(to, again.batch, again.head, first), to.strides.row, sums, factors, wanted,
                               p.plain.shape.length - first);
  }

  PYPROF_DEVICE uint32_t head_row() const { return static_cast<uint32_t>(at.batch * p.plain.shape.heads + at.head); }
  PYPROF_DEVICE float scale() const { return p.plain.shape.scale * p.plain.shape.dropout.scale; }
};

// Rows are keys; columns are the queries that see them.
template <class C>
PYPROF_DEVICE void narrow_keys(const NarrowParams& p, const NarrowShared<C>& shared, const NarrowPlace& at) {
  using T = typename C::T;
  const auto& shape = p.plain.shape;
  NarrowGroup<C> own(p, at);
  own.multiply(own.scores, shared.key + at.key_offset * gpu::kLine, shared.query);
  gpu::products_wait<0>();
  gpu::hold(own.scores);
  const int first = at.first + gpu::warp() % 4 * 16, query = at.first - at.query_offset;
  uint32_t from[2], width[2];  // query i sees key j where j - right <= i <= j + left
  PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
    const int key = first + gpu::lane() / 4 + 8 * half;
    from[half] = static_cast<uint32_t>(query + gpu::lane() % 4 * 2 - key + shape.right);
    width[half] = key >= at.keys ? 0
                                 : static_cast<uint32_t>(shape.left + shape.right +
                                                         PYPROF_MUTANT(hopper_narrow_band_ends_a_query_early, 1, 0));
  }
  PYPROF_UNROLL for (int i = 0; i < C::N / 8; ++i) {
    const auto pairs = gpu::read(reinterpret_cast<const gpu::Float4*>(shared.statistics + 8 * i + gpu::lane() % 4 * 2));
    PYPROF_UNROLL for (int e = 0; e < 4; ++e) {
      float& score = own.scores[4 * i + e];
      score = gpu::exp2(score * p.plain.scale_log2 - (e % 2 == 0 ? pairs.x : pairs.z));
      score = from[e / 2] + 8 * i + e % 2 < width[e / 2] ? score : 0.0f;
    }
    if constexpr (C::Dropped) {
      const Dropout dropout = mma_kernels::dropout_of(shape);
      own.kept[i / 8] |= mma_kernels::kept_by_key(dropout, own.head_row(), first, query + 8 * i) << i % 8 * 4;
    }
    own.pack_weights(i);
  }
  own.add_up(own.weights, shared.grad);
  uint32_t spoilt = own.store(p.plain.grad_value, shape.dropout.scale, true);
  own.multiply(own.reached, shared.value + at.key_offset * gpu::kLine, shared.grad);
  PYPROF_MUTANT(hopper_narrow_reached_is_used_too_early, gpu::products_wait<0>(), (void)0);
  gpu::hold(own.reached);
  own.to_grads([&](int i, int e) { return gpu::read(shared.statistics + 8 * i + gpu::lane() % 4 * 2 + e % 2).y; });
  own.add_up(own.weights, shared.query);
  spoilt |=
      own.store(p.plain.grad_key, own.scale(), PYPROF_MUTANT(hopper_narrow_keys_that_take_no_part_count, true, false));
  if (!gpu::any(PYPROF_MUTANT(hopper_narrow_spoiled_keys_are_left, spoilt, 0u) != 0)) return;
  const NarrowPlace again(shape);
  const int row = again.first + gpu::warp() % 4 * 16;
  gpu::sync_warp();  // other lanes have written these rows
  const Matrix<T> grad_key(p.plain.grad_key, again.batch, again.head),
      grad_value(p.plain.grad_value, again.batch, again.head);
  const uint32_t odd = mma_kernels::odd_rows<T, C::D>(grad_key, row, again.keys) |
                       mma_kernels::odd_rows<T, C::D>(grad_value, row, again.keys);
  mma_kernels::exact_grad_key<T, C::D, false>(p.plain, mma_kernels::Place(0, again.head, again.batch), row, odd);
}

// Rows are queries; columns are the keys that they see.
template <class C>
PYPROF_DEVICE void narrow_queries(const NarrowParams& p, const NarrowShared<C>& shared, const NarrowPlace& at) {
  using T = typename C::T;
  const auto& shape = p.plain.shape;
  NarrowGroup<C> own(p, at);
  const unsigned char* const rows = shared.query + at.query_offset * gpu::kLine;
  const unsigned char* const grads = shared.grad + at.query_offset * gpu::kLine;
  own.multiply(own.scores, rows, shared.key);
  own.multiply(own.reached, grads, shared.value);
  PYPROF_MUTANT(hopper_narrow_scores_are_used_too_early, gpu::products_wait<1>(), (void)0);
  gpu::hold(own.scores);
  const int first = at.first + gpu::warp() % 4 * 16, key = at.first - at.key_offset;
  const int own_key = key + gpu::lane() % 4 * 2, query = first + gpu::lane() / 4;
  const auto from = static_cast<uint32_t>(own_key - query + shape.left);
  const auto width =
      static_cast<uint32_t>(shape.left + shape.right + PYPROF_MUTANT(hopper_narrow_band_ends_a_key_late, 1, 2));
  const bool whole = key >= 0 && key + C::N <= at.keys;
  float lse[2];
  PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
    lse[half] = gpu::read(shared.statistics + at.query_offset + query - at.first + 8 * half).x;
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
      own.kept[i / 8] |= mma_kernels::kept_by_query(dropout, own.head_row(), first, key + 8 * i) << i % 8 * 4;
    }
  }
  gpu::products_wait<0>();
  gpu::hold(own.reached);
  float delta[2];
  PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
    const int line = gpu::anew(gpu::thread()) % gpu::kWarpgroup / gpu::kWarp * 16 + gpu::lane() / 4 + 8 * half;
    delta[half] = gpu::read(shared.statistics + (shape.right + 7) / 8 * 8 + line).y;
  }
  own.to_grads([&](int, int e) { return delta[e / 2]; });
  own.add_up(own.weights, shared.key);
  const uint32_t spoilt = own.store(p.plain.grad_query, own.scale(), false);
  if (!gpu::any(PYPROF_MUTANT(hopper_narrow_spoiled_queries_are_left, spoilt, 0u) != 0)) return;
  const NarrowPlace again(shape);
  const int row = again.first + gpu::warp() % 4 * 16;
  gpu::sync_warp();
  const Matrix<T> grad_query(p.plain.grad_query, again.batch, again.head);
  mma_kernels::exact_grad_query<T, C::D, false>(p.plain, mma_kernels::Place(0, again.head, again.batch),
                                                Band{shape.left, shape.right, shape.length, again.keys}, row,
                                                mma_kernels::odd_rows<T, C::D>(grad_query, row, shape.length));
}

// The statistics of the queries that are there, and zeros for keys that take no part and may hold anything.
template <class C>
PYPROF_DEVICE void prepare_narrow(const NarrowParams& p, const NarrowShared<C>& shared, const NarrowPlace& at) {
  using T = typename C::T;
  constexpr int kChunks = C::N * 8;
  static_assert(kChunks % C::kThreads == 0);
  const auto& shape = p.plain.shape;
  PYPROF_UNROLL for (int n = 0; n < kChunks / C::kThreads; ++n) {
    const int i = n * C::kThreads + gpu::thread(), row = i / 8, place = row * gpu::kLine + ((i % 8) ^ (row % 8)) * 16;
    const auto a = gpu::read(reinterpret_cast<const gpu::Words4*>(shared.grad + place));
    const auto b = gpu::read(reinterpret_cast<const gpu::Words4*>(shared.output + place));
    const uint32_t left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
    float delta = 0.0f;
    PYPROF_UNROLL for (int w = 0; w < 4; ++w) {
      float left_low, left_high, right_low, right_high;
      gpu::unpack<T>(left[w], left_low, left_high);
      gpu::unpack<T>(right[w], right_low, right_high);
      delta += left_low * right_low + left_high * right_high;
    }
    PYPROF_UNROLL for (int mask = 1; mask < 8; mask *= 2) delta += gpu::shuffle_xor(delta, mask);
    if (i % 8 != 0) continue;
    const int query = at.first - at.query_offset + row;
    const int64_t number = (static_cast<int64_t>(at.batch) * shape.heads + at.head) * shape.length + query;
    const float lse = query >= 0 && query < shape.length ? p.plain.lse[number] : -kInfinity;
    gpu::Float2 pair{kInfinity, 0.0f};  // a query without keys, or that is none, has no weights
    if (lse != -kInfinity) {
      if (p.plain.grad_lse != nullptr) delta -= p.plain.grad_lse[number];
      pair = {lse * mma_kernels::kLog2E, delta};
    }
    gpu::write(shared.statistics + row, pair);
  }
  const int key = at.first - at.key_offset;
  if (at.keys == shape.length || key + C::N <= at.keys) return;
  const int from = at.keys > key ? at.keys - key : 0;
  for (int i = gpu::thread(); i < (C::N - from) * 8; i += C::kThreads) {
    const int place = from * gpu::kLine + i * 16;
    gpu::write(reinterpret_cast<gpu::Words4*>(shared.key + place), gpu::Words4{0, 0, 0, 0});
    gpu::write(reinterpret_cast<gpu::Words4*>(shared.value + place), gpu::Words4{0, 0, 0, 0});
  }
  PYPROF_MUTANT(hopper_narrow_cleared_keys_are_not_fenced, gpu::fence_async(), (void)0);
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
    gpu::barrier_init(shared.there, 1);
    gpu::barriers_visible();
    gpu::barrier_expect(shared.there, 5 * C::kTileBytes);
    const int query = at.first - at.query_offset, key = at.first - at.key_offset;
    gpu::copy_box(shared.query, p.query_map, shared.there, 0, query, at.head, at.batch);
    gpu::copy_box(shared.key, p.key_map, shared.there, 0, key, at.head, at.batch);
    gpu::copy_box(shared.grad, p.grad_map, shared.there, 0, query, at.head, at.batch);
    gpu::copy_box(shared.value, p.value_map, shared.there, 0, key, at.head, at.batch);
    gpu::copy_box(shared.output, p.output_map, shared.there, 0, query, at.head, at.batch);
  }
  gpu::sync_threads();
  PYPROF_MUTANT(hopper_narrow_rows_are_read_before_they_are_there, gpu::barrier_wait(shared.there, 0), (void)0);
  prepare_narrow(p, shared, at);
  PYPROF_MUTANT(hopper_narrow_statistics_are_read_too_early, gpu::sync_threads(), (void)0);
  if (gpu::warp() < 4) {
    narrow_keys(p, shared, at);
  } else {
    narrow_queries(p, shared, at);
  }
#endif
}

}  // namespace pyprof::window::hopper
