// The first keys, which queries see before their window too. They are few, so what they give is joined to what the
// window gave: in the forward pass by the log-sum-exp. The backward pass of the window then takes the joined
// log-sum-exp and output, and what the first keys add to the gradients is added here.
#pragma once

#include "window_attention/cpu_backward_softmax.h"

namespace pyprof::window {
namespace {

// What queries see of them is a window as well: from key 0 to the last one before their own, query i - left - 1.
inline Dims global_dims(const Problem& p, int64_t batch) {
  Dims dims(p, batch);
  dims.keys = smaller(p.global_keys, dims.keys);
  dims.right = -dims.left - 1;
  dims.left = dims.length;
  return dims;
}

// Some keys and some queries, with all that lies between them: [key][kTile] for a strip or a tile of the queries.
struct PairBuffers {
  float *keys, *values, *grad_keys, *grad_values, *weights, *grads, *factors;
  float *query, *grad, *query_lanes, *grad_lanes, *delta;

  PairBuffers(const Problem& p, int64_t key_count, int64_t queries, Scratch& scratch) {
    const int64_t padded = (p.head_dim + 15) / 16 * 16, rows = (key_count + kBeyond) * padded;
    const int64_t scores = (kSpare + key_count + kBeyond) * kTile;
    keys = scratch.floats(rows);
    values = scratch.floats(rows);
    grad_keys = scratch.floats(rows);
    grad_values = scratch.floats(rows);
    weights = scratch.floats(scores) + kSpare * kTile;
    grads = scratch.floats(scores) + kSpare * kTile;
    factors = scratch.floats(p.dropout_p > 0 ? key_count * kStrip : 0);
    query = scratch.floats(queries * padded);
    grad = scratch.floats(queries * padded);
    query_lanes = scratch.floats(queries * padded);
    grad_lanes = scratch.floats(queries * padded);
    delta = scratch.floats(queries);
  }
};

struct GlobalBuffers : PairBuffers {
  float *copy, *lse, *sum, *products;

  GlobalBuffers(const Problem& p, Scratch& scratch) : PairBuffers(p, smaller(p.global_keys, p.length), kTile, scratch) {
    copy = scratch.floats(kTile * ((p.head_dim + 15) / 16 * 16));
    lse = scratch.floats(kTile);
    sum = scratch.floats(kTile);
    products = scratch.floats(kTile);
  }
};

// What both passes do with the keys and with a strip of queries.
struct GlobalKeys {
  const Problem& problem;
  const int64_t batch, head;  // of a key
  const Dims dims;
  const Dropout dropout;
  Scratch scratch;
  const GlobalBuffers buffers;

  GlobalKeys(const Problem& p, int64_t batch, int64_t head, void* memory)
      : problem(p),
        batch(batch),
        head(head),
        dims(global_dims(p, batch)),
        dropout(Dropout(p.dropout_p).seeded(p.seed)),
        scratch(memory),
        buffers(p, scratch) {
    take(p.key, p.key_strides, buffers.keys);
    take(p.value, p.value_strides, buffers.values);
  }

  // A product of scores reads up to kSpare rows, whatever their number.
  void take(const void* from, const Strides& strides, float* to) const {
    load_rows(problem.type, place(from, strides, head, 0), strides.row, dims.keys, dims, to);
    for (int64_t d = dims.keys * dims.padded; d < kSpare * dims.padded; ++d) to[d] = 0;
  }

  const void* place(const void* from, const Strides& strides, int64_t of_head, int64_t row) const {
    return at(problem.type, from, batch * strides.batch + of_head * strides.head + row * strides.row);
  }

  // The scores of a strip's rows, given as lanes, and these keys or values: to[key][kTile].
  void multiply(const float* lanes, const float* keys, float* to) const {
    const Scores wanted{0, dims.keys, lanes, to};
    Lead none;
    scores(keys, dims.padded, &wanted, 1, none);
  }

  // Where dropout is active.
  void draw(int64_t query_head, int64_t strip, int64_t count) const {
    dropout_factors(dropout, static_cast<uint32_t>(batch * problem.heads + query_head), strip, 0, count,
                    buffers.factors);
  }

  // Rows as they lie in memory, or copied to float32.
  Rows rows_of(const void* from, int64_t stride, int64_t count, float* copy) const {
    if (is_direct(problem)) return {const_cast<float*>(static_cast<const float*>(from)), stride};
    load_rows(problem.type, from, stride, count, dims, copy);
    return {copy, dims.padded};
  }

  // What their weights add to the sums of a tile's queries, which are given as lanes.
  void add_sums(const BackwardStatistics& statistics, const QueryTile& tile, const float* query_lanes,
                const float* grad_lanes) const {
    for (int64_t first = 0; first < tile.rows; first += kStrip) {
      const Sight sight(dims, tile.first + first, smaller(kStrip, tile.rows - first), 0, dims.keys);
      multiply(query_lanes + first * dims.padded, buffers.keys, buffers.weights);
      multiply(grad_lanes + first * dims.padded, buffers.values, buffers.grads);
      if (dropout.active()) draw(tile.head, tile.first + first, sight.count());
      for (int g = 0; g < kGroups; ++g) {
        const int64_t lane = first + g * kLanes;
        const Mask mask(sight, g);
        const auto lse = Vec::load(statistics.lse + lane), zero = Vec::set1(0);
        auto sum = zero, products = zero;
        for (int64_t j = 0; j < sight.count(); ++j) {
          const int64_t place = j * kTile + g * kLanes;
          const auto p = mask.apply(j, Vec::exp2(Vec::sub(Vec::load(buffers.weights + place), lse)), zero);
          auto grad = mask.apply(j, Vec::load(buffers.grads + place), zero);
          if (dropout.active()) grad = Vec::mul(grad, Vec::load(buffers.factors + j * kStrip + g * kLanes));
          sum = Vec::add(sum, p);
          products = Vec::fma(p, grad, products);
        }
        Vec::store(statistics.sum + lane, sum);
        Vec::store(statistics.products + lane, products);
      }
    }
  }

  // row[:] = factor * row[:] + sum over the first `count` keys j of weights[j * kTile] * rows[j][:], in memory.
  void add_to_row(void* row, float factor, const float* weights, const float* rows, int64_t count) const {
    const Rows at = rows_of(row, 0, 1, buffers.copy);
    for (int64_t d = 0; d < dims.padded; d += kLanes) {
      auto sum = Vec::mul(Vec::set1(factor), Vec::load(at.data + d));
      for (int64_t j = 0; j < count; ++j)
        sum = Vec::fma(Vec::set1(weights[j * kTile]), Vec::load(rows + j * dims.padded + d), sum);
      Vec::store(at.data + d, sum);
    }
    if (!is_direct(problem)) store_rows(problem.type, row, 0, 1, dims, at.data, kOnes, 0);
  }
};

// Joins them to the output and the log-sum-exp of the slice's queries.
struct GlobalForward : GlobalKeys {
  const Forward& forward;
  const Slice& slice;

  GlobalForward(const Problem& p, const Forward& f, const Slice& s, void* memory)
      : GlobalKeys(p, s.batch, s.head / (p.heads / p.key_heads), memory), forward(f), slice(s) {}

  void run() const {
    const int64_t left = -dims.right - 1;
    for (int64_t strip = larger(slice.begin, (left + 1) / kStrip * kStrip); strip < slice.end; strip += kStrip)
      run_strip(strip, smaller(kStrip, slice.end - strip));
  }

 private:
  void run_strip(int64_t strip, int64_t rows) const {
    const Sight sight(dims, strip, rows, 0, dims.keys);
    const void* query = place(problem.query, problem.query_strides, slice.head, strip);
    transpose_strip(rows_of(query, problem.query_strides.row, rows, buffers.query), rows, dims.padded,
                    static_cast<float>(problem.scale) * kLog2e, buffers.query_lanes);
    multiply(buffers.query_lanes, buffers.keys, buffers.weights);
    float* lse = static_cast<float*>(forward.lse) + (batch * problem.heads + slice.head) * dims.length + strip;
    for (int64_t r = 0; r < kStrip; ++r) buffers.lse[r] = r < rows ? lse[r] * kLog2e : 0;
    for (int g = 0; g < kGroups; ++g) join(sight, g);
    if (dropout.active()) drop(strip, sight.count());
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t seen = dims.end(strip + r);
      if (seen <= 0) continue;
      const Strides& strides = forward.output_strides;
      void* output = const_cast<void*>(place(forward.output, strides, slice.head, strip + r));
      add_to_row(output, buffers.delta[r], buffers.weights + r, buffers.values, seen);
      lse[r] = buffers.lse[r] / kLog2e;
    }
  }

  // Scores become weights, and the window's log-sum-exp that of all, in powers of two; `delta` is what remains of the
  // window's weights.
  void join(const Sight& sight, int group) const {
    const int64_t lane = group * kLanes;
    const Mask mask(sight, group);
    const auto known = Vec::load(buffers.lse + lane);
    float* scores = buffers.weights + lane;
    auto top = Vec::max(known, Vec::set1(-1e35f));  // finite, as infinity less itself is not
    for (int64_t j = 0; j < sight.count(); ++j) {
      const auto seen = mask.apply(j, Vec::load(scores + j * kTile), Vec::set1(-__builtin_inff()));
      Vec::store(scores + j * kTile, seen);
      top = Vec::max(seen, top);
    }
    const auto rest = Vec::exp2(Vec::sub(known, top));
    auto total = rest;
    for (int64_t j = 0; j < sight.count(); ++j) {
      const auto weight = Vec::exp2(Vec::sub(Vec::load(scores + j * kTile), top));
      Vec::store(scores + j * kTile, weight);
      total = Vec::add(total, weight);
    }
    const auto inverse = Vec::div(Vec::set1(1), total);
    for (int64_t j = 0; j < sight.count(); ++j)
      Vec::store(scores + j * kTile, Vec::mul(inverse, Vec::load(scores + j * kTile)));
    Vec::store(buffers.delta + lane, Vec::mul(rest, inverse));
    // What is not finite stays so, whatever a logarithm makes of it.
    const auto log = Vec::add(Vec::log2(total), Vec::sub(total, total));
    Vec::store(buffers.lse + lane, Vec::add(top, log));
  }

  void drop(int64_t strip, int64_t count) const {
    draw(slice.head, strip, count);
    for (int64_t j = 0; j < count; ++j)
      for (int g = 0; g < kGroups; ++g) {
        float* weight = buffers.weights + j * kTile + g * kLanes;
        Vec::store(weight, Vec::mul(Vec::load(weight), Vec::load(buffers.factors + j * kStrip + g * kLanes)));
      }
  }
};

// Adds their part to the gradients of all queries of a key head, and the queries' part to theirs.
struct GlobalBackward : GlobalKeys {
  const BackwardRows rows;
  const BackwardStatistics statistics;

  GlobalBackward(const Problem& p, const Backward& b, const Slice& s, void* memory)
      : GlobalKeys(p, s.batch, s.head, memory),
        rows(p, b, s),
        statistics{buffers.lse, buffers.delta, buffers.sum, buffers.products} {
    for (int64_t d = 0; d < dims.keys * dims.padded; ++d) buffers.grad_keys[d] = buffers.grad_values[d] = 0;
  }

  void run() const {
    const int64_t left = -dims.right - 1;
    for (int64_t of_head = rows.first_head(); of_head < rows.end_head(); ++of_head)
      for (int64_t first = (left + 1) / kTile * kTile; first < dims.length; first += kTile)
        run_tile(rows.tile(of_head, first));
    const float one = 1;
    for (int64_t j = 0; j < dims.keys; ++j) {
      add_to_row(rows.grad_key(j), 1, &one, buffers.grad_keys + j * dims.padded, 1);
      add_to_row(rows.grad_value(j), 1, &one, buffers.grad_values + j * dims.padded, 1);
    }
  }

 private:
  void run_tile(const QueryTile& tile) const {
    const Rows queries = packed(rows.query(tile.head, tile.first), problem.query_strides.row, tile.rows, buffers.query);
    const Rows grads =
        packed(rows.grad_output(tile.head, tile.first), rows.backward.grad_output_strides.row, tile.rows, buffers.grad);
    for (int64_t first = 0; first < tile.rows; first += kStrip) {
      const int64_t start = first * dims.padded, count = smaller(kStrip, tile.rows - first);
      transpose_strip({queries.row(first), queries.stride}, count, dims.padded,
                      static_cast<float>(problem.scale) * kLog2e, buffers.query_lanes + start);
      transpose_strip({grads.row(first), grads.stride}, count, dims.padded, 1, buffers.grad_lanes + start);
    }
    take_statistics(tile, grads);
    for (int64_t first = 0; first < tile.rows; first += kStrip) {
      const Sight sight(dims, tile.first + first, smaller(kStrip, tile.rows - first), 0, dims.keys);
      multiply(buffers.query_lanes + first * dims.padded, buffers.keys, buffers.weights + first);
      multiply(buffers.grad_lanes + first * dims.padded, buffers.values, buffers.grads + first);
      const bool drops = dropout.active();
      if (drops) draw(tile.head, tile.first + first, sight.count());
      const ScoreGradients softmax{
          statistics.lse + first,      statistics.delta + first,          statistics.sum + first,
          statistics.products + first, drops ? buffers.factors : nullptr, 1};
      for (int g = 0; g < kGroups; ++g) softmax.run<false>(sight, g, buffers.weights + first, buffers.grads + first);
    }
    const float scale = static_cast<float>(problem.scale);
    for (int64_t j = 0; j < dims.keys; ++j)
      for (int64_t r = 0; r < tile.rows; ++r) {
        buffers.weights[j * kTile + r] *= statistics.sum[r];
        buffers.grads[j * kTile + r] *= statistics.sum[r] * scale;
      }
    for (int64_t r = 0; r < tile.rows; ++r) {
      const int64_t seen = dims.end(tile.first + r);
      if (seen > 0) add_to_row(rows.grad_query(tile.head, tile.first + r), 1, buffers.grads + r, buffers.keys, seen);
    }
    add_to_keys(tile, buffers.grads, queries, buffers.grad_keys);
    add_to_keys(tile, buffers.weights, grads, buffers.grad_values);
  }

  // to[j][:] += sum over the tile's queries i that see key j of weights[j][i] * of[i][:]
  void add_to_keys(const QueryTile& tile, const float* weights, const Rows& of, float* to) const {
    // Query i sees key j from i = j + left + 1 on: after the first tiles all see all keys.
    const bool all = dims.keys - 1 - dims.right <= tile.first;
    for (int64_t j = 0; all && j < dims.keys; j += kRows)
      product<kRows, true, false>({weights + j * kTile,
                                   of,
                                   tile.rows,
                                   {to + j * dims.padded, dims.padded},
                                   smaller(kRows, dims.keys - j),
                                   kOnes,
                                   true},
                                  dims.padded, {});
    for (int64_t j = 0; !all && j < dims.keys; ++j)
      add_rows(weights + j * kTile, of, larger(0, j - dims.right - tile.first), tile.rows, to + j * dims.padded);
  }

  // Delta, and in the place of sums what weights are to be multiplied by: as the window's part has found them of all
  // that a query sees, or as they are of global keys alone where a window has no keys. Neither finds a number where
  // gradients are infinite: there the output tells.
  void take_statistics(const QueryTile& tile, const Rows& grads) const {
    statistics.take(rows, tile);
    const bool alone = rows.first_key_of(tile) >= rows.end_key_of(tile);
    if (alone) add_sums(statistics, tile, buffers.query_lanes, buffers.grad_lanes);
    bool finite = true;
    for (int64_t r = 0; r < tile.rows; ++r) {
      const float* kept = rows.kept(tile.head, tile.first + r);
      const float inverse = 1 / (statistics.sum[r] > 1e-30f ? statistics.sum[r] : 1e-30f);
      statistics.delta[r] = alone ? statistics.delta[r] + statistics.products[r] * inverse : kept[1];
      statistics.sum[r] = alone ? inverse : kept[0];
      finite = finite && statistics.sum[r] - statistics.sum[r] == 0 && statistics.delta[r] - statistics.delta[r] == 0;
    }
    if (finite) return;
    statistics.take(rows, tile);
    statistics.add_output_products(rows, tile, grads, buffers.copy);
    for (int64_t r = 0; r < kTile; ++r) statistics.sum[r] = 1;
  }

  // Copied to rows that lie close together, unless they do and are float32.
  Rows packed(const void* from, int64_t stride, int64_t count, float* copy) const {
    if (is_direct(problem) && stride == dims.padded) return rows_in_place(from, stride);
    load_rows(problem.type, from, stride, count, dims, copy);
    return {copy, dims.padded};
  }

  // to[:] += sum over r in [from, end) of weights[r] * of[r][:], summed by itself first: there are many tiles.
  void add_rows(const float* weights, const Rows& of, int64_t from, int64_t end, float* to) const {
    for (int64_t d = 0; d < dims.padded; d += kLanes) {
      auto sum = Vec::set1(0);
      for (int64_t r = from; r < end; ++r) sum = Vec::fma(Vec::set1(weights[r]), Vec::load(of.row(r) + d), sum);
      Vec::store(to + d, Vec::add(Vec::load(to + d), sum));
    }
  }
};

inline void join_global_keys(const Problem& problem, const Forward& forward, const Slice& slice, void* scratch) {
  GlobalForward(problem, forward, slice, scratch).run();
}

inline void add_global_keys(const Problem& problem, const Backward& backward, const Slice& slice, void* scratch) {
  GlobalBackward(problem, backward, slice, scratch).run();
}

inline size_t global_scratch(const Problem& problem) {
  Scratch scratch(nullptr);
  GlobalBuffers buffers(problem, scratch);
  return scratch.used();
}

}  // namespace
}  // namespace pyprof::window
