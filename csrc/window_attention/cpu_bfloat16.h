// bfloat16 with products of pairs: the same passes as in float32, with matrices as tiles of 16 rows of 32 elements.
// `Tiles`, which the including file defines, multiplies them: a left matrix of rows by a right one in which elements of
// two consecutive rows lie side by side ("pairs"), into float32.
//
// Scores are [key][16 queries] as in float32, so softmax is shared. Weights become pairs of keys where they lie, times
// values that are transposed when they are packed; the output of a strip comes out transposed.
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

// 32 rows, of which `rows` exist, as 16 rows of pairs: the right matrix of the gradients of keys and values.
inline void make_row_pairs(const uint16_t* from, int64_t stride, int64_t rows, int64_t dim, float* to) {
  for (int64_t r = 0; r < 32; r += 2)
    for (int64_t d = 0; d < dim; d += 16, to += 16) {
      const __m512i none = _mm512_setzero_si512();
      const __m512i first = r < rows ? widen(from + r * stride + d) : none;
      const __m512i second = r + 1 < rows ? widen(from + (r + 1) * stride + d) : none;
      _mm512_storeu_si512(to, pairs(first, second));
    }
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

// to[i][d] = scale[i] * columns[d][i] for the `rows` queries of a strip. Whether all columns are finite numbers, as
// `all_finite` says it.
inline bool store_transposed(const float* columns, int64_t dim, const float* scale, int64_t rows, uint16_t* to,
                             int64_t stride) {
  __m512 block[16], sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int64_t d = 0; d < dim; d += 16) {
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {
      block[k] = Vec::load(columns + (d + k) * kStrip);
      sums[k % 2] = Vec::add(sums[k % 2], block[k]);
    }
    Vec::transpose(block);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      if (i < rows)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i * stride + d),
                            narrow(Vec::mul(block[i], Vec::set1(scale[i]))));
  }
  return Vec::is_finite(Vec::add(sums[0], sums[1]));
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

struct TileForward final : ForwardSlice {
  uint16_t *rows, *columns;  // keys, and values transposed
  int64_t columns_stride;
  mutable RowsAhead ahead;

  TileForward(const Problem& p, const Forward& f, const Slice& s, void* memory)
      : ForwardSlice(p, f, s, memory),
        rows(reinterpret_cast<uint16_t*>(buffers.keys)),
        columns(reinterpret_cast<uint16_t*>(buffers.values)),
        columns_stride(chunk + 32),
        ahead(p.head_dim) {
    score_factor = exponent_factor(query_factor);
  }
  static float exponent_factor(float x) { return x < 0 ? -x : (x > 1e-30f ? x : 1e-30f); }

  const uint16_t* elements(const void* from, const Strides& strides, int64_t head, int64_t row) const {
    return static_cast<const uint16_t*>(input(from, strides, head, row));
  }

  void take_keys(int64_t begin, int64_t end) override {
    const int64_t head = slice.head / (problem.heads / problem.key_heads);
    base = begin;
    copy_rows(elements(problem.key, problem.key_strides, head, begin), problem.key_strides.row, end - begin, dims.dim,
              rows);
    transpose_rows(elements(problem.value, problem.value_strides, head, begin), problem.value_strides.row, end - begin,
                   dims.dim, columns, columns_stride);
  }

  void take_scores(const Strip* strips, int count) override {
    look_ahead(strips[0].first / kTile * kTile);
    for (int s = 0; s < count; ++s) {
      const Strip& strip = strips[s];
      make_lanes(elements(problem.query, problem.query_strides, slice.head, strip.first), problem.query_strides.row,
                 strip.rows, dims.dim, query_factor < 0, strip.lanes);
    }
    for (int s = 0; s < count; ++s)
      multiply_scores(rows + (strips[s].sight.begin - base) * dims.dim, dims.dim, strips[s].sight.count(),
                      strips[s].lanes, strips[s].scores, ahead);
  }

  // Queries and output of the tile after the one at `tile`, and as many keys and values of the next slice.
  void look_ahead(int64_t tile) const {
    ahead.clear();
    const Place next = tile_after(tile), keyed = slice.after;
    if (keyed.batch >= 0) {
      const Place key = keys_at(keyed, tile - slice.begin);
      ahead.add(input(problem.key, problem.key_strides, key), problem.key_strides.row);
      ahead.add(input(problem.value, problem.value_strides, key), problem.value_strides.row);
    }
    if (next.batch < 0) return;
    ahead.add(input(problem.query, problem.query_strides, next), problem.query_strides.row);
    ahead.add(input(forward.output, forward.output_strides, next), forward.output_strides.row);
  }

  // One kind of work for both strips before the next: tiles wait for what vectors have just stored.
  void multiply_values(const Strip* strips, int count, int64_t, int64_t) const override {
    for (int s = 0; s < count; ++s) make_weights(strips[s].scores, strips[s].sight.count());
    for (int s = 0; s < count; ++s) multiply_columns(strips[s]);
    for (int s = 0; s < count; ++s) store_output(strips[s]);
  }

  // The output of a strip, transposed, takes the place of its queries.
  void multiply_columns(const Strip& strip) const {
    const uint16_t* values_at = columns + strip.sight.begin - base;
    for (int64_t d = 0; d < dims.dim; d += 32) {
      ahead.fetch();
      const uint16_t* left = values_at + d * columns_stride;
      Tiles::multiply<true>({left, left + 16 * columns_stride, columns_stride * 2, 64, strip.scores, strip.scores,
                             kTile * 8, kTile * 4 * 32, round_up(strip.sight.count()) / 32, strip.lanes + d * kStrip,
                             strip.lanes + (d + 16) * kStrip, kStrip * 4, false});
    }
  }

  void store_output(const Strip& strip) const {
    float inverse[kStrip];
    for (int64_t r = 0; r < kStrip; ++r) inverse[r] = 1 / strip.sum[r];
    bool finite;
    if (strip.starts && strip.ends) {
      finite = store_transposed(strip.lanes, dims.dim, inverse, strip.rows, static_cast<uint16_t*>(output(strip.first)),
                                forward.output_strides.row);
    } else {
      float* to = buffers.output + (strip.first - slice.begin) * dims.padded;
      add_transposed(strip.lanes, dims.dim, strip.shrink, !strip.starts, to);
      if (!strip.ends) return;
      store_rows(problem.type, output(strip.first), forward.output_strides.row, strip.rows, dims, to, inverse, 1);
      finite = all_finite({to, dims.padded}, kStrip, dims.padded);
    }
    if (!finite) store_exactly(strip);
  }

  // Pairs of keys take the place of the first key's weights.
  static void make_weights(float* weights, int64_t count) {
    for (int64_t j = 0; j < round_up(count); j += 2) {
      float* row = weights + j * kTile;
      const auto first = j < count ? Vec::load(row) : Vec::set1(0);
      const auto second = j + 1 < count ? Vec::load(row + kTile) : Vec::set1(0);
      _mm512_storeu_si512(row, pairs(_mm512_cvtepu16_epi32(narrow(first)), _mm512_cvtepu16_epi32(narrow(second))));
    }
  }
};

struct TileBackward final : BackwardSweep {
  uint16_t *key_rows, *key_columns, *value_rows;
  int64_t columns_stride;
  float* columns;  // the gradients of a strip's queries, transposed
  mutable RowsAhead ahead;

  TileBackward(const Problem& p, const Backward& b, const Slice& s, void* memory, int64_t turn, int64_t turns)
      : BackwardSweep(p, b, s, memory, turn, turns),
        key_rows(reinterpret_cast<uint16_t*>(buffers.keys)),
        key_columns(key_rows + (plan.chunk + 32) * dims.dim),
        value_rows(reinterpret_cast<uint16_t*>(buffers.values)),
        columns_stride(plan.chunk + 32),
        columns(scratch.floats(kStrip * dims.padded)),
        ahead(p.head_dim) {
    score_factor = TileForward::exponent_factor(query_factor);
  }

  void take_keys(int64_t begin, int64_t end) override {
    base = begin;
    const auto *key = static_cast<const uint16_t*>(rows.key(begin)),
               *value = static_cast<const uint16_t*>(rows.value(begin));
    copy_rows(key, problem.key_strides.row, end - begin, dims.dim, key_rows);
    transpose_rows(key, problem.key_strides.row, end - begin, dims.dim, key_columns, columns_stride);
    copy_rows(value, problem.value_strides.row, end - begin, dims.dim, value_rows);
  }

  void take_queries(const QueryTile& tile, bool whole) override {
    const auto* query = static_cast<const uint16_t*>(rows.query(tile.head, tile.first));
    const auto* grad = static_cast<const uint16_t*>(rows.grad_output(tile.head, tile.first));
    const int64_t query_stride = problem.query_strides.row, grad_stride = rows.backward.grad_output_strides.row;
    statistics.take(rows, tile);
    if (!whole) {
      // Rows of float32 are wanted for this alone; then pairs take the place of one, and sums that of the other.
      load_rows(problem.type, grad, grad_stride, tile.rows, dims, buffers.grad);
      statistics.add_output_products(rows, tile, {buffers.grad, dims.padded}, buffers.grad_query);
    }
    for (int64_t first = 0; first < tile.rows; first += kStrip) {
      const int64_t start = first * dims.padded, some = smaller(kStrip, tile.rows - first);
      make_lanes(query + first * query_stride, query_stride, some, dims.dim, query_factor < 0,
                 buffers.query_lanes + start);
      make_lanes(grad + first * grad_stride, grad_stride, some, dims.dim, false, buffers.grad_lanes + start);
    }
    make_row_pairs(query, query_stride, tile.rows, dims.dim, buffers.query);
    make_row_pairs(grad, grad_stride, tile.rows, dims.dim, buffers.grad);
  }

  // Queries and what belongs to them of the next tile, keys and values of the block whose turn is next, and where the
  // gradients of keys go that are finished when it begins.
  void look_ahead(const QueryTile& tile) const {
    const Backward& backward = rows.backward;
    const QueryTile next = next_tile(tile);
    const Next turn = next_turn();
    const int64_t place = turn.block + (tile.first - block), key = place + dims.right;
    const int64_t done = larger(slice.begin, place - plan.block - dims.left);
    ahead.clear();
    ahead.add(rows.key(key, turn.on), problem.key_strides.row);
    ahead.add(rows.value(key, turn.on), problem.value_strides.row);
    ahead.add(rows.query(next.head, next.first), problem.query_strides.row);
    ahead.add(rows.grad_output(next.head, next.first), backward.grad_output_strides.row);
    ahead.add(rows.grad_query(next.head, next.first), backward.grad_query_strides.row);
    ahead.add(rows.grad_key(done, turn.on), backward.grad_key_strides.row);
    ahead.add(rows.grad_value(done, turn.on), backward.grad_value_strides.row);
  }

  void take_scores(const Part& part, const Scores* weights, const Scores* grads, int strips) override {
    look_ahead(part.tile);
    for (int s = 0; s < strips; ++s) {
      const int64_t from = weights[s].begin * dims.dim, count = weights[s].end - weights[s].begin;
      multiply_scores(key_rows + from, dims.dim, count, weights[s].lanes, weights[s].to, ahead);
      multiply_scores(value_rows + from, dims.dim, count, grads[s].lanes, grads[s].to, ahead);
    }
  }

  void give_grads(const Part& part, const Sight* sights, int strips) override {
    // Blocks of 16 keys can begin at any key, so that zeros must follow the last one.
    const int64_t count = part.end - part.begin, extent = round_up(count + 15);
    for (int s = 0; s < 2; ++s) {
      const int64_t from = s < strips ? sights[s].begin - part.begin : count;
      clear_rows(s, 0, from);
      clear_rows(s, s < strips ? sights[s].end - part.begin : count, extent);
    }
    narrow_scores(extent);
    for (int s = 0; s < strips && part.for_queries; ++s) add_to_queries(part, s);
    if (part.for_keys) add_to_keys(part, larger(part.begin, slice.begin), smaller(part.end, slice.end));
  }

  void add_to_queries(const Part& part, int strip) const {
    const float* right = buffers.grads + strip * kTile + kTile / 2;
    for (int64_t d = 0; d < dims.dim; d += 32) {
      ahead.fetch();
      const uint16_t* block = key_columns + d * columns_stride + part.begin - base;
      Tiles::multiply<true>({block, block + 16 * columns_stride, columns_stride * 2, 64, right, right, kTile * 8,
                             kTile * 4 * 32, round_up(part.end - part.begin) / 32, columns + d * kStrip,
                             columns + (d + 16) * kStrip, kStrip * 4, false});
    }
    add_transposed(columns, dims.dim, kOnes, part.begin > rows.first_key_of(part.tile),
                   buffers.grad_query + strip * kStrip * dims.padded);
  }

  void add_to_keys(const Part& part, int64_t first, int64_t end) const {
    for (int64_t j = first; j < end; j += 16) {
      ahead.fetch();
      const int64_t weight = (j - part.begin) * kTile;
      multiply_rows(buffers.weights + weight, buffers.grad, key_sums.values(j).data);
      multiply_rows(buffers.grads + weight, buffers.query, key_sums.keys(j).data);
    }
  }

  void clear_rows(int strip, int64_t from, int64_t to) const {
    for (int64_t j = from; j < to; ++j) {
      Vec::store(buffers.weights + j * kTile + strip * kStrip, Vec::set1(0));
      Vec::store(buffers.grads + j * kTile + strip * kStrip, Vec::set1(0));
    }
  }

  // In place: the first half of a row becomes the key's 32 weights, and its 32 scores' gradients. The second half, of
  // the latter, becomes pairs of keys: of the first strip in even rows, of the second in odd ones.
  void narrow_scores(int64_t count) const {
    const auto scale = Vec::set1(static_cast<float>(problem.scale));
    for (int64_t j = 0; j < count; j += 2) {
      for (int64_t row = j; row < j + 2; ++row) {
        float* weight = buffers.weights + row * kTile;
        const __m256i low = narrow(Vec::load(weight)), high = narrow(Vec::load(weight + kStrip));
        _mm512_storeu_si512(weight, _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
      }
      float *even = buffers.grads + j * kTile, *odd = even + kTile;
      const __m256i a = narrow(Vec::mul(scale, Vec::load(even))), b = narrow(Vec::mul(scale, Vec::load(even + kStrip)));
      const __m256i c = narrow(Vec::mul(scale, Vec::load(odd))), d = narrow(Vec::mul(scale, Vec::load(odd + kStrip)));
      _mm512_storeu_si512(even, _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1));
      _mm512_storeu_si512(even + kStrip, pairs(_mm512_cvtepu16_epi32(a), _mm512_cvtepu16_epi32(c)));
      _mm512_storeu_si512(odd, _mm512_inserti64x4(_mm512_castsi256_si512(c), d, 1));
      _mm512_storeu_si512(odd + kStrip, pairs(_mm512_cvtepu16_epi32(b), _mm512_cvtepu16_epi32(d)));
    }
  }

  // to[16 keys][:] += weights of 32 queries times their rows.
  void multiply_rows(const float* weights, const float* row_pairs, float* to) const {
    for (int64_t d = 0; d < dims.dim; d += 32)
      Tiles::multiply<false>({weights, weights, kTile * 4, 0, row_pairs + d, row_pairs + d + 16, dims.dim * 4, 0, 1,
                              to + d, to + d + 16, dims.dim * 4, true});
  }
};

inline void tile_forward(const Problem& problem, const Forward& forward, const Slice& slice, void* scratch) {
  if (!has_tiles(problem)) return forward_slice(problem, forward, slice, scratch);
  const Tiles tiles;
  TileForward(problem, forward, slice, scratch).run();
}

inline void tile_backward(const Problem& problem, const Backward& backward, const Slice& slice, void* scratch) {
  if (!has_tiles(problem)) return backward_slice(problem, backward, slice, scratch);
  const Tiles tiles;
  sweep_in_turns<TileBackward>(problem, backward, slice, scratch);
}

inline size_t tile_backward_scratch(const Problem& problem) {
  return backward_scratch(problem) + kStrip * 4 * static_cast<size_t>(problem.head_dim + 16);
}

}  // namespace
}  // namespace pyprof::window
