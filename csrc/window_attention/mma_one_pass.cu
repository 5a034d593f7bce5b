// The backward in one pass, all instances. One source for sm_80 and newer; with g++ it runs over the host emulation.
#include <stdexcept>
#include <type_traits>

#include "mma.h"
#include "mma_one_pass_launch.cuh"

namespace pyprof::window {
namespace {

template <class T, bool Dropped>
void launch(const Problem& problem, const Backward& backward, float* workspace, CUstream_st* stream) {
  const auto run = problem.head_dim == 64 ? mma_kernels::launch_one_pass<T, 64, Dropped>
                                          : mma_kernels::launch_one_pass<T, 128, Dropped>;
  run(problem, backward, workspace, stream);
}

}  // namespace

bool mma_one_pass_supports(const Problem& problem) {
  return mma_supports(problem) && problem.head_dim != 32 && problem.global_keys == 0;
}

int64_t mma_one_pass_workspace(const Problem& problem) { return mma_kernels::PassWorkspace(problem).all(); }

void mma_one_pass_backward(const Problem& problem, const Backward& backward, float* workspace, CUstream_st* stream) {
  if (!mma_one_pass_supports(problem)) {
    throw std::invalid_argument(
        "the backward in one pass takes float16 and bfloat16 with head_dim 64 or 128, and no global keys");
  }
  const bool dropped = Dropout(problem.dropout_p).active(), float16 = problem.type == Type::float16;
  const auto run = float16   ? dropped ? launch<gpu::Float16, true> : launch<gpu::Float16, false>
                   : dropped ? launch<gpu::Bfloat16, true>
                             : launch<gpu::Bfloat16, false>;
  run(problem, backward, workspace, stream);
}

}  // namespace pyprof::window
