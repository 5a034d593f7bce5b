// The sums that become gradients: of keys and values over the queries that see them, and of a tile's queries.
#pragma once

#include "window_attention/cpu_backward_rows.h"

namespace pyprof::window {
namespace {

// Both ends of what a query sees grow with the query, so the keys whose sums are unfinished are one range that only
// moves forward: the first rows of a buffer, which move up as keys before them are finished. Where the gradients are
// float32 rows of a full width, the sums are made in place and only have to begin as zeros.
class KeySums {
 public:
  KeySums(const BackwardRows& rows, const BackwardPlan& plan, const BackwardBuffers& buffers)
      : rows_(rows), in_place_(plan.direct), begin_(rows.slice.begin), end_(rows.slice.begin) {
    if (in_place_) {
      keys_ = {static_cast<float*>(rows.grad_key(begin_)), rows.backward.grad_key_strides.row};
      values_ = {static_cast<float*>(rows.grad_value(begin_)), rows.backward.grad_value_strides.row};
    } else {
      keys_ = {buffers.grad_keys, rows.dims.padded};
      values_ = {buffers.grad_values, rows.dims.padded};
    }
  }

  // The sums of key j and of those after it.
  Rows keys(int64_t j) const { return {keys_.row(j - first_row()), keys_.stride}; }
  Rows values(int64_t j) const { return {values_.row(j - first_row()), values_.stride}; }

  // Finishes the sums of keys before `begin` and begins those of keys up to `end`.
  void advance(int64_t begin, int64_t end) {
    if (in_place_) {
      end = larger(end, begin);
      const int64_t done = smaller(begin, end_) - begin_;
      if (done > 0) {
        store_exactly_unless_finite(begin_, keys(begin_), values(begin_), done);
        begin_ += done;
      }
      clear(end_ - first_row(), end - first_row());
      end_ = larger(end, end_);
      return;
    }
    const int64_t done = smaller(begin, end_) - begin_;
    if (done > 0) {
      store(begin_, done);
      move_up(done);
    }
    // Keys that no query sees have no sums; the first row is free to write their zeros from.
    if (end_ < begin) clear(0, 1);
    for (; end_ < begin; begin_ = ++end_) store(end_, 1);
    clear(end_ - begin_, end - begin_);
    end_ = larger(end, end_);
  }

  // The same for all keys of the slice.
  void finish() { advance(rows_.slice.end, rows_.slice.end); }

 private:
  int64_t first_row() const { return in_place_ ? rows_.slice.begin : begin_; }  // the key whose sums are row 0

  void store(int64_t key, int64_t count) const {
    const Dims& dims = rows_.dims;
    const Backward& to = rows_.backward;
    const Type type = rows_.problem.type;
    store_rows(type, rows_.grad_key(key), to.grad_key_strides.row, count, dims, keys_.data, kOnes, 0);
    store_rows(type, rows_.grad_value(key), to.grad_value_strides.row, count, dims, values_.data, kOnes, 0);
    store_exactly_unless_finite(key, keys_, values_, count);
  }

  // Of the keys from `key` on, whose sums are these.
  void store_exactly_unless_finite(int64_t key, const Rows& keys, const Rows& values, int64_t count) const {
    const int64_t padded = rows_.dims.padded;
    if (all_finite(keys, count, padded) && all_finite(values, count, padded)) return;
    const ExactRows exact(rows_.problem, rows_.dims, rows_.slice.batch);
    for (int64_t r = 0; r < count; ++r)
      if (!all_finite({keys.row(r), padded}, 1, padded) || !all_finite({values.row(r), padded}, 1, padded))
        exact.grad_key_and_value(rows_.backward, rows_.slice.head, key + r);
  }

  // The sums of the first `done` keys make room.
  void move_up(int64_t done) {
    const int64_t rest = (end_ - begin_ - done) * rows_.dims.padded;
    for (int64_t d = 0; d < rest; d += kLanes) {
      Vec::store(keys_.data + d, Vec::load(keys_.row(done) + d));
      Vec::store(values_.data + d, Vec::load(values_.row(done) + d));
    }
    begin_ += done;
  }

  void clear(int64_t from, int64_t to) const {
    const auto zero = Vec::set1(0);
    for (int64_t row = from; row < to; ++row)
      for (int64_t d = 0; d < rows_.dims.padded; d += kLanes) {
        Vec::store(keys_.row(row) + d, zero);
        Vec::store(values_.row(row) + d, zero);
      }
  }

  const BackwardRows& rows_;
  const bool in_place_;
  Rows keys_, values_;
  int64_t begin_, end_;  // the keys whose sums have begun and aren't known to be finished
};

// The sums of a tile's queries: where they belong if float32 rows lie close together there, else in a buffer.
class QuerySums {
 public:
  QuerySums(const BackwardRows& rows, const BackwardBuffers& buffers) : rows_(rows), buffer_(buffers.grad_query) {}

  Rows of(const QueryTile& tile) const {
    const int64_t padded = rows_.dims.padded;
    if (!is_direct(rows_.problem) || rows_.backward.grad_query_strides.row != padded) return {buffer_, padded};
    return {static_cast<float*>(rows_.grad_query(tile.head, tile.first)), padded};
  }

  // `any`: whether the tile sees a key, so that its sums were written.
  void store(const QueryTile& tile, bool any) const {
    const Dims& dims = rows_.dims;
    const Rows from = of(tile);
    for (int64_t d = 0; !any && d < tile.rows * dims.padded; ++d) from.data[d] = 0;
    if (from.data == buffer_)
      store_rows(rows_.problem.type, rows_.grad_query(tile.head, tile.first), rows_.backward.grad_query_strides.row,
                 tile.rows, dims, buffer_, kOnes, 0);
    if (!all_finite(from, tile.rows, dims.padded)) store_exactly(tile);
  }

 private:
  [[gnu::cold, gnu::noinline]] void store_exactly(const QueryTile& tile) const {
    const ExactRows exact(rows_.problem, rows_.dims, rows_.slice.batch);
    for (int64_t r = 0; r < tile.rows; ++r) exact.grad_query(rows_.backward, tile.head, tile.first + r);
  }

  const BackwardRows& rows_;
  float* const buffer_;
};

}  // namespace
}  // namespace pyprof::window
