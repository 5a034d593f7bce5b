// The backward in one pass, compiled for the host with all its instances, behind the tensor-core kernels' forward.
#include "window_attention/mma_one_pass.cu"

#include <vector>

#include "window_problem.h"

namespace pyprof::window {

extern const char* const kImplementation = "mma_one_pass";

bool mma_supports(const Problem&) { return true; }  // mma.cu's, which would bring all other kernels

namespace {

template <class T, int D>
void forward_of(const Problem& problem, const Forward& forward) {
  const auto launch =
      problem.dropout_p > 0 ? mma_kernels::launch_forward<T, D, true> : mma_kernels::launch_forward<T, D, false>;
  launch(problem, forward, nullptr);
}

}  // namespace

void forward_under_test(const Problem& problem, const Forward& forward) {
  const bool float16 = problem.type == Type::float16;
  const auto run = problem.head_dim == 64 ? float16 ? forward_of<gpu::Float16, 64> : forward_of<gpu::Bfloat16, 64>
                   : float16              ? forward_of<gpu::Float16, 128>
                                          : forward_of<gpu::Bfloat16, 128>;
  run(problem, forward);
}

void backward_under_test(const Problem& problem, const Backward& backward) {
  // Not NaN, which a piece that takes it for its own would make good again.
  std::vector<gpu::Float4> workspace(static_cast<size_t>(mma_one_pass_workspace(problem) + 3) / 4,
                                     {777, 777, 777, 777});
  mma_one_pass_backward(problem, backward, &workspace.data()->x, nullptr);
}

}  // namespace pyprof::window
