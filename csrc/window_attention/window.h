// Sliding-window attention: the one written definition, which every implementation follows.
//
//   scores[i][j]  = scale * dot(query[i], key[j])          for j in keys(i), see `first_key`, `end_key`, `leading_keys`
//   lse[i]        = log(sum over j of exp(scores[i][j]))   natural; -infinity where keys(i) is empty
//   weights[i][j] = exp(scores[i][j] - lse[i])
//   output[i]     = sum over j of weights[i][j] * dropped(i, j) * value[j]        zeros where keys(i) is empty
//   dropped(i, j) = keep(i, j) / (1 - dropout_p), see `Dropout`
//
// keys(i) are those of query i's window, and of the first `global_keys` keys those that lie before it.
//
// Key and value may have fewer heads than query: query head h reads key head h / (heads / key_heads).
#pragma once

#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__
#define PYPROF_BOTH __host__ __device__ __forceinline__
#else
#define PYPROF_BOTH inline
#endif

namespace pyprof::window {

enum class Type : int32_t { float32, bfloat16, float16, float64 };

// Of a tensor (batch, heads, length, head_dim), counted in elements; the last dimension is contiguous.
struct Strides {
  int64_t batch, head, row;
};

// The inputs, shared by forward and backward. Plain data: it goes to a kernel by value.
struct Problem {
  Type type;
  int64_t batch, heads, key_heads, length, head_dim;
  int64_t left, right;  // neighbours a query sees on each side, itself not counted; any value >= 0
  const void* query;
  const void* key;
  const void* value;
  Strides query_strides, key_strides, value_strides;
  const int64_t* key_lengths;  // one of `batch`: keys from there on take no part; null when all do
  double scale;
  double dropout_p;      // in [0, 1)
  const uint64_t* seed;  // of dropout, where the kernels run, so that nobody waits for it; null without dropout
  int64_t global_keys;   // the first ones, which all later queries see too; any value >= 0
};

// `output` is (batch, heads, length, head_dim) in the problem's type; `lse` (batch, heads, length), contiguous.
// Statistics are float32, but float64 for a float64 problem.
struct Forward {
  void* output;
  Strides output_strides;
  void* lse;
};

// Given by autograd: `grad_output` with the output's shape, `grad_lse` like lse or null, and what forward returned.
// Wanted: gradients of query (batch, heads, length, head_dim) and of key and value (batch, key_heads, length,
// head_dim), each written in full, in the problem's type. They have strides of their own, since a model that cuts its
// heads out of (batch, length, heads * head_dim) wants its gradients back in that layout, and a copy would cost as much
// as they do.
struct Backward {
  const void* grad_output;
  Strides grad_output_strides;
  const void* grad_lse;
  const void* output;
  Strides output_strides;
  const void* lse;
  void* grad_query;
  void* grad_key;
  void* grad_value;
  Strides grad_query_strides, grad_key_strides, grad_value_strides;
  float* kept = nullptr;  // the host kernels' own: two numbers for each query where there are global keys
};

// The rows of global tokens, queries that see every key: the problem's `query` is (batch, heads, rows, head_dim) and
// its heads share no key; the window is not used, and dropped(i, j) counts i among the rows. `output` is (batch, heads,
// rows, head_dim), contiguous and float32; `statistics` holds for each row its largest score in powers of two and one
// over the sum of the weights beside it.
struct GlobalRowsForward {
  int64_t rows;
  float* output;
  float* statistics;
};

// As for `Backward`, each gradient written in full: that of the queries like `output`, the others like key and value.
struct GlobalRowsBackward {
  int64_t rows;
  const void* grad_output;
  Strides grad_output_strides;
  const float* output;
  const float* statistics;
  float* grad_query;
  void* grad_key;
  void* grad_value;
  Strides grad_key_strides, grad_value_strides;
};

// The window's keys are [first_key(i), end_key(i)), none where the end is not after the first; those before it that are
// seen too are [0, leading_keys(i)). `keys` is the number of keys that take part: min(length, key_lengths[batch]). In
// another type than int64_t where registers are few.
template <class Int = int64_t>
PYPROF_BOTH Int first_key(std::type_identity_t<Int> i, std::type_identity_t<Int> left) {
  return i > left ? i - left : 0;
}

template <class Int = int64_t>
PYPROF_BOTH Int end_key(std::type_identity_t<Int> i, std::type_identity_t<Int> right, std::type_identity_t<Int> keys) {
  return right < keys - 1 - i ? i + right + 1 : keys;
}

template <class Int = int64_t>
PYPROF_BOTH Int leading_keys(std::type_identity_t<Int> i, std::type_identity_t<Int> left,
                             std::type_identity_t<Int> global_keys, std::type_identity_t<Int> keys) {
  const Int before = first_key<Int>(i, left), global = global_keys < keys ? global_keys : keys;
  return before < global ? before : global;
}

// Which weights dropout keeps: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
// with the seed as its key and the place as its counter, so that backward repeats what forward drew.
struct Dropout {
  uint32_t key_low, key_high, threshold;
  float scale;  // of a weight that is kept; 1 without dropout

  PYPROF_BOTH explicit Dropout(double dropout_p)
      : key_low(0),
        key_high(0),
        threshold(static_cast<uint32_t>(dropout_p * 4294967296.0)),
        scale(static_cast<float>(1.0 / (1.0 - dropout_p))) {}

  PYPROF_BOTH bool active() const { return threshold != 0; }

  // With its seed, which is read only where there is something to draw.
  PYPROF_BOTH Dropout seeded(const uint64_t* seed) const {
    Dropout drawing = *this;
    if (active()) {
      drawing.key_low = static_cast<uint32_t>(*seed);
      drawing.key_high = static_cast<uint32_t>(*seed >> 32);
    }
    return drawing;
  }

  // Four words for keys 4 * quad to 4 * quad + 3 of query i; `row` is batch * heads + head. Word j % 4 is key j's.
  PYPROF_BOTH void words(uint32_t row, uint32_t i, uint32_t quad, uint32_t (&out)[4]) const {
    uint32_t c0 = quad, c1 = i, c2 = row, c3 = 0, k0 = key_low, k1 = key_high;
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
      const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c0 = n0, c1 = static_cast<uint32_t>(p1), c2 = n2, c3 = static_cast<uint32_t>(p0);
      k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
  }

  PYPROF_BOTH bool keep(uint32_t row, uint32_t i, uint32_t j) const {
    uint32_t out[4];
    words(row, i, j / 4, out);
    // Not out[j % 4], for which a GPU would put the words into memory.
    const uint32_t low = j % 2 == 0 ? out[0] : out[1], high = j % 2 == 0 ? out[2] : out[3];
    return (j % 4 < 2 ? low : high) >= threshold;
  }
};

// On the host. Neither allocates more than the scratch of its threads; empty problems are fine. Type float64 runs in
// `reference_*` only.
void reference_forward(const Problem& problem, const Forward& forward);
void reference_backward(const Problem& problem, const Backward& backward);
void cpu_forward(const Problem& problem, const Forward& forward);
void cpu_backward(const Problem& problem, const Backward& backward);
void cpu_global_rows_forward(const Problem& problem, const GlobalRowsForward& forward);
void cpu_global_rows_backward(const Problem& problem, const GlobalRowsBackward& backward);

// The instruction set that cpu_* use here for `type`: portable, avx2, avx512, avx512_bf16 or amx. PYPROF_CPU_ISA lowers
// it; std::invalid_argument where it names what this CPU lacks.
const char* cpu_isa(Type type);

}  // namespace pyprof::window
