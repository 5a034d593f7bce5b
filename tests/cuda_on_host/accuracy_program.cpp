// Runs the tensor-core kernels over the emulation on tensors from standard input, and writes what they give to standard
// output: a PyTorch process can then compare them with its own arithmetic. Tensors are (batch, heads, length, 64),
// contiguous; first come eight numbers of 8 bytes, see `main`, then query, key, value and the output's gradient.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "window_attention/choice.h"
#include "window_attention/mma_launch.cuh"

namespace {

using namespace pyprof;

// Memory aligned to 16 bytes.
struct Bytes {
  std::vector<gpu::Float4> memory;
  size_t size;

  explicit Bytes(size_t bytes) : memory((bytes + 15) / 16), size(bytes) {}
  Bytes(size_t bytes, std::FILE* from) : Bytes(bytes) {
    if (std::fread(data(), 1, size, from) != size) std::exit(2);
  }
  float* data() { return &memory.data()->x; }
  void write() {
    if (std::fwrite(data(), 1, size, stdout) != size) std::exit(2);
  }
};

constexpr int64_t kHeadDim = 64;

template <class T>
void run(const window::Problem& problem, const window::Forward& forward, const window::Backward& backward,
         float* workspace) {
  using namespace window;
  const Choice* const choice = choice_of(asked_of(problem, Direction::forward, false));
  (choice->kernel == Kernel::mma_wide ? mma_kernels::launch_wide<T, kHeadDim, false>
                                      : mma_kernels::launch_forward<T, kHeadDim, false>)(problem, forward, nullptr);
  mma_kernels::launch_backward<T, kHeadDim, false>(problem, backward, workspace, nullptr);
}

}  // namespace

int main() {
  int64_t numbers[7];  // whether bfloat16, batch, heads, key_heads, length, left, right
  double scale;
  if (std::fread(numbers, sizeof numbers, 1, stdin) != 1 || std::fread(&scale, sizeof scale, 1, stdin) != 1) return 2;
  const auto [bfloat16, batch, heads, key_heads, length, left, right] = numbers;
  const auto of_queries = static_cast<size_t>(batch * heads * length * kHeadDim * 2);
  const auto of_keys = static_cast<size_t>(batch * key_heads * length * kHeadDim * 2);
  Bytes query(of_queries, stdin), key(of_keys, stdin), value(of_keys, stdin), grad_output(of_queries, stdin);
  Bytes output(of_queries), lse(static_cast<size_t>(batch * heads * length * 4));
  Bytes grad_query(of_queries), grad_key(of_keys), grad_value(of_keys);

  const window::Strides queries{heads * length * kHeadDim, length * kHeadDim, kHeadDim};
  const window::Strides keys{key_heads * length * kHeadDim, length * kHeadDim, kHeadDim};
  const auto type = bfloat16 != 0 ? window::Type::bfloat16 : window::Type::float16;
  const window::Problem problem{
      type,    batch, heads, key_heads, length, kHeadDim, left, right, query.data(), key.data(), value.data(),
      queries, keys,  keys,  nullptr,   scale,  0.0,      0,    0};
  const window::Forward forward{output.data(), queries, lse.data()};
  const window::Backward backward{
      grad_output.data(), queries,         nullptr,           output.data(), queries, lse.data(),
      grad_query.data(),  grad_key.data(), grad_value.data(), queries,       keys,    keys};
  Bytes workspace(static_cast<size_t>(window::mma_kernels::workspace_of(problem)) * 4);
  (bfloat16 != 0 ? run<gpu::Bfloat16> : run<gpu::Float16>)(problem, forward, backward, workspace.data());
  for (Bytes* result : {&output, &grad_query, &grad_key, &grad_value}) result->write();
  return 0;
}
