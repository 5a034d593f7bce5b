// From a problem to a launch of one instance of the backward in one pass.
#pragma once

#include "mma_launch.cuh"
#include "mma_one_pass.cuh"

namespace pyprof::window::mma_kernels {

// The parts of what a launch works in, one after another, counted in floats.
struct PassWorkspace {
  int64_t blocks, rows, sums, statistics, turns;

  explicit PassWorkspace(const Problem& problem)
      : blocks(tiles_of(problem)),
        rows(problem.batch * problem.heads * padded_of(problem)),
        sums(rows * problem.head_dim),
        statistics(rows * 2),
        turns(rows / kGroup * kPassParts) {}
  int64_t all() const { return sums + statistics + turns + 1; }
};

// How many heads are worked on side by side: about as many blocks of keys as run at once, twice over, and no more, so
// that what they share stays in the second-level cache. From Hopper's kernels, whose blocks are twice as long.
inline int64_t pass_heads_together(int64_t heads, int64_t blocks) {
  int64_t together = 1;
  for (int64_t n = 2; n <= 512 / blocks; ++n) {
    if (heads % n == 0) together = n;
  }
  return together;
}

template <class T, int D, bool Dropped>
void launch_one_pass(const Problem& problem, const Backward& backward, float* workspace, gpu::Stream stream) {
  constexpr int64_t kBytes = PassShared<T, D>::bytes();
  static_assert(kBytes <= 99 * 1024, "a block of sm_86 and sm_89 has no more");
  static_assert((kBytes + 1024) * kPassBlocks<D, Dropped> <= 164 * 1024, "a multiprocessor of sm_80 has no more");
  const PassWorkspace parts(problem);
  if (parts.rows == 0) return;
  const Shape shape = shape_of(problem);
  float* const statistics = workspace + parts.sums;
  int* const turns = reinterpret_cast<int*>(statistics + parts.statistics);
  const int64_t key_rows = problem.batch * problem.key_heads;
  const OnePassParams params{backward_params(backward, shape, statistics, padded_of(problem)),
                             workspace,
                             turns,
                             turns + parts.turns,
                             static_cast<int32_t>(parts.blocks),
                             static_cast<int32_t>(pass_heads_together(key_rows, parts.blocks))};
  const int64_t pieces = (params.plain.padded + kStatisticsRows<D> - 1) / kStatisticsRows<D>;
  gpu::launch(mma_one_pass_statistics_kernel<T, D>, grid_of(pieces, problem.heads, problem.batch), kThreads, 0, stream,
              params);
  gpu::launch_taking(mma_one_pass_kernel<T, D, Dropped>, static_cast<int>(key_rows * parts.blocks),
                     kPassBlocks<D, Dropped>, kThreads, kBytes, stream, params);
}

}  // namespace pyprof::window::mma_kernels
