// The one header through which device code speaks. It has two halves with one surface: with nvcc each function is the
// PTX instruction it names (sm_80 and newer); with g++ it is the host emulation of tests/cuda_on_host/emulation, where
// the very same kernel file runs in unit tests.
//
// The surface, in namespace pyprof::gpu; say gpu::exp2, never `using namespace`, since <cmath> has its own:
//
//   PYPROF_KERNEL(threads)          before `void name(const Params params)`; a block has exactly `threads` threads, a
//                                   multiple of 32, in one dimension. Params is one plain struct. A second
//                                   number asks the compiler for that many blocks on a multiprocessor.
//   PYPROF_DEVICE                   before a device function
//   PYPROF_UNROLL, PYPROF_UNROLL_BY(n)  before a loop: wholly, n times
//   thread() lane() warp()          of this thread in its block, in its warp, and its warp's index in the block
//   anew(number)                    the same number, of which the compiler does not know that it has it already: what
//                                   follows from it is computed again instead of being kept in registers
//   block() grid()                  three int32 numbers each: x, y, z. x may reach 2^31 - 1, y and z only 65535
//   shared_memory<T>(bytes)         the block's dynamic shared memory from byte `bytes` on, aligned to 128 bytes at 0.
//                                   There is no other shared memory
//   read(pointer) write(pointer, v) a plain access of 4, 8 or 16 bytes, global or shared: aligned to its size, and its
//                                   bank conflicts are counted on the host (a bare `*pointer` works and isn't counted)
//   copy_async(to, from, valid)     16 bytes from global to shared, both aligned to 16; zeros where not valid, and then
//                                   `from` is not read (but must be a pointer). Visible only after commit and wait
//   copy_commit() copy_wait<N>()    closes a group; waits until at most N groups of this thread are open. Other threads
//                                   see the bytes only after a sync as well. Every copy is waited for before exit
//   load_matrices(r, row)           ldmatrix.x4.b16: lane l gives the address of row l % 8 of matrix l / 8 (16 bytes,
//                                   aligned); r[m] gets elements 2 * (lane % 4) and + 1 of row lane / 4 of matrix m
//   load_matrices_transposed(r, row)  the same with .trans: r[m] gets rows 2 * (lane % 4) and + 1 of column lane / 4
//   mma<T>(d, a, b)                 m16n8k16, d += a * b in float32. With g = lane / 4 and t = lane % 4:
//                                     a[0] (g, 2t..)  a[1] (g + 8, 2t..)  a[2] (g, 2t + 8..)  a[3] (g + 8, 2t + 8..)
//                                     b[0] (k = 2t.., n = g)              b[1] (k = 2t + 8.., n = g)
//                                     d[0], d[1] (g, 2t), (g, 2t + 1)     d[2], d[3] (g + 8, 2t), (g + 8, 2t + 1)
//   pack<T>(low, high) unpack<T>(pair, low, high)   two floats to one 32-bit pair (to nearest) and back; low bits first
//   to_float(v) from_float<T>(f)    one element; T is Float16, Bfloat16 or float
//   shuffle_xor(v, mask)            float, int32 or uint32 of lane ^ mask
//   any(condition)                  whether it holds for a lane of the warp
//   exp2(x) log2(x)                 approximate; exp2(-inf) is 0 and log2(0) is -inf
//   sync_threads() sync_warp()      the only two things that order memory between threads
//   launch(kernel, grid, threads, shared_bytes, stream, params)   on the host; does nothing for an empty grid; throws
//                                   std::runtime_error with the runtime's own words
//
// Rules that keep the emulation honest: warp functions (load_matrices, mma, shuffle, any, sync_warp) are called by all
// 32 lanes together; sync_threads by all threads of the block from one place; a shuffle, mma or load_matrices orders no
// memory; shared memory that others have written or will overwrite needs a sync between.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

struct CUstream_st;

namespace pyprof::gpu {

using Stream = CUstream_st*;  // the same type as cudaStream_t, without CUDA's headers

// Tags for 16-bit elements; their arithmetic is in float.
struct Float16 {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

struct alignas(8) Float2 {
  float x, y;
};
struct alignas(16) Float4 {
  float x, y, z, w;
};
struct alignas(16) Words4 {
  uint32_t x, y, z, w;
};

struct Index3 {
  int32_t x = 1, y = 1, z = 1;
};

inline constexpr int kWarp = 32;

}  // namespace pyprof::gpu

#ifdef __CUDACC__

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

#define PYPROF_KERNEL(...) __global__ __launch_bounds__(__VA_ARGS__)
#define PYPROF_DEVICE __device__ __forceinline__
#define PYPROF_UNROLL _Pragma("unroll")
#define PYPROF_UNROLL_BY(times) PYPROF_PRAGMA(unroll times)
#define PYPROF_PRAGMA(words) _Pragma(#words)

namespace pyprof::gpu {

PYPROF_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
PYPROF_DEVICE int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
PYPROF_DEVICE int warp() { return static_cast<int>(threadIdx.x) / kWarp; }
PYPROF_DEVICE int anew(int number) {
  asm volatile("" : "+r"(number));
  return number;
}
PYPROF_DEVICE Index3 block() {
  return {static_cast<int32_t>(blockIdx.x), static_cast<int32_t>(blockIdx.y), static_cast<int32_t>(blockIdx.z)};
}
PYPROF_DEVICE Index3 grid() {
  return {static_cast<int32_t>(gridDim.x), static_cast<int32_t>(gridDim.y), static_cast<int32_t>(gridDim.z)};
}

template <class T>
PYPROF_DEVICE T* shared_memory(size_t bytes = 0) {
  extern __shared__ __align__(128) unsigned char pyprof_shared_memory[];
  return reinterpret_cast<T*>(pyprof_shared_memory + bytes);
}

template <class V>
PYPROF_DEVICE V read(const V* from) {
  static_assert(sizeof(V) == 4 || sizeof(V) == 8 || sizeof(V) == 16);
  return *from;
}

template <class V>
PYPROF_DEVICE void write(V* to, V value) {
  static_assert(sizeof(V) == 4 || sizeof(V) == 8 || sizeof(V) == 16);
  *to = value;
}

PYPROF_DEVICE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

PYPROF_DEVICE void copy_async(void* to, const void* from, bool valid = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}

PYPROF_DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N>
PYPROF_DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

PYPROF_DEVICE void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

PYPROF_DEVICE void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

template <class T>
PYPROF_DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <>
PYPROF_DEVICE void mma<Float16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
PYPROF_DEVICE void mma<Bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <class T>
PYPROF_DEVICE uint32_t pack(float low, float high);

template <>
PYPROF_DEVICE uint32_t pack<Float16>(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

template <>
PYPROF_DEVICE uint32_t pack<Bfloat16>(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

PYPROF_DEVICE float to_float(float value) { return value; }

PYPROF_DEVICE float to_float(Float16 value) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
  return wide;
}

PYPROF_DEVICE float to_float(Bfloat16 value) { return __uint_as_float(static_cast<uint32_t>(value.bits) << 16); }

template <class T>
PYPROF_DEVICE T from_float(float value) {
  return {static_cast<uint16_t>(pack<T>(value, 0.0f))};
}

template <>
PYPROF_DEVICE float from_float<float>(float value) {
  return value;
}

PYPROF_DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
PYPROF_DEVICE int32_t shuffle_xor(int32_t value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
PYPROF_DEVICE uint32_t shuffle_xor(uint32_t value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
PYPROF_DEVICE bool any(bool condition) { return __any_sync(0xffffffffu, condition); }

PYPROF_DEVICE float exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

PYPROF_DEVICE float log2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

PYPROF_DEVICE void sync_threads() { __syncthreads(); }
PYPROF_DEVICE void sync_warp() { __syncwarp(); }

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

template <class Params>
void launch(void (*kernel)(Params), Index3 grid, int threads, size_t shared_bytes, Stream stream,
            const Params& params) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  const void* entry = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > 48 * 1024) {  // beyond that a kernel has to ask
    check(cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
          "a window attention kernel cannot have its shared memory");
  }
  void* arguments[] = {const_cast<void*>(static_cast<const void*>(&params))};
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
  check(cudaLaunchKernel(entry, blocks, dim3(static_cast<unsigned>(threads)), arguments, shared_bytes, stream),
        "a window attention kernel cannot start");
}

}  // namespace pyprof::gpu

#else

#include "gpu_on_host.h"

#endif

namespace pyprof::gpu {

// Two elements of one register; `low` is the one with the smaller index.
template <class T>
PYPROF_DEVICE void unpack(uint32_t pair, float& low, float& high) {
  low = to_float(T{static_cast<uint16_t>(pair)});
  high = to_float(T{static_cast<uint16_t>(pair >> 16)});
}

}  // namespace pyprof::gpu
