// Sliding-window attention on Hopper's tensor cores (compute capability 9.0): what the host side calls.
#pragma once

#include <cstdint>

#include "window.h"

struct CUstream_st;  // cudaStream_t points to it

namespace pyprof::window {

// Whether the kernels take the problem: float16 and bfloat16, head_dim 64 and 128, no global keys, and rows that copies
// in boxes can fetch. It says nothing of the device, which has to be of compute capability 9.0.
bool hopper_supports(const Problem& problem, const Forward& forward);
void hopper_forward(const Problem& problem, const Forward& forward, CUstream_st* stream);

// How many floats `workspace` has in hopper_backward: sums in float32 of the query's gradient, two numbers for each
// query, and who is next. It must be aligned to 16 bytes and holds nothing that outlives the call. Deterministic: one
// order of every sum.
bool hopper_supports(const Problem& problem, const Backward& backward);
int64_t hopper_workspace(const Problem& problem);
void hopper_backward(const Problem& problem, const Backward& backward, float* workspace, CUstream_st* stream);

}  // namespace pyprof::window
