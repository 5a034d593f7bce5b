// The plain float32 kernels with every head_dim. With g++ it runs over the host emulation.
#include <limits>
#include <stdexcept>

#include "plain.h"
#include "plain_launch.cuh"

namespace pyprof::window {
namespace {

void check(const Problem& problem) {
  if (!plain_supports(problem)) {
    throw std::invalid_argument("the plain CUDA kernels take float32 with head_dim 32, 64 or 128");
  }
}

}  // namespace

bool plain_supports(const Problem& problem) {
  const bool head_dim = problem.head_dim == 32 || problem.head_dim == 64 || problem.head_dim == 128;
  const int64_t tiles = (problem.length + plain_kernels::kRows - 1) / plain_kernels::kRows;
  return problem.type == Type::float32 && head_dim && problem.global_keys == 0 &&
         tiles * problem.heads * problem.batch <= std::numeric_limits<int32_t>::max();
}

void plain_forward(const Problem& problem, const Forward& forward, CUstream_st* stream) {
  check(problem);
  if (problem.head_dim == 32) plain_kernels::launch_forward<32>(problem, forward, stream);
  if (problem.head_dim == 64) plain_kernels::launch_forward<64>(problem, forward, stream);
  if (problem.head_dim == 128) plain_kernels::launch_forward<128>(problem, forward, stream);
}

void plain_backward(const Problem& problem, const Backward& backward, CUstream_st* stream) {
  check(problem);
  if (problem.head_dim == 32) plain_kernels::launch_backward<32>(problem, backward, stream);
  if (problem.head_dim == 64) plain_kernels::launch_backward<64>(problem, backward, stream);
  if (problem.head_dim == 128) plain_kernels::launch_backward<128>(problem, backward, stream);
}

}  // namespace pyprof::window
