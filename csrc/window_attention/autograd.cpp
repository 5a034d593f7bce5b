// Autograd of pyprof::window_attention: one node, made as PyTorch's own operators make theirs, since a call from Python
// into a function of Python's autograd takes longer than the kernel does at everyday lengths.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/library.h>

#include <mutex>
#include <string>
#include <type_traits>

#include "window_attention/signatures.h"

namespace pyprof::window {
namespace {

using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
using NodePointer = decltype(torch::autograd::Edge::function);  // shared or intrusive, by PyTorch's version

template <class Pointer, class Made>
Pointer pointer_to(Made* node) {
  if constexpr (requires { Pointer::reclaim_copy(node); })
    return Pointer::reclaim_copy(node);
  else
    return node->shared_from_this();
}

template <class Made, class Pointer>
auto make_node() {
  if constexpr (requires { Pointer::reclaim_copy(static_cast<Node*>(nullptr)); })
    return c10::make_intrusive<Made>();
  else
    return std::make_shared<Made>();
}

struct WindowAttentionBackward final : Node {
  SavedVariable query, key, value, key_lengths, seed, output, lse;
  int64_t left = 0, right = 0, global_keys = 0;
  double scale = 0, dropout_p = 0;
  std::string impl;

  std::string name() const override { return "WindowAttentionBackward"; }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (SavedVariable* saved : {&query, &key, &value, &key_lengths, &seed, &output, &lse}) saved->reset_data();
  }

  variable_list apply(variable_list&& grads) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Tensor grad_output = grads[0];
    if (!grad_output.defined() && !grads[1].defined()) return {Tensor(), Tensor(), Tensor()};
    const NodePointer self = pointer_to<NodePointer>(this);
    const Tensor result = output.unpack(self);
    if (!grad_output.defined()) grad_output = at::zeros_like(result);
    const auto run = [&] {
      return backward_operator().call(grad_output, optional(grads[1]), query.unpack(), key.unpack(), value.unpack(),
                                      result, lse.unpack(self), left, right, optional(key_lengths.unpack()), scale,
                                      dropout_p, optional(seed.unpack()), impl, global_keys);
    };
    // With create_graph the operator's own autograd says that there are no second derivatives.
    if (at::GradMode::is_enabled()) return list_of(run());
    const at::AutoDispatchBelowADInplaceOrView below;
    return list_of(run());
  }

 private:
  static OptionalTensor optional(const Tensor& tensor) {
    return tensor.defined() ? OptionalTensor(tensor) : std::nullopt;
  }
  static variable_list list_of(const std::tuple<Tensor, Tensor, Tensor>& gradients) {
    return {std::get<0>(gradients), std::get<1>(gradients), std::get<2>(gradients)};
  }
};

std::tuple<Tensor, Tensor> forward_with_gradients(const Tensor& query, const Tensor& key, const Tensor& value,
                                                  int64_t left, int64_t right, const OptionalTensor& key_lengths,
                                                  double scale, double dropout_p, const OptionalTensor& seed,
                                                  std::string_view impl, int64_t global_keys) {
  const auto run = [&] {
    const at::AutoDispatchBelowADInplaceOrView below;
    return forward_operator().call(query, key, value, left, right, key_lengths, scale, dropout_p, seed, impl,
                                   global_keys);
  };
  for (const Tensor* tensor : {&query, &key, &value})
    TORCH_CHECK_NOT_IMPLEMENTED(!torch::autograd::isFwGradDefined(*tensor),
                                "window_attention has no forward-mode derivatives: take them of impl='sdpa'");
  if (!torch::autograd::compute_requires_grad(query, key, value)) return run();
  const auto node = make_node<WindowAttentionBackward, NodePointer>();
  node->set_next_edges(torch::autograd::collect_next_edges(query, key, value));
  node->query = SavedVariable(query, false);
  node->key = SavedVariable(key, false);
  node->value = SavedVariable(value, false);
  if (key_lengths) node->key_lengths = SavedVariable(*key_lengths, false);
  if (seed) node->seed = SavedVariable(*seed, false);
  node->left = left, node->right = right, node->scale = scale, node->dropout_p = dropout_p, node->impl = impl;
  node->global_keys = global_keys;
  const std::tuple<Tensor, Tensor> results = run();
  const auto& [output, lse] = results;
  torch::autograd::set_history(output, node);
  torch::autograd::set_history(lse, node);
  node->output = SavedVariable(output, true);
  node->lse = SavedVariable(lse, true);
  return results;
}

TORCH_LIBRARY_IMPL(pyprof, Autograd, library) { library.impl("window_attention", &forward_with_gradients); }

}  // namespace

const ForwardOperator& forward_operator() {
  static const auto found =
      c10::Dispatcher::singleton().findSchemaOrThrow("pyprof::window_attention", "").typed<ForwardSignature>();
  return found;
}

const BackwardOperator& backward_operator() {
  static const auto found = c10::Dispatcher::singleton()
                                .findSchemaOrThrow("pyprof::window_attention_backward", "")
                                .typed<BackwardSignature>();
  return found;
}

}  // namespace pyprof::window
