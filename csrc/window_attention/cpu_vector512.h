// Vectors of 16 floats, for AVX-512.
#pragma once

#include "window_attention/cpu_convert8.h"

namespace pyprof::window {
namespace {

struct Vec {
  using Reg = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kScoreRows = 24, kScoreTail = 8;  // with one vector of lanes each: 24 sums of 32 registers
  static constexpr int kProductColumns = 4;              // of 6 rows: 24 sums

  static Reg load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Reg x) { _mm512_storeu_ps(to, x); }
  static Reg load_bfloat16(const uint16_t* from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(from)), 16));
  }
  static Reg load_float16(const uint16_t* from) { return _mm512_cvtph_ps(load_halves(from)); }
  static __m256i load_halves(const uint16_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  // To nearest, ties to even; a NaN stays one.
  static void store_bfloat16(uint16_t* to, Reg x) {
#ifdef PYPROF_BFLOAT16_INSTRUCTIONS
    const auto halves = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
#else
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i whole = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc00000));
    const __m256i halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32(whole, 16));
#endif
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), halves);
  }
  static void store_float16(uint16_t* to, Reg x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static Reg set1(float x) { return _mm512_set1_ps(x); }
  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  // `rest` where x is not a number.
  static Reg max(Reg x, Reg rest) { return _mm512_max_ps(x, rest); }

  static Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }

  // Every lane: none is of the classes of NaN, quiet or signalling, and of both infinities.
  static bool is_finite(Reg x) { return _mm512_fpclass_ps_mask(x, 0x99) == 0; }

  static Reg visible(Reg j, Reg first, Reg end, Reg x, Reg other) {
    const __mmask16 from = _mm512_cmp_ps_mask(first, j, _CMP_LE_OQ);
    return _mm512_mask_blend_ps(_mm512_mask_cmp_ps_mask(from, j, end, _CMP_LT_OQ), other, x);
  }

  // 2^x, relative error below 1e-7: a polynomial for the fraction in [0, 1), then the exponent.
  static Reg exp2(Reg x) {
    const Reg f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    Reg p = set1(kPolynomial[6]);
#pragma GCC unroll 6
    for (int k = 5; k >= 0; --k) p = fma(p, f, set1(kPolynomial[k]));
    return _mm512_scalef_ps(p, x);
  }

  // Minimax over [0, 1), by the exchange algorithm.
  static constexpr float kPolynomial[7] = {1.0f,           0.693147004f,   0.24022983f,    0.0554833412f,
                                           0.00967884064f, 0.00124396873f, 0.000217022549f};

  // Of normal positive numbers: with t = (m - 1) / (m + 1), log(m) = 2 (t + t^3/3 + t^5/5 + ...) for m in [3/4, 3/2).
  static Reg log2(Reg x) {
    const Reg m = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src), one = set1(1);
    const Reg e = _mm512_sub_ps(_mm512_getexp_ps(x), _mm512_getexp_ps(m));
    const Reg t = _mm512_div_ps(sub(m, one), add(m, one)), square = mul(t, t);
    Reg p = set1(1.0f / 9);
    p = fma(p, square, set1(1.0f / 7));
    p = fma(p, square, set1(1.0f / 5));
    p = fma(p, square, set1(1.0f / 3));
    p = fma(p, square, one);
    return fma(mul(t, p), set1(2.88539008f), e);
  }

  static Reg low_pair(Reg a, Reg b) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  }
  static Reg high_pair(Reg a, Reg b) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  }

  // Rows become columns: by pairs, by fours, then by quarters of a vector.
  static void transpose(Reg (&rows)[16]) {
    Reg pairs[16], fours[16];
#pragma GCC unroll 8
    for (int r = 0; r < 16; r += 2) {
      pairs[r] = _mm512_unpacklo_ps(rows[r], rows[r + 1]);
      pairs[r + 1] = _mm512_unpackhi_ps(rows[r], rows[r + 1]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 16; r += 4) {
      fours[r] = low_pair(pairs[r], pairs[r + 2]);
      fours[r + 1] = high_pair(pairs[r], pairs[r + 2]);
      fours[r + 2] = low_pair(pairs[r + 1], pairs[r + 3]);
      fours[r + 3] = high_pair(pairs[r + 1], pairs[r + 3]);
    }
    // fours[4 a + c] holds, in quarter b, column 4 b + c of rows 4 a to 4 a + 3.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const Reg x = _mm512_shuffle_f32x4(fours[c], fours[4 + c], 0x88);
      const Reg y = _mm512_shuffle_f32x4(fours[c], fours[4 + c], 0xdd);
      const Reg z = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], 0x88);
      const Reg w = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], 0xdd);
      rows[c] = _mm512_shuffle_f32x4(x, z, 0x88);
      rows[8 + c] = _mm512_shuffle_f32x4(x, z, 0xdd);
      rows[4 + c] = _mm512_shuffle_f32x4(y, w, 0x88);
      rows[12 + c] = _mm512_shuffle_f32x4(y, w, 0xdd);
    }
  }
};

}  // namespace
}  // namespace pyprof::window
