// The instruction wgmma.mma_async of every shape that the kernels use; its operands have to be written one by one.
// Included by gpu_hopper.h, with nvcc.
#pragma once

#include <type_traits>

namespace pyprof::gpu {

#define PYPROF_D8(i)                                                                                          \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define PYPROF_D16 PYPROF_D8(0), PYPROF_D8(8)
#define PYPROF_D32 PYPROF_D16, PYPROF_D8(16), PYPROF_D8(24)
#define PYPROF_D48 PYPROF_D32, PYPROF_D8(32), PYPROF_D8(40)
#define PYPROF_D64 PYPROF_D48, PYPROF_D8(48), PYPROF_D8(56)

#define PYPROF_R16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define PYPROF_R32 \
  PYPROF_R16       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PYPROF_R48 \
  PYPROF_R32       \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define PYPROF_R64 \
  PYPROF_R48       \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// `a` is a descriptor: registers, then a, b, whether to add, and how each is contracted.
#define PYPROF_PRODUCT_SHARED(type, n, count, place_a, place_b, place_add, flip_a, flip_b)                            \
  asm volatile(                                                                                                       \
      "{\n.reg .pred adds;\nsetp.ne.b32 adds, " place_add ", 0;\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32." type \
      "." type " {" PYPROF_R##count "}, " place_a ", " place_b ", adds, 1, 1, " flip_a ", " flip_b ";\n}\n"           \
      : PYPROF_D##count                                                                                               \
      : "l"(a.descriptor), "l"(b.descriptor), "r"(static_cast<int>(add)), "n"(int(!kARows)), "n"(int(!kBRows)))

// `a` is four registers.
#define PYPROF_PRODUCT_KEPT(type, n, count, places_a, place_b, place_add, flip_b)                                     \
  asm volatile(                                                                                                       \
      "{\n.reg .pred adds;\nsetp.ne.b32 adds, " place_add ", 0;\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32." type \
      "." type " {" PYPROF_R##count "}, {" places_a "}, " place_b ", adds, 1, 1, " flip_b ";\n}\n"                    \
      : PYPROF_D##count                                                                                               \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor), "r"(static_cast<int>(add)), "n"(int(!kBRows)))

#define PYPROF_PRODUCT_OF_TYPE(PRODUCT, ...)  \
  if constexpr (std::is_same_v<T, Float16>) { \
    PRODUCT("f16", __VA_ARGS__);              \
  } else {                                    \
    PRODUCT("bf16", __VA_ARGS__);             \
  }

template <class T, int N, bool kARows, bool kBRows>
PYPROF_DEVICE void product(float (&d)[N / 2], const Operand<kARows>& a, const Operand<kBRows>& b, bool add) {
  static_assert(N == 32 || N == 64 || N == 96 || N == 128);
  if constexpr (N == 32) {
    PYPROF_PRODUCT_OF_TYPE(PYPROF_PRODUCT_SHARED, "32", 16, "%16", "%17", "%18", "%19", "%20")
  } else if constexpr (N == 64) {
    PYPROF_PRODUCT_OF_TYPE(PYPROF_PRODUCT_SHARED, "64", 32, "%32", "%33", "%34", "%35", "%36")
  } else if constexpr (N == 96) {
    PYPROF_PRODUCT_OF_TYPE(PYPROF_PRODUCT_SHARED, "96", 48, "%48", "%49", "%50", "%51", "%52")
  } else {
    PYPROF_PRODUCT_OF_TYPE(PYPROF_PRODUCT_SHARED, "128", 64, "%64", "%65", "%66", "%67", "%68")
  }
}

template <class T, int N, bool kBRows>
PYPROF_DEVICE void product(float (&d)[N / 2], const uint32_t (&a)[4], const Operand<kBRows>& b, bool add) {
  static_assert(N == 64 || N == 96 || N == 128);
  if constexpr (N == 64) {
    PYPROF_PRODUCT_OF_TYPE(PYPROF_PRODUCT_KEPT, "64", 32, "%32, %33, %34, %35", "%36", "%37", "%38")
  } else if constexpr (N == 96) {
    PYPROF_PRODUCT_OF_TYPE(PYPROF_PRODUCT_KEPT, "96", 48, "%48, %49, %50, %51", "%52", "%53", "%54")
  } else {
    PYPROF_PRODUCT_OF_TYPE(PYPROF_PRODUCT_KEPT, "128", 64, "%64, %65, %66, %67", "%68", "%69", "%70")
  }
}

}  // namespace pyprof::gpu
