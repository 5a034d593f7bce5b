// A few instances of the tensor-core kernels, which compile in a moment: for mutants, and for the quick tests.
#include <limits>
#include <stdexcept>
#include <vector>

#include "window_attention/choice.h"
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

// As with the head_dims that are in the table.
bool wide(Problem problem) {
  problem.head_dim = 64;
  return choice_of(asked_of(problem, Direction::forward, false))->kernel == Kernel::mma_wide;
}

}  // namespace

void forward_under_test(const Problem& problem, const Forward& forward) {
  using namespace mma_kernels;
  const auto launch = !wide(problem)     ? dropped(problem) ? launch_forward<gpu::Float16, 32, true>
                                                            : launch_forward<gpu::Float16, 32, false>
                      : dropped(problem) ? launch_wide<gpu::Float16, 32, true>
                                         : launch_wide<gpu::Float16, 32, false>;
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
