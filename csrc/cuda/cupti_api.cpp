#include "cupti_api.h"

#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <stdexcept>

namespace pyprof {

namespace {

// With CUDA 12 came what is read of a record (graph nodes of copies too).
constexpr uint32_t kOldest = 18;

void* open_library(const std::string& path) {
  if (!path.empty()) {
    if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    const char* reason = dlerror();
    throw std::runtime_error("CUPTI cannot be opened (" + std::string(reason ? reason : path) + ")");
  }
  // What is loaded already comes first: a process can only have one CUPTI.
  for (const int how : {RTLD_NOLOAD, 0}) {
    for (const char* name : {"libcupti.so.13", "libcupti.so.12", "libcupti.so"}) {
      if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL | how)) return library;
    }
  }
  throw std::runtime_error("there is no libcupti.so: install nvidia-cuda-cupti of PyTorch's CUDA version");
}

template <typename Function>
void find(void* library, const char* name, Function& function, bool needed = true) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (needed && !function) throw std::runtime_error(std::string("the installed CUPTI is too old: it has no ") + name);
}

CuptiApi load(const std::string& path) {
  void* library = open_library(path);
  CuptiApi api;
  find(library, "cuptiGetVersion", api.get_version);
  api.version = 0;
  if (api.get_version(&api.version) != CUPTI_SUCCESS || api.version < kOldest) {
    throw std::runtime_error("the installed CUPTI (version " + std::to_string(api.version) +
                             ") is too old: that of CUDA 12 or newer is needed");
  }
  find(library, "cuptiGetResultString", api.result_string);
  find(library, "cuptiSubscribe", api.subscribe);
  find(library, "cuptiUnsubscribe", api.unsubscribe);
  find(library, "cuptiEnableCallback", api.enable_callback);
  find(library, "cuptiActivityRegisterCallbacks", api.register_buffers);
  find(library, "cuptiActivityEnable", api.enable);
  find(library, "cuptiActivityDisable", api.disable);
  find(library, "cuptiActivityFlushAll", api.flush);
  find(library, "cuptiActivityGetNextRecord", api.next_record);
  find(library, "cuptiActivityGetNumDroppedRecords", api.dropped_records);
  find(library, "cuptiGetGraphNodeId", api.graph_node_id);
  find(library, "cuptiGetTimestamp", api.timestamp);
  find(library, "cuptiActivityRegisterTimestampCallback", api.register_clock, false);
  return api;
}

// Results that the headers of CUDA 12 do not all name.
constexpr int kMultipleSubscribers = 39, kInsufficientPrivileges = 35, kVirtualisedDevice = 40;

}  // namespace

const CuptiApi& CuptiApi::open(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, CuptiApi> opened;
  const std::lock_guard lock(mutex);
  const auto found = opened.find(path);
  return found != opened.end() ? found->second : opened.emplace(path, load(path)).first->second;
}

void check(const CuptiApi& api, CUptiResult result, const char* what) {
  if (result == CUPTI_SUCCESS) return;
  switch (static_cast<int>(result)) {
    case kMultipleSubscribers:
      if (std::getenv("CUDA_INJECTION64_PATH") || std::getenv("NSYS_PROFILING_SESSION_ID"))
        throw std::runtime_error("Nsight or another tool that this program was started with is using CUPTI");
      // torch.profiler subscribes when it is first used and stays subscribed, up to PyTorch 2.13 at least.
      throw std::runtime_error(
          "another profiler in this process is using CUPTI (Proton, say, or torch.profiler, which keeps it from its "
          "first use to the end of the process)");
    case kInsufficientPrivileges:
    case kVirtualisedDevice:
      throw std::runtime_error("the driver does not permit profiling to this user (ERR_NVGPUCTRPERM)");
    default:
      break;
  }
  const char* name = nullptr;
  api.result_string(result, &name);
  throw std::runtime_error(std::string(what) + ": " + (name ? name : "unknown error") + " (CUPTI " +
                           std::to_string(static_cast<int>(result)) + ")");
}

}  // namespace pyprof
