// The Hopper kernels, all instances, and which one runs for which problem. For sm_90a alone; with g++ it runs over the
// host emulation.
#include <initializer_list>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "choice.h"
#include "hopper.h"
#include "hopper_launch.cuh"

namespace pyprof::window {
namespace {

constexpr const char* kWords = "the Hopper kernels take 16-bit types, head_dim 64 and 128, and aligned rows";

//                                                columns, warpgroups, slots, slots of queries, overlap, blocks
template <class T, bool Dropped>
using Narrow = hopper::ForwardConfig<T, 64, Dropped, 96, 1, 4, 1, false, 3>;
template <class T, bool Dropped>
using Middle = hopper::ForwardConfig<T, 64, Dropped, 64, 1, 5, 1, false, Dropped ? 3 : 4>;
template <class T, bool Dropped>
using Wide = hopper::ForwardConfig<T, 64, Dropped, 64, 1, 6, 1, true, Dropped ? 2 : 3>;
template <class T>
using Widest = hopper::ForwardConfig<T, 64, false, 128, 3, 8, 2, true, 1>;
template <class T, bool Dropped>
using Large = hopper::ForwardConfig<T, 128, Dropped, 64, Dropped ? 2 : 3, 10, 1, true, 1>;

//                                                slots, slots of keys, threads that add up, ahead, kept
template <class T, bool Dropped>
using Backward64 = hopper::BackwardConfig<T, 64, Dropped, 3, 2, 3, true, true>;
template <class T, bool Dropped>
using Backward128 = hopper::BackwardConfig<T, 128, Dropped, 2, 1, 2, false, false>;

//                                                      rows, blocks, heads that share keys
template <class T, bool Dropped>
using Narrow96 = hopper::NarrowConfig<T, 64, Dropped, 96, Dropped ? 1 : 2, false>;
template <class T, bool Dropped>
using NarrowShared96 = hopper::NarrowConfig<T, 64, Dropped, 96, 1, true>;
template <class T, bool Dropped>
using Narrow128 = hopper::NarrowConfig<T, 64, Dropped, 128, 1, true>;
template <class T, bool Dropped>
using NarrowLarge = hopper::NarrowConfig<T, 128, Dropped, 96, 1, true>;

Kernel kernel_of(const Problem& problem, Direction direction) {
  return choice_of(asked_of(problem, direction, true))->kernel;
}

template <class T, bool Dropped>
void launch(const Problem& problem, const Forward& forward, CUstream_st* stream) {
  const Kernel kernel = kernel_of(problem, Direction::forward);
  if constexpr (!Dropped) {
    if (kernel == Kernel::hopper_widest) return hopper::launch_forward<Widest<T>>(problem, forward, stream);
  }
  const auto run = kernel == Kernel::hopper_large    ? hopper::launch_forward<Large<T, Dropped>>
                   : kernel == Kernel::hopper_narrow ? hopper::launch_forward<Narrow<T, Dropped>>
                   : kernel == Kernel::hopper_middle ? hopper::launch_forward<Middle<T, Dropped>>
                                                     : hopper::launch_forward<Wide<T, Dropped>>;
  run(problem, forward, stream);
}

bool is_narrow(Kernel kernel) { return kernel >= Kernel::hopper_narrow_96 && kernel <= Kernel::hopper_narrow_large; }

template <class T, bool Dropped>
void launch(const Problem& problem, const Backward& backward, float* workspace, CUstream_st* stream) {
  const Kernel kernel = kernel_of(problem, Direction::backward);
  if (is_narrow(kernel)) {
    const auto run = kernel == Kernel::hopper_narrow_large ? hopper::launch_narrow<NarrowLarge<T, Dropped>>
                     : kernel == Kernel::hopper_narrow_128 ? hopper::launch_narrow<Narrow128<T, Dropped>>
                     : kernel == Kernel::hopper_narrow_96  ? hopper::launch_narrow<Narrow96<T, Dropped>>
                                                           : hopper::launch_narrow<NarrowShared96<T, Dropped>>;
    return run(problem, backward, stream);
  }
  const auto run = kernel == Kernel::hopper_one_pass_128 ? hopper::launch_backward<Backward128<T, Dropped>>
                                                         : hopper::launch_backward<Backward64<T, Dropped>>;
  run(problem, backward, workspace, stream);
}

// Calls `run` with the problem's type and whether there is dropout, each as a type of its own.
template <class Run>
void dispatch(const Problem& problem, const Run& run) {
  const bool dropped = Dropout(problem.dropout_p).active();
  if (problem.type == Type::float16) {
    dropped ? run(gpu::Float16(), std::true_type()) : run(gpu::Float16(), std::false_type());
  } else {
    dropped ? run(gpu::Bfloat16(), std::true_type()) : run(gpu::Bfloat16(), std::false_type());
  }
}

bool whole_chunks(const void* data, const Strides& strides, int64_t batch, int64_t heads, int64_t length) {
  const auto whole = [](int64_t count, int64_t stride) { return count == 1 || (stride > 0 && stride % 8 == 0); };
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && whole(batch, strides.batch) && whole(heads, strides.head) &&
         whole(length, strides.row);
}

// Whether all these tensors, like the query and like the key, and the problem itself can be had.
bool supports(const Problem& problem, std::initializer_list<std::pair<const void*, Strides>> of_query,
              std::initializer_list<std::pair<const void*, Strides>> of_key) {
  const bool type = problem.type == Type::float16 || problem.type == Type::bfloat16;
  const bool head_dim = problem.head_dim == 64 || problem.head_dim == 128;
  // Places of queries, and of what a workspace has for them, are 32-bit numbers; offsets of elements are 64-bit.
  const int64_t most = int64_t{1} << 30, rows = problem.batch * problem.heads * ((problem.length + 63) / 64 * 64);
  bool fits = true;
  for (const auto& [data, strides] : of_query) {
    fits = fits && whole_chunks(data, strides, problem.batch, problem.heads, problem.length);
  }
  for (const auto& [data, strides] : of_key) {
    fits = fits && whole_chunks(data, strides, problem.batch, problem.key_heads, problem.length);
  }
  return type && head_dim && fits && problem.global_keys == 0 && problem.length > 0 && problem.length <= most &&
         rows > 0 && rows <= most;
}

}  // namespace

bool hopper_supports(const Problem& problem, const Forward& forward) {
  return supports(problem, {{problem.query, problem.query_strides}, {forward.output, forward.output_strides}},
                  {{problem.key, problem.key_strides}, {problem.value, problem.value_strides}});
}

bool hopper_supports(const Problem& problem, const Backward& backward) {
  return supports(problem,
                  {{problem.query, problem.query_strides},
                   {backward.grad_output, backward.grad_output_strides},
                   {backward.output, backward.output_strides},
                   {backward.grad_query, backward.grad_query_strides}},
                  {{problem.key, problem.key_strides},
                   {problem.value, problem.value_strides},
                   {backward.grad_key, backward.grad_key_strides},
                   {backward.grad_value, backward.grad_value_strides}});
}

void hopper_forward(const Problem& problem, const Forward& forward, CUstream_st* stream) {
  if (!hopper_supports(problem, forward)) throw std::invalid_argument(kWords);
  dispatch(problem, [&](auto type, auto dropped) {
    launch<decltype(type), decltype(dropped)::value>(problem, forward, stream);
  });
}

int64_t hopper_workspace(const Problem& problem) {
  return is_narrow(kernel_of(problem, Direction::backward)) ? 0 : hopper::Workspace(problem).all();
}

void hopper_backward(const Problem& problem, const Backward& backward, float* workspace, CUstream_st* stream) {
  if (!hopper_supports(problem, backward)) throw std::invalid_argument(kWords);
  dispatch(problem, [&](auto type, auto dropped) {
    launch<decltype(type), decltype(dropped)::value>(problem, backward, workspace, stream);
  });
}

}  // namespace pyprof::window
