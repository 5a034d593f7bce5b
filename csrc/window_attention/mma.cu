// The tensor-core kernels, all instances. One source for sm_80 and newer; with g++ it runs over the host emulation.
#include <stdexcept>
#include <type_traits>

#include "choice.h"
#include "mma.h"
#include "mma_launch.cuh"

namespace pyprof::window {
namespace {

// Calls `run` with the problem's type, head_dim and whether there is dropout, each as a type of its own.
template <class Run>
void dispatch(const Problem& problem, const Run& run) {
  if (!mma_supports(problem)) {
    throw std::invalid_argument("the tensor-core kernels take float16 and bfloat16 with head_dim 32, 64 or 128");
  }
  const auto with_head_dim = [&](auto type, auto head_dim) {
    if (Dropout(problem.dropout_p).active()) {
      run(type, head_dim, std::true_type());
    } else {
      run(type, head_dim, std::false_type());
    }
  };
  const auto with_type = [&](auto type) {
    if (problem.head_dim == 32) with_head_dim(type, std::integral_constant<int, 32>());
    if (problem.head_dim == 64) with_head_dim(type, std::integral_constant<int, 64>());
    if (problem.head_dim == 128) with_head_dim(type, std::integral_constant<int, 128>());
  };
  if (problem.type == Type::float16) with_type(gpu::Float16());
  if (problem.type == Type::bfloat16) with_type(gpu::Bfloat16());
}

}  // namespace

bool mma_supports(const Problem& problem) {
  const bool type = problem.type == Type::float16 || problem.type == Type::bfloat16;
  const bool head_dim = problem.head_dim == 32 || problem.head_dim == 64 || problem.head_dim == 128;
  // Positions and the numbers of blocks are 32-bit (a block of the statistics has 8 queries or more); offsets are
  // 64-bit.
  const int64_t most = int64_t{1} << 30, rows = problem.heads * problem.batch;
  return type && head_dim && problem.length <= most && rows <= most &&
         rows * (mma_kernels::padded_of(problem) / 8 + 1) <= most;
}

void mma_forward(const Problem& problem, const Forward& forward, CUstream_st* stream) {
  dispatch(problem, [&](auto type, auto head_dim, auto dropped) {
    using T = decltype(type);
    constexpr int D = decltype(head_dim)::value;
    constexpr bool Dropped = decltype(dropped)::value;
    if constexpr (D != 32) {
      const Kernel kernel = choice_of(asked_of(problem, Direction::forward, false))->kernel;
      if (kernel == Kernel::mma_wide) return mma_kernels::launch_wide<T, D, Dropped>(problem, forward, stream);
    }
    mma_kernels::launch_forward<T, D, Dropped>(problem, forward, stream);
  });
}

int64_t mma_workspace(const Problem& problem) { return mma_kernels::workspace_of(problem); }

void mma_backward(const Problem& problem, const Backward& backward, float* workspace, CUstream_st* stream) {
  dispatch(problem, [&](auto type, auto head_dim, auto dropped) {
    mma_kernels::launch_backward<decltype(type), decltype(head_dim)::value, decltype(dropped)::value>(
        problem, backward, workspace, stream);
  });
}

}  // namespace pyprof::window
