// Rows that came out with something that is no finite number are computed again, by their warp, one by one.
//
// A group of 16 columns multiplies what a row does not see by weights of 0, and 0 times NaN or infinity is NaN. That
// can only spoil a sum, never hide in one: a row that came out finite is right. The others are computed from here,
// where nothing is touched that is not seen; rows that are NaN by right come out so once more.
#pragma once

#include "mma_dropout.cuh"
#include "mma_params.cuh"

namespace pyprof::window::mma_kernels {

// One row, spread over the lanes of a warp.
template <class T, int D>
struct Spread {
  static constexpr int kOwn = D / gpu::kWarp;
  float at[kOwn];

  PYPROF_DEVICE Spread() { PYPROF_UNROLL for (int n = 0; n < kOwn; ++n) at[n] = 0.0f; }
  // All of it, or one of so many parts, each of whole columns, with zeros for the others.
  PYPROF_DEVICE Spread(const Matrix<T>& from, int row, int part = 0, int parts = 1) {
    const T* const source = from.at(row, 0) + gpu::lane();
    PYPROF_UNROLL for (int n = 0; n < kOwn; ++n) {
      at[n] = n * parts / kOwn == part ? gpu::to_float(source[n * gpu::kWarp]) : 0.0f;
    }
  }
  PYPROF_DEVICE float dot(const Spread& other) const {
    float sum = 0.0f;
    PYPROF_UNROLL for (int n = 0; n < kOwn; ++n) sum = fmaf(at[n], other.at[n], sum);
    PYPROF_UNROLL for (int mask = 1; mask < gpu::kWarp; mask *= 2) sum += gpu::shuffle_xor(sum, mask);
    return sum;
  }
  PYPROF_DEVICE bool finite() const {  // what this lane has
    float zero = 0.0f;
    PYPROF_UNROLL for (int n = 0; n < kOwn; ++n) zero = fmaf(at[n], 0.0f, zero);
    return zero == 0.0f;
  }
  PYPROF_DEVICE void add(float factor, const Spread& other) {
    PYPROF_UNROLL for (int n = 0; n < kOwn; ++n) at[n] = fmaf(factor, other.at[n], at[n]);
  }
  PYPROF_DEVICE void store(const Matrix<T>& to, int row, float factor, int part = 0, int parts = 1) const {
    T* const target = to.at(row, 0) + gpu::lane();
    PYPROF_UNROLL for (int n = 0; n < kOwn; ++n) {
      if (n * parts / kOwn == part) target[n * gpu::kWarp] = gpu::from_float<T>(at[n] * factor);
    }
  }
};

PYPROF_DEVICE float dropped(const Dropout& dropout, int head_row, int query, int key) {
  if (!dropout.active()) return 1.0f;
  const bool kept =
      dropout.keep(static_cast<uint32_t>(head_row), static_cast<uint32_t>(query), static_cast<uint32_t>(key));
  return PYPROF_MUTANT(spoiled_rows_are_not_dropped, kept, true) ? dropout.scale : 0.0f;
}

// Bit r says that row first + r, of a warp's 16 that are below `end`, is not finite, in one of so many parts.
template <class T, int D>
PYPROF_DEVICE uint32_t odd_rows(const Matrix<T>& of, int first, int end, int part = 0, int parts = 1) {
  uint32_t odd = 0;
  PYPROF_UNROLL_BY(1) for (int r = 0; r < kWarpRows && first + r < end; ++r) {
    odd |= static_cast<uint32_t>(!Spread<T, D>(of, first + r, part, parts).finite()) << r;
  }
  PYPROF_UNROLL for (int mask = 1; mask < gpu::kWarp; mask *= 2) odd |= gpu::shuffle_xor(odd, mask);
  return odd;
}

// The keys that a query sees, one after another; `key` is `end` or more where none is left.
struct Keys {
  int key, leading, begin, end;

  PYPROF_DEVICE Keys(const Band& band, int query) : key(-1), leading(band.leading(query)) {
    const Span seen = band.of(query);
    begin = seen.begin;
    end = seen.end > leading ? seen.end : leading;
    next();
  }
  PYPROF_DEVICE void next() {
    ++key;
    if (key >= PYPROF_MUTANT(spoiled_rows_forget_leading_keys, leading, 0) && key < begin) key = begin;
  }
};

// Bit r of `odd` says that row first + r, a query, is to be computed again.
template <class T, int D>
PYPROF_DEVICE void exact_output(const ForwardParams& p, const Place& place, const Band& band, int first, uint32_t odd) {
  const int key_head = place.head / (p.shape.heads / p.shape.key_heads),
            head_row = place.batch * p.shape.heads + place.head;
  const Matrix<T> query(p.shape.query, place.batch, place.head), output(p.output, place.batch, place.head);
  const Matrix<T> key(p.shape.key, place.batch, key_head), value(p.shape.value, place.batch, key_head);
  const Dropout dropout = dropout_of(p.shape);
  gpu::sync_warp();  // other lanes have written these rows, and their log-sum-exp
  PYPROF_UNROLL_BY(1) for (int i = first; odd != 0; ++i, odd >>= 1) {
    if ((odd & 1) == 0) continue;
    const Spread<T, D> own(query, i);
    const float lse = p.lse[static_cast<int64_t>(head_row) * p.shape.length + i] * kLog2E;
    Spread<T, D> sums;
    PYPROF_UNROLL_BY(1)
    for (Keys at(band, i); at.key < PYPROF_MUTANT(spoiled_outputs_see_less, at.end, at.end - 1); at.next()) {
      const int j = at.key;
      const float weight = gpu::exp2(own.dot(Spread<T, D>(key, j)) * (p.shape.scale * kLog2E) - lse);
      sums.add(weight * dropped(dropout, head_row, i, j), Spread<T, D>(value, j));
    }
    sums.store(output, i, 1.0f);
  }
}

// The gradient of a score, from the weight's own and a query's log-sum-exp and delta.
PYPROF_DEVICE float exact_grad_score(float weight, float upstream, float kept, float delta) {
  return weight * (kept * upstream - delta);
}

// lse * log2(e) and delta of a query, whose gradient of the output is given: as they were kept, or found once more.
template <class T, int D, bool Kept>
PYPROF_DEVICE gpu::Float2 exact_statistics(const BackwardParams& p, const Place& place, int head, int i,
                                           const Spread<T, D>& given) {
  const int64_t head_row = static_cast<int64_t>(place.batch) * p.shape.heads + head;
  if constexpr (Kept) return gpu::read(p.statistics + head_row * p.padded + i);
  const int64_t number = head_row * p.shape.length + i;
  const float delta = given.dot(Spread<T, D>(Matrix<T>(p.output, place.batch, head), i));
  return {p.lse[number] * kLog2E, p.grad_lse == nullptr ? delta : delta - p.grad_lse[number]};
}

template <class T, int D, bool Kept = true>
PYPROF_DEVICE void exact_grad_query(const BackwardParams& p, const Place& place, const Band& band, int first,
                                    uint32_t odd, int part = 0, int parts = 1) {
  const int key_head = place.head / (p.shape.heads / p.shape.key_heads),
            head_row = place.batch * p.shape.heads + place.head;
  const Matrix<T> query(p.shape.query, place.batch, place.head), grad(p.grad_output, place.batch, place.head);
  const Matrix<T> key(p.shape.key, place.batch, key_head), value(p.shape.value, place.batch, key_head);
  const Matrix<T> grad_query(p.grad_query, place.batch, place.head);
  const Dropout dropout = dropout_of(p.shape);
  gpu::sync_warp();  // other lanes have written these rows
  PYPROF_UNROLL_BY(1) for (int i = first; odd != 0; ++i, odd >>= 1) {
    if ((odd & 1) == 0) continue;
    const Spread<T, D> own(query, i), given(grad, i);
    const auto statistics = exact_statistics<T, D, Kept>(p, place, place.head, i, given);
    Spread<T, D> sums;
    PYPROF_UNROLL_BY(1) for (Keys at(band, i); at.key < at.end; at.next()) {
      const int j = at.key;
      const Spread<T, D> other(key, j);
      const float weight = gpu::exp2(own.dot(other) * p.scale_log2 - statistics.x);
      const float upstream = given.dot(Spread<T, D>(value, j));
      sums.add(exact_grad_score(weight, upstream, dropped(dropout, head_row, i, j), statistics.y), other);
    }
    sums.store(grad_query, i, p.shape.scale, part, parts);
  }
}

// What the queries that see key j under `band`, whose rows are keys, give to its gradients, the scale left out.
template <class T, int D, bool Kept>
struct KeySums {
  Spread<T, D> key, value;

  PYPROF_DEVICE KeySums(const BackwardParams& p, const Place& place, const Band& band, int j) {
    const int group = p.shape.heads / p.shape.key_heads;
    const Dropout dropout = dropout_of(p.shape);
    const Span seen = band.of(j);
    const Spread<T, D> own(Matrix<T>(p.shape.key, place.batch, place.head), j),
        other(Matrix<T>(p.shape.value, place.batch, place.head), j);
    PYPROF_UNROLL_BY(1) for (int head = place.head * group; head < (place.head + 1) * group; ++head) {
      const int head_row = place.batch * p.shape.heads + head;
      const Matrix<T> query(p.shape.query, place.batch, head), grad(p.grad_output, place.batch, head);
      PYPROF_UNROLL_BY(1) for (int i = seen.begin; i < seen.end; ++i) {
        const Spread<T, D> row(query, i), given(grad, i);
        const auto statistics = exact_statistics<T, D, Kept>(p, place, head, i, given);
        const float weight = gpu::exp2(own.dot(row) * p.scale_log2 - statistics.x);
        const float kept = dropped(dropout, head_row, i, j);
        key.add(exact_grad_score(weight, given.dot(other), kept, statistics.y), row);
        value.add(weight * kept, given);
      }
    }
  }
};

// The same as exact_grad_query for rows that are keys: their gradients, and those of their values.
template <class T, int D, bool Kept = true>
PYPROF_DEVICE void exact_grad_key(const BackwardParams& p, const Place& place, int first, uint32_t odd) {
  const Band band(p.shape.right, p.shape.left, keys_of(p.shape, place.batch), p.shape.length);
  const Matrix<T> grad_key(p.grad_key, place.batch, place.head), grad_value(p.grad_value, place.batch, place.head);
  gpu::sync_warp();  // other lanes have written these rows
  PYPROF_UNROLL_BY(1) for (int j = first; odd != 0; ++j, odd >>= 1) {
    if ((odd & 1) == 0) continue;
    const KeySums<T, D, Kept> sums(p, place, band, j);
    sums.key.store(grad_key, j, p.shape.scale);
    sums.value.store(grad_value, j, 1.0f);
  }
}

}  // namespace pyprof::window::mma_kernels
