// What the launcher hands to the tensor-core kernels.
#pragma once

#include "mma_tile.cuh"

namespace pyprof::window::mma_kernels {

struct ForwardParams {
  Shape shape;
  Tensor output;
  float* lse;
  float scale_log2;     // size of scale * log2(e), never 0
  uint32_t flip_signs;  // of both halves of a pair: 0x80008000 for a negative scale
};

struct BackwardParams {
  Shape shape;
  Tensor output, grad_output, grad_query, grad_key, grad_value;
  const float* lse;
  const float* grad_lse;
  gpu::Float2* statistics;  // (batch, heads, padded)
  int32_t padded;           // the length rounded up to whole groups, so that 16-byte copies of pairs are aligned
  float scale_log2;         // scale * log2(e)
  float* global_sums;       // see mma_global.cuh; null without global keys
  int32_t global_pieces, batch;
};

}  // namespace pyprof::window::mma_kernels
