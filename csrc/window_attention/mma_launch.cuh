// From a problem to a launch of one instance of the tensor-core kernels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "mma_backward.cuh"
#include "mma_forward.cuh"
#include "mma_global.cuh"
#include "mma_wide.cuh"

namespace pyprof::window::mma_kernels {

inline Tensor tensor(const void* data, const Strides& strides) {
  const auto whole = [](int64_t elements) { return elements % kChunk == 0; };
  const bool aligned =
      reinterpret_cast<uintptr_t>(data) % 16 == 0 && whole(strides.batch) && whole(strides.head) && whole(strides.row);
  return {const_cast<void*>(data), strides, aligned};
}

inline int64_t tiles_of(const Problem& problem) { return (problem.length + kRows - 1) / kRows; }

inline int64_t padded_of(const Problem& problem) { return (problem.length + kGroup - 1) / kGroup * kGroup; }

// Of the queries' statistics, which come first in the workspace, and of the sums of global keys.
inline int64_t statistics_floats(const Problem& problem) {
  return problem.batch * problem.heads * padded_of(problem) * int64_t{sizeof(gpu::Float2) / sizeof(float)};
}

inline int64_t global_pieces_of(const Problem& problem) {
  return problem.global_keys == 0 ? 0 : (problem.length + kGlobalQueries - 1) / kGlobalQueries;
}

inline int64_t workspace_of(const Problem& problem) {
  const int64_t rows = problem.batch * problem.key_heads * std::min(problem.global_keys, problem.length);
  return statistics_floats(problem) + rows * global_pieces_of(problem) * 2 * problem.head_dim;
}

inline gpu::Index3 grid_of(int64_t tiles, int64_t heads, int64_t batch) {
  return {static_cast<int32_t>(tiles * heads * batch), 1, 1};
}

inline Shape shape_of(const Problem& problem) {
  return {tensor(problem.query, problem.query_strides),
          tensor(problem.key, problem.key_strides),
          tensor(problem.value, problem.value_strides),
          problem.key_lengths,
          Dropout(problem.dropout_p),
          problem.seed,
          static_cast<int32_t>(problem.heads),
          static_cast<int32_t>(problem.key_heads),
          static_cast<int32_t>(problem.length),
          static_cast<int32_t>(std::min(problem.left, problem.length)),
          static_cast<int32_t>(std::min(problem.right, problem.length)),
          static_cast<int32_t>(tiles_of(problem)),
          static_cast<float>(problem.scale),
          static_cast<int32_t>(std::min(problem.global_keys, problem.length))};
}

inline ForwardParams forward_params(const Forward& forward, const Shape& shape) {
  // A scale of 0 becomes one so small that it makes no difference, but keeps the product with -infinity defined.
  const float size = std::max(std::fabs(shape.scale) * kLog2E, 1e-30f);
  return {shape, tensor(forward.output, forward.output_strides), static_cast<float*>(forward.lse), size,
          shape.scale < 0 ? 0x80008000u : 0u};
}

template <class T, int D, bool Dropped>
void launch_forward(const Problem& problem, const Forward& forward, gpu::Stream stream) {
  const ForwardParams params = forward_params(forward, shape_of(problem));
  gpu::launch(mma_forward_kernel<T, D, Dropped>, grid_of(params.shape.tiles, problem.heads, problem.batch), kThreads,
              forward_shared_bytes<D>(), stream, params);
}

// Without global keys.
template <class T, int D, bool Dropped>
void launch_wide(const Problem& problem, const Forward& forward, gpu::Stream stream) {
  ForwardParams params = forward_params(forward, shape_of(problem));
  params.shape.tiles = static_cast<int32_t>((problem.length + kWideRows - 1) / kWideRows);
  gpu::launch(mma_wide_kernel<T, D, Dropped>, grid_of(params.shape.tiles, problem.heads, problem.batch), kThreads,
              wide_shared_bytes<D>(), stream, params);
}

// Without what global keys need.
inline BackwardParams backward_params(const Backward& backward, const Shape& shape, float* statistics, int64_t padded) {
  return {shape,
          tensor(backward.output, backward.output_strides),
          tensor(backward.grad_output, backward.grad_output_strides),
          tensor(backward.grad_query, backward.grad_query_strides),
          tensor(backward.grad_key, backward.grad_key_strides),
          tensor(backward.grad_value, backward.grad_value_strides),
          static_cast<const float*>(backward.lse),
          static_cast<const float*>(backward.grad_lse),
          reinterpret_cast<gpu::Float2*>(statistics),
          static_cast<int32_t>(padded),
          shape.scale * kLog2E,
          nullptr,
          0,
          0};
}

template <class T, int D, bool Dropped>
void launch_backward(const Problem& problem, const Backward& backward, float* workspace, gpu::Stream stream) {
  const Shape shape = shape_of(problem);
  BackwardParams params = backward_params(backward, shape, workspace, padded_of(problem));
  const int64_t pieces = (params.padded + kStatisticsRows<D> - 1) / kStatisticsRows<D>;
  gpu::launch(mma_statistics_kernel<T, D>, grid_of(pieces, problem.heads, problem.batch), kThreads, 0, stream, params);
  gpu::launch(mma_grad_key_kernel<T, D, Dropped>, grid_of(shape.tiles, problem.key_heads, problem.batch), kThreads,
              grad_key_shared_bytes<D>(), stream, params);
  const auto grad_query =
      shape.global_keys == 0 ? mma_grad_query_kernel<T, D, Dropped, false> : mma_grad_query_kernel<T, D, Dropped, true>;
  gpu::launch(grad_query, grid_of(shape.tiles, problem.heads, problem.batch), kThreads, grad_query_shared_bytes<D>(),
              stream, params);
  if (shape.global_keys == 0) return;
  params.global_sums = workspace + statistics_floats(problem);
  params.global_pieces = static_cast<int32_t>(global_pieces_of(problem));
  params.batch = static_cast<int32_t>(problem.batch);
  const int64_t tiles = (shape.global_keys + kRows - 1) / kRows;
  const int64_t rows = problem.batch * problem.key_heads * shape.global_keys;
  gpu::launch(mma_global_key_kernel<T, D, Dropped>,
              grid_of(params.global_pieces, tiles * problem.key_heads, problem.batch), kThreads,
              global_key_shared_bytes<D>(), stream, params);
  gpu::launch(mma_global_sum_kernel<T, D>, grid_of((rows + kSumRows - 1) / kSumRows, 1, 1), kThreads, 0, stream,
              params);
}

}  // namespace pyprof::window::mma_kernels
