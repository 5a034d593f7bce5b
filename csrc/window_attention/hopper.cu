// The Hopper kernels, all instances, and which one runs for which problem. For sm_90a alone; with g++ it runs over the
// host emulation.
#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <type_traits>
#include <utility>

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

// Which instance takes the least time, as measured on an H100 (bfloat16, without dropout, replayed CUDA graphs):
// head_dim 64 by the width of the band, since a tile of 96 columns holds all that 64 queries see in 33 columns, and
// several small blocks on a multiprocessor hide what one waits for, until the band is wide enough for overlap.
template <class T, bool Dropped>
void launch(const Problem& problem, const Forward& forward, CUstream_st* stream) {
  const int64_t width = problem.left + problem.right;
  const auto run = problem.head_dim == 128   ? hopper::launch_forward<Large<T, Dropped>>
                   : width <= 32             ? hopper::launch_forward<Narrow<T, Dropped>>
                   : width < 400             ? hopper::launch_forward<Middle<T, Dropped>>
                   : width < 1600 || Dropped ? hopper::launch_forward<Wide<T, Dropped>>
                                             : hopper::launch_forward<Widest<T>>;
  run(problem, forward, stream);
}

//                                                  rows, blocks
template <class T, bool Dropped>
using Narrow96 = hopper::NarrowConfig<T, Dropped, 96, Dropped ? 1 : 2>;
template <class T, bool Dropped>
using Narrow128 = hopper::NarrowConfig<T, Dropped, 128, 1>;

// Rows that 64 rows of a narrow window meet; 0 where the backward is the one in one pass.
int64_t rows_of_narrow(const Problem& problem) {
  const int64_t left = std::min(problem.left, problem.length), right = std::min(problem.right, problem.length);
  const int64_t rows = hopper::narrow_rows(left, right);
  return problem.head_dim == 64 && problem.heads == problem.key_heads && rows <= 128 ? rows : 0;
}

template <class T, bool Dropped>
void launch(const Problem& problem, const Backward& backward, float* workspace, CUstream_st* stream) {
  if (const int64_t rows = rows_of_narrow(problem); rows > 0) {
    const auto run =
        rows <= 96 ? hopper::launch_narrow<Narrow96<T, Dropped>> : hopper::launch_narrow<Narrow128<T, Dropped>>;
    return run(problem, backward, stream);
  }
  const auto run = problem.head_dim == 128 ? hopper::launch_backward<Backward128<T, Dropped>>
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
  return type && head_dim && fits && problem.length > 0 && problem.length <= most && rows > 0 && rows <= most;
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
  return rows_of_narrow(problem) > 0 ? 0 : hopper::Workspace(problem).all();
}

void hopper_backward(const Problem& problem, const Backward& backward, float* workspace, CUstream_st* stream) {
  if (!hopper_supports(problem, backward)) throw std::invalid_argument(kWords);
  dispatch(problem, [&](auto type, auto dropped) {
    launch<decltype(type), decltype(dropped)::value>(problem, backward, workspace, stream);
  });
}

}  // namespace pyprof::window
