// The forward pass in float32: tiles of 16 queries, two passes over the scores of up to `chunk` keys, and the online
// softmax where a window is wider than that.
#pragma once

#include "window_attention/cpu_tile.h"

namespace pyprof::window {
namespace {

constexpr float kInfinity = __builtin_inff();

inline int64_t forward_chunk(const Problem& p) {
  return smaller(1024, 65536 / ((p.head_dim + 15) / 16 * 16) / 64 * 64);
}

struct ForwardBuffers {
  float *query, *lanes, *scores, *shrink, *factors, *output, *maximum, *sum, *keys, *values;

  ForwardBuffers(const Problem& p, Scratch& scratch) {
    const int64_t padded = (p.head_dim + 15) / 16 * 16, chunk = forward_chunk(p);
    query = scratch.floats(kTile * padded);
    lanes = scratch.floats(kTile * padded);
    shrink = scratch.floats(kTile);
    scores = scratch.floats((chunk + kSpare + kBeyond) * kTile) + kSpare * kTile;
    output = scratch.floats((kForwardBlock + kRows) * padded);
    maximum = scratch.floats(kForwardBlock);
    sum = scratch.floats(kForwardBlock);
    const bool packed = is_packed(p, p.key_strides) || is_packed(p, p.value_strides);
    keys = scratch.floats(packed ? (chunk + kBeyond) * padded : 0);
    values = scratch.floats(packed ? (chunk + kBeyond) * padded : 0);
    factors = scratch.floats(p.dropout_p > 0 ? chunk * kStrip : 0);
  }
};

// Up to 16 queries from `first` on, within one chunk of keys.
struct ForwardStrip {
  int64_t first, rows;
  Sight sight;
  bool starts, ends;  // the chunk holds the first key, the last one
  float *lanes, *scores, *maximum, *sum, *shrink;

  ForwardStrip(const Dims& dims, const ForwardBuffers& buffers, int64_t block, int64_t tile, int64_t rows, int number,
               int64_t begin, int64_t end)
      : first(tile + number * kStrip),
        rows(smaller(kStrip, rows - number * kStrip)),
        sight(dims, first, this->rows, begin, end),
        starts(dims.first(first) >= begin),
        ends(dims.end(first + this->rows - 1) <= end),
        lanes(buffers.lanes + number * kStrip * dims.padded),
        scores(buffers.scores + number * kStrip),
        maximum(buffers.maximum + (first - block)),
        sum(buffers.sum + (first - block)),
        shrink(buffers.shrink + number * kStrip) {}
};

struct ForwardSlice {
  using Strip = ForwardStrip;

  const Problem& problem;
  const Forward& forward;
  const Slice& slice;
  const Dims dims;
  const Dropout dropout;
  Scratch scratch;
  const ForwardBuffers buffers;
  const int64_t chunk;
  Rows keys, values;  // key j is at row j - base
  int64_t base = 0;
  mutable Lead lead;
  float query_factor, score_factor = 1;  // their product, times query and key, is the exponent of two

  ForwardSlice(const Problem& p, const Forward& f, const Slice& s, void* memory)
      : problem(p),
        forward(f),
        slice(s),
        dims(p, s.batch),
        dropout(Dropout(p.dropout_p).seeded(p.seed)),
        scratch(memory),
        buffers(p, scratch),
        chunk(forward_chunk(p)),
        query_factor(static_cast<float>(p.scale) * kLog2e) {}

  const void* input(const void* base, const Strides& strides, int64_t head, int64_t row) const {
    return input(base, strides, Place{slice.batch, head, row});
  }
  const void* input(const void* base, const Strides& strides, const Place& place) const {
    return at(problem.type, base, place.batch * strides.batch + place.head * strides.head + place.row * strides.row);
  }

  // What comes after the slice's tile that begins at query `tile`.
  Place tile_after(int64_t tile) const {
    return tile + kTile < slice.end ? Place{slice.batch, slice.head, tile + kTile} : slice.after;
  }
  // The keys and values that a place's queries want beside those of the queries before them.
  Place keys_at(Place place, int64_t further) const {
    return {place.batch, place.head / (problem.heads / problem.key_heads), place.row + further + dims.right};
  }

  // The keys and values [begin, end), as they lie in memory or packed.
  virtual void take_keys(int64_t begin, int64_t end) {
    // Rows that lie in memory are counted from the first of all, so that a short chunk may read those before it.
    const bool direct = !is_packed(problem, problem.key_strides) && !is_packed(problem, problem.value_strides);
    base = direct ? 0 : begin;
    keys = take(problem.key, problem.key_strides, begin, end, direct ? nullptr : buffers.keys);
    values = take(problem.value, problem.value_strides, begin, end, direct ? nullptr : buffers.values);
  }

  Rows take(const void* from, const Strides& strides, int64_t begin, int64_t end, float* packed) const {
    const int64_t head = slice.head / (problem.heads / problem.key_heads);
    if (!packed) return {const_cast<float*>(static_cast<const float*>(input(from, strides, head, 0))), strides.row};
    load_rows(problem.type, input(from, strides, head, begin), strides.row, end - begin, dims, packed);
    for (int64_t d = (end - begin) * dims.padded; d < kSpare * dims.padded; ++d) packed[d] = 0;
    return {packed, dims.padded};
  }

  void run() {
    const int64_t first = dims.first(slice.begin), end = dims.end(slice.end - 1);
    for (int64_t begin = first; begin < end; begin += chunk) {
      const int64_t to = smaller(begin + chunk, end);
      take_keys(begin, to);
      for (int64_t tile = slice.begin; tile < slice.end; tile += kTile)
        run_tile(tile, smaller(kTile, slice.end - tile), begin, to);
    }
    for (int64_t i = slice.begin; i < slice.end; ++i)
      if (dims.end(i) <= dims.first(i)) write_empty(i);
  }

  float* lse(int64_t i) const {
    return static_cast<float*>(forward.lse) + (slice.batch * problem.heads + slice.head) * dims.length + i;
  }

  void* output(int64_t i) const {
    const Strides& strides = forward.output_strides;
    return at(problem.type, forward.output, slice.batch * strides.batch + slice.head * strides.head + i * strides.row);
  }

  void write_empty(int64_t i) const {
    float* zeros = buffers.query;
    for (int64_t d = 0; d < dims.padded; ++d) zeros[d] = 0;
    store_rows(problem.type, output(i), forward.output_strides.row, 1, dims, zeros, kOnes, 0);
    *lse(i) = -kInfinity;
  }

  // The part of a tile whose keys are in [chunk_begin, chunk_end).
  void run_tile(int64_t tile, int64_t rows, int64_t chunk_begin, int64_t chunk_end) {
    const int64_t first = dims.first(tile), last = dims.end(tile + rows - 1);
    const int64_t begin = larger(first, chunk_begin), end = smaller(last, chunk_end);
    if (begin >= end) return;
    int strips = rows > kStrip ? 2 : 1;
    Strip both[2] = {Strip(dims, buffers, slice.begin, tile, rows, 0, chunk_begin, chunk_end),
                     Strip(dims, buffers, slice.begin, tile, rows, strips - 1, chunk_begin, chunk_end)};
    // A strip whose keys are all in another chunk has nothing to do here.
    if (strips == 2 && both[1].sight.count() == 0) strips = 1;
    if (both[0].sight.count() == 0) both[0] = both[--strips];
    if (strips == 0) return;
    take_scores(both, strips);
    for (int s = 0; s < strips; ++s) {
      for (int g = 0; g < kGroups; ++g) take_maximum(both[s], g);
      take_weights(both[s]);
      if (both[s].ends) write_lse(both[s]);
    }
    multiply_values(both, strips, begin, end);
  }

  virtual void take_scores(const Strip* strips, int count) {
    Scores wanted[2];
    for (int s = 0; s < count; ++s) {
      take_queries(strips[s]);
      wanted[s] = {strips[s].sight.begin - base, strips[s].sight.end - base, strips[s].lanes, strips[s].scores};
    }
    look_ahead(strips[0].first / kTile * kTile);
    scores(keys.data, dims.padded, wanted, count, lead);
  }

  // The rows of the tile after the one at `tile`; keys and values that are packed, of the next slice.
  void look_ahead(int64_t tile) const {
    lead.clear();
    if (!is_direct(problem) || dims.padded != 64) return;
    const Place next = tile_after(tile), keyed = keys.data == buffers.keys ? slice.after : next;
    if (next.batch >= 0) lead.add(input(problem.query, problem.query_strides, next), problem.query_strides.row);
    if (keyed.batch >= 0) {
      const Place key = keys_at(keyed, keys.data == buffers.keys ? tile - slice.begin : 0);
      lead.add(input(problem.key, problem.key_strides, key), problem.key_strides.row);
      lead.add(input(problem.value, problem.value_strides, key), problem.value_strides.row);
    }
    if (next.batch >= 0) lead.add(input(forward.output, forward.output_strides, next), forward.output_strides.row);
  }

  void write_lse(const Strip& strip) const {
    alignas(64) float logs[kStrip];
    for (int g = 0; g < kGroups; ++g) {
      const auto sum = Vec::log2(Vec::load(strip.sum + g * kLanes));
      const auto log = Vec::fma(Vec::load(strip.maximum + g * kLanes), Vec::set1(score_factor), sum);
      // A sum of 0 is of scores that are all -infinity, whose weights are not defined: infinity less itself says so.
      Vec::store(logs + g * kLanes, Vec::mul(Vec::add(log, Vec::sub(sum, sum)), Vec::set1(1 / kLog2e)));
    }
    for (int64_t r = 0; r < strip.rows; ++r) *lse(strip.first + r) = logs[r];
  }

  void take_queries(const Strip& strip) const {
    const void* from = input(problem.query, problem.query_strides, slice.head, strip.first);
    Rows queries{buffers.query, dims.padded};
    if (is_direct(problem))
      queries = {const_cast<float*>(static_cast<const float*>(from)), problem.query_strides.row};
    else
      load_rows(problem.type, from, problem.query_strides.row, strip.rows, dims, buffers.query);
    transpose_strip(queries, strip.rows, dims.padded, query_factor, strip.lanes);
  }

  // Puts -infinity where a query doesn't see a key, for keys number [from, to); returns the maximum with `top`.
  static Vec::Reg hide(const Mask& mask, float* scores, int64_t from, int64_t to, Vec::Reg top) {
    for (int64_t j = from; j < to; ++j) {
      float* score = scores + j * kTile;
      const auto seen = mask.apply(j, Vec::load(score), Vec::set1(-kInfinity));
      Vec::store(score, seen);
      top = Vec::max(seen, top);
    }
    return top;
  }

  // Hides what isn't seen; the maxima so far, and by how much earlier sums shrink.
  void take_maximum(const Strip& strip, int group) const {
    const Sight& sight = strip.sight;
    const auto low = Vec::set1(-kInfinity);
    const Mask mask(sight, group);
    float* score = strip.scores + group * kLanes;
    const auto old = strip.starts ? low : Vec::load(strip.maximum + group * kLanes);
    const int64_t all_end = sight.all_end - sight.begin;
    int64_t j = sight.all_begin - sight.begin;
    auto even = hide(mask, score, 0, j, old), odd = low;
    for (; j + 2 <= all_end; j += 2) {
      even = Vec::max(Vec::load(score + j * kTile), even);
      odd = Vec::max(Vec::load(score + (j + 1) * kTile), odd);
    }
    for (; j < all_end; ++j) even = Vec::max(Vec::load(score + j * kTile), even);
    even = Vec::max(hide(mask, score, j, sight.count(), even), odd);
    // Where nothing is seen yet, any finite number avoids infinity less infinity.
    even = Vec::max(even, Vec::set1(-1e35f));
    Vec::store(strip.maximum + group * kLanes, even);
    Vec::store(strip.shrink + group * kLanes, Vec::exp2(Vec::mul(Vec::sub(old, even), Vec::set1(score_factor))));
  }

  virtual void take_weights(const Strip& strip) const {
    for (int g = 0; g < kGroups; ++g) take_weights(strip, g);
    if (dropout.active()) drop(strip);
  }

  void take_weights(const Strip& strip, int group) const {
    const auto factor = Vec::set1(score_factor);
    const auto shift = Vec::mul(Vec::load(strip.maximum + group * kLanes), Vec::set1(-score_factor));
    const int64_t count = strip.sight.count();
    float* score = strip.scores + group * kLanes;
    auto even = Vec::set1(0), odd = Vec::set1(0);
    int64_t j = 0;
    for (; j + 2 <= count; j += 2) {
      const auto a = Vec::exp2(Vec::fma(Vec::load(score + j * kTile), factor, shift));
      const auto b = Vec::exp2(Vec::fma(Vec::load(score + (j + 1) * kTile), factor, shift));
      Vec::store(score + j * kTile, a);
      Vec::store(score + (j + 1) * kTile, b);
      even = Vec::add(even, a), odd = Vec::add(odd, b);
    }
    if (j < count) {
      const auto a = Vec::exp2(Vec::fma(Vec::load(score + j * kTile), factor, shift));
      Vec::store(score + j * kTile, a);
      even = Vec::add(even, a);
    }
    even = Vec::add(even, odd);
    float* sum = strip.sum + group * kLanes;
    if (!strip.starts) even = Vec::fma(Vec::load(sum), Vec::load(strip.shrink + group * kLanes), even);
    Vec::store(sum, even);
  }

  void drop(const Strip& strip) const {
    const auto row = static_cast<uint32_t>(slice.batch * problem.heads + slice.head);
    dropout_factors(dropout, row, strip.first, strip.sight.begin, strip.sight.end, buffers.factors);
    for (int64_t j = 0; j < strip.sight.count(); ++j)
      for (int g = 0; g < kGroups; ++g) {
        float* weight = strip.scores + j * kTile + g * kLanes;
        Vec::store(weight, Vec::mul(Vec::load(weight), Vec::load(buffers.factors + j * kStrip + g * kLanes)));
      }
  }

  virtual void multiply_values(const Strip* strips, int count, int64_t begin, int64_t end) const {
    alignas(64) float inverse[2][kStrip];
    Rows to[2];
    bool direct[2];
    for (int s = 0; s < count; ++s) {
      const Strip& strip = strips[s];
      const bool whole = strip.starts && strip.ends;
      direct[s] = whole && is_direct(problem);
      to[s] = {buffers.output + (strip.first - slice.begin) * dims.padded, dims.padded};
      if (direct[s]) to[s] = {static_cast<float*>(output(strip.first)), forward.output_strides.row};
      for (int64_t r = 0; r < kStrip; ++r) inverse[s][r] = whole ? 1 / strip.sum[r] : 1;
      for (int64_t r = 0; r < strip.rows && !strip.starts; ++r)
        for (int64_t d = 0; d < dims.padded; d += kLanes)
          Vec::store(to[s].row(r) + d, Vec::mul(Vec::load(to[s].row(r) + d), Vec::set1(strip.shrink[r])));
    }
    for (int64_t j = begin; j < end; j += kProductRows)
      for (int s = 0; s < count; ++s) {
        const Strip& strip = strips[s];
        StripProduct{dims,   strip.first, strip.rows, strip.sight, strip.scores,
                     values, base,        to[s],      inverse[s],  !strip.starts}
            .run(j, smaller(j + kProductRows, end), lead);
      }
    for (int s = 0; s < count; ++s) {
      if (!strips[s].ends) continue;
      if (!direct[s]) {
        const bool whole = strips[s].starts;
        for (int64_t r = 0; r < kStrip && !whole; ++r) inverse[s][r] = 1 / strips[s].sum[r];
        store_rows(problem.type, output(strips[s].first), forward.output_strides.row, strips[s].rows, dims, to[s].data,
                   whole ? kOnes : inverse[s], 1);
      }
      if (!all_finite(to[s], strips[s].rows, dims.padded)) store_exactly(strips[s]);
    }
  }

  [[gnu::cold, gnu::noinline]] void store_exactly(const Strip& strip) const {
    const ExactRows exact(problem, dims, slice.batch);
    for (int64_t r = 0; r < strip.rows; ++r) exact.output(forward, slice.head, strip.first + r);
  }
};

inline void forward_slice(const Problem& problem, const Forward& forward, const Slice& slice, void* scratch) {
  ForwardSlice(problem, forward, slice, scratch).run();
}

inline size_t forward_scratch(const Problem& problem) {
  Scratch scratch(nullptr);
  ForwardBuffers buffers(problem, scratch);
  return scratch.used();
}

}  // namespace
}  // namespace pyprof::window
