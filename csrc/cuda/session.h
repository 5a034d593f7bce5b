// The one subscription to CUPTI that a process can have, and the buffers that its records come in: shared by all logs.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "work_log.h"

namespace pyprof {

class Session {
 public:
  // Lives for ever: CUPTI may call back from threads of its own at any time, also as the process ends.
  static Session& of(const CuptiApi& api);

  void add(WorkLog& log);              // throws std::runtime_error
  void remove(WorkLog& log) noexcept;  // what CUPTI still holds has been handed on when it returns
  void flush();                        // throws std::runtime_error
  // CUPTI is given its own clock back when the last one that holds ours has released it.
  void hold() noexcept;
  void release() noexcept;
  std::vector<std::string> names();

 private:
  static constexpr size_t kMostLogs = 8;
  static constexpr size_t kBufferBytes = size_t{1} << 20, kBuffers = 16;

  explicit Session(const CuptiApi& api) : api_(api) {}

  static void CUPTIAPI on_callback(void* session, CUpti_CallbackDomain domain, CUpti_CallbackId id, const void* data);
  static void CUPTIAPI on_request(uint8_t** buffer, size_t* size, size_t* most_records);
  static void CUPTIAPI on_complete(CUcontext context, uint32_t stream, uint8_t* buffer, size_t size, size_t valid);

  void begin(NanosecondClock clock);
  bool set_clock(NanosecondClock clock) noexcept;
  void give_clock_back() noexcept;
  bool tells(NanosecondClock clock) const noexcept;
  void end() noexcept;
  void enable_calls();
  void on_launch(uint32_t correlation) noexcept;
  void on_graph_node(CUpti_CallbackId id, const CUpti_ResourceData& data) noexcept;
  void read(CUcontext context, uint32_t stream, uint8_t* buffer, size_t valid) noexcept;
  void take(const Operation& operation) noexcept;
  void count_lost(uint64_t records) noexcept;
  bool add_buffer() noexcept;  // buffers_mutex_ is held
  uint32_t number_of(const char* name);
  template <typename Visit>
  void for_each_log(Visit visit) noexcept;

  // CUPTI's clock at a moment of ours, for libraries that cannot be given one.
  struct ClockPair {
    int64_t cupti, ours;
  };
  ClockPair read_clocks() const;
  int64_t on_our_clock(int64_t cupti) const noexcept;

  const CuptiApi& api_;
  CUpti_SubscriberHandle subscriber_ = nullptr;
  NanosecondClock clock_ = nullptr, given_ = nullptr;
  uint32_t holders_ = 0;
  bool converts_ = false;
  ClockPair first_{}, last_{};

  // A callback counts itself in while it goes through the logs, and whoever takes one out waits for those.
  std::array<std::atomic<WorkLog*>, kMostLogs> logs_{};
  std::atomic<uint32_t> inside_{0};
  std::mutex mutex_;  // of starting and stopping

  std::mutex buffers_mutex_;
  std::vector<uint8_t*> buffers_, spare_;

  std::mutex names_mutex_;
  std::unordered_map<const char*, uint32_t> numbers_;  // a kernel's name has one address in all records
  std::unordered_map<std::string, uint32_t> numbers_by_name_;
  std::vector<std::string> mangled_, names_;
};

}  // namespace pyprof
