// The host kernels for AVX-512 with products of pairs of bfloat16; other types run as with AVX-512. The pragma comes
// after every include of the standard library, so that none of its code is compiled for this instruction set: the
// linker merges such code across files.
#include <cstddef>
#include <cstdint>

#ifdef __x86_64__
#include <immintrin.h>

#include "window_attention/cpu_kernels.h"
#include "window_attention/cpu_tile_product.h"
#pragma GCC push_options
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,avx512bf16")
#define PYPROF_BFLOAT16_INSTRUCTIONS
#include "window_attention/cpu_vector512.h"

namespace pyprof::window {
namespace {

struct Tiles {
  Tiles() {}  // nothing to set up

  template <bool kSharedRight>
  static void multiply(const TileProduct& p) {
    multiply_one(p, p.a0, p.b0, p.c0);
    multiply_one(p, p.a1, p.b1, p.c1);
  }

  [[gnu::noinline]] static void multiply_one(const TileProduct& p, const void* left, const void* right, float* to) {
    const int64_t row_floats = p.c_stride / 4;
    __m512 sums[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) sums[r] = p.add ? Vec::load(to + r * row_floats) : Vec::set1(0);
    for (int64_t s = 0; s < p.steps; ++s) {
      const char *a = static_cast<const char*>(left) + s * p.a_step,
                 *b = static_cast<const char*>(right) + s * p.b_step;
      for (int k = 0; k < 16; ++k, a += 4, b += p.b_stride) {
        const auto pair = reinterpret_cast<__m512bh>(_mm512_loadu_ps(b));
#pragma GCC unroll 16
        for (int r = 0; r < 16; ++r) {
          float element;  // two elements, at any even address
          __builtin_memcpy(&element, a + r * p.a_stride, 4);
          sums[r] = _mm512_dpbf16_ps(sums[r], reinterpret_cast<__m512bh>(Vec::set1(element)), pair);
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) Vec::store(to + r * row_floats, sums[r]);
  }
};

}  // namespace
}  // namespace pyprof::window

#include "window_attention/cpu_global.h"
#include "window_attention/cpu_global_rows_tiles.h"
#include "window_attention/cpu_pairs_backward.h"
#include "window_attention/cpu_pairs_forward.h"

namespace pyprof::window {
const Kernels avx512_bf16_kernels{"avx512_bf16",     pair_forward,         pair_backward,      join_global_keys,
                                  add_global_keys,   forward_scratch,      backward_scratch,   global_scratch,
                                  tile_rows_forward, global_rows_backward, global_rows_scratch};
}
#pragma GCC pop_options
#endif
