// Products of pairs of bfloat16 in vectors.
#pragma once

#include "window_attention/cpu_bfloat16.h"

namespace pyprof::window {
namespace {

// Two elements of each row at a time: rows of floats are those of pairs.
struct Pair {
  static constexpr int kRowLines = 2;
  static Vec::Reg add(Vec::Reg a, Vec::Reg b, Vec::Reg sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  // GCC 12 makes two instructions of the intrinsics.
  static Vec::Reg add_broadcast(const float* a, Vec::Reg b, Vec::Reg sum) {
    asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(b), "m"(*a));
    return sum;
  }
};

// to[r / 2][d] is the pair of rows r and r + 1, a row of zeros after the last of an odd number.
inline void pair_rows(const uint16_t* from, int64_t stride, int64_t rows, int64_t dim, float* to) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                       5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t r = 0; r < rows; r += 2, from += 2 * stride)
    for (int64_t d = 0; d < dim; d += 32, to += 32) {
      const __m512i first = load_row(from + d);
      const __m512i second = r + 1 < rows ? load_row(from + stride + d) : _mm512_setzero_si512();
      _mm512_storeu_si512(to, _mm512_permutex2var_epi16(first, low, second));
      _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi16(first, high, second));
    }
}

// The pairs of what lies in the lanes of two vectors.
inline Vec::Reg pairs_of(Vec::Reg first, Vec::Reg second) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
  return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, both));
}

// Rows as they are, as pairs, with zeros up to kSpare rows, which a product of scores reads at least.
inline void copy_pairs(const uint16_t* from, int64_t stride, int64_t rows, int64_t dim, float* to) {
  float* const least = to + kSpare * dim / 2;
  for (int64_t r = 0; r < rows; ++r, from += stride, to += dim / 2)
    for (int64_t d = 0; d < dim; d += 32) _mm512_storeu_si512(to + d / 2, load_row(from + d));
  for (; to < least; to += 16) Vec::store(to, Vec::set1(0));
}

}  // namespace
}  // namespace pyprof::window
