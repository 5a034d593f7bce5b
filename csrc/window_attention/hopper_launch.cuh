// From a problem to a launch of one instance of the Hopper kernels.
#pragma once

#include <algorithm>
#include <cmath>

#include "hopper_forward.cuh"

namespace pyprof::window::hopper {

template <class T>
gpu::TensorMap map_of(const Problem& problem, const void* data, const Strides& strides, int64_t heads, int rows) {
  // A dimension of one element has whatever stride PyTorch gave it; a copy wants a multiple of 16 bytes.
  const auto step = [&](int64_t count, int64_t stride) { return count > 1 ? stride : problem.head_dim; };
  return gpu::tensor_map<T>(
      data, problem.batch, heads, problem.length, problem.head_dim,
      {step(problem.batch, strides.batch), step(heads, strides.head), step(problem.length, strides.row)}, rows);
}

template <class C>
void launch_forward(const Problem& problem, const Forward& forward, gpu::Stream stream) {
  using T = typename C::T;
  // A scale of 0 becomes one so small that it makes no difference.
  const float scale = static_cast<float>(std::max(std::fabs(problem.scale) * mma_kernels::kLog2E, 1e-30));
  const int64_t tiles = (problem.length + C::kRows - 1) / C::kRows;
  const auto rows = [](const void* data, const Strides& strides) { return Rows{const_cast<void*>(data), strides}; };
  const ForwardParams params{map_of<T>(problem, problem.query, problem.query_strides, problem.heads, C::kRows),
                             map_of<T>(problem, problem.key, problem.key_strides, problem.key_heads, C::N),
                             map_of<T>(problem, problem.value, problem.value_strides, problem.key_heads, C::N),
                             rows(problem.query, problem.query_strides),
                             rows(problem.key, problem.key_strides),
                             rows(problem.value, problem.value_strides),
                             rows(forward.output, forward.output_strides),
                             static_cast<float*>(forward.lse),
                             problem.key_lengths,
                             Dropout(problem.dropout_p),
                             problem.seed,
                             static_cast<int32_t>(problem.heads),
                             static_cast<int32_t>(problem.key_heads),
                             static_cast<int32_t>(problem.length),
                             static_cast<int32_t>(std::min(problem.left, problem.length)),
                             static_cast<int32_t>(std::min(problem.right, problem.length)),
                             static_cast<int32_t>(tiles),
                             static_cast<int32_t>(tiles * problem.heads * problem.batch),
                             scale,
                             8.0f / scale,
                             problem.scale < 0};
  gpu::launch_persistent(hopper_forward_kernel<C>, params.items, C::kBlocks, C::kThreads, C::kSharedBytes, stream,
                         params);
}

}  // namespace pyprof::window::hopper
