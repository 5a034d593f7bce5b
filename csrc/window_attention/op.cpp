// The operators pyprof::window_attention and pyprof::window_attention_backward, and their kernels for the host.
//
// The schemas are here for every device; the CUDA kernels are in a library of their own (cuda_op.cpp), which a PyTorch
// without CUDA could not load. Autograd is in autograd.cpp, Python's way to the operators in call.cpp; fake kernels and
// FLOP formulas are in pyprof/ops/operator.py.
#include "window_attention/op.h"

#include <pybind11/pybind11.h>
#include <torch/library.h>

#include <string>
#include <string_view>
#include <tuple>

#include "window_attention/call.h"
#include "window_attention/choice.h"
#include "window_attention/signatures.h"

namespace pyprof::window {
namespace {

struct Kernels {
  void (*forward)(const Problem&, const Forward&);
  void (*backward)(const Problem&, const Backward&);
};

Kernels kernels(std::string_view impl, const Tensor& query) {
  if (impl == "reference") return {reference_forward, reference_backward};
  TORCH_CHECK(impl == "cpu", "window_attention: impl '", impl, "' cannot run on the host; it has reference and cpu");
  TORCH_CHECK(query.scalar_type() != at::kDouble, "window_attention: float64 runs in impl 'reference' only");
  TORCH_CHECK(query.size(3) % 8 == 0 && query.size(3) <= 256,
              "window_attention: impl 'cpu' takes a head_dim that is a multiple of 8 up to 256, not ", query.size(3));
  return {cpu_forward, cpu_backward};
}

std::tuple<Tensor, Tensor> forward_on_host(const Tensor& query, const Tensor& key, const Tensor& value, int64_t left,
                                           int64_t right, const OptionalTensor& key_lengths, double scale,
                                           double dropout_p, const OptionalTensor& seed, std::string_view impl,
                                           int64_t global_keys) {
  Inputs in{query, key, value, left, right, key_lengths, scale, dropout_p, seed, global_keys};
  const Problem problem = problem_of(in);
  ForwardTensors out(in);
  kernels(impl, query).forward(problem, out.pointers());
  return {out.output, out.lse};
}

std::tuple<Tensor, Tensor, Tensor> backward_on_host(const Tensor& grad_output, const OptionalTensor& grad_lse,
                                                    const Tensor& query, const Tensor& key, const Tensor& value,
                                                    const Tensor& output, const Tensor& lse, int64_t left,
                                                    int64_t right, const OptionalTensor& key_lengths, double scale,
                                                    double dropout_p, const OptionalTensor& seed, std::string_view impl,
                                                    int64_t global_keys) {
  Inputs in{query, key, value, left, right, key_lengths, scale, dropout_p, seed, global_keys};
  const Problem problem = problem_of(in);
  BackwardTensors tensors(in, grad_output, grad_lse, output, lse);
  kernels(impl, query).backward(problem, tensors.pointers());
  return {tensors.grad_query, tensors.grad_key, tensors.grad_value};
}

TORCH_LIBRARY(pyprof, library) {
  library.def(
      "window_attention(Tensor query, Tensor key, Tensor value, int left, int right, Tensor? key_lengths, float scale, "
      "float dropout_p, Tensor? seed, str impl, int global_keys=0) -> (Tensor output, Tensor lse)",
      {at::Tag::pt2_compliant_tag});
  library.def(
      "window_attention_backward(Tensor grad_output, Tensor? grad_lse, Tensor query, Tensor key, Tensor value, "
      "Tensor output, Tensor lse, int left, int right, Tensor? key_lengths, float scale, float dropout_p, Tensor? "
      "seed, str impl, int global_keys=0) -> (Tensor grad_query, Tensor grad_key, Tensor grad_value)",
      {at::Tag::pt2_compliant_tag});
}

TORCH_LIBRARY_IMPL(pyprof, CPU, library) {
  library.impl("window_attention", &forward_on_host);
  library.impl("window_attention_backward", &backward_on_host);
}

std::string isa(std::string_view type) {
  if (type == "float32") return cpu_isa(Type::float32);
  if (type == "bfloat16") return cpu_isa(Type::bfloat16);
  if (type == "float16") return cpu_isa(Type::float16);
  throw pybind11::value_error("the host kernels know float32, bfloat16 and float16");
}

// A line of the table, for Python.
pybind11::dict line_of(const Choice& line) {
  pybind11::dict told;
  told["kernel"] = line.name;
  told["direction"] = line.direction == Direction::forward ? "forward" : "backward";
  told["is_16_bit"] = line.is_16_bit;
  told["head_dim"] = line.head_dim == 0 ? pybind11::object(pybind11::none()) : pybind11::int_(line.head_dim);
  told["narrowest"] = line.narrowest;
  told["widest"] = line.widest == INT64_MAX ? pybind11::object(pybind11::none()) : pybind11::int_(line.widest);
  told["in_eights"] = line.in_eights;
  told["own_keys"] = line.own_keys;
  told["no_dropout"] = line.kept;
  told["global_keys"] = line.global_keys;
  told["hopper"] = line.hopper;
  told["asked_for"] = line.asked_for;
  told["why"] = line.why;
  return told;
}

pybind11::list choices() {
  pybind11::list all;
  for (const Choice& line : kChoices) all.append(line_of(line));
  return all;
}

// The number of the line that is taken; -1 where none fits.
int64_t choice(bool backward, bool is_16_bit, int64_t head_dim, int64_t left, int64_t right, bool own_keys,
               bool dropout, bool global_keys, bool hopper, bool one_pass) {
  const Direction direction = backward ? Direction::backward : Direction::forward;
  const Choice* line =
      choice_of({direction, is_16_bit, head_dim, left, right, own_keys, dropout, global_keys, hopper, one_pass});
  return line == nullptr ? -1 : line - kChoices;
}

}  // namespace
}  // namespace pyprof::window

// Importing it registers the operators.
PYBIND11_MODULE(_window, module) {
  if (PyModule_AddFunctions(module.ptr(), pyprof::window::call_methods) != 0) throw pybind11::error_already_set();
  module.def(
      "cpu_isa", &pyprof::window::isa, pybind11::arg("type"),
      "The instruction set that the host kernels use here for a type: portable, avx2, avx512, avx512_bf16 or amx.");
  module.def("choices", &pyprof::window::choices,
             "The lines of the table of CUDA kernels, in the order of preference.");
  module.def("choice", &pyprof::window::choice, "The number of the line that a problem takes; -1 where none fits.");
}
