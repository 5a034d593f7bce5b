// The products of a tile, in registers: scores, weights times rows, and which keys a query sees.
//
// A tile is two strips of 16 queries, which lie in the lanes: scores are [key][32], so that maximum, sum and masks are
// vertical. A strip has its own range of keys, which wastes less of a narrow window than the tile's. Inside, a head's
// dimension is padded with zeros to a multiple of 16 (`Dims::padded`) and everything is float32.
#pragma once

#include "window_attention/cpu_exact.h"

namespace pyprof::window {
namespace {

// What a sum takes from each row at a time: one element in float32.
struct Single {
  static constexpr int kRowLines = 4;  // cache lines of 64 elements
  static Vec::Reg add(Vec::Reg a, Vec::Reg b, Vec::Reg sum) { return Vec::fma(a, b, sum); }
  // The same with what is at `a` in all lanes.
  static Vec::Reg add_broadcast(const float* a, Vec::Reg b, Vec::Reg sum) { return Vec::fma(Vec::set1(*a), b, sum); }
};

// to[d][i] = scale * from[i][d] for the 16 queries i of a strip; those from `rows` on are zeros.
inline void transpose_strip(const Rows& from, int64_t rows, int64_t padded, float scale, float* to) {
  const auto factor = Vec::set1(scale);
  for (int group = 0; group < kGroups; ++group) {
    for (int64_t d = 0; d < padded; d += kLanes) {
      Vec::Reg block[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        const int64_t i = group * kLanes + r;
        block[r] = i < rows ? Vec::mul(factor, Vec::load(from.row(i) + d)) : Vec::set1(0);
      }
      Vec::transpose(block);
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) Vec::store(to + (d + r) * kStrip + group * kLanes, block[r]);
    }
  }
}

// Rows that the next tile will want, asked for one cache line at a time from inside the products of this one: a tile of
// a narrow window is done sooner than its memory comes, and its rows begin new pages, at which hardware stops looking
// ahead.
class Lead {
 public:
  // 16 rows of 64 elements.
  struct Piece {
    const char* at;
    int64_t stride;  // in bytes
    template <class Term>
    void fetch(int64_t line) const {
      Lead::fetch(at + line / Term::kRowLines * stride + line % Term::kRowLines * 64);
    }
  };

  // 16 rows of 64 elements from `from` on, and the 16 after them. They may lie past the end of a tensor: asking for
  // them does no harm.
  void add(const void* from, int64_t stride, int64_t element_bytes = 4) {
    stride *= element_bytes;
    pieces_[count_++] = {static_cast<const char*>(from), stride};
    pieces_[count_++] = {static_cast<const char*>(from) + kStrip * stride, stride};
  }
  void clear() { at_ = count_ = 0; }
  bool any() const { return at_ < count_; }
  // The next 16 rows; `other`, which are at hand, where none are left.
  Piece take(const float* other) {
    return any() ? pieces_[at_++] : Piece{reinterpret_cast<const char*>(other), 64 * 4};
  }
  static void fetch(const char* address) { __builtin_prefetch(address, 0, 2); }

 private:
  Piece pieces_[14];  // of the backward pass, which has the most tensors: two of each of seven
  unsigned at_ = 0, count_ = 0;
};

// to[r][lane] = sum over d of from[r][d] * lanes[d][lane], for R rows: the lanes' vectors are shared by the rows, of
// which each element is broadcast. Rows lie `width` apart; a constant kWidth saves index registers, without which an
// instruction that loads and multiplies stays one in the pipeline. Three rows share a pointer otherwise.
template <class Term, int R, int64_t kWidth>
[[gnu::noinline]] void scores_block(const float* from, int64_t width, const float* lanes, float* to, Lead::Piece lead) {
  const int64_t stride = kWidth ? kWidth : width;
  constexpr int kShared = kWidth ? R : (R % 3 == 0 ? 3 : 2);
  constexpr int64_t kPart = 64;
  static_assert(kWidth <= kPart);
  Vec::Reg sums[R][kGroups];
  const float* row[R / kShared];
#pragma GCC unroll 24
  for (int r = 0; r < R / kShared; ++r) row[r] = from + r * kShared * stride;
  // In parts, since what a sum of many terms loses to rounding grows with how large it has become.
  for (int64_t part = 0; part < stride; part += kPart) {
    const int64_t terms = kWidth ? kWidth : smaller(kPart, stride - part);
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) sums[r][g] = Vec::set1(0);
#pragma GCC unroll 4
    for (int64_t d = 0; d < terms; ++d, lanes += kStrip) {
      if (kWidth) lead.fetch<Term>(d);
      Vec::Reg lane[kGroups];
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) lane[g] = Vec::load(lanes + g * kLanes);
#pragma GCC unroll 24
      for (int r = 0; r < R; ++r) {
        const float* element = row[r / kShared] + (r % kShared) * stride;
#pragma GCC unroll 4
        for (int g = 0; g < kGroups; ++g) sums[r][g] = Term::add_broadcast(element, lane[g], sums[r][g]);
      }
#pragma GCC unroll 24
      for (int r = 0; r < R / kShared; ++r) ++row[r];
    }
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        float* sum = to + r * kTile + g * kLanes;
        Vec::store(sum, part == 0 ? sums[r][g] : Vec::add(Vec::load(sum), sums[r][g]));
      }
  }
}

// What scores want: the rows [begin, end), times one strip's lanes, go to `to` as [row - begin][kTile].
struct Scores {
  int64_t begin, end;
  const float* lanes;
  float* to;
};

// Rows lie `width` apart and at least max(end, kSpare) of them exist. The strips take turns, so that the rows that
// one has read are still in the first-level cache for the next.
template <class Term, int64_t kWidth>
void scores_of_width(const float* rows, int64_t width, const Scores* strips, int count, Lead& lead) {
  constexpr int kBlock = Vec::kScoreRows, kTail = Vec::kScoreTail;
  bool more = true;
  for (int64_t done = 0; more; done += kBlock) {
    more = false;
    for (int strip = 0; strip < count; ++strip) {
      const Scores& s = strips[strip];
      int64_t j = s.begin + done;
      if (j + kBlock <= s.end) {
        scores_block<Term, kBlock, kWidth>(rows + j * width, width, s.lanes, s.to + done * kTile, lead.take(s.lanes));
        more = true;
      } else {
        if (kBlock > 2 * kTail && s.end - j > 2 * kTail && done > 0) {
          j = s.end - kBlock;
          scores_block<Term, kBlock, kWidth>(rows + j * width, width, s.lanes, s.to + (j - s.begin) * kTile,
                                             lead.take(s.lanes));
          j = s.end;
        }
        for (; j < s.end; j += kTail) {
          const int64_t from = larger(0, smaller(j, s.end - kTail));
          scores_block<Term, kTail, kWidth>(rows + from * width, width, s.lanes, s.to + (from - s.begin) * kTile,
                                            lead.take(s.lanes));
        }
      }
    }
  }
}

template <class Term = Single>
void scores(const float* rows, int64_t width, const Scores* strips, int count, Lead& lead) {
  constexpr int64_t kWidth = Term::kRowLines * 16;
  if (width == kWidth)
    scores_of_width<Term, kWidth>(rows, width, strips, count, lead);
  else
    scores_of_width<Term, 0>(rows, width, strips, count, lead);
}

// A product of which up to kRows rows and N vectors of columns are computed at once:
//   to[r][:] = (add ? to[r][:] : 0) + scale[r] * sum over s < steps of weight(r, s) * rows[s][:]
// where weights lie as [s][r] (rows are queries, steps are keys) or as [r][s] (rows are keys, steps are queries).
struct Product {
  const float* weights;
  Rows rows;
  int64_t steps;
  Rows to;
  int64_t count;  // rows of `to` that exist
  const float* scale;
  bool add;
};

// The sums over all steps, of the columns from `column` on.
template <class Term, int R, int N, bool kByKey, bool kLead>
[[gnu::always_inline]] inline void product_sums(const Product& p, int64_t column, const Lead::Piece& lead,
                                                Vec::Reg (&sums)[R][N]) {
  constexpr int64_t kRowStep = kByKey ? kTile : 1, kStep = kByKey ? 1 : kTile;
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sums[r][n] = Vec::set1(0);
  const float* weight = p.weights;
  const float* row = p.rows.data + column;
#pragma GCC unroll 2
  for (int64_t s = 0; s < p.steps; ++s, weight += kStep, row += p.rows.stride) {
    if (kLead) {
      lead.fetch<Term>(s * 2);
      lead.fetch<Term>(s * 2 + 1);
    }
    Vec::Reg part[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) part[n] = Vec::load(row + n * kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const auto element = Vec::set1(weight[r * kRowStep]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sums[r][n] = Term::add(element, part[n], sums[r][n]);
    }
  }
}

template <class Term, int R, int N, bool kByKey, bool kLead>
[[gnu::always_inline]] inline void product_panel(const Product& p, int64_t column, const Lead::Piece& lead) {
  Vec::Reg sums[R][N];
  product_sums<Term, R, N, kByKey, kLead>(p, column, lead, sums);
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    if (r >= p.count) break;
    float* to = p.to.row(r) + column;
    const auto scale = Vec::set1(p.scale[r]);
    if (p.add) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) Vec::store(to + n * kLanes, Vec::fma(sums[r][n], scale, Vec::load(to + n * kLanes)));
    } else {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) Vec::store(to + n * kLanes, Vec::mul(sums[r][n], scale));
    }
  }
}

template <int R, bool kByKey, bool kLead, class Term = Single>
[[gnu::noinline]] void product(const Product& p, int64_t padded, Lead::Piece lead) {
  constexpr int kWide = Vec::kProductColumns;
  int64_t column = 0;
  for (; column + kWide * kLanes <= padded; column += kWide * kLanes)
    product_panel<Term, R, kWide, kByKey, kLead>(p, column, lead);
  for (; column < padded; column += kLanes) product_panel<Term, R, 1, kByKey, kLead>(p, column, lead);
}

// The keys of a strip's queries within [begin, end), and which of them only some of the queries see.
struct Sight {
  int64_t begin, end, all_begin, all_end;  // every query sees the keys [all_begin, all_end)
  float first, stop, limit;                // the first query sees [first, stop), the next one more, up to `limit`

  Sight(const Dims& dims, int64_t strip, int64_t rows, int64_t chunk_begin, int64_t chunk_end)
      : begin(larger(chunk_begin, dims.first(strip))), end(smaller(chunk_end, dims.end(strip + rows - 1))) {
    if (end < begin) end = begin;
    all_begin = smaller(end, larger(begin, dims.first(strip + rows - 1)));
    all_end = larger(all_begin, smaller(end, dims.end(strip)));
    // Numbers count from `begin`; bounds far outside are cut so that they stay exact in float32.
    constexpr int64_t kFar = 1 << 20;
    first = static_cast<float>(larger(-kFar, strip - dims.left - begin));
    stop = static_cast<float>(smaller(kFar, strip + dims.right + 1 - begin));
    limit = static_cast<float>(smaller(kFar, dims.keys - begin));
  }
  int64_t count() const { return end - begin; }
};

// Number j of the keys for the queries of one vector of lanes: x where it is seen, else `other`.
struct Mask {
  Vec::Reg first, stop;
  Mask(const Sight& sight, int group) {
    const auto lane = Vec::load(kLaneNumbers + group * kLanes);
    first = Vec::add(Vec::set1(sight.first), lane);
    stop = Vec::min(Vec::set1(sight.limit), Vec::add(Vec::set1(sight.stop), lane));
  }
  Vec::Reg apply(int64_t j, Vec::Reg x, Vec::Reg other) const {
    return Vec::visible(Vec::set1(static_cast<float>(j)), first, stop, x, other);
  }
  static constexpr float kLaneNumbers[kStrip] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
};

// A strip's part of `to[i] (+)= scale[i] * sum over j in [begin, end) of weights[j][i] * rows[j]`, where weights are
// those of the keys from sight.begin on, and `rows` those from key `base` on. The first part of a row's sum writes it,
// unless `add` is set; a row without keys becomes zeros.
struct StripProduct {
  const Dims& dims;
  int64_t strip, count;  // first query, number of queries
  const Sight& sight;
  const float* weights;
  Rows rows;
  int64_t base;
  Rows to;
  const float* scale;
  bool add;

  void run(int64_t begin, int64_t end, Lead& lead) const {
    for (int64_t r = 0; r < count; r += kRows) {
      const int64_t some = smaller(kRows, count - r), i = strip + r;
      const int64_t first = larger(sight.begin, dims.first(i)), stop = smaller(sight.end, dims.end(i + some - 1));
      const int64_t from = larger(begin, first), until = smaller(end, stop);
      if (from >= until && begin > first) continue;
      const Product part{weights + (from - sight.begin) * kTile + r,
                         {rows.row(from - base), rows.stride},
                         larger(0, until - from),
                         {to.row(r), to.stride},
                         some,
                         scale + r,
                         add || from > first};
      const bool leads = lead.any();
      const Lead::Piece ahead = lead.take(nullptr);
      if (r + kRows <= kStrip)
        leads ? product<kRows, false, true>(part, dims.padded, ahead)
              : product<kRows, false, false>(part, dims.padded, ahead);
      else
        leads ? product<kStrip % kRows, false, true>(part, dims.padded, ahead)
              : product<kStrip % kRows, false, false>(part, dims.padded, ahead);
    }
  }
};

// Rows of a product are taken this many at a time, so that they stay in the first-level cache for a whole tile.
constexpr int64_t kProductRows = 64;

}  // namespace
}  // namespace pyprof::window
