// The host kernels for AVX-512 (foundation, BW, DQ, VL). The pragma comes after every include of the standard
// library, so that none of its code is compiled for this instruction set: the linker merges such code across files.
#include <cstddef>
#include <cstdint>

#ifdef __x86_64__
#include <immintrin.h>

#include "window_attention/cpu_kernels.h"
#pragma GCC push_options
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#include "window_attention/cpu_vector512.h"
// What follows uses its Vec.
#include "window_attention/cpu_backward.h"
#include "window_attention/cpu_forward.h"
#include "window_attention/cpu_global.h"
#include "window_attention/cpu_global_rows.h"

namespace pyprof::window {
const Kernels avx512_kernels{
    "avx512",         forward_slice,  backward_slice,      join_global_keys,     add_global_keys,    forward_scratch,
    backward_scratch, global_scratch, global_rows_forward, global_rows_backward, global_rows_scratch};
}
#pragma GCC pop_options
#endif
