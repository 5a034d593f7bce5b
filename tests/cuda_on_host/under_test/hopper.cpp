// The Hopper kernels, compiled for the host with all their instances.
#include "window_attention/hopper.cu"

#include <limits>
#include <vector>

#include "window_problem.h"

namespace pyprof::window {

extern const char* const kImplementation = "hopper";

void forward_under_test(const Problem& problem, const Forward& forward) { hopper_forward(problem, forward, nullptr); }

void backward_under_test(const Problem& problem, const Backward& backward) {
  const float unwritten = std::numeric_limits<float>::quiet_NaN();
  std::vector<gpu::Float4> workspace(static_cast<size_t>(hopper_workspace(problem) + 3) / 4,
                                     {unwritten, unwritten, unwritten, unwritten});
  hopper_backward(problem, backward, reinterpret_cast<float*>(workspace.data()), nullptr);
}

}  // namespace pyprof::window
