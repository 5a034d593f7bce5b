// What device code may use beyond gpu.h on Hopper (sm_90a): barriers in shared memory, bulk copies, matrix products
// of a warpgroup (four warps), and turns of blocks. The same two halves: PTX with nvcc, an emulation with g++.
//
//   Barrier                       8 bytes in shared memory, with a phase that ends when `count` threads have arrived
//                                 and all bytes that were expected are there
//   barrier_init(b, count)        by one thread; then barriers_visible() by it, and sync_threads()
//   barrier_arrive(b)             counts this thread; what it did before is seen by those who wait
//   barrier_expect(b, bytes)      the same, and lets the phase wait for that many bytes of copies
//   barrier_wait(b, parity)       until the phase of that parity has ended; the first one has 0. Of a fresh barrier
//                                 the phase "before", of parity 1, has ended
//   named_sync(id, threads)       a sync_threads of that many threads, whole warps, by number (1 to 15)
//   fence_async()                 after plain accesses to shared memory, before a barrier or a sync behind which a
//                                 copy or a product reads or writes there
//   TensorMap, tensor_map(...)    a tensor (batch, heads, length, head_dim) to be copied in boxes of `rows` rows and
//                                 64 columns. Made on the host; it lies in a kernel's parameters
//                                 (PYPROF_GRID_CONSTANT)
//   copy_box(to, map, b, column, row, head, batch)
//                                 by one thread: a box to shared memory, aligned to 128 bytes; zeros for rows outside
//                                 of the length. Counts its bytes at b. Lines of 128 bytes; each 16 bytes lie at
//                                 their address with bits 4 to 6 changed by bits 7 to 9 ("128-byte swizzle"), so
//                                 where a tile begins at a multiple of 1024, chunk c of line r is at c ^ (r % 8)
//   copy_bulk(to, from, bytes, b) by one thread: bytes in a line from global to shared memory, whole 16 bytes
//   product<T, N>(d, a, b, add)   d (64 rows, N columns) = (add ? d : 0) + a * b^T, over 16 elements, by the 128
//                                 threads of a warpgroup. Warp w has rows 16 w to 16 w + 15 as mma<T> has them: d[4 *
//                                 i ...] are columns 8 * i to 8 * i + 7. `a` is a descriptor, or four registers as in
//                                 mma<T>
//   rows_of(tile), columns_of(tile, panel)
//                                 descriptors of shared memory: a line a row, contracted along the line; or a line an
//                                 element of the contraction, with `panel` bytes from 64 columns to the next. The
//                                 tile is in lines of 128 bytes as copy_box leaves them. `by` of rows_of steps along
//                                 the line, in elements, multiples of 16
//   products_begin() products_commit() products_wait<N>()
//                                 before the first product of a group, after its last one, and until at most N groups
//                                 are open. Between, d may not be touched, nor what a and b are read from; hold(d)
//                                 after the wait keeps the compiler to it
//   store_matrices(row, r)        stmatrix.x4.b16, the way back of load_matrices
//   store_bulk(to, from, bytes) add_bulk(to, from, bytes) bulk_commit() bulk_wait()
//                                 by one thread: floats from shared to global memory, whole 16 bytes, stored or added
//                                 there; closes a group; until all that this thread has closed is there, and its
//                                 source free
//   fence_async_global()          after bulk_wait, before others are told; and after one was told, before a bulk copy
//   publish(flag, value) wait_until(flag, value)
//                                 an int32 in global memory that tells other blocks how far this one is. Blocks that
//                                 wait for one another must not need more of them to be there than there are: see
//                                 take
//   write_for_others(to, v)       a plain access of 16 bytes to global memory that other blocks read after a turn
//   fence()                       by every thread that wrote for others, before a sync and the turn that tells of it
//   take(counter)                 the next number of an int32 in global memory, from 0: who waits only for those who
//                                 took a smaller number waits for blocks that run
//   shared_address(p)             where p lies in shared memory, from an origin that is a multiple of 1024
//   set_registers<N, more>()      by a whole warpgroup: registers of a thread from now on
//   launch_persistent(kernel, items, blocks, threads, shared_bytes, stream, params)
//                                 as many blocks as there are items, but no more than `blocks` a multiprocessor
//   launch_each(kernel, items, blocks, threads, shared_bytes, stream, params)
//                                 a block for each item, of which `blocks` are to share a multiprocessor
//   launch_taking(the same)       the same where a block takes the number of its item when it begins, and waits for
//                                 blocks with smaller ones
#pragma once

#include "gpu.h"

namespace pyprof::gpu {

inline constexpr int kWarpgroup = 128;
inline constexpr int kLine = 128;      // bytes of a line of a tile
inline constexpr int kPanel = 64;      // 16-bit elements of a line
inline constexpr int kSwizzle = 1024;  // bytes after which the places of chunks repeat

struct alignas(8) Barrier {
  uint64_t state;
};

struct alignas(128) TensorMap {
  uint64_t words[16];
};

// The strides of a tensor, in elements.
struct BoxStrides {
  int64_t batch, head, row;
};

// Where a product finds an operand in shared memory. Lines are its rows, or else elements of the contraction.
template <bool kLinesAreRows>
struct Operand {
  uint64_t descriptor;
};

}  // namespace pyprof::gpu

#ifdef __CUDACC__

#include <cuda.h>

#define PYPROF_GRID_CONSTANT __grid_constant__
// Machine code for other cards than sm_90a, which a library for several has too.
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PYPROF_NOT_HOPPER
#endif

namespace pyprof::gpu {

PYPROF_DEVICE void barrier_init(Barrier* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}
PYPROF_DEVICE void barriers_visible() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
PYPROF_DEVICE void barrier_arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
PYPROF_DEVICE void barrier_expect(Barrier* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
PYPROF_DEVICE void barrier_wait(Barrier* barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1, 0x989680;\n"
      "@done bra ended;\nbra again;\nended:\n}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
PYPROF_DEVICE void named_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
PYPROF_DEVICE void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

PYPROF_DEVICE void copy_box(void* to, const TensorMap& map, Barrier* barrier, int column, int row, int head,
                            int batch) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(barrier)), "r"(column), "r"(row), "r"(head), "r"(batch)
      : "memory");
}

PYPROF_DEVICE void copy_bulk(void* to, const void* from, int bytes, Barrier* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}

PYPROF_DEVICE void store_bulk(float* to, const void* from, int bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared_address(from)),
               "r"(bytes)
               : "memory");
}
PYPROF_DEVICE void add_bulk(float* to, const void* from, int bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
               "r"(shared_address(from)), "r"(bytes)
               : "memory");
}
PYPROF_DEVICE void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
PYPROF_DEVICE void bulk_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
PYPROF_DEVICE void fence_async_global() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

// Not volatile accesses, which seem to do: sums were wrong with them when blocks ran for long enough on an H100.
PYPROF_DEVICE void publish(int* flag, int value) {
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(flag), "r"(value) : "memory");
}
PYPROF_DEVICE void wait_until(const int* flag, int value) {
  int now;
  do {
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(flag) : "memory");
  } while (now != value);
}
PYPROF_DEVICE void write_for_others(Float4* to, Float4 value) { *to = value; }
PYPROF_DEVICE void fence() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }
PYPROF_DEVICE int take(int* counter) {
  int number;
  asm volatile("atom.relaxed.gpu.global.add.s32 %0, [%1], 1;" : "=r"(number) : "l"(counter) : "memory");
  return number;
}

PYPROF_DEVICE void store_matrices(void* row, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)), "r"(r[0]),
               "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

template <int N, bool kMore>
PYPROF_DEVICE void set_registers() {
  static_assert(N % 8 == 0 && N >= 24 && N <= 256);
  if constexpr (kMore) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
  }
}

// Bits 0 to 13 the address, 16 to 29 the distance of panels, 32 to 45 that of groups of eight lines, all in 16 bytes;
// 1 in bits 62 and 63 is the 128-byte swizzle ("Matrix Descriptor Format" of the PTX ISA).
PYPROF_DEVICE uint64_t descriptor_of(const void* tile, int by, int panel_bytes) {
  return static_cast<uint64_t>((shared_address(tile) + by) >> 4 & 0x3fff) |
         static_cast<uint64_t>(panel_bytes >> 4) << 16 | uint64_t{kSwizzle >> 4} << 32 | uint64_t{1} << 62;
}
PYPROF_DEVICE Operand<true> rows_of(const void* tile, int by = 0) { return {descriptor_of(tile, by * 2, 16)}; }
PYPROF_DEVICE Operand<false> columns_of(const void* tile, int panel_bytes) {
  return {descriptor_of(tile, 0, panel_bytes)};
}

PYPROF_DEVICE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
PYPROF_DEVICE void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N>
PYPROF_DEVICE void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
template <int N>
PYPROF_DEVICE void hold(float (&d)[N]) {
  PYPROF_UNROLL for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// The launch fails: this is code for a card that it must not be started on.
PYPROF_DEVICE void stop() { __trap(); }

inline int multiprocessors() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "the current device cannot be told");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "the device cannot be asked");
  return count;
}

template <class Params>
void launch_persistent(void (*kernel)(Params), int items, int blocks, int threads, size_t shared_bytes, Stream stream,
                       const Params& params) {
  const int most = blocks * multiprocessors();
  launch(kernel, {items < most ? items : most, 1, 1}, threads, shared_bytes, stream, params);
}

template <class Params>
void launch_each(void (*kernel)(Params), int items, int, int threads, size_t shared_bytes, Stream stream,
                 const Params& params) {
  launch(kernel, {items, 1, 1}, threads, shared_bytes, stream, params);
}

template <class Params>
void launch_taking(void (*kernel)(Params), int items, int, int threads, size_t shared_bytes, Stream stream,
                   const Params& params) {
  launch(kernel, {items, 1, 1}, threads, shared_bytes, stream, params);
}

template <class T>
TensorMap tensor_map(const void* data, int64_t batch, int64_t heads, int64_t length, int64_t head_dim,
                     const BoxStrides& strides, int rows) {
  static const auto encode = [] {
    constexpr char kName[] = "cuTensorMapEncodeTiled";
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 12050
    const auto status = cudaGetDriverEntryPointByVersion(kName, &found, 12000, cudaEnableDefault, &result);
#else
    const auto status = cudaGetDriverEntryPoint(kName, &found, cudaEnableDefault, &result);
#endif
    check(status, "the driver cannot be asked for tensor maps");
    if (found == nullptr) throw std::runtime_error("the driver has no tensor maps: it is older than CUDA 12");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
  }();
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && alignof(TensorMap) >= alignof(CUtensorMap));
  TensorMap map;
  const cuuint64_t sizes[4] = {static_cast<cuuint64_t>(head_dim), static_cast<cuuint64_t>(length),
                               static_cast<cuuint64_t>(heads), static_cast<cuuint64_t>(batch)};
  const cuuint64_t steps[3] = {static_cast<cuuint64_t>(strides.row) * 2, static_cast<cuuint64_t>(strides.head) * 2,
                               static_cast<cuuint64_t>(strides.batch) * 2};
  const cuuint32_t box[4] = {kPanel, static_cast<cuuint32_t>(rows), 1, 1}, every[4] = {1, 1, 1, 1};
  const auto type = std::is_same_v<T, Float16> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const CUresult status = encode(reinterpret_cast<CUtensorMap*>(&map), type, 4, const_cast<void*>(data), sizes, steps,
                                 box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw std::runtime_error("a tensor cannot be copied in boxes: driver error " +
                             std::to_string(static_cast<int>(status)));
  }
  return map;
}

}  // namespace pyprof::gpu

#include "gpu_hopper_products.h"

#else

#include "hopper_on_host.h"

#endif
