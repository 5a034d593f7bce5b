// The two operators as C++ calls them; their schemas are in op.cpp.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace pyprof::window {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

using ForwardSignature = std::tuple<Tensor, Tensor>(const Tensor& query, const Tensor& key, const Tensor& value,
                                                    int64_t left, int64_t right, const OptionalTensor& key_lengths,
                                                    double scale, double dropout_p, const OptionalTensor& seed,
                                                    std::string_view impl, int64_t global_keys);
using BackwardSignature = std::tuple<Tensor, Tensor, Tensor>(const Tensor& grad_output, const OptionalTensor& grad_lse,
                                                             const Tensor& query, const Tensor& key,
                                                             const Tensor& value, const Tensor& output,
                                                             const Tensor& lse, int64_t left, int64_t right,
                                                             const OptionalTensor& key_lengths, double scale,
                                                             double dropout_p, const OptionalTensor& seed,
                                                             std::string_view impl, int64_t global_keys);

using ForwardOperator = c10::TypedOperatorHandle<ForwardSignature>;
using BackwardOperator = c10::TypedOperatorHandle<BackwardSignature>;

const ForwardOperator& forward_operator();
const BackwardOperator& backward_operator();

}  // namespace pyprof::window
