// What the device does, told by CUPTI: every kernel, copy and memset, the call that launched each and what was open on
// the launching thread, and what was open when the nodes of a CUDA graph were captured. All on the recorder's clock.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../recorder/places.h"
#include "cupti_api.h"
#include "shared_ring.h"

namespace pyprof {

enum class Kind : uint32_t { kKernel = 0, kCopy = 1, kMemset = 2 };

// Begin and end are nanoseconds, of the recorder's clock once they are drained.
struct Operation {
  int64_t begin, end;
  uint64_t node;  // of the CUDA graph that it was a part of, 0 for none
  uint32_t correlation;
  uint32_t device, context, stream, graph;
  uint32_t name;  // index of the kernel's name, kNoName for a copy or a memset
  uint32_t kind;
};
inline constexpr uint32_t kNoName = 0xFFFFFFFF;

struct Launch {
  int64_t begin;
  uint32_t correlation;
  uint32_t thread;
  uint32_t cell;
};

struct GraphNode {
  uint64_t node, source;  // source is 0 for a node that was not cloned from another one
  uint32_t cell;
};

// One listener's share: CUPTI serves one subscriber a process, so all logs of this process share that one.
class WorkLog {
 public:
  struct Capacity {
    uint32_t operations = 1 << 17, launches = 1 << 17, nodes = 1 << 16;
  };
  // Throws std::runtime_error where there is no CUPTI.
  WorkLog(std::shared_ptr<Places> places, NanosecondClock clock, Capacity capacity, const std::string& library);
  ~WorkLog();
  WorkLog(const WorkLog&) = delete;
  WorkLog& operator=(const WorkLog&) = delete;

  // Listens from now on; nothing where it does already. Throws std::runtime_error where CUPTI cannot be had.
  void start();
  // Listens no more, and takes what CUPTI still holds; nothing where it doesn't. What was recorded can still be
  // drained. CUPTI keeps our clock, to be told no other one before the next start.
  void pause();
  // The same for good: the last log gives CUPTI its own clock back.
  void stop();

  struct Drained {
    std::vector<Operation> operations;
    std::vector<Launch> launches;
    std::vector<GraphNode> nodes;
    std::vector<std::string> names;  // all so far, demangled
    uint64_t lost = 0, lost_launches = 0, lost_nodes = 0;
  };
  // Everything since the last call; where it listens, what CUPTI holds is asked for before. The device must have done
  // its work by then, or that comes with a later call. Throws std::runtime_error where the device has failed.
  Drained drain();

 private:
  friend class Session;

  const CuptiApi& api_;
  const std::shared_ptr<Places> places_;
  const NanosecondClock clock_;
  SharedRing<Operation> operations_;
  SharedRing<Launch> launches_;
  SharedRing<GraphNode> nodes_;
  std::atomic<uint64_t> lost_{0};
  bool listening_ = false, has_begun_ = false;
  std::mutex mutex_;
};

}  // namespace pyprof
