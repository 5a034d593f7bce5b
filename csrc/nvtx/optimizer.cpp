#include "optimizer.h"

#include <ATen/record_function.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "nvtx.h"

namespace pyprof::nvtx {

namespace {

std::mutex alive_mutex;
size_t alive = 0;
at::CallbackHandle callback = at::INVALID_CALLBACK_HANDLE;

struct OpenRange : at::ObserverContext {};

// PyTorch names it "Optimizer.step#AdamW.step".
std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
  constexpr std::string_view kMark = "Optimizer.step#";
  const std::string_view name = function.name();
  Domain& domain = Domain::get();
  if (!domain.is_watched() || !name.starts_with(kMark)) return nullptr;
  domain.push(domain.name(std::string(name.substr(kMark.size()))), Category::kOptimizer);
  return std::make_unique<OpenRange>();
}

void end(const at::RecordFunction&, at::ObserverContext* context) {
  if (context) Domain::get().pop();
}

}  // namespace

OptimizerRanges::OptimizerRanges() {
  const std::lock_guard lock(alive_mutex);
  if (++alive > 1) return;
  callback = at::addGlobalCallback(at::RecordFunctionCallback(start, end).scopes({at::RecordScope::USER_SCOPE}));
}

OptimizerRanges::~OptimizerRanges() {
  const std::lock_guard lock(alive_mutex);
  if (--alive == 0) at::removeCallback(callback);
}

}  // namespace pyprof::nvtx
