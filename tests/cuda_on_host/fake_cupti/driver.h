// A driver without a device, as CUPTI sees one: streams on a clock, calls that give them work, graphs of such calls.
#pragma once

#include <cupti.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

struct CUgraphNode_st {
  uint64_t id;
  uint32_t graph;
  CUpti_ActivityKind kind;
  const char* name;
  int64_t nanoseconds;
  uint64_t original;  // the node that an executable graph's one was made from; itself for others
};

namespace fake {

struct Work {
  CUpti_ActivityKind kind;
  const char* name;
  int64_t begin, end;
  uint32_t device, stream, correlation, graph;
  uint64_t node;
};

struct Graph {
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
};

// Everything, behind one lock that no callback is called under.
struct Driver {
  std::mutex mutex;

  // What was planted.
  int refuses_subscribers = 0;  // the result that a subscriber gets
  int refuses_kinds = 0;        // the result that enabling a kind of records gets
  bool refuses_clock = false, fails = false, backwards = false;
  uint32_t version = 130001;
  uint64_t holds_back = 0;    // so many of the last records come with the next flush
  uint64_t without_time = 0;  // so many of the next records have no time
  uint64_t drops = 0;         // so many of the next records are dropped
  bool fills_all = false;     // no buffer is handed over before all records of a flush have found theirs
  CUpti_CallbackId unknown_call = 0;
  int64_t clock_ahead = 0;         // CUPTI's own clock against the system's
  bool hands_out_running = false;  // a forced flush hands out what still runs, too, which then never gets its end
  int64_t unsettled = 0;  // what the first call takes longer after kinds were enabled or disabled, in nanoseconds
  bool has_changed = false;
  int64_t tracing = 0;       // what each operation of a graph takes longer while records are made of it, in nanoseconds
  bool counts_anew = false;  // correlations begin at 1 again whenever a kind is enabled

  CUpti_CallbackFunc callback = nullptr;
  void* callback_data = nullptr;
  std::set<std::pair<int, uint32_t>> enabled;
  std::set<int> kinds;
  CUpti_BuffersCallbackRequestFunc request = nullptr;
  CUpti_BuffersCallbackCompleteFunc complete = nullptr;
  CUpti_TimestampCallbackFunc clock = nullptr;
  int64_t times_told = 0;  // how often it was given a clock
  uint64_t dropped = 0;

  uint32_t next_correlation = 1, next_graph = 1;
  uint64_t next_node = 1;
  std::map<std::pair<uint32_t, uint32_t>, int64_t> busy_until;  // by device and stream, on the device's own clock
  int64_t clock_offset = 0;                                     // of the clock that is told against the device's own
  std::map<uint32_t, uint32_t> capturing;                       // stream to graph
  std::map<uint32_t, Graph> graphs;                             // executable ones too
  std::deque<Work> pending;
  std::set<std::string> names;

  int64_t now();
  static int64_t device_now();
  void set_clock(CUpti_TimestampCallbackFunc function);
  void report(CUpti_CallbackDomain domain, CUpti_CallbackId id, const void* data);
  void report_node(CUpti_CallbackId id, CUgraphNode_st* node, CUgraphNode_st* original);
  void queue(CUpti_ActivityKind kind, const char* name, int64_t nanoseconds, uint32_t device, uint32_t stream,
             uint32_t correlation, const CUgraphNode_st* node);
};
Driver& driver();

}  // namespace fake
