// The host kernels for AMX with bfloat16; other types run as with AVX-512. The pragma comes after every include of the
// standard library, so that none of its code is compiled for this instruction set: the linker merges such code across
// files.
#include <cstddef>
#include <cstdint>

#ifdef __x86_64__
#include <immintrin.h>

#include "window_attention/cpu_kernels.h"
#include "window_attention/cpu_tile_product.h"
#pragma GCC push_options
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,avx512bf16,amx-tile,amx-bf16")
#define PYPROF_BFLOAT16_INSTRUCTIONS
#include "window_attention/cpu_vector512.h"

namespace pyprof::window {
namespace {

// While one lives, the thread's tiles are 16 rows of 64 bytes. Other users of tiles get their shapes back.
class Tiles {
 public:
  Tiles() {
    _tile_storeconfig(&before_);
    // GCC 12 takes an intrinsic to read and write eight bytes of a configuration: memory is made visible by hand.
    asm volatile("" : : "r"(&before_) : "memory");
    Config config{};
    config.palette = 1;
    for (int tile = 0; tile < 8; ++tile) config.bytes[tile] = 64, config.rows[tile] = 16;
    asm volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
  }
  ~Tiles() {
    if (before_.palette)
      _tile_loadconfig(&before_);
    else
      _tile_release();
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <bool kSharedRight>
  static void multiply(const TileProduct& p) {
    const char *a0 = static_cast<const char*>(p.a0), *a1 = static_cast<const char*>(p.a1);
    const char *b0 = static_cast<const char*>(p.b0), *b1 = static_cast<const char*>(p.b1);
    if (p.add) {
      _tile_loadd(0, p.c0, p.c_stride);
      _tile_loadd(1, p.c1, p.c_stride);
    } else {
      _tile_zero(0);
      _tile_zero(1);
    }
    for (int64_t s = 0; s < p.steps; ++s) {
      _tile_loadd(2, a0 + s * p.a_step, p.a_stride);
      _tile_loadd(4, b0 + s * p.b_step, p.b_stride);
      _tile_dpbf16ps(0, 2, 4);
      if (kSharedRight) {
        _tile_loadd(3, a1 + s * p.a_step, p.a_stride);
        _tile_dpbf16ps(1, 3, 4);
      } else {
        _tile_loadd(5, b1 + s * p.b_step, p.b_stride);
        _tile_dpbf16ps(1, 2, 5);
      }
    }
    _tile_stored(0, p.c0, p.c_stride);
    _tile_stored(1, p.c1, p.c_stride);
  }

 private:
  struct alignas(64) Config {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  };
  Config before_;
};

}  // namespace
}  // namespace pyprof::window

#include "window_attention/cpu_global.h"
#include "window_attention/cpu_global_rows_tiles.h"
#include "window_attention/cpu_tiles_backward.h"
#include "window_attention/cpu_tiles_forward.h"

namespace pyprof::window {
const Kernels amx_kernels{"amx",
                          tile_forward,
                          tile_backward,
                          join_global_keys,
                          add_global_keys,
                          forward_scratch,
                          tile_backward_scratch,
                          global_scratch,
                          tile_rows_forward,
                          global_rows_backward,
                          global_rows_scratch};
}
#pragma GCC pop_options
#endif
