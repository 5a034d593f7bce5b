// Sliding-window attention on tensor cores: what the host side calls. Float16 and bfloat16, head_dim 32, 64 and 128,
// any strides; rows that are not aligned to 16 bytes are read and written element by element, which is slower.
#pragma once

#include <cstdint>

#include "window.h"

struct CUstream_st;  // cudaStream_t points to it

namespace pyprof::window {

// Whether the type, the head_dim and the sizes are among those that the two below run.
bool mma_supports(const Problem& problem);

void mma_forward(const Problem& problem, const Forward& forward, CUstream_st* stream);

// How many floats `workspace` has in mma_backward: a pair for each query, rounded up to whole groups. It must be
// aligned to 16 bytes and holds nothing that outlives the call. Deterministic: no atomics, and one order of every sum.
int64_t mma_workspace(const Problem& problem);
void mma_backward(const Problem& problem, const Backward& backward, float* workspace, CUstream_st* stream);

// The same in one pass over blocks of keys: head_dim 64 and 128, no global keys. Its workspace has also the sums in
// float32 of the query's gradient, and whose turn it is to add to them.
bool mma_one_pass_supports(const Problem& problem);
int64_t mma_one_pass_workspace(const Problem& problem);
void mma_one_pass_backward(const Problem& problem, const Backward& backward, float* workspace, CUstream_st* stream);

}  // namespace pyprof::window
