// libcupti as a table of functions, opened at run time: PyTorch brings the one of its CUDA version, and nothing is
// linked.
#pragma once

#include <cupti.h>

#include <string>

namespace pyprof {

struct CuptiApi {
  uint32_t version;
  decltype(&cuptiGetVersion) get_version;
  decltype(&cuptiGetResultString) result_string;
  decltype(&cuptiSubscribe) subscribe;
  decltype(&cuptiUnsubscribe) unsubscribe;
  decltype(&cuptiEnableCallback) enable_callback;
  decltype(&cuptiActivityRegisterCallbacks) register_buffers;
  decltype(&cuptiActivityEnable) enable;
  decltype(&cuptiActivityDisable) disable;
  decltype(&cuptiActivityFlushAll) flush;
  decltype(&cuptiActivityGetNextRecord) next_record;
  decltype(&cuptiActivityGetNumDroppedRecords) dropped_records;
  decltype(&cuptiGetGraphNodeId) graph_node_id;
  decltype(&cuptiGetTimestamp) timestamp;
  // Not in every version: nullptr where it isn't there.
  decltype(&cuptiActivityRegisterTimestampCallback) register_clock;

  // Opens `path`, or else the library that is loaded already, or else one that can be found by name. It stays open for
  // ever, since CUPTI calls back from threads of its own. Throws std::runtime_error with a sentence.
  static const CuptiApi& open(const std::string& path = "");
};

// Throws std::runtime_error with what went wrong in words of a user: who else may be using CUPTI, what is not
// permitted.
void check(const CuptiApi& api, CUptiResult result, const char* what);

}  // namespace pyprof
