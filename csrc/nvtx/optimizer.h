// Ranges for the optimizer's steps, which are no layer's: PyTorch marks each one for its own profiler.
#pragma once

namespace pyprof::nvtx {

// While it lives, every step of an optimizer opens a range. Several may live at once: they open one range.
class OptimizerRanges {
 public:
  OptimizerRanges();
  ~OptimizerRanges();
  OptimizerRanges(const OptimizerRanges&) = delete;
  OptimizerRanges& operator=(const OptimizerRanges&) = delete;
};

}  // namespace pyprof::nvtx
