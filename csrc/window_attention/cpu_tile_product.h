// What is asked of `Tiles`: two products of tiles that share the right matrix or the left one.
#pragma once

#include <cstdint>

namespace pyprof::window {

// c = (add ? c : 0) + sum over `steps` of a b, for (a0, b0, c0) and (a1, b1, c1). Each a is 16 rows of 32 bfloat16,
// each b 16 rows of 16 pairs, each c 16 rows of 16 float32. Strides between rows and steps are in bytes.
struct TileProduct {
  const void *a0, *a1;
  int64_t a_stride, a_step;
  const void *b0, *b1;
  int64_t b_stride, b_step;
  int64_t steps;
  float *c0, *c1;
  int64_t c_stride;
  bool add;
};

}  // namespace pyprof::window
