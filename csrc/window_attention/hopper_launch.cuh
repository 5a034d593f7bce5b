// From a problem to a launch of one instance of the Hopper kernels.
#pragma once

#include <algorithm>
#include <cmath>

#include "hopper_backward.cuh"
#include "hopper_forward.cuh"
#include "hopper_narrow.cuh"
#include "mma_launch.cuh"

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
  mma_kernels::Shape shape = mma_kernels::shape_of(problem);
  const int64_t tiles = (problem.length + C::kRows - 1) / C::kRows;
  shape.tiles = static_cast<int32_t>(tiles);
  // A scale of 0 becomes one so small that it makes no difference.
  const float scale = std::max(std::fabs(shape.scale) * mma_kernels::kLog2E, 1e-30f);
  const ForwardParams params{
      map_of<T>(problem, problem.query, problem.query_strides, problem.heads, C::kRows),
      map_of<T>(problem, problem.key, problem.key_strides, problem.key_heads, C::N),
      map_of<T>(problem, problem.value, problem.value_strides, problem.key_heads, C::N),
      {shape, mma_kernels::tensor(forward.output, forward.output_strides), static_cast<float*>(forward.lse), scale, 0},
      static_cast<int32_t>(tiles * problem.heads * problem.batch),
      8.0f / scale,
      problem.scale < 0};
  gpu::launch_persistent(hopper_forward_kernel<C>, params.items, C::kBlocks, C::kThreads, C::kSharedBytes, stream,
                         params);
}

// What backward's workspace holds, one after another, counted in floats.
struct Workspace {
  int64_t tiles, blocks, rows, sums, statistics, turns, items;

  explicit Workspace(const Problem& problem)
      : tiles((problem.length + kQueryTile - 1) / kQueryTile),
        blocks((problem.length + kKeyBlock - 1) / kKeyBlock),
        rows(problem.batch * problem.heads * tiles * kQueryTile),
        sums(rows * problem.head_dim),
        statistics(rows * 2),
        turns(problem.batch * problem.heads * tiles),
        items(problem.batch * problem.key_heads * blocks) {}
  int64_t all() const { return sums + statistics + turns + 1 + items; }
};

// How many heads are worked on side by side: about as many blocks of keys as run at once, twice over, and no more, so
// that what they share stays in the second-level cache; 32 heads of 16384 queries together took a third longer.
inline int64_t heads_together(int64_t heads, int64_t blocks) {
  int64_t together = 1;
  for (int64_t n = 2; n <= 256 / blocks; ++n) {
    if (heads % n == 0) together = n;
  }
  return together;
}

template <class C>
void launch_backward(const Problem& problem, const Backward& backward, float* workspace, gpu::Stream stream) {
  using T = typename C::T;
  const Workspace parts(problem);
  mma_kernels::Shape shape = mma_kernels::shape_of(problem);
  shape.tiles = static_cast<int32_t>(parts.tiles);
  float* const statistics = workspace + parts.sums;
  int* const turns = reinterpret_cast<int*>(statistics + parts.statistics);
  const BackwardParams params{
      map_of<T>(problem, problem.query, problem.query_strides, problem.heads, kQueryTile),
      map_of<T>(problem, problem.key, problem.key_strides, problem.key_heads, kKeyBlock),
      map_of<T>(problem, problem.value, problem.value_strides, problem.key_heads, kKeyBlock),
      map_of<T>(problem, backward.grad_output, backward.grad_output_strides, problem.heads, kQueryTile),
      mma_kernels::backward_params(backward, shape, statistics, parts.tiles * kQueryTile),
      workspace,
      turns,
      turns + parts.turns,
      turns + parts.turns + 1,
      static_cast<int32_t>(parts.blocks),
      static_cast<int32_t>(parts.items),
      static_cast<int32_t>(heads_together(problem.batch * problem.key_heads, parts.blocks)),
      shape.heads / shape.key_heads,
      1.0f / shape.dropout.scale};
  const int64_t pieces = parts.rows / mma_kernels::kStatisticsRows<C::D>;
  gpu::launch(hopper_statistics_kernel<T, C::D>, {static_cast<int32_t>(pieces), 1, 1}, mma_kernels::kThreads, 0, stream,
              params);
  gpu::launch_persistent(hopper_backward_kernel<C>, params.items, C::kBlocks, C::kThreads, C::kSharedBytes, stream,
                         params);
}

template <class C>
void launch_narrow(const Problem& problem, const Backward& backward, gpu::Stream stream) {
  using T = typename C::T;
  const mma_kernels::Shape shape = mma_kernels::shape_of(problem);
  const auto map = [&](const void* data, const Strides& strides, int64_t heads) {
    return map_of<T>(problem, data, strides, heads, C::N);
  };
  const NarrowParams params{map(problem.query, problem.query_strides, problem.heads),
                            map(problem.key, problem.key_strides, problem.key_heads),
                            map(problem.value, problem.value_strides, problem.key_heads),
                            map(backward.grad_output, backward.grad_output_strides, problem.heads),
                            map(backward.output, backward.output_strides, problem.heads),
                            mma_kernels::backward_params(backward, shape, nullptr, 0),
                            shape.heads / shape.key_heads,
                            1.0f / shape.dropout.scale};
  gpu::launch_each(hopper_narrow_kernel<C>, static_cast<int>(shape.tiles * problem.key_heads * problem.batch),
                   C::kBlocks, C::kThreads, C::kSharedBytes, stream, params);
}

}  // namespace pyprof::window::hopper
