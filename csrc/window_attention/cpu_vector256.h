// Vectors of 8 floats, for AVX2 with FMA.
#pragma once

#include "window_attention/cpu_convert8.h"

namespace pyprof::window {
namespace {

struct Vec {
  using Reg = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kScoreRows = 6, kScoreTail = 6;  // with two vectors of lanes each: 12 sums of 16 registers
  static constexpr int kProductColumns = 2;             // of 6 rows: 12 sums

  static Reg load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Reg x) { _mm256_storeu_ps(to, x); }
  static Reg set1(float x) { return _mm256_set1_ps(x); }
  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  // `rest` where x is not a number.
  static Reg max(Reg x, Reg rest) { return _mm256_max_ps(x, rest); }
  static Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }

  // Every lane: what is finite, less itself, is 0; what is not is NaN.
  static bool is_finite(Reg x) { return _mm256_movemask_ps(_mm256_cmp_ps(sub(x, x), set1(0), _CMP_EQ_OQ)) == 0xff; }

  static Reg visible(Reg j, Reg first, Reg end, Reg x, Reg other) {
    const Reg from = _mm256_cmp_ps(first, j, _CMP_LE_OQ), to = _mm256_cmp_ps(j, end, _CMP_LT_OQ);
    return _mm256_blendv_ps(other, x, _mm256_and_ps(from, to));
  }

  // 2^x for x <= 127, with 0 for x < -126: a polynomial for the fraction in [-1/2, 1/2], then the exponent's bits. Not
  // 2^-126 there: its products with values are denormal, and sums that begin with those take a hundred times as long.
  static Reg exp2(Reg x) {
    const Reg small = _mm256_cmp_ps(x, set1(-126), _CMP_LT_OQ);
    x = _mm256_max_ps(set1(-126), x);
    const Reg magic = set1(12582912);  // 1.5 * 2^23: adding it rounds to an integer
    const Reg rounded = add(x, magic), f = sub(x, sub(rounded, magic));
    Reg p = set1(kPolynomial[6]);
#pragma GCC unroll 6
    for (int k = 5; k >= 0; --k) p = fma(p, f, set1(kPolynomial[k]));
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(rounded), 23);
    const Reg power = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
    return fma(x, set1(0), _mm256_andnot_ps(small, power));  // NaN stays NaN, whose bits an exponent would change
  }

  // Minimax over [-1/2, 1/2], by the exchange algorithm.
  static constexpr float kPolynomial[7] = {1.0f,           0.693147182f,   0.240226462f,   0.0555032864f,
                                           0.00961848907f, 0.00133999309f, 0.000153458124f};

  static Reg log2(Reg x) {
    alignas(32) float lanes[kLanes];
    _mm256_store_ps(lanes, x);
    for (float& lane : lanes) lane = __builtin_log2f(lane);
    return _mm256_load_ps(lanes);
  }

  static Reg low_pair(Reg a, Reg b) {
    return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
  }
  static Reg high_pair(Reg a, Reg b) {
    return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
  }

  // Rows become columns: by pairs, by fours, then by halves of a vector.
  static void transpose(Reg (&rows)[8]) {
    Reg pairs[8], fours[8];
#pragma GCC unroll 4
    for (int r = 0; r < 8; r += 2) {
      pairs[r] = _mm256_unpacklo_ps(rows[r], rows[r + 1]);
      pairs[r + 1] = _mm256_unpackhi_ps(rows[r], rows[r + 1]);
    }
#pragma GCC unroll 2
    for (int r = 0; r < 8; r += 4) {
      fours[r] = low_pair(pairs[r], pairs[r + 2]);
      fours[r + 1] = high_pair(pairs[r], pairs[r + 2]);
      fours[r + 2] = low_pair(pairs[r + 1], pairs[r + 3]);
      fours[r + 3] = high_pair(pairs[r + 1], pairs[r + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      rows[c] = _mm256_permute2f128_ps(fours[c], fours[4 + c], 0x20);
      rows[4 + c] = _mm256_permute2f128_ps(fours[c], fours[4 + c], 0x31);
    }
  }
};

}  // namespace
}  // namespace pyprof::window
