// The Hopper kernels, all instances, and which one runs for which problem. For sm_90a alone; with g++ it runs over the
// host emulation.
#include <stdexcept>
#include <type_traits>

#include "hopper.h"
#include "hopper_launch.cuh"

namespace pyprof::window {
namespace {

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

bool whole_chunks(const void* data, const Strides& strides, int64_t batch, int64_t heads, int64_t length) {
  const auto whole = [](int64_t count, int64_t stride) { return count == 1 || (stride > 0 && stride % 8 == 0); };
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && whole(batch, strides.batch) && whole(heads, strides.head) &&
         whole(length, strides.row);
}

}  // namespace

bool hopper_supports(const Problem& problem, const Forward& forward) {
  const bool type = problem.type == Type::float16 || problem.type == Type::bfloat16;
  const bool head_dim = problem.head_dim == 64 || problem.head_dim == 128;
  const int64_t most = int64_t{1} << 30, items = problem.batch * problem.heads * ((problem.length + 63) / 64);
  const auto fits = [&](const void* data, const Strides& strides, int64_t heads) {
    return whole_chunks(data, strides, problem.batch, heads, problem.length);
  };
  return type && head_dim && problem.length > 0 && problem.length <= most && items > 0 && items <= most &&
         fits(problem.query, problem.query_strides, problem.heads) &&
         fits(problem.key, problem.key_strides, problem.key_heads) &&
         fits(problem.value, problem.value_strides, problem.key_heads) &&
         fits(forward.output, forward.output_strides, problem.heads);
}

void hopper_forward(const Problem& problem, const Forward& forward, CUstream_st* stream) {
  if (!hopper_supports(problem, forward)) {
    throw std::invalid_argument("the Hopper kernels take 16-bit types, head_dim 64 and 128, and aligned rows");
  }
  const bool dropped = Dropout(problem.dropout_p).active();
  if (problem.type == Type::float16) {
    dropped ? launch<gpu::Float16, true>(problem, forward, stream)
            : launch<gpu::Float16, false>(problem, forward, stream);
  } else {
    dropped ? launch<gpu::Bfloat16, true>(problem, forward, stream)
            : launch<gpu::Bfloat16, false>(problem, forward, stream);
  }
}

}  // namespace pyprof::window
