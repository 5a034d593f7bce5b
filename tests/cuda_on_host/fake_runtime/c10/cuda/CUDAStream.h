// Stands in for PyTorch's header of the same name over the fake runtime.
#pragma once

#include <cuda_runtime_api.h>

namespace c10::cuda {

struct CUDAStream {
  cudaStream_t stream() const { return fake_cuda::current_stream(); }
};
inline CUDAStream getCurrentCUDAStream() { return {}; }

}  // namespace c10::cuda
