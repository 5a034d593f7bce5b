// The tensor-core kernels, compiled for the host with all their instances.
#include "window_attention/mma.cu"

#include <limits>
#include <vector>

#include "window_problem.h"

namespace pyprof::window {

extern const char* const kImplementation = "mma";

void forward_under_test(const Problem& problem, const Forward& forward) { mma_forward(problem, forward, nullptr); }

void backward_under_test(const Problem& problem, const Backward& backward) {
  // Vectors of 16-byte elements are aligned as a workspace has to be.
  const float unwritten = std::numeric_limits<float>::quiet_NaN();
  std::vector<gpu::Float4> workspace(static_cast<size_t>(mma_workspace(problem)) / 4,
                                     {unwritten, unwritten, unwritten, unwritten});
  mma_backward(problem, backward, &workspace.data()->x, nullptr);
}

}  // namespace pyprof::window
