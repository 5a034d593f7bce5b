// Eight elements from memory to float32 and back, with AVX2 and F16C, which every x86 file but the portable one has.
#pragma once

namespace pyprof::window {
namespace {

inline void load8(const float* from, float* to) { _mm256_storeu_ps(to, _mm256_loadu_ps(from)); }

inline void load8_bfloat16(const uint16_t* from, float* to) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  _mm256_storeu_ps(to, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
}

inline void load8_float16(const uint16_t* from, float* to) {
  _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

inline __m256 scaled8(const float* from, float scale) {
  return _mm256_mul_ps(_mm256_loadu_ps(from), _mm256_set1_ps(scale));
}

inline void store8(const float* from, float scale, float* to) { _mm256_storeu_ps(to, scaled8(from, scale)); }

// Rounds to nearest, ties to even; a NaN stays one. The file says whether its instruction set has instructions for it,
// since GCC 12 does not define the macros of a target that a pragma sets.
#ifdef PYPROF_BFLOAT16_INSTRUCTIONS
inline void store8_bfloat16(const float* from, float scale, uint16_t* to) {
  const __m128i packed = reinterpret_cast<__m128i>(_mm256_cvtneps_pbh(scaled8(from, scale)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed);
}
#else
inline void store8_bfloat16(const float* from, float scale, uint16_t* to) {
  const __m256 value = scaled8(from, scale);
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000), nan), 16);
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed);
}
#endif

inline void store8_float16(const float* from, float scale, uint16_t* to) {
  const __m128i half = _mm256_cvtps_ph(scaled8(from, scale), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), half);
}

}  // namespace
}  // namespace pyprof::window
