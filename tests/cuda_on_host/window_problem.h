// A problem of window attention in memory of exactly its size, with NaN wherever a kernel has nothing to read and in
// everything that it has to write.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "window_attention/gpu.h"
#include "window_attention/window.h"

namespace pyprof::window {

struct Case {
  std::string impl, type = "float32", layout = "bhld";
  int64_t batch = 1, heads = 1, key_heads = 1, length = 1, head_dim = 32, left = 0, right = 0, global_keys = 0;
  std::vector<int64_t> key_lengths;               // empty: all keys take part
  double scale = 0.125, dropout_p = 0, size = 1;  // size: of the query's elements, to make scores large
  uint64_t seed = 1;
  bool backward = true, grad_lse = true;
  std::vector<std::string> planted;  // tensor, row, value, "all" or an element; of the first sequence's last head

  explicit Case(const std::string& line);  // "impl=plain type=float32 length=40 ..."; what is left out has a default
};

// A tensor in float64 (for the oracle) and in the case's type (for the kernel), in the case's layout.
class Array {
 public:
  Array(const Case& c, int64_t heads, bool given, std::mt19937_64& random, double size = 1);

  Strides strides() const { return strides_; }
  void* data() { return bytes_.get(); }
  double* exact() { return exact_.data(); }
  Strides exact_strides() const;
  void plant(int64_t row, double value, const std::string& elements);  // in the first sequence's last head
  void forget(int64_t batch, int64_t head, int64_t row);  // a row that must not be read: NaN for the kernel

  void mix_into(uint64_t& bits) const;  // all its bytes: the same ones give the same bits

  double typical() const;  // root mean square of what is finite in exact()

  // Compares what was written with exact(). An empty string, or the first thing that is wrong. `cancelled` is the size
  // of terms that may have cancelled in the result, and left their rounding there.
  std::string differs(const char* name, double cancelled = 0) const;

 private:
  double element(int64_t batch, int64_t head, int64_t row, int64_t d) const;

  Type type_;
  int64_t batch_, heads_, length_, head_dim_;
  Strides strides_;
  size_t elements_ = 0, element_bytes_;
  double share_;
  std::unique_ptr<unsigned char, void (*)(void*)> bytes_;
  std::vector<double> exact_;
};

// What a program tests: defined once in each, by under_test/*.cpp.
extern const char* const kImplementation;
void forward_under_test(const Problem& problem, const Forward& forward);
void backward_under_test(const Problem& problem, const Backward& backward);

// Whether both are NaN, the same infinity, or numbers that differ by at most `most`.
bool agree(double got, double want, double most);

// Runs a case on the implementation and on the reference. An empty string, or the first thing that is wrong. `bits`
// tells apart what the implementation has written.
std::string check(const Case& c, uint64_t& bits);

}  // namespace pyprof::window
