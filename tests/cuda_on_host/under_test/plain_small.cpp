// One instance of the plain kernels, which compiles in a moment: for mutants.
#include <stdexcept>

#include "window_attention/plain_launch.cuh"
#include "window_problem.h"

namespace pyprof::window {

extern const char* const kImplementation = "plain_small";

void forward_under_test(const Problem& problem, const Forward& forward) {
  if (problem.head_dim != 32) throw std::invalid_argument("only head_dim 32 is compiled here");
  plain_kernels::launch_forward<32>(problem, forward, nullptr);
}

void backward_under_test(const Problem& problem, const Backward& backward) {
  plain_kernels::launch_backward<32>(problem, backward, nullptr);
}

}  // namespace pyprof::window
