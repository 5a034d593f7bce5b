// Sliding-window attention on Hopper's tensor cores (compute capability 9.0): what the host side calls.
#pragma once

#include "window.h"

struct CUstream_st;  // cudaStream_t points to it

namespace pyprof::window {

// Whether `hopper_forward` takes the problem: float16 and bfloat16, head_dim 64 and 128, and rows that copies in boxes
// can fetch. It says nothing of the device, which has to be of compute capability 9.0.
bool hopper_supports(const Problem& problem, const Forward& forward);
void hopper_forward(const Problem& problem, const Forward& forward, CUstream_st* stream);

}  // namespace pyprof::window
