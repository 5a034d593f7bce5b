// The operators pyprof::global_rows and pyprof::global_rows_backward: the rows of global tokens, on the host. What a
// device without a kernel of its own does instead is in pyprof/ops/global_rows.py.
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>

#include "window_attention/op.h"
#include "window_attention/signatures.h"

namespace pyprof::window {
namespace {

struct Given {
  Inputs in;  // the keys stand in for the window's queries, of which there are none
  Tensor rows;
  Problem problem;

  Given(const Tensor& wanted, const Tensor& key, const Tensor& value, const OptionalTensor& key_lengths, double scale,
        double dropout_p, const OptionalTensor& seed)
      : in{key, key, value, 0, 0, key_lengths, scale, dropout_p, seed, 0},
        rows(with_contiguous_rows(wanted)),
        problem(problem_of(in)) {
    TORCH_CHECK(rows.dim() == 4 && rows.size(0) == key.size(0) && rows.size(1) == key.size(1) &&
                    rows.size(3) == key.size(3) && rows.scalar_type() == key.scalar_type() &&
                    rows.device() == key.device(),
                "global_rows: rows of shape ", rows.sizes(), " do not fit key ", key.sizes());
    TORCH_CHECK(key.scalar_type() != at::kDouble && key.size(3) % 8 == 0 && key.size(3) <= 256,
                "global_rows: float64 and a head_dim of ", key.size(3), " have no kernel");
    problem.query = rows.const_data_ptr();
    problem.query_strides = strides_of(rows);
  }

  int64_t count() const { return rows.size(2); }
  Tensor make(at::IntArrayRef sizes) const { return at::empty(sizes, rows.options().dtype(at::kFloat)); }
};

std::tuple<Tensor, Tensor> forward_on_host(const Tensor& rows, const Tensor& key, const Tensor& value,
                                           const OptionalTensor& key_lengths, double scale, double dropout_p,
                                           const OptionalTensor& seed) {
  const Given given(rows, key, value, key_lengths, scale, dropout_p, seed);
  Tensor output = given.make(rows.sizes()), statistics = given.make({rows.size(0), rows.size(1), rows.size(2), 2});
  cpu_global_rows_forward(given.problem,
                          {given.count(), output.mutable_data_ptr<float>(), statistics.mutable_data_ptr<float>()});
  return {output, statistics};
}

std::tuple<Tensor, Tensor, Tensor> backward_on_host(const Tensor& grad_output, const Tensor& rows, const Tensor& key,
                                                    const Tensor& value, const Tensor& output, const Tensor& statistics,
                                                    const OptionalTensor& key_lengths, double scale, double dropout_p,
                                                    const OptionalTensor& seed) {
  const Given given(rows, key, value, key_lengths, scale, dropout_p, seed);
  TORCH_CHECK(grad_output.sizes() == rows.sizes() && grad_output.scalar_type() == rows.scalar_type(),
              "global_rows: grad_output must be like rows");
  TORCH_CHECK(output.sizes() == rows.sizes() && output.scalar_type() == at::kFloat &&
                  statistics.numel() * rows.size(3) == 2 * rows.numel() && statistics.scalar_type() == at::kFloat,
              "global_rows: output and statistics must be as forward returned them");
  const Tensor grad = with_contiguous_rows(grad_output), known = output.contiguous(), kept = statistics.contiguous();
  Tensor grad_rows = given.make(rows.sizes()), grad_key = empty_gradient(given.in.key);
  Tensor grad_value = empty_gradient(given.in.value);
  cpu_global_rows_backward(given.problem,
                           {given.count(), grad.const_data_ptr(), strides_of(grad), known.const_data_ptr<float>(),
                            kept.const_data_ptr<float>(), grad_rows.mutable_data_ptr<float>(), grad_key.data_ptr(),
                            grad_value.data_ptr(), strides_of(grad_key), strides_of(grad_value)});
  return {grad_rows, grad_key, grad_value};
}

TORCH_LIBRARY_FRAGMENT(pyprof, library) {
  library.def(
      "global_rows(Tensor rows, Tensor key, Tensor value, Tensor? key_lengths, float scale, float dropout_p, "
      "Tensor? seed) -> (Tensor output, Tensor statistics)",
      {at::Tag::pt2_compliant_tag});
  library.def(
      "global_rows_backward(Tensor grad_output, Tensor rows, Tensor key, Tensor value, Tensor output, "
      "Tensor statistics, Tensor? key_lengths, float scale, float dropout_p, Tensor? seed) -> (Tensor grad_rows, "
      "Tensor grad_key, Tensor grad_value)",
      {at::Tag::pt2_compliant_tag});
}

TORCH_LIBRARY_IMPL(pyprof, CPU, library) {
  library.impl("global_rows", &forward_on_host);
  library.impl("global_rows_backward", &backward_on_host);
}

}  // namespace
}  // namespace pyprof::window
