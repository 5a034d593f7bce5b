// Small instances of the Hopper kernels: with overlap and two warpgroups, and with neither; for mutants, and for the
// quick tests. Slots are few, so that all of them are used again and again.
#include <limits>
#include <stdexcept>
#include <vector>

#include "window_attention/hopper_launch.cuh"
#include "window_problem.h"

namespace pyprof::window {

extern const char* const kImplementation = "hopper_small";

void forward_under_test(const Problem& problem, const Forward& forward) {
  if (problem.type != Type::float16 || problem.head_dim != 64) {
    throw std::invalid_argument("only float16 with head_dim 64 is compiled here");
  }
  const bool overlap = problem.left % 2 == 1;  // as good as any other way to have cases of both
  if (problem.dropout_p > 0) {
    hopper::launch_forward<hopper::ForwardConfig<gpu::Float16, 64, true, 64, 1, 3, 1, false, 1>>(problem, forward,
                                                                                                 nullptr);
  } else if (overlap) {
    hopper::launch_forward<hopper::ForwardConfig<gpu::Float16, 64, false, 64, 2, 4, 1, true, 1>>(problem, forward,
                                                                                                 nullptr);
  } else {
    hopper::launch_forward<hopper::ForwardConfig<gpu::Float16, 64, false, 96, 1, 2, 2, false, 1>>(problem, forward,
                                                                                                  nullptr);
  }
}

// In one launch: narrow windows where heads share no key and the seed is odd, as it is where none is given, or where
// they share keys and it is 7. In one pass: with and without dropout, what is kept and what is computed ahead.
void backward_under_test(const Problem& problem, const Backward& backward) {
  using namespace hopper;
  using T = gpu::Float16;
  const bool dropped = problem.dropout_p > 0, odd = problem.left % 2 == 1;
  const float unwritten = std::numeric_limits<float>::quiet_NaN();
  const bool own_keys = problem.heads == problem.key_heads;
  const int64_t rows = narrow_rows(problem.left, problem.right);
  if (rows <= 128 && (own_keys ? *problem.seed % 2 == 1 : *problem.seed == 7)) {
    const auto launch = dropped                         ? launch_narrow<NarrowConfig<T, 64, true, 128, 1, true>>
                        : rows <= 96 && odd && own_keys ? launch_narrow<NarrowConfig<T, 64, false, 96, 2, false>>
                                                        : launch_narrow<NarrowConfig<T, 64, false, 128, 1, true>>;
    return launch(problem, backward, nullptr);
  }
  std::vector<gpu::Float4> workspace(static_cast<size_t>(Workspace(problem).all() + 3) / 4,
                                     {unwritten, unwritten, unwritten, unwritten});
  const auto launch = dropped ? launch_backward<BackwardConfig<T, 64, true, 2, 1, 2, false, false>>
                      : odd   ? launch_backward<BackwardConfig<T, 64, false, 3, 2, 3, true, true>>
                              : launch_backward<BackwardConfig<T, 64, false, 2, 1, 2, false, false>>;
  launch(problem, backward, reinterpret_cast<float*>(workspace.data()), nullptr);
}

}  // namespace pyprof::window
