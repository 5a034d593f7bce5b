// Sliding-window attention in plain float32 on CUDA: what the host side calls. head_dim 32, 64 and 128, any strides.
#pragma once

#include "window.h"

struct CUstream_st;  // cudaStream_t points to it

namespace pyprof::window {

// Whether the type, the head_dim and the sizes are among those that the two below run.
bool plain_supports(const Problem& problem);

// Deterministic: every element of a result is summed by one thread's quad, in one order.
void plain_forward(const Problem& problem, const Forward& forward, CUstream_st* stream);
void plain_backward(const Problem& problem, const Backward& backward, CUstream_st* stream);

}  // namespace pyprof::window
