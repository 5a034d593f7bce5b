// The plain kernels, compiled for the host with all their instances.
#include "window_attention/plain.cu"

#include "window_problem.h"

namespace pyprof::window {

extern const char* const kImplementation = "plain";

void forward_under_test(const Problem& problem, const Forward& forward) { plain_forward(problem, forward, nullptr); }
void backward_under_test(const Problem& problem, const Backward& backward) {
  plain_backward(problem, backward, nullptr);
}

}  // namespace pyprof::window
