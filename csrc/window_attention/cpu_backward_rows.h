// Where the backward pass reads and writes, and how its work is cut: tiles of queries, and parts of what they see.
#pragma once

#include "window_attention/cpu_backward_plan.h"

namespace pyprof::window {
namespace {

// Up to kTile queries of one head.
struct QueryTile {
  int64_t head, first, rows;
};

// A tile and the keys [begin, end) of those it sees: which gradients they give, and whether they are all.
struct Part {
  QueryTile tile;
  int64_t begin, end;
  bool for_queries, for_keys, whole;
};

// The rows of one slice's tensors: those of queries by the number of a query head, those of keys of the slice's head or
// of that so many heads on.
struct BackwardRows {
  const Problem& problem;
  const Backward& backward;
  const Slice& slice;
  const Dims dims;

  BackwardRows(const Problem& p, const Backward& b, const Slice& s)
      : problem(p), backward(b), slice(s), dims(p, s.batch) {}

  // The query heads that share the slice's key head.
  int64_t first_head() const { return slice.head * (problem.heads / problem.key_heads); }
  int64_t end_head() const { return (slice.head + 1) * (problem.heads / problem.key_heads); }

  QueryTile tile(int64_t head, int64_t first) const { return {head, first, smaller(kTile, dims.length - first)}; }
  int64_t first_key_of(const QueryTile& tile) const { return dims.first(tile.first); }
  int64_t end_key_of(const QueryTile& tile) const { return dims.end(tile.first + tile.rows - 1); }

  // The queries that see any key of [begin, end), from the start of a tile.
  int64_t first_query(int64_t begin) const { return larger(0, begin - dims.right) / kTile * kTile; }
  int64_t end_query(int64_t end) const { return smaller(dims.length, end + dims.left); }

  const void* query(int64_t head, int64_t i) const { return given(problem.query, problem.query_strides, head, i); }
  const void* key(int64_t j, int64_t on = 0) const {
    return given(problem.key, problem.key_strides, slice.head + on, j);
  }
  const void* value(int64_t j, int64_t on = 0) const {
    return given(problem.value, problem.value_strides, slice.head + on, j);
  }
  const void* output(int64_t head, int64_t i) const { return given(backward.output, backward.output_strides, head, i); }
  const void* grad_output(int64_t head, int64_t i) const {
    return given(backward.grad_output, backward.grad_output_strides, head, i);
  }
  void* grad_query(int64_t head, int64_t i) const {
    return wanted(backward.grad_query, backward.grad_query_strides, head, i);
  }
  void* grad_key(int64_t j, int64_t on = 0) const {
    return wanted(backward.grad_key, backward.grad_key_strides, slice.head + on, j);
  }
  void* grad_value(int64_t j, int64_t on = 0) const {
    return wanted(backward.grad_value, backward.grad_value_strides, slice.head + on, j);
  }

  // Of query i, by what its weights are multiplied so that they sum to one, and their delta.
  float* kept(int64_t head, int64_t i) const {
    return backward.kept + 2 * ((slice.batch * problem.heads + head) * dims.length + i);
  }

  // Of query i in lse or grad_lse.
  const float* statistic(const void* from, int64_t head, int64_t i) const {
    return static_cast<const float*>(from) + (slice.batch * problem.heads + head) * dims.length + i;
  }

 private:
  int64_t element(const Strides& strides, int64_t head, int64_t row) const {
    return slice.batch * strides.batch + head * strides.head + row * strides.row;
  }
  const void* given(const void* from, const Strides& strides, int64_t head, int64_t row) const {
    return at(problem.type, from, element(strides, head, row));
  }
  void* wanted(void* to, const Strides& strides, int64_t head, int64_t row) const {
    return at(problem.type, to, element(strides, head, row));
  }
};

// float32 rows that lie in memory, of which nothing is written.
inline Rows rows_in_place(const void* from, int64_t stride) {
  return {const_cast<float*>(static_cast<const float*>(from)), stride};
}

}  // namespace
}  // namespace pyprof::window
