// Records spans and nodes into preallocated buffers, one pair for each thread: no lock, no allocation for an event.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "clock.h"
#include "span.h"

namespace pyprof {

// What the recorder asks of autograd about this thread, as pointers so that this core needs no header of PyTorch.
struct Autograd {
  uint64_t (*sequence)() = [] { return uint64_t{0}; };       // the number that the next node will get
  bool (*in_backward)() = [] { return false; };              // whether backward is running here
  uint64_t (*thread_number)() = [] { return uint64_t{0}; };  // autograd's own number of the thread
};

// Stamps the device's stream; nullptr on the host.
class DeviceClock {
 public:
  virtual ~DeviceClock() = default;
  virtual int32_t stamp() noexcept = 0;  // kNoEvent when the pool is empty
};

// A ring with one writer and one reader. Entries become visible when the writer's outermost interval has ended, so the
// reader never sees an open one.
template <typename Entry>
class Ring {
 public:
  explicit Ring(uint32_t capacity) : mask_(std::bit_ceil(capacity) - 1), entries_(mask_ + 1) {}

  static constexpr int64_t kDropped = -1;

  // What lies inside of a dropped interval is dropped too: an entry's enclosing one is always there.
  int64_t open() noexcept {
    if (dropping_ || next_ - read_.load(std::memory_order_acquire) > mask_) {
      ++dropping_;
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return kDropped;
    }
    return static_cast<int64_t>(next_++);
  }
  void close_dropped() noexcept { --dropping_; }
  Entry& at(int64_t index) noexcept { return entries_[static_cast<uint64_t>(index) & mask_]; }
  void publish() noexcept { published_.store(next_, std::memory_order_release); }

  // Reader's side: appends what was published since the last call, and hands the room back.
  template <typename Visit>
  void drain(Visit visit) {
    const uint64_t first = read_.load(std::memory_order_relaxed);
    const uint64_t last = published_.load(std::memory_order_acquire);
    for (uint64_t i = first; i < last; ++i) visit(entries_[i & mask_]);
    read_.store(last, std::memory_order_release);
  }
  uint64_t take_dropped() noexcept { return dropped_.exchange(0, std::memory_order_relaxed); }

 private:
  const uint64_t mask_;         // the capacity is a power of two
  std::vector<Entry> entries_;  // written once here, so that the hot path takes no page fault
  uint64_t next_ = 0, dropping_ = 0;
  std::atomic<uint64_t> published_{0}, read_{0}, dropped_{0};
};

struct Options {
  uint32_t span_capacity = 1 << 16;
  uint32_t node_capacity = 1 << 16;
  bool nodes = false;
  Autograd autograd = {};
  std::shared_ptr<DeviceClock> device;
};

class ThreadBuffer {
 public:
  ThreadBuffer(uint32_t thread, const Options& options)
      : thread_(thread),
        observes_nodes_(options.nodes),
        spans_(options.span_capacity),
        nodes_(options.nodes ? options.node_capacity : 1),
        autograd_(options.autograd),
        device_(options.device.get()) {}

  struct Open {
    int64_t index;   // in the ring, or kDropped
    int64_t parent;  // index of the enclosing span, which is the innermost one again when this one ends; -1 at the top
  };

  Open begin(uint32_t layer) noexcept {
    ++depth_;
    const Open open{spans_.open(), top_};
    if (open.index == Ring<Span>::kDropped) return open;
    top_ = open.index;
    Span& span = spans_.at(open.index);
    span.sequence_begin = observes_nodes_ ? autograd_.sequence() : 0;
    span.phase = is_recomputed(open.parent) ? kRecompute : kForward;
    span.thread = thread_;
    span.layer = layer;
    span.device_begin = device_ ? device_->stamp() : kNoEvent;
    span.begin = ticks();
    return open;
  }

  void end(Open open) noexcept {
    const int64_t now = ticks();
    if (open.index == Ring<Span>::kDropped) {
      spans_.close_dropped();
    } else {
      Span& span = spans_.at(open.index);
      span.end = now;
      span.device_end = device_ ? device_->stamp() : kNoEvent;
      span.sequence_end = observes_nodes_ ? autograd_.sequence() : 0;
      top_ = open.parent;
    }
    if (--depth_ == 0) spans_.publish();
  }

  int64_t begin_node(int64_t sequence, uint64_t forward_thread, int32_t graph_task) noexcept;
  void end_node(int64_t index) noexcept;

 private:
  friend class Recorder;

  // Recomputation runs inside of a node. Where nodes are not observed autograd is asked, which takes a sixth of a
  // span's whole cost: so only at the top, and what is called from there is of the same phase.
  bool is_recomputed(int64_t parent) noexcept {
    if (observes_nodes_) return node_depth_ > 0;
    if (parent < 0 || spans_.at(parent).layer == kStep) return autograd_.in_backward();
    return spans_.at(parent).phase == kRecompute;
  }

  const uint32_t thread_;
  const bool observes_nodes_;
  Ring<Span> spans_;
  Ring<Node> nodes_;
  const Autograd autograd_;
  DeviceClock* const device_;
  int64_t top_ = -1;
  uint32_t depth_ = 0, node_depth_ = 0;
};

class Recorder {
 public:
  explicit Recorder(Options options);

  // This thread's buffer; made on the thread's first call, nullptr when there is no memory for it.
  ThreadBuffer* this_thread() noexcept {
    const Cached& cached = cache_[id_ % kCached];
    return cached.recorder == id_ ? cached.buffer : find_or_make();
  }

  struct Drained {
    std::vector<Span> spans;  // times are nanoseconds
    std::vector<Node> nodes;
    std::vector<uint64_t> threads;  // autograd's number of thread i
    uint64_t dropped = 0;           // events that found no room since the last call
  };
  // Everything that has ended since the last call, thread by thread in the order of beginning. Thread-safe.
  Drained drain();

 private:
  struct Cached {
    uint64_t recorder = 0;
    ThreadBuffer* buffer = nullptr;
  };
  static constexpr uint64_t kCached = 4;
  static thread_local Cached cache_[kCached] __attribute__((tls_model("initial-exec")));

  ThreadBuffer* find_or_make() noexcept;

  const uint64_t id_;
  const Options options_;
  std::mutex mutex_;  // guards the list of buffers and draining, never an event
  struct Owned {
    uint64_t key;  // which thread owns it
    std::unique_ptr<ThreadBuffer> buffer;
    uint64_t autograd_number;
  };
  std::vector<Owned> threads_;
};

}  // namespace pyprof
