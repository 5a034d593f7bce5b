#include "backward.h"

#include <ATen/SequenceNumber.h>
#include <ATen/record_function.h>
#include <pthread.h>

#include <algorithm>
#include <string_view>

namespace torch::autograd {
// Declared here because its header (torch/csrc/autograd/graph_task.h) pulls in most of PyTorch.
TORCH_API int get_current_graph_task_id();
}  // namespace torch::autograd

namespace pyprof {

namespace {

std::mutex active_mutex;
std::vector<std::shared_ptr<Recorder>> active;
at::CallbackHandle callback = at::INVALID_CALLBACK_HANDLE;

// What a node that runs now has opened, for every active recorder. PyTorch keeps it between `start` and `end`, so what
// `start` began is what `end` ends, also when an observer has come or gone while the node ran: a node may call Python,
// and another thread may detach its probes at any time. The recorder is held by a shared pointer for the same reason.
struct OpenNode {
  std::shared_ptr<Recorder> recorder;
  ThreadBuffer* buffer;
  uint32_t token;
};
struct Opened : at::ObserverContext {
  std::vector<OpenNode> nodes;
};

// The lock is taken for each node, which is no hot path: a node costs the engine microseconds. `end` needs none, since
// it only touches what `start` gave to this thread.
std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
  auto opened = std::make_unique<Opened>();
  const std::lock_guard lock(active_mutex);
  for (const auto& recorder : active) {
    ThreadBuffer* buffer = recorder->this_thread();
    if (!buffer) continue;
    // The number of an accumulation into a parameter's gradient is the largest there is, which seqNr gives as -1.
    const uint32_t token =
        buffer->begin_node(function.seqNr(), function.forwardThreadId(), torch::autograd::get_current_graph_task_id());
    opened->nodes.push_back({recorder, buffer, token});
  }
  return opened;
}

void end(const at::RecordFunction&, at::ObserverContext* context) {
  for (const OpenNode& node : static_cast<Opened*>(context)->nodes) node.buffer->end_node(node.token);
}

}  // namespace

const Autograd torch_autograd{
    at::sequence_number::peek,
    [] { return torch::autograd::get_current_graph_task_id() != -1; },
    at::RecordFunction::currentThreadId,
    // The engine's threads, one for each device, have no other mark that can be seen from outside.
    [] {
      char name[16] = {};
      return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 &&
             std::string_view(name).starts_with("pt_autograd_");
    },
};

BackwardObserver::BackwardObserver(std::shared_ptr<Recorder> recorder) : recorder_(std::move(recorder)) {
  const std::lock_guard lock(active_mutex);
  active.push_back(recorder_);
  // One callback serves all recorders, and there is none without a recorder: with a callback in place PyTorch asks of
  // each node whether it is to be reported, also where nothing is profiled.
  if (active.size() == 1) {
    callback =
        at::addGlobalCallback(at::RecordFunctionCallback(start, end).scopes({at::RecordScope::BACKWARD_FUNCTION}));
  }
}

BackwardObserver::~BackwardObserver() {
  const std::lock_guard lock(active_mutex);
  active.erase(std::find(active.begin(), active.end(), recorder_));
  if (active.empty()) at::removeCallback(callback);
}

}  // namespace pyprof
