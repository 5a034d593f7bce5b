// What the parts of Hopper's backward for narrow windows share: what a launch is given, instances, the block's shared
// memory, copies into it, and what a warpgroup has in registers.
#pragma once

#include "hopper_backward_tile.cuh"

namespace pyprof::window::hopper {

struct NarrowParams {
  gpu::TensorMap query_map, key_map, value_map, grad_map, output_map;
  mma_kernels::BackwardParams plain;  // without statistics
  int32_t group_heads;
  float share_kept;  // by dropout: 1 over its scale
};

// N: rows of everything that 64 rows meet. Blocks: of a multiprocessor; two hide each other's copies. Shared: a block
// goes over all heads that share its keys, or else each head has keys of its own.
template <class T_, int D_, bool Dropped_, int N_, int Blocks, bool Shared_>
struct NarrowConfig {
  using T = T_;
  static constexpr int D = D_, N = N_, kBlocks = Blocks, kThreads = 2 * gpu::kWarpgroup;
  static constexpr bool Dropped = Dropped_, kShared = Shared_;
  static constexpr int kSlots = kShared ? 2 : 1;  // heads that there is room for
  static constexpr int kPanels = D / gpu::kPanel, kPanelBytes = N * gpu::kLine, kTileBytes = kPanels * kPanelBytes;
  static constexpr int kHeadBytes = 3 * kTileBytes;  // query, gradient of the output, output
  static constexpr int kSharedBytes =
      gpu::kSwizzle + 2 * kTileBytes + kSlots * (kHeadBytes + N * int{sizeof(gpu::Float2)} + 8);
  // The keys' weights are kept in 16 bits where the sums over heads leave no registers for more.
  static constexpr bool kPacked = kShared && D == 128;
};

// How many rows everything has that 64 rows meet. Tiles begin at multiples of 8 rows, as products want them.
PYPROF_BOTH int64_t narrow_rows(int64_t left, int64_t right) {
  return kGroupRows + (left + 7) / 8 * 8 + (right + 7) / 8 * 8;
}

template <class C>
struct NarrowShared {
  unsigned char *key, *value, *heads;
  gpu::Float2* statistics;
  gpu::Barrier* there;

  PYPROF_DEVICE NarrowShared() {
    auto* raw = gpu::shared_memory<unsigned char>();
    key = raw + gpu::anew(static_cast<int>(-gpu::shared_address(raw) & (gpu::kSwizzle - 1)));
    value = key + C::kTileBytes;
    heads = value + C::kTileBytes;
    statistics = reinterpret_cast<gpu::Float2*>(heads + C::kSlots * C::kHeadBytes);
    there = reinterpret_cast<gpu::Barrier*>(statistics + C::kSlots * C::N);
  }
  PYPROF_DEVICE unsigned char* query(int slot) const { return heads + slot * C::kHeadBytes; }
  PYPROF_DEVICE unsigned char* grad(int slot) const { return query(slot) + C::kTileBytes; }
  PYPROF_DEVICE unsigned char* output(int slot) const { return grad(slot) + C::kTileBytes; }
  PYPROF_DEVICE gpu::Float2* statistics_of(int slot) const {
    return statistics + PYPROF_MUTANT(hopper_narrow_heads_share_statistics, slot, 0) * C::N;
  }
};

// How many rows before a block's own what they meet begins.
PYPROF_DEVICE int query_offset(const mma_kernels::Shape& shape) { return (shape.right + 7) / 8 * 8; }
PYPROF_DEVICE int key_offset(const mma_kernels::Shape& shape) { return (shape.left + 7) / 8 * 8; }

// Where a block is: rows from `first` on of a head of keys; what they meet begins `query_offset` and `key_offset` rows
// before.
struct NarrowPlace {
  int first, key_head, batch, keys, query_offset, key_offset;

  PYPROF_DEVICE explicit NarrowPlace(const mma_kernels::Shape& shape) {
    const mma_kernels::Place place(gpu::anew(shape.tiles), shape.key_heads);
    first = place.first, key_head = place.head, batch = place.batch;
    keys = keys_of(shape, batch);
    query_offset = hopper::query_offset(shape);
    key_offset = hopper::key_offset(shape);
  }
  PYPROF_DEVICE int first_of_warp() const { return first + gpu::warp() % 4 * 16; }
  PYPROF_DEVICE uint32_t head_row(const NarrowParams& p, int head) const {
    return static_cast<uint32_t>(batch * p.plain.shape.heads + head);
  }
};

// The heads of a block; `number` counts them from 0.
template <class C>
PYPROF_DEVICE int narrow_heads(const NarrowParams& p) {
  return C::kShared ? PYPROF_MUTANT(hopper_narrow_only_the_first_head_counts, p.group_heads, 1) : 1;
}
template <class C>
PYPROF_DEVICE int narrow_head(const NarrowParams& p, const NarrowPlace& at, int number) {
  return C::kShared ? at.key_head * p.group_heads + number : at.key_head;
}

template <class C>
PYPROF_DEVICE void copy_rows(unsigned char* to, const gpu::TensorMap& map, gpu::Barrier* there, int row, int head,
                             int batch) {
  PYPROF_UNROLL for (int panel = 0; panel < C::kPanels; ++panel) {
    gpu::copy_box(to + panel * C::kPanelBytes, map, there, panel * gpu::kPanel, row, head, batch);
  }
}

// One thread sends for what a head has, and with the first one for the keys.
template <class C>
PYPROF_DEVICE void fetch_narrow(const NarrowParams& p, const NarrowShared<C>& shared, const NarrowPlace& at,
                                int number) {
  const int slot = number % C::kSlots, head = narrow_head<C>(p, at, number);
  const int query = at.first - at.query_offset, key = at.first - at.key_offset;
  gpu::Barrier* const there = shared.there + slot;
  gpu::barrier_expect(there, C::kHeadBytes + (number == 0 ? 2 * C::kTileBytes : 0));
  copy_rows<C>(shared.query(slot), p.query_map, there, query, head, at.batch);
  if (number == 0) copy_rows<C>(shared.key, p.key_map, there, key, at.key_head, at.batch);
  copy_rows<C>(shared.grad(slot), p.grad_map, there, query, head, at.batch);
  if (number == 0) copy_rows<C>(shared.value, p.value_map, there, key, at.key_head, at.batch);
  copy_rows<C>(shared.output(slot), p.output_map, there, query, head, at.batch);
}

// What both warpgroups do with one head: 64 rows against N columns. Packed: weights are kept in 16 bits alone.
template <class C, bool kPacked>
struct NarrowGroup {
  using T = typename C::T;
  static constexpr int N = C::N, D = C::D;
  const NarrowParams& p;
  float scores[N / 2], reached[N / 2];
  uint32_t weights[N / 16][4];
  uint32_t kept[(N + 63) / 64] = {};  // by dropout: a bit for each score

  PYPROF_DEVICE explicit NarrowGroup(const NarrowParams& params) : p(params) {}

  // Before a product that does not add. In a loop the compiler would keep what a product finds there from the round
  // before, and registers with it.
  template <int Count>
  PYPROF_DEVICE static void forget(float (&d)[Count]) {
    if constexpr (C::kShared) {
      PYPROF_UNROLL for (int i = 0; i < Count; ++i) d[i] = 0.0f;
    }
  }

  // d (64 rows, N columns) = rows * columns^T.
  PYPROF_DEVICE static void multiply(float (&d)[N / 2], const unsigned char* rows, const unsigned char* columns) {
    forget(d);
    gpu::products_begin();
    PYPROF_UNROLL for (int k = 0; k < D / 16; ++k) {
      const int panel = k / 4 * C::kPanelBytes;
      gpu::product<T, N>(d, gpu::rows_of(rows + panel, k % 4 * 16), gpu::rows_of(columns + panel, k % 4 * 16), k > 0);
    }
    gpu::products_commit();
  }

  // sums (64 rows, head_dim) = left operand * columns, and what they were where there are more heads.
  PYPROF_DEVICE static void add_up(float (&sums)[D / 2], const uint32_t (&left)[N / 16][4],
                                   const unsigned char* columns, bool more) {
    if (!more) forget(sums);
    gpu::products_begin();
    PYPROF_UNROLL for (int k = 0; k < N / 16; ++k) {
      gpu::product<T, D>(sums, left[k], gpu::columns_of(columns + k * 16 * gpu::kLine, C::kPanelBytes), more || k > 0);
    }
    gpu::products_commit();
    PYPROF_MUTANT(hopper_narrow_sums_are_used_too_early, gpu::products_wait<0>(), (void)0);
    gpu::hold(sums);
  }

  PYPROF_DEVICE bool keeps(int i) const { return (kept[i / 32] >> i % 32 & 1) != 0; }

  // Of column block i: the weights, of which dropout is still to take its part where they are all that is kept.
  PYPROF_DEVICE void pack_weights(int i) {
    PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
      const int place = 4 * i + 2 * half;
      float low = scores[place], high = scores[place + 1];
      if constexpr (C::Dropped && !kPacked) low = keeps(place) ? low : 0.0f, high = keeps(place + 1) ? high : 0.0f;
      weights[i / 2][i % 2 * 2 + half] = gpu::pack<T>(low, high);
    }
  }

  PYPROF_DEVICE void drop(uint32_t (&left)[N / 16][4]) const {
    PYPROF_UNROLL for (int i = 0; i < N / 4; ++i) {
      left[i / 4][i % 4] =
          weights[i / 4][i % 4] & ((keeps(2 * i) ? 0xffffu : 0u) | (keeps(2 * i + 1) ? 0xffff0000u : 0u));
    }
  }

  // Weights become the scores' gradients, as a left operand; `delta_of(i, e)` of result e of column block i.
  template <class Delta>
  PYPROF_DEVICE void to_grads(const Delta& delta_of) {
    PYPROF_UNROLL for (int i = 0; i < N / 8; ++i) {
      PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
        uint32_t& pair = weights[i / 2][i % 2 * 2 + half];
        float of[2] = {scores[4 * i + 2 * half], scores[4 * i + 2 * half + 1]}, grad[2];
        if constexpr (kPacked) gpu::unpack<T>(pair, of[0], of[1]);
        PYPROF_UNROLL for (int e = 0; e < 2; ++e) {
          const int place = 4 * i + 2 * half + e;
          float upstream = reached[place], delta = delta_of(i, 2 * half + e);
          if constexpr (C::Dropped) upstream = keeps(place) ? upstream : 0.0f, delta *= p.share_kept;
          grad[e] = of[e] * (upstream - delta);
        }
        pair = gpu::pack<T>(grad[0], grad[1]);
      }
    }
  }
};

// A block's sums, times a factor, become rows of keys or of queries. Returns what store_rows does.
template <class C>
PYPROF_DEVICE uint32_t narrow_store(const NarrowParams& p, const Tensor& to, const float (&sums)[C::D / 2],
                                    float factor, bool keys, int number = 0) {
  using T = typename C::T;
  // Where this block is is found out once more: kept it would take registers that there are not.
  const NarrowPlace again(p.plain.shape);
  const int first = again.first + gpu::warp() % 4 * 16;
  const float factors[2] = {factor, factor};
  bool wanted[2];
  PYPROF_UNROLL for (int half = 0; half < 2; ++half) {
    wanted[half] = PYPROF_MUTANT(hopper_narrow_keys_that_take_no_part_count,
                                 !keys || first + gpu::lane() / 4 + 8 * half < again.keys, true);
  }
  const int head = keys ? again.key_head : narrow_head<C>(p, again, number);
  return store_rows<T, C::D>(at_row<T>(to, again.batch, head, first), to.strides.row, sums, factors, wanted,
                             p.plain.shape.length - first);
}

}  // namespace pyprof::window::hopper
