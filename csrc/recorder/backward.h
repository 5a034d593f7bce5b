// Sees every autograd node that runs in backward, without touching the graph.
//
// A node carries the number that autograd gave it when the forward made it, and the recorder knows which call used up
// which numbers (ranges.h), so each node finds its layer when it runs. Nothing hangs on a tensor or a node: gradients,
// in-place operations, views and the structure of what a layer takes and returns cannot be disturbed. PyTorch reports
// the nodes through the observers that its own profiler uses (ATen/record_function.h); only backward nodes are asked
// for, so that forward operators keep their fast path.
#pragma once

#include <memory>

#include "recorder.h"

namespace pyprof {

extern const Autograd torch_autograd;

// While it lives, nodes go to the recorder. Several may live at once.
class BackwardObserver {
 public:
  explicit BackwardObserver(std::shared_ptr<Recorder> recorder);
  ~BackwardObserver();
  BackwardObserver(const BackwardObserver&) = delete;
  BackwardObserver& operator=(const BackwardObserver&) = delete;

 private:
  std::shared_ptr<Recorder> recorder_;
};

}  // namespace pyprof
