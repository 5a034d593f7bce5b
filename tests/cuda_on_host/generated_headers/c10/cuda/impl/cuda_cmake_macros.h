// PyTorch's build writes this header, and its wheels without CUDA leave it out. With it, code for c10/cuda compiles
// against such a wheel, which is all that a machine without a GPU can check.
#pragma once

#define C10_CUDA_BUILD_SHARED_LIBS
