// The specification in code: every formula of window.h once, as plain loops, computed in float64 whatever the type.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "window_attention/window.h"

namespace pyprof::window {
namespace {

template <typename T>
using Statistic = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename T>
T* row_of(T* data, const Strides& strides, int64_t batch, int64_t head, int64_t row) {
  return data + batch * strides.batch + head * strides.head + row * strides.row;
}

// One query head of one sequence.
template <typename T>
struct Head {
  const Problem& problem;
  int64_t batch, head, key_head, keys;
  Dropout dropout;

  Head(const Problem& problem, int64_t batch, int64_t head)
      : problem(problem),
        batch(batch),
        head(head),
        key_head(head / (problem.heads / problem.key_heads)),
        keys(problem.key_lengths ? std::clamp(problem.key_lengths[batch], int64_t{0}, problem.length) : problem.length),
        dropout(Dropout(problem.dropout_p).seeded(problem.seed)) {}

  const T* query(int64_t i) const {
    return row_of(static_cast<const T*>(problem.query), problem.query_strides, batch, head, i);
  }
  const T* key(int64_t j) const {
    return row_of(static_cast<const T*>(problem.key), problem.key_strides, batch, key_head, j);
  }
  const T* value(int64_t j) const {
    return row_of(static_cast<const T*>(problem.value), problem.value_strides, batch, key_head, j);
  }
  // Where query i's log-sum-exp is.
  int64_t statistic(int64_t i) const { return (batch * problem.heads + head) * problem.length + i; }

  int64_t first(int64_t i) const { return first_key(i, problem.left); }
  int64_t end(int64_t i) const { return end_key(i, problem.right, keys); }
  int64_t leading(int64_t i) const { return leading_keys(i, problem.left, problem.global_keys, keys); }
  bool sees(int64_t i, int64_t j) const { return j < leading(i) || (first(i) <= j && j < end(i)); }

  // Calls `visit(j)` for every key that query i sees.
  template <class Visit>
  void each_key(int64_t i, const Visit& visit) const {
    for (int64_t j = 0; j < leading(i); ++j) visit(j);
    for (int64_t j = first(i); j < end(i); ++j) visit(j);
  }

  double dot(const T* a, const T* b) const {
    double sum = 0.0;
    for (int64_t d = 0; d < problem.head_dim; ++d) sum += static_cast<double>(a[d]) * static_cast<double>(b[d]);
    return sum;
  }

  double score(int64_t i, int64_t j) const { return problem.scale * dot(query(i), key(j)); }

  double dropped(int64_t i, int64_t j) const {
    if (!dropout.active()) return 1.0;
    const auto row = static_cast<uint32_t>(batch * problem.heads + head);
    return dropout.keep(row, static_cast<uint32_t>(i), static_cast<uint32_t>(j)) ? dropout.scale : 0.0;
  }
};

// A row that is summed in float64 and rounded once, when it is written.
template <typename T>
class Sum {
 public:
  explicit Sum(int64_t size) : sums_(size) {}

  void add(double factor, const T* row) {
    for (size_t d = 0; d < sums_.size(); ++d) sums_[d] += factor * static_cast<double>(row[d]);
  }
  void write(T* row) const {
    for (size_t d = 0; d < sums_.size(); ++d) row[d] = static_cast<T>(sums_[d]);
  }

 private:
  std::vector<double> sums_;
};

template <typename T>
void forward_row(const Head<T>& head, int64_t i, const Forward& forward) {
  const bool any = head.leading(i) > 0 || head.first(i) < head.end(i);
  double largest = -std::numeric_limits<double>::infinity(), total = 0.0;
  head.each_key(i, [&](int64_t j) { largest = std::max(largest, head.score(i, j)); });
  head.each_key(i, [&](int64_t j) { total += std::exp(head.score(i, j) - largest); });
  const double lse = any ? largest + std::log(total) : largest;
  Sum<T> output(head.problem.head_dim);
  head.each_key(i,
                [&](int64_t j) { output.add(std::exp(head.score(i, j) - lse) * head.dropped(i, j), head.value(j)); });
  output.write(row_of(static_cast<T*>(forward.output), forward.output_strides, head.batch, head.head, i));
  static_cast<Statistic<T>*>(forward.lse)[head.statistic(i)] = static_cast<Statistic<T>>(lse);
}

// What backward knows of one query head.
template <typename T>
struct Gradients {
  const Head<T> head;
  const Backward& backward;

  const T* grad_output(int64_t i) const {
    return row_of(static_cast<const T*>(backward.grad_output), backward.grad_output_strides, head.batch, head.head, i);
  }
  double weight(int64_t i, int64_t j) const {
    return std::exp(head.score(i, j) - static_cast<const Statistic<T>*>(backward.lse)[head.statistic(i)]);
  }
  // The gradient of query i's log-sum-exp through every one of its scores: what comes in for it, less what the
  // weights' sum of one takes away.
  double shift(int64_t i) const {
    const T* output = row_of(static_cast<const T*>(backward.output), backward.output_strides, head.batch, head.head, i);
    const double through_lse =
        backward.grad_lse ? static_cast<const Statistic<T>*>(backward.grad_lse)[head.statistic(i)] : 0.0;
    return through_lse - head.dot(grad_output(i), output);
  }
  double grad_score(int64_t i, int64_t j, double shift) const {
    return weight(i, j) * (head.dropped(i, j) * head.dot(grad_output(i), head.value(j)) + shift);
  }
};

template <typename T>
void backward_query_row(const Gradients<T>& gradients, int64_t i) {
  const Head<T>& head = gradients.head;
  const Backward& backward = gradients.backward;
  const double shift = gradients.shift(i);
  Sum<T> grad_query(head.problem.head_dim);
  head.each_key(
      i, [&](int64_t j) { grad_query.add(head.problem.scale * gradients.grad_score(i, j, shift), head.key(j)); });
  grad_query.write(row_of(static_cast<T*>(backward.grad_query), backward.grad_query_strides, head.batch, head.head, i));
}

// Sums over all queries that see key j, of all query heads that share the key head.
template <typename T>
void backward_key_row(const Problem& problem, const Backward& backward, int64_t batch, int64_t key_head, int64_t j) {
  const int64_t group = problem.heads / problem.key_heads;
  Sum<T> grad_key(problem.head_dim), grad_value(problem.head_dim);
  for (int64_t h = key_head * group; h < (key_head + 1) * group; ++h) {
    const Gradients<T> gradients{Head<T>(problem, batch, h), backward};
    const Head<T>& head = gradients.head;
    // Query i sees keys up to i + right and from i - left on, so seen the other way left and right change places; all
    // later queries see a global key.
    const int64_t end = j < problem.global_keys ? problem.length : end_key(j, problem.left, problem.length);
    for (int64_t i = first_key(j, problem.right); i < end; ++i) {
      if (!head.sees(i, j)) continue;
      grad_key.add(problem.scale * gradients.grad_score(i, j, gradients.shift(i)), head.query(i));
      grad_value.add(gradients.weight(i, j) * head.dropped(i, j), gradients.grad_output(i));
    }
  }
  grad_key.write(row_of(static_cast<T*>(backward.grad_key), backward.grad_key_strides, batch, key_head, j));
  grad_value.write(row_of(static_cast<T*>(backward.grad_value), backward.grad_value_strides, batch, key_head, j));
}

template <typename T>
void forward_all(const Problem& problem, const Forward& forward) {
  for (int64_t batch = 0; batch < problem.batch; ++batch)
    for (int64_t h = 0; h < problem.heads; ++h) {
      const Head<T> head(problem, batch, h);
      for (int64_t i = 0; i < problem.length; ++i) forward_row(head, i, forward);
    }
}

template <typename T>
void backward_all(const Problem& problem, const Backward& backward) {
  for (int64_t batch = 0; batch < problem.batch; ++batch) {
    for (int64_t h = 0; h < problem.heads; ++h) {
      const Gradients<T> gradients{Head<T>(problem, batch, h), backward};
      for (int64_t i = 0; i < problem.length; ++i) backward_query_row(gradients, i);
    }
    for (int64_t h = 0; h < problem.key_heads; ++h)
      for (int64_t j = 0; j < problem.length; ++j) backward_key_row<T>(problem, backward, batch, h, j);
  }
}

template <typename Function>
void with_type(Type type, Function&& function) {
  switch (type) {
    case Type::float32:
      return function(float{});
    case Type::bfloat16:
      return function(c10::BFloat16{});
    case Type::float16:
      return function(c10::Half{});
    case Type::float64:
      return function(double{});
  }
}

}  // namespace

void reference_forward(const Problem& problem, const Forward& forward) {
  with_type(problem.type, [&](auto type) { forward_all<decltype(type)>(problem, forward); });
}

void reference_backward(const Problem& problem, const Backward& backward) {
  with_type(problem.type, [&](auto type) { backward_all<decltype(type)>(problem, backward); });
}

}  // namespace pyprof::window
