// CUPTI's entry points over the driver without a device. Records come on a thread of their own, as CUPTI's do.
#include <cupti.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "driver.h"

using namespace fake;

namespace {

// CUPTI's own records grow with its versions: one that is longer than a reader knows must not confuse it.
constexpr size_t kStride = sizeof(CUpti_ActivityKernel9) + 16;

template <typename Record>
void write(uint8_t* place, const Work& work) {
  Record record = {};
  record.kind = work.kind;
  record.start = static_cast<uint64_t>(work.begin);
  record.end = static_cast<uint64_t>(work.end);
  record.deviceId = work.device;
  record.contextId = work.device + 1;
  record.streamId = work.stream;
  record.correlationId = work.correlation;
  record.graphNodeId = work.node;
  record.graphId = work.graph;
  if constexpr (requires { record.name; }) record.name = work.name;
  std::memcpy(place, &record, sizeof(record));
}

void write(uint8_t* place, const Work& work) {
  switch (work.kind) {
    case CUPTI_ACTIVITY_KIND_MEMCPY:
      return write<CUpti_ActivityMemcpy5>(place, work);
    case CUPTI_ACTIVITY_KIND_MEMCPY2:
      return write<CUpti_ActivityMemcpyPtoP4>(place, work);
    case CUPTI_ACTIVITY_KIND_MEMSET:
      return write<CUpti_ActivityMemset4>(place, work);
    default:
      return write<CUpti_ActivityKernel9>(place, work);
  }
}

void deliver(std::vector<Work> work) {
  struct Filled {
    uint8_t* buffer;
    size_t size, valid;
  };
  Driver& all = driver();
  std::vector<Filled> filled;
  size_t done = 0;
  while (done < work.size()) {
    uint8_t* buffer = nullptr;
    size_t size = 0, most = 0;
    all.request(&buffer, &size, &most);
    if (!buffer) {
      if (all.version < 27) std::abort();  // as CUPTI of before CUDA 12.9 may
      const std::lock_guard lock(all.mutex);
      all.dropped += work.size() - done;
      break;
    }
    size_t valid = 0;
    for (; done < work.size() && valid + kStride <= size; ++done, valid += kStride) write(buffer + valid, work[done]);
    if (all.fills_all) {
      filled.push_back({buffer, size, valid});
    } else {
      all.complete(nullptr, 0, buffer, size, valid);
    }
  }
  for (const Filled& each : filled) all.complete(nullptr, 0, each.buffer, each.size, each.valid);
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

CUptiResult cuptiGetVersion(uint32_t* version) {
  *version = driver().version;
  return CUPTI_SUCCESS;
}

CUptiResult cuptiGetResultString(CUptiResult result, const char** text) {
  *text = result == CUPTI_SUCCESS ? "CUPTI_SUCCESS" : "CUPTI_ERROR_PLANTED";
  return CUPTI_SUCCESS;
}

CUptiResult cuptiSubscribe(CUpti_SubscriberHandle* subscriber, CUpti_CallbackFunc callback, void* data) {
  const std::lock_guard lock(driver().mutex);
  if (driver().refuses_subscribers) return static_cast<CUptiResult>(driver().refuses_subscribers);
  if (driver().callback) return static_cast<CUptiResult>(39);
  driver().callback = callback;
  driver().callback_data = data;
  *subscriber = reinterpret_cast<CUpti_SubscriberHandle>(&driver());
  return CUPTI_SUCCESS;
}

CUptiResult cuptiUnsubscribe(CUpti_SubscriberHandle) {
  const std::lock_guard lock(driver().mutex);
  driver().callback = nullptr;
  driver().enabled.clear();
  return CUPTI_SUCCESS;
}

CUptiResult cuptiEnableCallback(uint32_t enable, CUpti_SubscriberHandle, CUpti_CallbackDomain domain,
                                CUpti_CallbackId id) {
  const std::lock_guard lock(driver().mutex);
  if (id == driver().unknown_call) return CUPTI_ERROR_INVALID_PARAMETER;
  if (enable) {
    driver().enabled.insert({domain, id});
  } else {
    driver().enabled.erase({domain, id});
  }
  return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc request,
                                           CUpti_BuffersCallbackCompleteFunc complete) {
  const std::lock_guard lock(driver().mutex);
  driver().request = request;
  driver().complete = complete;
  return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityRegisterTimestampCallback(CUpti_TimestampCallbackFunc clock) {
  const std::lock_guard lock(driver().mutex);
  if (driver().refuses_clock) return CUPTI_ERROR_NOT_COMPATIBLE;
  driver().set_clock(clock);
  ++driver().times_told;
  return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityEnable(CUpti_ActivityKind kind) {
  const std::lock_guard lock(driver().mutex);
  if (driver().refuses_kinds) return static_cast<CUptiResult>(driver().refuses_kinds);
  driver().kinds.insert(kind);
  driver().has_changed = true;
  if (driver().counts_anew) driver().next_correlation = 1;
  return CUPTI_SUCCESS;
}
CUptiResult cuptiActivityDisable(CUpti_ActivityKind kind) {
  const std::lock_guard lock(driver().mutex);
  driver().kinds.erase(kind);
  driver().has_changed = true;
  return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityFlushAll(uint32_t) {
  Driver& all = driver();
  std::vector<Work> work;
  {
    const std::lock_guard lock(all.mutex);
    if (all.fails) return CUPTI_ERROR_UNKNOWN;
    const size_t count = all.pending.size() - std::min<size_t>(all.pending.size(), all.holds_back);
    for (size_t i = 0; i < count; ++i) {
      Work next = all.pending.front();
      all.pending.pop_front();
      if (all.drops > 0) {
        --all.drops;
        ++all.dropped;
        continue;
      }
      const bool runs = all.hands_out_running && next.end - all.clock_offset > Driver::device_now();
      if (all.without_time > 0 || runs) {
        if (!runs) --all.without_time;
        next.begin = next.end = 0;
      }
      work.push_back(next);
    }
    all.holds_back = 0;
    if (all.backwards) std::reverse(work.begin(), work.end());
    if (!all.complete || (work.empty() && all.dropped == 0)) return CUPTI_SUCCESS;
  }
  if (work.empty()) {
    uint8_t* buffer = nullptr;
    size_t size = 0, most = 0;
    all.request(&buffer, &size, &most);
    if (buffer) all.complete(nullptr, 0, buffer, size, 0);
    return CUPTI_SUCCESS;
  }
  std::thread(deliver, std::move(work)).join();
  return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityGetNextRecord(uint8_t* buffer, size_t valid, CUpti_Activity** record) {
  uint8_t* next = *record ? reinterpret_cast<uint8_t*>(*record) + kStride : buffer;
  if (next + kStride > buffer + valid) return CUPTI_ERROR_MAX_LIMIT_REACHED;
  *record = reinterpret_cast<CUpti_Activity*>(next);
  return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityGetNumDroppedRecords(CUcontext, uint32_t, size_t* dropped) {
  const std::lock_guard lock(driver().mutex);
  *dropped = driver().dropped;
  driver().dropped = 0;
  return CUPTI_SUCCESS;
}

CUptiResult cuptiGetGraphNodeId(CUgraphNode node, uint64_t* id) {
  *id = node->id;
  return CUPTI_SUCCESS;
}

CUptiResult cuptiGetTimestamp(uint64_t* timestamp) {
  const std::lock_guard lock(driver().mutex);
  *timestamp = static_cast<uint64_t>(driver().now());
  return CUPTI_SUCCESS;
}
}
#pragma GCC visibility pop
