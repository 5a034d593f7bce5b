// Two instances of the tensor-core kernels, which compile in a moment: for mutants, and for the quick tests.
#include <limits>
#include <stdexcept>
#include <vector>

#include "window_attention/mma_launch.cuh"
#include "window_problem.h"

namespace pyprof::window {

extern const char* const kImplementation = "mma_small";

namespace {

bool dropped(const Problem& problem) {
  if (problem.type != Type::float16 || problem.head_dim != 32) {
    throw std::invalid_argument("only float16 with head_dim 32 is compiled here");
  }
  return problem.dropout_p > 0;
}

}  // namespace

void forward_under_test(const Problem& problem, const Forward& forward) {
  const auto launch = dropped(problem) ? mma_kernels::launch_forward<gpu::Float16, 32, true>
                                       : mma_kernels::launch_forward<gpu::Float16, 32, false>;
  launch(problem, forward, nullptr);
}

void backward_under_test(const Problem& problem, const Backward& backward) {
  const auto launch = dropped(problem) ? mma_kernels::launch_backward<gpu::Float16, 32, true>
                                       : mma_kernels::launch_backward<gpu::Float16, 32, false>;
  // Vectors of 16-byte elements are aligned as a workspace has to be.
  const float unwritten = std::numeric_limits<float>::quiet_NaN();
  std::vector<gpu::Float4> workspace(static_cast<size_t>(mma_kernels::workspace_of(problem)) / 4,
                                     {unwritten, unwritten, unwritten, unwritten});
  launch(problem, backward, &workspace.data()->x, nullptr);
}

}  // namespace pyprof::window
