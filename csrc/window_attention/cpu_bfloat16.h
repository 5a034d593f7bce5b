// What the passes in bfloat16 have in common. Their products are of pairs: two elements of a left row times two of a
// right one, added to float32. Scores are [key][16 queries] as in float32, so softmax is shared.
//
// Products of tiles (cpu_tiles_*.h) have matrices of 16 rows of 32 elements, which `Tiles`, defined by the including
// file, multiplies: a left matrix of rows by a right one in which elements of two consecutive rows lie side by side.
// Products of vectors (cpu_pairs_*.h) are those of float32 with sums that take a pair at a time.
#pragma once

#include "window_attention/cpu_backward.h"
#include "window_attention/cpu_forward.h"

namespace pyprof::window {
namespace {

inline bool has_tiles(const Problem& p) { return p.type == Type::bfloat16 && p.head_dim % 32 == 0; }
inline int64_t round_up(int64_t n) { return (n + 31) / 32 * 32; }

inline __m512i load_row(const void* from) { return _mm512_loadu_si512(from); }
inline __m512i widen(const void* from) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
}
// Elements of `first` in the low halves, of `second` in the high ones.
inline __m512i pairs(__m512i first, __m512i second) { return _mm512_or_si512(first, _mm512_slli_epi32(second, 16)); }
inline __m256i narrow(__m512 x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }

// Softmax's factor where the sign of `x` is in the queries: no zero, by which masked scores would be no numbers.
inline float exponent_factor(float x) { return x < 0 ? -x : (x > 1e-30f ? x : 1e-30f); }

// 16 rows of 32 elements, of which `rows` exist, to 16 rows of pairs of columns: to[d / 2][row].
inline void transpose_pairs(const uint16_t* from, int64_t stride, int64_t rows, __m512 (&block)[16]) {
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r)
    block[r] = r < rows ? _mm512_castsi512_ps(load_row(from + r * stride)) : _mm512_setzero_ps();
  Vec::transpose(block);
}

// A strip's rows as the right matrix of scores; `flip` changes their signs.
inline void make_lanes(const uint16_t* from, int64_t stride, int64_t rows, int64_t dim, bool flip, float* to) {
  const __m512i sign = _mm512_set1_epi32(flip ? static_cast<int>(0x80008000u) : 0);
  __m512 block[16];
  for (int64_t d = 0; d < dim; d += 32, to += 16 * 16) {
    transpose_pairs(from + d, stride, rows, block);
    for (int r = 0; r < 16; ++r)
      _mm512_storeu_si512(to + r * 16, _mm512_xor_si512(sign, _mm512_castps_si512(block[r])));
  }
}

// Rows as they are, with zeros up to 32 more.
inline void copy_rows(const uint16_t* from, int64_t stride, int64_t rows, int64_t dim, uint16_t* to) {
  for (int64_t r = 0; r < rows + 32; ++r, to += dim)
    for (int64_t d = 0; d < dim; d += 32)
      _mm512_storeu_si512(to + d, r < rows ? load_row(from + r * stride + d) : _mm512_setzero_si512());
}

// to[d][row], with zeros for up to 32 more rows.
inline void transpose_rows(const uint16_t* from, int64_t stride, int64_t rows, int64_t dim, uint16_t* to,
                           int64_t to_stride) {
  __m512 block[16];
  for (int64_t r = 0; r < round_up(rows); r += 16)
    for (int64_t d = 0; d < dim; d += 32) {
      transpose_pairs(from + r * stride + d, stride, rows - r, block);
      uint16_t* column = to + d * to_stride + r;
      for (int k = 0; k < 16; ++k, column += 2 * to_stride) {
        const __m512i pair = _mm512_castps_si512(block[k]);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(column), _mm512_cvtepi32_epi16(pair));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(column + to_stride),
                            _mm512_cvtepi32_epi16(_mm512_srli_epi32(pair, 16)));
      }
    }
  for (int64_t d = 0; d < dim; ++d) _mm512_storeu_si512(to + d * to_stride + round_up(rows), _mm512_setzero_si512());
}

// rows[i][d] = (add ? keep[i] * rows[i][d] : 0) + columns[d][i] for a strip.
inline void add_transposed(const float* columns, int64_t dim, const float* keep, bool add, float* rows) {
  __m512 block[16];
  for (int64_t d = 0; d < dim; d += 16) {
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) block[k] = Vec::load(columns + (d + k) * kStrip);
    Vec::transpose(block);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      float* row = rows + i * dim + d;
      Vec::store(row, add ? Vec::fma(Vec::load(row), Vec::set1(keep[i]), block[i]) : block[i]);
    }
  }
}

// Rows that later tiles will want, asked for a few at a time in between the products of this one: there is so little to
// compute for a byte that memory would be waited for. They may lie past the end of a tensor: asking does no harm.
class RowsAhead {
 public:
  explicit RowsAhead(int64_t dim) : lines_((dim * 2 + 63) / 64) {}
  void clear() { piece_ = count_ = 0; }
  // `stride` in elements.
  void add(const void* from, int64_t stride) {
    pieces_[count_++] = {static_cast<const char*>(from), stride * 2, kTile};
  }
  void fetch() {
    for (int row = 0; row < kFetched && piece_ < count_; ++row) {
      Piece& piece = pieces_[piece_];
      for (int64_t line = 0; line < lines_; ++line) Lead::fetch(piece.at + line * 64);
      piece.at += piece.stride;
      if (--piece.rows == 0) ++piece_;
    }
  }

 private:
  static constexpr int kFetched = 16;  // at a time: so many lines can be on their way
  struct Piece {
    const char* at;
    int64_t stride, rows;
  };
  Piece pieces_[7];
  int piece_ = 0, count_ = 0;
  const int64_t lines_;
};

inline void multiply_scores(const uint16_t* rows, int64_t dim, int64_t count, const float* lanes, float* to,
                            RowsAhead& ahead) {
  for (int64_t j = 0; j < count; j += 32) {
    ahead.fetch();
    const uint16_t* block = rows + j * dim;
    Tiles::multiply<true>({block, block + 16 * dim, dim * 2, 64, lanes, lanes, 64, 1024, dim / 32, to + j * kTile,
                           to + (j + 16) * kTile, kTile * 4, false});
  }
}

}  // namespace
}  // namespace pyprof::window
