// The CUDA kernels of the operators pyprof::window_attention and pyprof::window_attention_backward, whose schemas are
// in op.cpp. A library of its own, pyprof._window_cuda, since what refers to CUDA cannot be loaded under a PyTorch
// without it; importing it after pyprof._window registers them.
//
// Built from this file and the .cu files beside it, for sm_80, sm_90 and sm_100 and with PTX of the last one for what
// comes later. Only this file knows PyTorch: the .cu files get plain structs, and compile in seconds.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <pybind11/pybind11.h>
#include <torch/library.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <string_view>
#include <tuple>

#include "window_attention/choice.h"
#include "window_attention/hopper.h"
#include "window_attention/mma.h"
#include "window_attention/op.h"
#include "window_attention/plain.h"

namespace pyprof::window {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// Tensor cores for the 16-bit types, plain arithmetic for float32: chosen by the type, never by what is faster today.
bool runs_on_tensor_cores(const Problem& problem) {
  if (mma_supports(problem)) return true;
  TORCH_CHECK(problem.type != Type::float64, "window_attention: float64 runs in impl 'reference' on the host only");
  TORCH_CHECK(problem.head_dim == 32 || problem.head_dim == 64 || problem.head_dim == 128,
              "window_attention: impl 'cuda' takes a head_dim of 32, 64 or 128, not ", problem.head_dim);
  TORCH_CHECK(problem.global_keys == 0,
              "window_attention: float32 has no global keys on CUDA: pyprof/ops/columns.py joins them");
  TORCH_CHECK(plain_supports(problem), "window_attention: impl 'cuda' cannot number the parts of ", problem.batch,
              " x ", problem.heads, " heads of length ", problem.length, ": split the batch");
  return false;
}

// Which kernels PYPROF_CUDA_KERNELS names, empty where the table alone decides.
std::string_view wanted_kernels() {
  const char* said = std::getenv("PYPROF_CUDA_KERNELS");
  const std::string_view wanted = said == nullptr ? "" : said;
  TORCH_CHECK(wanted.empty() || wanted == "hopper" || wanted == "mma" || wanted == "mma_one_pass",
              "PYPROF_CUDA_KERNELS is '", wanted, "': set it to hopper, mma or mma_one_pass, or leave it unset");
  return wanted;
}

#ifdef PYPROF_HOPPER
// Whether Hopper's kernels passed their trial on a device (pyprof/ops/trial.py), which is asked once a process.
bool passed_trial(int device) {
  enum class Verdict : int8_t { unknown, passed, failed };
  static std::array<std::atomic<Verdict>, C10_COMPILE_TIME_MAX_GPUS> verdicts = {};
  std::atomic<Verdict>& verdict = verdicts.at(device);
  if (verdict == Verdict::unknown) {
    const pybind11::gil_scoped_acquire gil;
    const bool passed = pybind11::module_::import("pyprof.ops.trial").attr("passed")(device).cast<bool>();
    verdict = passed ? Verdict::passed : Verdict::failed;
  }
  return verdict == Verdict::passed;
}
#endif

// Whether the kernels of Hopper run: where the card and the problem allow it, and they passed their trial on the card.
// PYPROF_CUDA_KERNELS=hopper takes them without one, and any other value never.
template <class Direction>
bool runs_on_hopper(const Problem& problem, const Direction& direction) {
#ifdef PYPROF_HOPPER
  const std::string_view wanted = wanted_kernels();
  if (!hopper_supports(problem, direction) || (!wanted.empty() && wanted != "hopper")) return false;
  int device = 0, major = 0, minor = 0;
  C10_CUDA_CHECK(cudaGetDevice(&device));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  return major == 9 && minor == 0 && (!wanted.empty() || passed_trial(device));
#else
  return false;
#endif
}

// Whether the backward in one pass runs: nobody has measured it yet, so only PYPROF_CUDA_KERNELS=mma_one_pass takes it.
bool runs_in_one_pass(const Problem& problem) {
  return wanted_kernels() == "mma_one_pass" && mma_one_pass_supports(problem) &&
         choice_of(asked_of(problem, window::Direction::backward, false, true))->kernel == Kernel::mma_one_pass;
}

Problem cuda_problem(Inputs& in, std::string_view impl) {
  TORCH_CHECK(impl == "cuda", "window_attention: impl '", impl, "' cannot run on a CUDA device; it has cuda");
  return problem_of(in);
}

std::tuple<Tensor, Tensor> forward_on_cuda(const Tensor& query, const Tensor& key, const Tensor& value, int64_t left,
                                           int64_t right, const OptionalTensor& key_lengths, double scale,
                                           double dropout_p, const OptionalTensor& seed, std::string_view impl,
                                           int64_t global_keys) {
  const c10::cuda::CUDAGuard device(query.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();
  Inputs in{query, key, value, left, right, key_lengths, scale, dropout_p, seed, global_keys};
  const Problem problem = cuda_problem(in, impl);
  ForwardTensors out(in);
  const auto run = !runs_on_tensor_cores(problem)            ? plain_forward
                   : runs_on_hopper(problem, out.pointers()) ? hopper_forward
                                                             : mma_forward;
  run(problem, out.pointers(), stream);
  return {out.output, out.lse};
}

std::tuple<Tensor, Tensor, Tensor> backward_on_cuda(const Tensor& grad_output, const OptionalTensor& grad_lse,
                                                    const Tensor& query, const Tensor& key, const Tensor& value,
                                                    const Tensor& output, const Tensor& lse, int64_t left,
                                                    int64_t right, const OptionalTensor& key_lengths, double scale,
                                                    double dropout_p, const OptionalTensor& seed, std::string_view impl,
                                                    int64_t global_keys) {
  const c10::cuda::CUDAGuard device(query.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();
  Inputs in{query, key, value, left, right, key_lengths, scale, dropout_p, seed, global_keys};
  const Problem problem = cuda_problem(in, impl);
  BackwardTensors tensors(in, grad_output, grad_lse, output, lse);
  const Backward backward = tensors.pointers();
  if (runs_on_tensor_cores(problem)) {
    const bool hopper = runs_on_hopper(problem, backward);
    const bool one_pass = !hopper && runs_in_one_pass(problem);
    const auto size = hopper ? hopper_workspace : one_pass ? mma_one_pass_workspace : mma_workspace;
    const auto run = hopper ? hopper_backward : one_pass ? mma_one_pass_backward : mma_backward;
    const Tensor workspace = at::empty({size(problem)}, lse.options().dtype(at::kFloat));
    run(problem, backward, workspace.mutable_data_ptr<float>(), stream);
  } else {
    plain_backward(problem, backward, stream);
  }
  return {tensors.grad_query, tensors.grad_key, tensors.grad_value};
}

TORCH_LIBRARY_IMPL(pyprof, CUDA, library) {
  library.impl("window_attention", &forward_on_cuda);
  library.impl("window_attention_backward", &backward_on_cuda);
}

}  // namespace
}  // namespace pyprof::window

// Importing it registers the kernels.
PYBIND11_MODULE(_window_cuda, module) { module.doc() = "The CUDA kernels of pyprof's sliding-window attention."; }
