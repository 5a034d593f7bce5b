// Launches of the plain float32 kernels with one head_dim.
#pragma once

#include "plain.cuh"

namespace pyprof::window::plain_kernels {

inline Params params_of(const Problem& problem) {
  return {problem, {}, {}, Dropout(problem.dropout_p), (problem.length + kRows - 1) / kRows};
}

// A block for each tile of each head.
inline gpu::Index3 grid_of(const Params& params, int64_t heads) {
  return {static_cast<int32_t>(params.tiles * heads * params.problem.batch), 1, 1};
}

template <int D>
void launch_forward(const Problem& problem, const Forward& forward, gpu::Stream stream) {
  Params params = params_of(problem);
  params.forward = forward;
  gpu::launch(forward_kernel<D>, grid_of(params, problem.heads), kThreads, kSharedBytes<D>, stream, params);
}

template <int D>
void launch_backward(const Problem& problem, const Backward& backward, gpu::Stream stream) {
  Params params = params_of(problem);
  params.backward = backward;
  gpu::launch(grad_key_kernel<D>, grid_of(params, problem.key_heads), kThreads, kSharedBytes<D>, stream, params);
  gpu::launch(grad_query_kernel<D>, grid_of(params, problem.heads), kThreads, kSharedBytes<D>, stream, params);
}

}  // namespace pyprof::window::plain_kernels
