// Sliding-window attention in plain float32: no tensor cores, every sum in full precision. Forward, the gradient of the
// query, and the gradients of key and value; plain_tile.cuh says who computes what.
#pragma once

#include "plain_tile.cuh"

namespace pyprof::window::plain_kernels {

template <int D>
PYPROF_KERNEL(kThreads, kBlocks<D>)
void forward_kernel(const Params params) {
  const Problem& problem = params.problem;
  const Dropout dropout = dropout_of(params);
  const Place at(params, problem.heads);
  const int64_t i = at.row(), keys = keys_of(problem, at.batch), row_of_heads = at.batch * problem.heads + at.head;
  const int64_t key_head = at.head / (problem.heads / problem.key_heads);
  const Matrix query(problem.query, problem.query_strides, at.batch, at.head);
  const Matrix key(problem.key, problem.key_strides, at.batch, key_head);
  const Matrix value(problem.value, problem.value_strides, at.batch, key_head);
  const float scale = static_cast<float>(problem.scale) * kLog2E;
  const bool valid = i < problem.length;
  Share<D> q, sums;
  q.load(query, i, valid);
  sums.clear();
  float largest = -kInfinity, total = 0.0f;
  const Range range = keys_of_rows(problem, at.first, keys);
  const int64_t first = first_key(i, problem.left), end = valid ? end_key(i, problem.right, keys) : 0;
  for (int64_t column = range.begin; column < range.end; column += kColumns) {
    gpu::sync_threads();
    Tile<D>::load(key, value, column, range.end);
    gpu::sync_threads();
    PYPROF_UNROLL_BY(1)
    for (int group = 0; group < kColumns; group += kGroup) {
      float scores[kGroup], larger = largest;
      PYPROF_UNROLL
      for (int n = 0; n < kGroup; ++n) {
        const int64_t j = column + group + n;
        const float score = q.dot_with(Tile<D>::one(group + n)) * scale;
        const bool seen =
            PYPROF_MUTANT(first_key_is_lost, first <= j, first < j) && PYPROF_MUTANT(a_key_too_many, j < end, j <= end);
        scores[n] = seen ? score : -kInfinity;
        larger = fmaxf(larger, scores[n]);
      }
      // Where no key was seen yet the largest score is -infinity, and less that it would be no number.
      const bool none = PYPROF_MUTANT(rows_that_saw_nothing_yet, larger == -kInfinity, false);
      const float base = none ? 0.0f : larger, fade = gpu::exp2(largest - base);
      largest = larger;
      total *= fade;
      sums.multiply(PYPROF_MUTANT(sums_are_not_scaled_to_a_larger_score, fade, 1.0f));
      const uint32_t keeps = keeps_of_query(dropout, row_of_heads, i, column + group);
      PYPROF_UNROLL
      for (int n = 0; n < kGroup; ++n) {
        const float weight = gpu::exp2(scores[n] - base);
        total += weight;
        const int64_t j = column + group + n;
        sums.add_row(keeps >> n & 1 ? weight : 0.0f, Tile<D>::other(group + n),
                     PYPROF_MUTANT(unseen_values_are_multiplied, (first <= j && j < end), true));
      }
    }
  }
  const Matrix output(params.forward.output, params.forward.output_strides, at.batch, at.head);
  const bool any = PYPROF_MUTANT(scores_of_minus_infinity_are_no_keys, first < end, total != 0.0f);
  sums.store(output, i, valid, any ? params.dropout.scale / total : 0.0f);
  if (PYPROF_MUTANT(statistics_past_the_end_are_written, valid, true) && gpu::lane() % kQuad == 0) {
    // The best key alone adds 1, so that a sum of 0 is of scores that are all -infinity: 0 / 0 makes that NaN.
    const float log = (largest + gpu::log2(total)) * (total / total);
    static_cast<float*>(params.forward.lse)[row_of_heads * problem.length + i] =
        any ? log * PYPROF_MUTANT(log_sum_exp_in_powers_of_two, kLn2, 1.0f) : -kInfinity;
  }
}

// The gradient of a query's log-sum-exp through every one of its scores: what comes in for it, less what the weights'
// sum of one takes away.
template <int D>
PYPROF_DEVICE float shift_of(const Backward& backward, const Share<D>& grad_output, const Share<D>& output,
                             int64_t statistic, bool valid) {
  float sum = 0.0f;
  PYPROF_UNROLL
  for (int n = 0; n < Share<D>::kChunks; ++n) sum = dot(grad_output.chunk[n], output.chunk[n], sum);
  sum = sum_of_quad(sum);
  const auto* grad_lse = static_cast<const float*>(backward.grad_lse);
  const float given = valid && grad_lse ? grad_lse[statistic] : 0.0f;
  return PYPROF_MUTANT(wrong_sign_of_the_weights_sum, given - sum, given + sum);
}

template <int D>
PYPROF_KERNEL(kThreads, kBlocks<D>)
void grad_query_kernel(const Params params) {
  const Problem& problem = params.problem;
  const Backward& backward = params.backward;
  const Dropout dropout = dropout_of(params);
  const Place at(params, problem.heads);
  const int64_t i = at.row(), keys = keys_of(problem, at.batch), row_of_heads = at.batch * problem.heads + at.head;
  const int64_t key_head = at.head / (problem.heads / problem.key_heads);
  const Matrix query(problem.query, problem.query_strides, at.batch, at.head);
  const Matrix key(problem.key, problem.key_strides, at.batch, key_head);
  const Matrix value(problem.value, problem.value_strides, at.batch, key_head);
  const Matrix output(backward.output, backward.output_strides, at.batch, at.head);
  const Matrix grad_output(backward.grad_output, backward.grad_output_strides, at.batch, at.head);
  const float scale = static_cast<float>(problem.scale) * kLog2E;
  const bool valid = i < problem.length;
  const int64_t statistic = row_of_heads * problem.length + i;
  Share<D> q, given, sums;
  given.load(grad_output, i, valid);
  q.load(output, i, valid);
  const float shift = shift_of(backward, given, q, statistic, valid);
  q.load(query, i, valid);
  sums.clear();
  const float lse = valid ? static_cast<const float*>(backward.lse)[statistic] * kLog2E : 0.0f;
  const Range range = keys_of_rows(problem, at.first, keys);
  const int64_t first = first_key(i, problem.left), end = valid ? end_key(i, problem.right, keys) : 0;
  for (int64_t column = range.begin; column < range.end; column += kColumns) {
    gpu::sync_threads();
    Tile<D>::load(key, value, column, range.end);
    gpu::sync_threads();
    PYPROF_UNROLL_BY(1)
    for (int group = 0; group < kColumns; group += kGroup) {
      const uint32_t keeps = keeps_of_query(dropout, row_of_heads, i, column + group);
      PYPROF_UNROLL_BY(2)
      for (int n = 0; n < kGroup; ++n) {
        const int64_t j = column + group + n;
        const float score = q.dot_with(Tile<D>::one(group + n)) * scale;
        const float grad_weight = given.dot_with(Tile<D>::other(group + n));
        const bool seen = first <= j && j < end;
        const float weight = seen ? gpu::exp2(score - lse) : 0.0f;
        const float kept = keeps >> n & 1 ? params.dropout.scale : 0.0f;
        sums.add_row(weight * fmaf(kept, grad_weight, shift), Tile<D>::one(group + n),
                     PYPROF_MUTANT(unseen_keys_are_multiplied, seen, true));
      }
    }
  }
  const Matrix grad_query(backward.grad_query, backward.grad_query_strides, at.batch, at.head);
  sums.store(grad_query, i, valid, static_cast<float>(problem.scale));
}

// The columns of grad_key_kernel: queries and their grad_outputs, and for each query its log-sum-exp in powers of two
// and its shift.
template <int D>
PYPROF_DEVICE void load_queries(const Params& params, int64_t batch, int64_t head, int64_t first, int64_t end) {
  const Problem& problem = params.problem;
  const Backward& backward = params.backward;
  const Matrix query(problem.query, problem.query_strides, batch, head);
  const Matrix output(backward.output, backward.output_strides, batch, head);
  const Matrix grad_output(backward.grad_output, backward.grad_output_strides, batch, head);
  Tile<D>::load(query, grad_output, first, end);
  const int column = gpu::thread() / kQuad;
  const bool valid = first + column < end;
  const int64_t statistic = (batch * problem.heads + head) * problem.length + first + column;
  Share<D> given, gave;
  given.load(grad_output, first + column, valid);
  gave.load(output, first + column, valid);
  const float shift = shift_of(backward, given, gave, statistic, valid);
  if (gpu::lane() % kQuad == 0) {
    Tile<D>::numbers()[column] = valid ? static_cast<const float*>(backward.lse)[statistic] * kLog2E : 0.0f;
    Tile<D>::numbers()[kColumns + column] = shift;
  }
}

template <int D>
PYPROF_KERNEL(kThreads, kBlocks<D>)
void grad_key_kernel(const Params params) {
  const Problem& problem = params.problem;
  const Backward& backward = params.backward;
  const Dropout dropout = dropout_of(params);
  const Place at(params, problem.key_heads);
  const int64_t j = at.row(), keys = keys_of(problem, at.batch), shared_by = problem.heads / problem.key_heads;
  const Matrix key(problem.key, problem.key_strides, at.batch, at.head);
  const Matrix value(problem.value, problem.value_strides, at.batch, at.head);
  const float scale = static_cast<float>(problem.scale) * kLog2E;
  const bool valid = j < problem.length, takes_part = j < keys;
  Share<D> k, v, sums_key, sums_value;
  k.load(key, j, takes_part);
  v.load(value, j, takes_part);
  sums_key.clear();
  sums_value.clear();
  // Query i sees keys from i - left to i + right, so key j is seen from j - right to j + left.
  const int64_t last = at.first + kRows < keys ? at.first + kRows - 1 : keys - 1;
  const int64_t begin = PYPROF_MUTANT(queries_before_the_tile_are_lost, first_key(at.first, problem.right), at.first);
  const int64_t end = end_key(last, problem.left, problem.length);
  const int64_t first_query = first_key(j, PYPROF_MUTANT(left_is_taken_for_right, problem.right, problem.left));
  const int64_t end_query = takes_part ? end_key(j, problem.left, problem.length) : 0;
  for (int64_t head = at.head * shared_by;
       at.first < keys &&
       head < PYPROF_MUTANT(only_the_first_head_counts, (at.head + 1) * shared_by, at.head * shared_by + 1);
       ++head) {
    const int64_t row_of_heads = at.batch * problem.heads + head;
    for (int64_t column = begin; column < end; column += kColumns) {
      PYPROF_MUTANT(tile_is_overwritten_while_it_is_read, gpu::sync_threads(), (void)0);
      load_queries<D>(params, at.batch, head, column, end);
      PYPROF_MUTANT(tile_is_read_before_it_is_there, gpu::sync_threads(), (void)0);
      PYPROF_UNROLL_BY(1)
      for (int group = 0; group < kColumns; group += kGroup) {
        const uint32_t keeps = keeps_of_key(dropout, row_of_heads, column + group, j);
        PYPROF_UNROLL_BY(1)
        for (int n = 0; n < kGroup; ++n) {
          const int query = group + n;
          const int64_t i = column + query;
          const float score = k.dot_with(Tile<D>::one(query)) * scale;
          const float grad_weight = v.dot_with(Tile<D>::other(query));
          const bool seen = first_query <= i && i < end_query;
          const float weight = seen ? gpu::exp2(score - Tile<D>::numbers()[query]) : 0.0f;
          const float kept = keeps >> n & 1 ? params.dropout.scale : 0.0f;
          const bool counts = PYPROF_MUTANT(unseen_queries_are_multiplied, seen, true);
          sums_value.add_row(weight * kept, Tile<D>::other(query), counts);
          sums_key.add_row(weight * fmaf(kept, grad_weight, Tile<D>::numbers()[kColumns + query]), Tile<D>::one(query),
                           counts);
        }
      }
    }
  }
  const Matrix grad_key(backward.grad_key, backward.grad_key_strides, at.batch, at.head);
  const Matrix grad_value(backward.grad_value, backward.grad_value_strides, at.batch, at.head);
  sums_key.store(grad_key, j, valid, static_cast<float>(problem.scale));
  sums_value.store(grad_value, j, valid, 1.0f);
}

}  // namespace pyprof::window::plain_kernels
