// What the float32 passes stand on: rows of a tensor taken to float32 and back, the numbers of a problem, dropout, and
// scratch, in terms of a vector type `Vec` that the including file has defined for its instruction set. Everything is
// in an unnamed namespace, so that the linker cannot merge code of different instruction sets.
#pragma once

#include "window_attention/cpu_kernels.h"

namespace pyprof::window {
namespace {

constexpr int kLanes = Vec::kLanes;
constexpr int64_t kStrip = 16;
constexpr int kGroups = kStrip / kLanes;  // vectors that hold one value of each query of a strip
constexpr int kRows = 6;                  // rows of a product that are kept in registers
constexpr float kLog2e = 1.44269504088896341f;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// Rows of float32, aligned or not; row j is at data + j * stride.
struct Rows {
  float* data;
  int64_t stride;
  float* row(int64_t j) const { return data + j * stride; }
};

// What every part wants to know about the problem.
struct Dims {
  int64_t dim, padded, length, keys, left, right;

  Dims(const Problem& p, int64_t batch)
      : dim(p.head_dim),
        padded((p.head_dim + 15) / 16 * 16),
        length(p.length),
        keys(p.key_lengths ? larger(0, smaller(p.length, p.key_lengths[batch])) : p.length),
        left(smaller(p.left, p.length)),
        right(smaller(p.right, p.length)) {}

  int64_t first(int64_t i) const { return first_key(i, left); }
  int64_t end(int64_t i) const { return end_key(i, right, keys); }
};

inline bool is_direct(const Problem& p) { return p.type == Type::float32 && p.head_dim % 16 == 0; }

inline const void* at(Type type, const void* base, int64_t element) {
  return static_cast<const char*>(base) + element * (type == Type::float32 ? 4 : 2);
}
inline void* at(Type type, void* base, int64_t element) {
  return static_cast<char*>(base) + element * (type == Type::float32 ? 4 : 2);
}

// How many rows a score product may read or write before the first wanted one, so as not to read past the last.
constexpr int64_t kSpare = 8;
// And how many after the last.
constexpr int64_t kBeyond = 40;

// Whether keys or values are copied first: to float32, to a multiple of 16, or just to lie close together, since rows
// far apart crowd into few sets of the first-level cache.
inline bool is_packed(const Problem& p, const Strides& strides) {
  return !is_direct(p) || p.length < kSpare || strides.row != p.head_dim;
}

// One row to float32 and back, from and to each type: sixteen elements at a time with vectors of as many, else eight.
template <class V>
void load_row(const float* from, int64_t dim, float* to) {
  int64_t d = 0;
  if constexpr (V::kLanes == 16)
    for (; d + 16 <= dim; d += 16) V::store(to + d, V::load(from + d));
  for (; d < dim; d += 8) load8(from + d, to + d);
}
template <class V>
void load_row_bfloat16(const uint16_t* from, int64_t dim, float* to) {
  int64_t d = 0;
  if constexpr (V::kLanes == 16)
    for (; d + 16 <= dim; d += 16) V::store(to + d, V::load_bfloat16(from + d));
  for (; d < dim; d += 8) load8_bfloat16(from + d, to + d);
}
template <class V>
void load_row_float16(const uint16_t* from, int64_t dim, float* to) {
  int64_t d = 0;
  if constexpr (V::kLanes == 16)
    for (; d + 16 <= dim; d += 16) V::store(to + d, V::load_float16(from + d));
  for (; d < dim; d += 8) load8_float16(from + d, to + d);
}
template <class V>
void store_row(const float* from, float scale, int64_t dim, float* to) {
  int64_t d = 0;
  if constexpr (V::kLanes == 16)
    for (; d + 16 <= dim; d += 16) V::store(to + d, V::mul(V::load(from + d), V::set1(scale)));
  for (; d < dim; d += 8) store8(from + d, scale, to + d);
}
template <class V>
void store_row_bfloat16(const float* from, float scale, int64_t dim, uint16_t* to) {
  int64_t d = 0;
  if constexpr (V::kLanes == 16)
    for (; d + 16 <= dim; d += 16) V::store_bfloat16(to + d, V::mul(V::load(from + d), V::set1(scale)));
  for (; d < dim; d += 8) store8_bfloat16(from + d, scale, to + d);
}
template <class V>
void store_row_float16(const float* from, float scale, int64_t dim, uint16_t* to) {
  int64_t d = 0;
  if constexpr (V::kLanes == 16)
    for (; d + 16 <= dim; d += 16) V::store_float16(to + d, V::mul(V::load(from + d), V::set1(scale)));
  for (; d < dim; d += 8) store8_float16(from + d, scale, to + d);
}

// Copies rows of `dim` elements of any type to float32 rows of `padded`.
inline void load_rows(Type type, const void* from, int64_t stride, int64_t rows, const Dims& dims, float* to) {
  for (int64_t r = 0; r < rows; ++r, to += dims.padded) {
    const void* row = at(type, from, r * stride);
    if (type == Type::float32)
      load_row<Vec>(static_cast<const float*>(row), dims.dim, to);
    else if (type == Type::bfloat16)
      load_row_bfloat16<Vec>(static_cast<const uint16_t*>(row), dims.dim, to);
    else
      load_row_float16<Vec>(static_cast<const uint16_t*>(row), dims.dim, to);
    for (int64_t d = dims.dim; d < dims.padded; ++d) to[d] = 0;
  }
}

// The way back, from rows of `padded`; row r is multiplied by scale[r * scale_step].
inline void store_rows(Type type, void* to, int64_t stride, int64_t rows, const Dims& dims, const float* from,
                       const float* scale, int64_t scale_step) {
  for (int64_t r = 0; r < rows; ++r, from += dims.padded) {
    void* row = at(type, to, r * stride);
    const float factor = scale[r * scale_step];
    if (type == Type::float32)
      store_row<Vec>(from, factor, dims.dim, static_cast<float*>(row));
    else if (type == Type::bfloat16)
      store_row_bfloat16<Vec>(from, factor, dims.dim, static_cast<uint16_t*>(row));
    else
      store_row_float16<Vec>(from, factor, dims.dim, static_cast<uint16_t*>(row));
  }
}

constexpr float kOnes[kTile] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// factors[j - begin][i] = 0 for a dropped weight and 1 / (1 - p) for a kept one, for the 16 queries of a strip.
[[gnu::noinline]] inline void dropout_factors(const Dropout& dropout, uint32_t row, int64_t strip, int64_t begin,
                                              int64_t end, float* factors) {
  for (int64_t quad = begin / 4; quad * 4 < end; ++quad) {
    uint32_t c0[kStrip], c1[kStrip], c2[kStrip], c3[kStrip];
    for (int lane = 0; lane < kStrip; ++lane) {
      c0[lane] = static_cast<uint32_t>(quad);
      c1[lane] = static_cast<uint32_t>(strip + lane);
      c2[lane] = row;
      c3[lane] = 0;
    }
    uint32_t k0 = dropout.key_low, k1 = dropout.key_high;
    for (int round = 0; round < 10; ++round) {
      for (int lane = 0; lane < kStrip; ++lane) {
        const uint64_t p0 = uint64_t{0xD2511F53u} * c0[lane], p1 = uint64_t{0xCD9E8D57u} * c2[lane];
        const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1[lane] ^ k0;
        const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3[lane] ^ k1;
        c0[lane] = n0, c1[lane] = static_cast<uint32_t>(p1), c2[lane] = n2, c3[lane] = static_cast<uint32_t>(p0);
      }
      k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    const uint32_t* const words[4] = {c0, c1, c2, c3};
    for (int64_t word = 0; word < 4; ++word) {
      const int64_t j = quad * 4 + word;
      if (j < begin || j >= end) continue;
      float* to = factors + (j - begin) * kStrip;
      for (int lane = 0; lane < kStrip; ++lane)
        to[lane] = words[word][lane] >= dropout.threshold ? dropout.scale : 0.0f;
    }
  }
}

// Hands out pieces of a thread's scratch, each aligned to a cache line.
struct Scratch {
  char* next;

  explicit Scratch(void* start) : next(static_cast<char*>(start)) {}
  float* floats(int64_t count) {
    float* piece = reinterpret_cast<float*>(next);
    next += (count * 4 + 63) / 64 * 64;
    return piece;
  }
  size_t used() const { return reinterpret_cast<size_t>(next); }
};

}  // namespace
}  // namespace pyprof::window
