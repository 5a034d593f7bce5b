// Rows that came out with something that is no finite number are computed again one by one.
//
// Products of tiles multiply what a query does not see by weights of 0, and 0 times NaN or infinity is NaN. That can
// only spoil a sum, never hide in one: a row that came out finite is right. So whoever finishes rows looks at them
// while they are in the cache, and takes those that are not finite from here, where nothing is touched that is not
// seen. Rows that are NaN by right come out so once more.
#pragma once

#include "window_attention/cpu_rows.h"

namespace pyprof::window {
namespace {

// Whether `count` rows of `padded` elements are all finite numbers: a sum with NaN or an infinity in it is neither.
// Four sums, since one would wait for itself. Numbers so large that their sum overflows are taken for infinities, which
// costs time alone.
inline bool all_finite(const Rows& rows, int64_t count, int64_t padded) {
  constexpr int kSums = 4;
  const bool together = rows.stride == padded;
  const int64_t pieces = together ? 1 : count, width = together ? count * padded : padded;
  Vec::Reg sums[kSums];
#pragma GCC unroll 4
  for (int n = 0; n < kSums; ++n) sums[n] = Vec::set1(0);
  for (int64_t r = 0; r < pieces; ++r) {
    const float* row = rows.row(r);
    int64_t d = 0;
    for (; d + kSums * kLanes <= width; d += kSums * kLanes) {
#pragma GCC unroll 4
      for (int n = 0; n < kSums; ++n) sums[n] = Vec::add(sums[n], Vec::load(row + d + n * kLanes));
    }
    for (; d < width; d += kLanes) sums[0] = Vec::add(sums[0], Vec::load(row + d));
  }
  return Vec::is_finite(Vec::add(Vec::add(sums[0], sums[1]), Vec::add(sums[2], sums[3])));
}

// The rows of one sequence, by the formulas of window.h.
class ExactRows {
 public:
  ExactRows(const Problem& problem, const Dims& dims, int64_t batch)
      : problem_(problem),
        dims_(dims),
        batch_(batch),
        dropout_(Dropout(problem.dropout_p).seeded(problem.seed)),
        factor_(static_cast<float>(problem.scale) * kLog2e) {}

  // The output of query i, of which forward has the log-sum-exp.
  void output(const Forward& forward, int64_t head, int64_t i) const {
    const Row query(*this, problem_.query, problem_.query_strides, head, i);
    const float lse = statistic(forward.lse, head, i) * kLog2e;
    Row sums;
    float total = 0;
    for (int64_t j = dims_.first(i); j < dims_.end(i); ++j) {
      const float weight = weight_of(query, key(head, j), lse);
      total += weight;
      sums.add(weight * dropped(head, i, j), value(head, j), dims_.padded);
    }
    store(forward.output, forward.output_strides, head, i, sums, 1 / total);
  }

  void grad_query(const Backward& backward, int64_t head, int64_t i) const {
    const Query query(*this, backward, head, i);
    Row sums;
    for (int64_t j = dims_.first(i); j < dims_.end(i); ++j) {
      const Row one = key(head, j);
      const float weight = weight_of(query.row, one, query.lse);
      sums.add(grad_score(query, weight, dropped(head, i, j), value(head, j)), one, dims_.padded);
    }
    store(backward.grad_query, backward.grad_query_strides, head, i, sums, scale());
  }

  // The gradients of key and value j of a key head.
  void grad_key_and_value(const Backward& backward, int64_t key_head, int64_t j) const {
    const int64_t shared_by = problem_.heads / problem_.key_heads;
    const Row one = key(key_head * shared_by, j), other = value(key_head * shared_by, j);
    Row keys, values;
    // Seen from the key, left and right change places.
    const int64_t end = end_key(j, dims_.left, dims_.length);
    for (int64_t head = key_head * shared_by; head < (key_head + 1) * shared_by; ++head)
      for (int64_t i = first_key(j, dims_.right); j < dims_.keys && i < end; ++i) {
        const Query query(*this, backward, head, i);
        const float weight = weight_of(query.row, one, query.lse), kept = dropped(head, i, j);
        keys.add(grad_score(query, weight, kept, other), query.row, dims_.padded);
        values.add(weight * kept, query.grad_output, dims_.padded);
      }
    store(backward.grad_key, backward.grad_key_strides, key_head, j, keys, scale());
    store(backward.grad_value, backward.grad_value_strides, key_head, j, values, 1);
  }

 private:
  struct Row {
    alignas(64) float at[256];

    Row() {
      for (float& element : at) element = 0;
    }
    Row(const ExactRows& of, const void* from, const Strides& strides, int64_t head, int64_t row) {
      load_rows(of.problem_.type, of.place(from, strides, head, row), 0, 1, of.dims_, at);
    }
    void add(float factor, const Row& other, int64_t padded) {
      for (int64_t d = 0; d < padded; d += kLanes)
        Vec::store(at + d, Vec::fma(Vec::set1(factor), Vec::load(other.at + d), Vec::load(at + d)));
    }
  };

  // What the gradients want of a query; `shift` is what its weights' sum of one takes away, less grad_lse.
  struct Query {
    Row row, grad_output;
    float lse, shift;

    Query(const ExactRows& of, const Backward& backward, int64_t head, int64_t i)
        : row(of, of.problem_.query, of.problem_.query_strides, head, i),
          grad_output(of, backward.grad_output, backward.grad_output_strides, head, i),
          lse(of.statistic(backward.lse, head, i) * kLog2e),
          shift(backward.grad_lse ? of.statistic(backward.grad_lse, head, i) : 0) {
      shift -= of.dot(grad_output, Row(of, backward.output, backward.output_strides, head, i));
    }
  };

  Row key(int64_t head, int64_t j) const { return {*this, problem_.key, problem_.key_strides, shared(head), j}; }
  Row value(int64_t head, int64_t j) const { return {*this, problem_.value, problem_.value_strides, shared(head), j}; }
  int64_t shared(int64_t head) const { return head / (problem_.heads / problem_.key_heads); }
  float scale() const { return static_cast<float>(problem_.scale); }

  const void* place(const void* from, const Strides& strides, int64_t head, int64_t row) const {
    return at(problem_.type, from, batch_ * strides.batch + head * strides.head + row * strides.row);
  }
  void store(void* to, const Strides& strides, int64_t head, int64_t row, const Row& from, float factor) const {
    store_rows(problem_.type, const_cast<void*>(place(to, strides, head, row)), 0, 1, dims_, from.at, &factor, 0);
  }
  float statistic(const void* from, int64_t head, int64_t i) const {
    return static_cast<const float*>(from)[(batch_ * problem_.heads + head) * dims_.length + i];
  }
  float dot(const Row& a, const Row& b) const {
    auto sum = Vec::set1(0);
    for (int64_t d = 0; d < dims_.padded; d += kLanes) sum = Vec::fma(Vec::load(a.at + d), Vec::load(b.at + d), sum);
    alignas(64) float lanes[kLanes];
    Vec::store(lanes, sum);
    float all = 0;
    for (const float lane : lanes) all += lane;
    return all;
  }
  float weight_of(const Row& query, const Row& key, float lse) const {
    return __builtin_exp2f(dot(query, key) * factor_ - lse);
  }
  float grad_score(const Query& query, float weight, float kept, const Row& value) const {
    return weight * (kept * dot(query.grad_output, value) + query.shift);
  }
  float dropped(int64_t head, int64_t i, int64_t j) const {
    if (!dropout_.active()) return 1;
    const auto row = static_cast<uint32_t>(batch_ * problem_.heads + head);
    return dropout_.keep(row, static_cast<uint32_t>(i), static_cast<uint32_t>(j)) ? dropout_.scale : 0;
  }

  const Problem& problem_;
  const Dims& dims_;
  const int64_t batch_;
  const Dropout dropout_;
  const float factor_;
};

}  // namespace
}  // namespace pyprof::window
