// Reads cases from standard input, one a line (see Case), and runs the CUDA kernels on each, over the emulation,
// against the reference in float64. Says "all held" at the end, or what is wrong with the first case that does not.
// With --mutant=NAME one of the program's mutants is on; --mutants lists them. --reversed and --multiprocessors=N
// change the order in which things are done, and must not change the bits that it tells of everything that was written.
#include <cmath>
#include <cstdio>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "mutant_switch.h"
#include "window_problem.h"

namespace pyprof::window {

namespace {

constexpr float kUnwritten = std::numeric_limits<float>::quiet_NaN();

// Everything of one case. The oracle's statistics are float64, the kernel's float32.
struct Run {
  const Case& c;
  std::mt19937_64 random;
  Array query, key, value, output, grad_output, grad_query, grad_key, grad_value;
  std::vector<double> exact_lse, exact_grad_lse;
  std::vector<float> lse, grad_lse;

  explicit Run(const Case& c)
      : c(c),
        random(c.seed),
        query(c, c.heads, true, random, c.size),
        key(c, c.key_heads, true, random),
        value(c, c.key_heads, true, random),
        output(c, c.heads, false, random),
        grad_output(c, c.heads, true, random),
        grad_query(c, c.heads, false, random),
        grad_key(c, c.key_heads, false, random),
        grad_value(c, c.key_heads, false, random),
        exact_lse(c.batch * c.heads * c.length),
        exact_grad_lse(exact_lse.size()),
        lse(exact_lse.size(), kUnwritten),
        grad_lse(exact_lse.size()) {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < grad_lse.size(); ++i) exact_grad_lse[i] = grad_lse[i] = normal(random);
    if (!c.planted.empty()) {
      const std::string& name = c.planted[0];
      Array& into = name == "query" ? query : name == "key" ? key : name == "value" ? value : grad_output;
      into.plant(std::stoll(c.planted[1]), std::stod(c.planted[2]), c.planted[3]);
    }
    for (int64_t b = 0; b < static_cast<int64_t>(c.key_lengths.size()); ++b)
      for (int64_t h = 0; h < c.key_heads; ++h)
        for (int64_t j = std::max<int64_t>(c.key_lengths[b], 0); j < c.length; ++j)
          key.forget(b, h, j), value.forget(b, h, j);
  }

  Problem problem(bool exact) {
    Problem p{};
    p.type = exact                 ? Type::float64
             : c.type == "float32" ? Type::float32
             : c.type == "float16" ? Type::float16
                                   : Type::bfloat16;
    p.batch = c.batch, p.heads = c.heads, p.key_heads = c.key_heads, p.length = c.length, p.head_dim = c.head_dim;
    p.left = c.left, p.right = c.right, p.scale = c.scale, p.dropout_p = c.dropout_p, p.seed = &c.seed;
    p.query = pointer(query, exact), p.key = pointer(key, exact), p.value = pointer(value, exact);
    p.query_strides = strides(query, exact), p.key_strides = strides(key, exact),
    p.value_strides = strides(value, exact);
    p.global_keys = c.global_keys;
    p.key_lengths = c.key_lengths.empty() ? nullptr : c.key_lengths.data();
    return p;
  }

  Forward forward(bool exact) {
    return {pointer(output, exact), strides(output, exact),
            exact ? static_cast<void*>(exact_lse.data()) : static_cast<void*>(lse.data())};
  }

  Backward backward(bool exact) {
    const void* of_lse = exact ? static_cast<void*>(exact_grad_lse.data()) : static_cast<void*>(grad_lse.data());
    return {pointer(grad_output, exact), strides(grad_output, exact), c.grad_lse ? of_lse : nullptr,
            pointer(output, exact),      strides(output, exact),      forward(exact).lse,
            pointer(grad_query, exact),  pointer(grad_key, exact),    pointer(grad_value, exact),
            strides(grad_query, exact),  strides(grad_key, exact),    strides(grad_value, exact)};
  }

  static void* pointer(Array& array, bool exact) { return exact ? array.exact() : array.data(); }
  static Strides strides(const Array& array, bool exact) { return exact ? array.exact_strides() : array.strides(); }

  std::string lse_differs() const {
    for (size_t i = 0; i < lse.size(); ++i) {
      const double want = exact_lse[i], most = 2e-5 * std::max(1.0, std::fabs(want));
      if (agree(lse[i], want, most)) continue;
      return "lse " + std::to_string(i) + " is " + std::to_string(lse[i]) + " and should be " + std::to_string(want);
    }
    return "";
  }
};

}  // namespace

std::string check(const Case& c, uint64_t& bits) {
  Run run(c);
  reference_forward(run.problem(true), run.forward(true));
  forward_under_test(run.problem(false), run.forward(false));
  std::string wrong = run.output.differs("output");
  if (wrong.empty()) wrong = run.lse_differs();
  run.output.mix_into(bits);
  if (!wrong.empty() || !c.backward) return wrong;
  reference_backward(run.problem(true), run.backward(true));
  backward_under_test(run.problem(false), run.backward(false));
  for (const Array* gradient : {&run.grad_query, &run.grad_key, &run.grad_value}) gradient->mix_into(bits);
  // A score's gradient is a difference of two dot products of head_dim terms, of which one is with the output.
  const double cancelled = std::fabs(c.scale) * std::sqrt(c.head_dim) * run.output.typical() * std::max(c.size, 1.0);
  wrong = run.grad_query.differs("grad_query", cancelled);
  if (wrong.empty()) wrong = run.grad_key.differs("grad_key", cancelled);
  if (wrong.empty()) wrong = run.grad_value.differs("grad_value");
  return wrong;
}

}  // namespace pyprof::window

namespace {

constexpr std::string_view kMutant = "--mutant=", kMultiprocessors = "--multiprocessors=";

int list_mutants() {
  using pyprof::mutants::Switch;
  for (const Switch* place = Switch::first; place; place = place->next) std::puts(place->name);
  return 0;
}

}  // namespace

int main(int arguments, char** argument) {
  using namespace pyprof;
  for (int i = 1; i < arguments; ++i) {
    const std::string word = argument[i];
    if (word == "--reversed") gpu::emulation::options.reversed = true;
    if (word == "--conflicts") gpu::emulation::options.count_conflicts = true;
    if (word.starts_with(kMultiprocessors)) {
      gpu::emulation::multiprocessors = std::stoi(word.substr(kMultiprocessors.size()));
    }
    if (word == "--mutants") return list_mutants();
    if (word.starts_with(kMutant) && !mutants::turn_on(word.substr(kMutant.size()))) {
      std::fprintf(stderr, "there is no mutant %s here\n", word.c_str() + kMutant.size());
      return 2;
    }
  }
  int count = 0;
  uint64_t bits = 0xcbf29ce484222325u;
  for (std::string line; std::getline(std::cin, line); ++count) {
    const std::string wrong = window::check(window::Case(line), bits);
    if (wrong.empty()) continue;
    std::printf("%s: %s\n", line.c_str(), wrong.c_str());
    return 1;
  }
  const gpu::emulation::Counters& seen = gpu::emulation::counters;
  std::printf("matrix_loads %ld matrix_conflicts %ld accesses %ld conflicts %ld products %ld\n", seen.matrix_loads,
              seen.matrix_conflicts, seen.accesses, seen.conflicts, seen.products);
  std::printf("bits %016lx\n", bits);
  std::printf("all held: %d\n", count);
  return count > 0 ? 0 : 2;
}
