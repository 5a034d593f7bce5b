// Two instances of the backward in one pass, for mutants and for the quick tests, behind the tensor-core kernels'
// forward.
#include <stdexcept>
#include <vector>

#include "window_attention/mma_one_pass_launch.cuh"
#include "window_problem.h"

namespace pyprof::window {

extern const char* const kImplementation = "mma_one_pass_small";

namespace {

bool dropped(const Problem& problem) {
  if (problem.type != Type::float16 || problem.head_dim != 64) {
    throw std::invalid_argument("only float16 with head_dim 64 is compiled here");
  }
  return problem.dropout_p > 0;
}

}  // namespace

void forward_under_test(const Problem& problem, const Forward& forward) {
  const auto launch = dropped(problem) ? mma_kernels::launch_forward<gpu::Float16, 64, true>
                                       : mma_kernels::launch_forward<gpu::Float16, 64, false>;
  launch(problem, forward, nullptr);
}

void backward_under_test(const Problem& problem, const Backward& backward) {
  const auto launch = dropped(problem) ? mma_kernels::launch_one_pass<gpu::Float16, 64, true>
                                       : mma_kernels::launch_one_pass<gpu::Float16, 64, false>;
  // Not NaN, which a piece that takes it for its own would make good again.
  std::vector<gpu::Float4> workspace(static_cast<size_t>(mma_kernels::PassWorkspace(problem).all() + 3) / 4,
                                     {777, 777, 777, 777});
  launch(problem, backward, &workspace.data()->x, nullptr);
}

}  // namespace pyprof::window
