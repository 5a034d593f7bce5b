// The way from Python to the operator: one pass over the arguments, then the operator itself. Python's way through
// torch.ops takes several times as long as this, and checks in Python as long again.
//
// It answers None for whatever is out of the ordinary: an argument that does not fit, for which Python has the words
// (pyprof/ops/arguments.py), and tensors or modes that want to hear of the call in Python (__torch_function__).
#include "window_attention/call.h"

#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/ops/randint.h>
#include <pybind11/pybind11.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "window_attention/signatures.h"

namespace pyprof::window {
namespace {

enum Argument {
  kQuery,
  kKey,
  kValue,
  kWindow,
  kKeyLengths,
  kScale,
  kDropout,
  kImpl,
  kGlobalKeys,
  kWithLse,
  kArguments
};

struct Call {
  const Tensor *query, *key, *value;
  int64_t left, right, global_keys;
  OptionalTensor key_lengths;
  double scale, dropout_p;
  std::string_view impl;
};

bool take_number(PyObject* object, double& number) {
  if (PyFloat_CheckExact(object)) {
    number = PyFloat_AS_DOUBLE(object);
  } else if (PyLong_CheckExact(object)) {
    number = PyLong_AsDouble(object);
    if (PyErr_Occurred()) PyErr_Clear(), number = std::numeric_limits<double>::infinity();
  } else {
    return false;
  }
  return std::isfinite(number);
}

// A window's side or a number of keys; as large as one likes, and then cut far beyond any length.
bool take_side(PyObject* object, int64_t& side) {
  if (!PyLong_CheckExact(object)) return false;
  constexpr int64_t kWidest = int64_t{1} << 62;
  int overflow = 0;
  side = PyLong_AsLongLongAndOverflow(object, &overflow);
  if (overflow > 0 || side > kWidest) side = kWidest;
  return overflow >= 0 && side >= 0;
}

bool take_window(PyObject* window, Call& call) {
  if (PyTuple_CheckExact(window) && PyTuple_GET_SIZE(window) == 2)
    return take_side(PyTuple_GET_ITEM(window, 0), call.left) && take_side(PyTuple_GET_ITEM(window, 1), call.right);
  if (!take_side(window, call.left)) return false;
  call.right = call.left;
  return true;
}

const Tensor* take_tensor(PyObject* object) {
  if (!THPVariable_CheckExact(object)) return nullptr;
  const Tensor& tensor = THPVariable_Unpack(object);
  return tensor.layout() == at::kStrided ? &tensor : nullptr;
}

// Which native implementation `impl` stands for on the query's device; empty where it is none or cannot run there.
std::string_view native(std::string_view impl, const Tensor& query) {
  if (query.device().is_cpu()) {
    if (impl == "auto" || impl == "cpu") return "cpu";
    return impl == "reference" ? impl : std::string_view();
  }
  static const bool built = forward_operator().hasKernelForDispatchKey(c10::DispatchKey::CUDA);
  const bool runs = query.device().is_cuda() && built && (impl == "auto" || impl == "cuda");
  return runs ? std::string_view("cuda") : std::string_view();
}

bool takes(std::string_view impl, at::ScalarType type, int64_t head_dim) {
  const bool common = type == at::kFloat || type == at::kBFloat16 || type == at::kHalf;
  if (impl == "cpu") return common && head_dim % 8 == 0 && head_dim <= 256;
  if (impl == "cuda") return common && (head_dim == 32 || head_dim == 64 || head_dim == 128);
  return common || type == at::kDouble;
}

bool fits(const Call& call) {
  const Tensor &query = *call.query, &key = *call.key, &value = *call.value;
  if (query.dim() != 4 || key.dim() != 4 || query.size(3) == 0 || !takes(call.impl, query.scalar_type(), query.size(3)))
    return false;
  if (call.global_keys > 0 && call.impl == "cuda" && query.scalar_type() == at::kFloat) return false;
  const int64_t heads = query.size(1), key_heads = key.size(1);
  if (key.size(0) != query.size(0) || key.size(2) != query.size(2) || key.size(3) != query.size(3)) return false;
  if (key_heads != heads && (key_heads == 0 || heads % key_heads != 0)) return false;
  if (value.sizes() != key.sizes()) return false;
  for (const Tensor* tensor : {&key, &value})
    if (tensor->scalar_type() != query.scalar_type() || tensor->device() != query.device()) return false;
  for (const Tensor* tensor : {&query, &key, &value})
    if (tensor->stride(3) != 1 && tensor->numel() > 0) return false;
  if (!call.key_lengths) return true;
  const Tensor& lengths = *call.key_lengths;
  return lengths.dim() == 1 && lengths.size(0) == query.size(0) && lengths.scalar_type() == at::kLong &&
         lengths.device() == query.device();
}

std::optional<Call> take(PyObject* const* given) {
  Call call{};
  call.query = take_tensor(given[kQuery]);
  call.key = take_tensor(given[kKey]);
  call.value = take_tensor(given[kValue]);
  if (!call.query || !call.key || !call.value || !take_window(given[kWindow], call)) return std::nullopt;
  if (!take_side(given[kGlobalKeys], call.global_keys)) return std::nullopt;
  if (given[kKeyLengths] != Py_None) {
    const Tensor* lengths = take_tensor(given[kKeyLengths]);
    if (!lengths) return std::nullopt;
    call.key_lengths = *lengths;
  }
  if (!take_number(given[kDropout], call.dropout_p) || call.dropout_p < 0 || call.dropout_p >= 1) return std::nullopt;
  Py_ssize_t size = 0;
  const char* impl = PyUnicode_Check(given[kImpl]) ? PyUnicode_AsUTF8AndSize(given[kImpl], &size) : nullptr;
  if (!impl) return PyErr_Clear(), std::nullopt;
  call.impl = native({impl, static_cast<size_t>(size)}, *call.query);
  if (call.impl.empty() || !fits(call)) return std::nullopt;
  if (given[kScale] == Py_None)
    call.scale = std::pow(static_cast<double>(call.query->size(3)), -0.5);
  else if (!take_number(given[kScale], call.scale))
    return std::nullopt;
  return call;
}

std::tuple<Tensor, Tensor> run(const Call& call) {
  const pybind11::gil_scoped_release without_gil;
  OptionalTensor seed;
  if (call.dropout_p > 0)
    seed = at::randint(std::numeric_limits<int64_t>::max(), {1}, call.query->options().dtype(at::kLong));
  return forward_operator().call(*call.query, *call.key, *call.value, call.left, call.right, call.key_lengths,
                                 call.scale, call.dropout_p, seed, call.impl, call.global_keys);
}

PyObject* call(PyObject*, PyObject* const* given, Py_ssize_t count) {
  HANDLE_TH_ERRORS
  if (count != kArguments) {
    PyErr_Format(PyExc_TypeError, "call takes %d arguments, not %zd", static_cast<int>(kArguments), count);
    return nullptr;
  }
  if (at::impl::torch_function_mode_enabled()) Py_RETURN_NONE;
  const std::optional<Call> taken = take(given);
  if (!taken) Py_RETURN_NONE;
  auto [output, lse] = run(*taken);
  PyObject* wrapped = THPVariable_Wrap(output);
  if (!wrapped || given[kWithLse] != Py_True) return wrapped;
  PyObject* both = PyTuple_New(2);
  PyTuple_SET_ITEM(both, 0, wrapped);
  PyTuple_SET_ITEM(both, 1, THPVariable_Wrap(lse));
  return both;
  END_HANDLE_TH_ERRORS
}

}  // namespace

PyMethodDef call_methods[] = {
    {"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call)), METH_FASTCALL,
     "call(query, key, value, window, key_lengths, scale, dropout_p, impl, global_keys, with_lse): the output, with "
     "its log-sum-exp as a pair where asked; None where the arguments need a closer look."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace pyprof::window
