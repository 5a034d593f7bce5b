// What the operators' host side (op.cpp) and CUDA side (cuda_op.cpp) do alike with tensors: checks and plain structs.
//
// Python says bad arguments in a sentence (pyprof/ops/arguments.py); the checks here keep memory safe whoever calls.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/empty_strided.h>

#include <optional>

#include "window_attention/window.h"

namespace pyprof::window {

// The arguments that both operators share. Tensors may be replaced by contiguous copies, which live as long as this.
struct Inputs {
  at::Tensor query, key, value;
  int64_t left, right;
  std::optional<at::Tensor> key_lengths;
  double scale, dropout_p;
  std::optional<at::Tensor> seed;
  int64_t global_keys;
};

inline Type type_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return Type::float32;
    case at::kBFloat16:
      return Type::bfloat16;
    case at::kHalf:
      return Type::float16;
    case at::kDouble:
      return Type::float64;
    default:
      TORCH_CHECK(false, "window_attention: no implementation for ", type);
  }
}

inline at::ScalarType statistics_type(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

// Gradients can arrive expanded (from a sum, say), so the last dimension is not contiguous by itself.
inline at::Tensor with_contiguous_rows(const at::Tensor& tensor) {
  return tensor.stride(-1) == 1 ? tensor : tensor.contiguous();
}

inline Strides strides_of(const at::Tensor& tensor) { return {tensor.stride(0), tensor.stride(1), tensor.stride(2)}; }

// (batch, heads, length, head_dim) whose transpose(1, 2) is contiguous, because a model reshapes that to
// (batch, length, heads * head_dim) next.
inline at::Tensor empty_output(const at::Tensor& query) {
  const int64_t heads = query.size(1), length = query.size(2), dim = query.size(3);
  return at::empty_strided(query.sizes(), {length * heads * dim, dim, heads * dim, 1}, query.options());
}

// A gradient has its tensor's own order of dimensions, so that autograd's way back through views copies nothing.
inline at::Tensor empty_gradient(const at::Tensor& tensor) {
  at::Tensor made = at::empty_like(tensor);
  TORCH_INTERNAL_ASSERT(made.numel() == 0 || made.size(-1) == 1 || made.stride(-1) == 1);
  return made;
}

inline void check_tensors(const Inputs& in) {
  const at::Tensor& query = in.query;
  TORCH_CHECK(query.dim() == 4, "window_attention: query has ", query.dim(), " dimensions, not 4");
  for (const at::Tensor* other : {&in.key, &in.value}) {
    TORCH_CHECK(other->dim() == 4 && other->size(0) == query.size(0) && other->size(2) == query.size(2) &&
                    other->size(3) == query.size(3) && other->size(1) == in.key.size(1),
                "window_attention: key or value of shape ", other->sizes(), " does not fit query ", query.sizes());
    TORCH_CHECK(other->scalar_type() == query.scalar_type() && other->device() == query.device(),
                "window_attention: query, key and value differ in type or device");
  }
  const int64_t heads = query.size(1), key_heads = in.key.size(1);
  TORCH_CHECK(key_heads > 0 ? heads % key_heads == 0 : heads == 0, "window_attention: ", heads,
              " query heads cannot share ", key_heads, " key heads");
  TORCH_CHECK(in.left >= 0 && in.right >= 0, "window_attention: the window is negative");
  TORCH_CHECK(in.global_keys >= 0, "window_attention: global_keys is negative");
  TORCH_CHECK(in.dropout_p >= 0.0 && in.dropout_p < 1.0, "window_attention: dropout_p is not in [0, 1)");
  TORCH_CHECK(in.dropout_p == 0.0 || in.seed.has_value(), "window_attention: dropout needs a seed");
  if (in.seed)
    TORCH_CHECK(in.seed->numel() == 1 && in.seed->scalar_type() == at::kLong && in.seed->device() == query.device(),
                "window_attention: the seed must be one int64 on the query's device");
  if (in.key_lengths) {
    const at::Tensor& lengths = *in.key_lengths;
    TORCH_CHECK(lengths.dim() == 1 && lengths.size(0) == query.size(0) && lengths.scalar_type() == at::kLong &&
                    lengths.device() == query.device(),
                "window_attention: key_lengths must be int64 of shape (batch,) on the query's device");
  }
}

// Checks, and fills in everything.
inline Problem problem_of(Inputs& in) {
  check_tensors(in);
  in.query = with_contiguous_rows(in.query);
  in.key = with_contiguous_rows(in.key);
  in.value = with_contiguous_rows(in.value);
  if (in.key_lengths) in.key_lengths = in.key_lengths->contiguous();
  Problem problem{};
  problem.type = type_of(in.query.scalar_type());
  problem.batch = in.query.size(0);
  problem.heads = in.query.size(1);
  problem.key_heads = in.key.size(1);
  problem.length = in.query.size(2);
  problem.head_dim = in.query.size(3);
  problem.left = in.left;
  problem.right = in.right;
  problem.query = in.query.const_data_ptr();
  problem.key = in.key.const_data_ptr();
  problem.value = in.value.const_data_ptr();
  problem.query_strides = strides_of(in.query);
  problem.key_strides = strides_of(in.key);
  problem.value_strides = strides_of(in.value);
  problem.key_lengths = in.key_lengths ? in.key_lengths->const_data_ptr<int64_t>() : nullptr;
  problem.scale = in.scale;
  problem.dropout_p = in.dropout_p;
  problem.seed = in.seed ? reinterpret_cast<const uint64_t*>(in.seed->const_data_ptr<int64_t>()) : nullptr;
  problem.global_keys = in.global_keys;
  return problem;
}

struct ForwardTensors {
  at::Tensor output, lse;

  explicit ForwardTensors(const Inputs& in)
      : output(empty_output(in.query)),
        lse(at::empty({in.query.size(0), in.query.size(1), in.query.size(2)},
                      in.query.options().dtype(statistics_type(in.query.scalar_type())))) {}

  Forward pointers() { return {output.data_ptr(), strides_of(output), lse.data_ptr()}; }
};

struct BackwardTensors {
  at::Tensor grad_output, output, lse;
  std::optional<at::Tensor> grad_lse;
  at::Tensor grad_query, grad_key, grad_value;

  BackwardTensors(const Inputs& in, const at::Tensor& grad_output_given,
                  const std::optional<at::Tensor>& grad_lse_given, const at::Tensor& output_given,
                  const at::Tensor& lse_given) {
    const at::Tensor& query = in.query;
    for (const at::Tensor* like : {&grad_output_given, &output_given})
      TORCH_CHECK(like->sizes() == query.sizes() && like->scalar_type() == query.scalar_type() &&
                      like->device() == query.device(),
                  "window_attention: grad_output and output must be like query");
    const at::Tensor& lse_like = grad_lse_given ? *grad_lse_given : lse_given;
    for (const at::Tensor* like : {&lse_given, &lse_like})
      TORCH_CHECK(like->sizes() == query.sizes().slice(0, 3) && like->device() == query.device() &&
                      like->scalar_type() == statistics_type(query.scalar_type()),
                  "window_attention: lse and grad_lse must be (batch, heads, length) as forward returned it");
    grad_output = with_contiguous_rows(grad_output_given);
    output = with_contiguous_rows(output_given);
    lse = lse_given.contiguous();
    if (grad_lse_given) grad_lse = grad_lse_given->contiguous();
    grad_query = empty_gradient(in.query);
    grad_key = empty_gradient(in.key);
    grad_value = empty_gradient(in.value);
  }

  Backward pointers() {
    return {grad_output.const_data_ptr(), strides_of(grad_output), grad_lse ? grad_lse->const_data_ptr() : nullptr,
            output.const_data_ptr(),      strides_of(output),      lse.const_data_ptr(),
            grad_query.data_ptr(),        grad_key.data_ptr(),     grad_value.data_ptr(),
            strides_of(grad_query),       strides_of(grad_key),    strides_of(grad_value)};
  }
};

}  // namespace pyprof::window
