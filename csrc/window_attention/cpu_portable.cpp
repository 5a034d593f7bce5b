// The host kernels for any CPU, with the compiler's own vectors.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "window_attention/cpu_kernels.h"

namespace pyprof::window {
namespace {

struct Vec {
  using Reg = float __attribute__((vector_size(16)));
  using Bits = int32_t __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;
  static constexpr int kScoreRows = 2, kScoreTail = 2;  // with four vectors of lanes each: 8 sums of 16 registers
  static constexpr int kProductColumns = 2;

  static Reg load(const float* from) {
    Reg x;
    std::memcpy(&x, from, sizeof x);
    return x;
  }
  static void store(float* to, Reg x) { std::memcpy(to, &x, sizeof x); }
  static Reg set1(float x) { return Reg{x, x, x, x}; }
  static Reg add(Reg a, Reg b) { return a + b; }
  static Reg sub(Reg a, Reg b) { return a - b; }
  static Reg mul(Reg a, Reg b) { return a * b; }
  static Reg div(Reg a, Reg b) { return a / b; }
  static Reg fma(Reg a, Reg b, Reg c) { return a * b + c; }
  // `rest` where x is not a number.
  static Reg max(Reg x, Reg rest) { return x > rest ? x : rest; }
  static Reg min(Reg a, Reg b) { return a < b ? a : b; }
  // Every lane: what is finite, less itself, is 0; what is not is NaN.
  static bool is_finite(Reg x) {
    const Reg zeros = x - x;
    bool finite = true;
    for (int lane = 0; lane < kLanes; ++lane) finite = finite && zeros[lane] == 0;
    return finite;
  }
  static Reg visible(Reg j, Reg first, Reg end, Reg x, Reg other) {
    return static_cast<Bits>(static_cast<Bits>(first <= j) & static_cast<Bits>(j < end)) ? x : other;
  }

  // 2^x for x <= 127, with 0 for x < -126: a polynomial for the fraction in [-1/2, 1/2], then the exponent's bits. Not
  // 2^-126 there: its products with values are denormal, and sums that begin with those take a hundred times as long.
  static Reg exp2(Reg x) {
    const Reg least = set1(-126), magic = set1(12582912);  // 1.5 * 2^23: adding it rounds to an integer
    const Bits small = x < least;
    x = small ? least : x;
    const Reg rounded = x + magic, f = x - (rounded - magic);
    Reg p = set1(kPolynomial[6]);
    for (int k = 5; k >= 0; --k) p = p * f + set1(kPolynomial[k]);
    const Bits power = ~small & (reinterpret_cast<Bits>(p) + (reinterpret_cast<Bits>(rounded) << 23));
    return reinterpret_cast<Reg>(power) + x * set1(0);  // NaN stays NaN, whose bits an exponent would change
  }

  // Minimax over [-1/2, 1/2], by the exchange algorithm.
  static constexpr float kPolynomial[7] = {1.0f,           0.693147182f,   0.240226462f,   0.0555032864f,
                                           0.00961848907f, 0.00133999309f, 0.000153458124f};

  static Reg log2(Reg x) {
    for (int lane = 0; lane < kLanes; ++lane) x[lane] = std::log2(x[lane]);
    return x;
  }

  static void transpose(Reg (&rows)[4]) {
    const Reg a = rows[0], b = rows[1], c = rows[2], d = rows[3];
    for (int r = 0; r < 4; ++r) rows[r] = Reg{a[r], b[r], c[r], d[r]};
  }
};

void load8(const float* from, float* to) { std::memcpy(to, from, 32); }
void store8(const float* from, float scale, float* to) {
  for (int k = 0; k < 8; ++k) to[k] = from[k] * scale;
}

template <class Element>
void widen8(const uint16_t* from, float* to) {
  for (int k = 0; k < 8; ++k) to[k] = static_cast<float>(Element(from[k], Element::from_bits()));
}
template <class Element>
void narrow8(const float* from, float scale, uint16_t* to) {
  for (int k = 0; k < 8; ++k) to[k] = Element(from[k] * scale).x;
}
void load8_bfloat16(const uint16_t* from, float* to) { widen8<c10::BFloat16>(from, to); }
void load8_float16(const uint16_t* from, float* to) { widen8<c10::Half>(from, to); }
void store8_bfloat16(const float* from, float scale, uint16_t* to) { narrow8<c10::BFloat16>(from, scale, to); }
void store8_float16(const float* from, float scale, uint16_t* to) { narrow8<c10::Half>(from, scale, to); }

}  // namespace
}  // namespace pyprof::window

#include "window_attention/cpu_backward.h"
#include "window_attention/cpu_forward.h"
#include "window_attention/cpu_global.h"
#include "window_attention/cpu_global_rows.h"

namespace pyprof::window {
const Kernels portable_kernels{"portable",          forward_slice,        backward_slice,     join_global_keys,
                               add_global_keys,     forward_scratch,      backward_scratch,   global_scratch,
                               global_rows_forward, global_rows_backward, global_rows_scratch};
}
