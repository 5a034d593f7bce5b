// Adds up what every place of the call tree costs while it runs, thread by thread, and keeps the stamps of the last
// calls: no lock, no allocation for an event. The sums are complete whatever the number of calls; stamps that find no
// room are only counted. A thread takes a lock when its outermost interval ends, which nobody but a reader ever holds.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "annotations.h"
#include "call_tree.h"
#include "clock.h"
#include "places.h"
#include "ranges.h"
#include "span.h"

namespace pyprof {

// What the recorder asks of autograd about this thread, as pointers so that this core needs no header of PyTorch.
struct Autograd {
  uint64_t (*sequence)() = [] { return uint64_t{0}; };       // the number that the next node will get
  bool (*in_backward)() = [] { return false; };              // whether backward is running here
  uint64_t (*thread_number)() = [] { return uint64_t{0}; };  // autograd's own number of the thread
  bool (*on_own_thread)() = [] { return false; };  // whether autograd made this thread, to serve others' calls
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
  bool is_empty() const noexcept { return read_.load(std::memory_order_relaxed) == next_; }

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
  std::shared_ptr<Annotations> annotations;  // nullptr where nobody looks on
};

// What one thread adds up. `ticks` are own times: what ran inside is not part of them, but in that one's own cell.
struct Cell {
  uint64_t count = 0;  // intervals
  int64_t ticks = 0;
  uint64_t touched = 0;
};
// Each site has a cell for its calls, and then two for each context in which nodes that it made can run: of the first
// order and of the second. A root's cells hold what no layer owns. The first cell of kUnmarked is the time of the
// outermost intervals, and that of kSteps the steps' whole time.
inline constexpr uint32_t kCells = 8;
inline constexpr uint32_t calls_cell(uint32_t site) { return site * kCells; }
inline constexpr uint32_t node_cell(Owner owner, uint32_t context) {
  return (owner >> 1) * kCells + 1 + 2 * context + (owner & 1);
}

class Recorder;

class ThreadBuffer {
 public:
  ThreadBuffer(uint32_t thread, const Options& options, Recorder& recorder);

  // Opens an interval of a layer, or of a step for kStep. What it returns closes it; 0 when there was no room.
  uint32_t begin(uint32_t layer) noexcept {
    Frame& around = frames_[depth_];
    if (depth_ == 0) set_context(around, context_here());
    if (layer == kStep) return begin_step();
    const uint32_t phase = phase_in(around);
    uint32_t site = known_.find(site_key(around.site, layer, phase));
    if (site == kNoSite && (site = learn(around.site, layer, phase)) == kNoSite) return lost();
    if (depth_ + 1 == deepest_ && !deepen()) return lost();
    Frame& frame = open_frame(site, calls_cell(site), frames_[depth_].context);
    frame.layer = layer;
    frame.phase = phase;
    frame.owner = owner_of(site, false);
    return start_span(frame);
  }

  void end(uint32_t token) noexcept {
    const int64_t now = ticks();
    if (token == 0 || token > depth_) return;
    if (token < depth_) unwind(token, now);
    close_span(frames_[depth_], now);
  }

  // The same for a node that autograd runs in backward; `sequence` is -1 for an accumulation.
  uint32_t begin_node(int64_t sequence, uint64_t forward_thread, int32_t graph_task) noexcept;
  void end_node(uint32_t token) noexcept;

  // What is open here now. Between two nodes of one backward the engine adds up gradients, which is the earlier one's.
  Place here() const noexcept {
    const Frame& frame = frames_[depth_];
    if (frame.follows_node && autograd_.in_backward()) return {frame.last_cell, thread_};
    return {depth_ > 0 ? frame.cell : calls_cell(context_here()), thread_};
  }

 private:
  friend class Recorder;

  enum class Kind : uint8_t { kCall, kStep, kInnerStep, kNode };
  static constexpr int32_t kNoTask = -1;

  // An open interval; the first one of a thread stands for the thread itself. What a call needs fills one cache line.
  struct alignas(64) Frame {
    int64_t begin = 0;
    int64_t inner = 0;                     // ticks of what ran right inside, and of the gaps after nodes
    int64_t index = Ring<Span>::kDropped;  // of its stamps
    uint64_t sequence_begin = 0;
    uint32_t site = 0, cell = 0, layer = kStep;
    Owner owner = kNobody;  // of the nodes that are made inside
    uint8_t context = 0, phase = kForward;
    Kind kind = Kind::kStep;
    // The node that ran last right inside, whose gap up to the next one is its own as long as no call comes between.
    bool follows_node = false;
    int32_t last_task = kNoTask;
    int32_t device_begin = kNoEvent;
    uint32_t last_cell = 0;
    Owner last_owner = kNobody, last_made = kNobody;  // of the node; of what was made in it
    int64_t last_end = 0;
    uint64_t last_sequence = 0;
    uint32_t ranges = 0;  // that a node has opened; a call or a step opens one
  };

  // Recomputation runs inside of a node. Where nodes are not observed autograd is asked, which takes a sixth of a
  // span's whole cost: so only at the top, and what is called from there is of the same phase.
  uint32_t phase_in(const Frame& around) noexcept {
    if (observes_nodes_) return node_depth_ > 0 ? kRecompute : kForward;
    if (around.site <= kSteps) return autograd_.in_backward() ? kRecompute : kForward;
    return around.phase;
  }

  Frame& open_frame(uint32_t site, uint32_t cell, uint32_t context) noexcept {
    frames_[depth_].follows_node = false;
    Frame& frame = frames_[++depth_];
    frame.inner = 0;
    frame.site = site;
    frame.cell = cell;
    frame.context = context;
    frame.kind = Kind::kCall;
    frame.follows_node = false;
    if (observes_nodes_) frame.last_task = kNoTask;
    return frame;
  }

  uint32_t start_span(Frame& frame) noexcept {
    if (annotations_) annotate(frame);
    frame.index = spans_.open();
    if (observes_nodes_) {
      frame.sequence_begin = autograd_.sequence();
      ranges_.set(frame.sequence_begin, frame.owner);
    }
    if (device_) frame.device_begin = device_->stamp();
    frame.begin = ticks();
    return depth_;
  }

  void close_span(Frame& frame, int64_t now) noexcept {
    Frame& around = frames_[--depth_];
    const uint64_t sequence = observes_nodes_ ? autograd_.sequence() : 0;
    if (observes_nodes_) ranges_.set(sequence, around.owner);
    if (frame.index == Ring<Span>::kDropped) {
      spans_.close_dropped();
    } else {
      spans_.at(frame.index) = {frame.begin,
                                now,
                                frame.sequence_begin,
                                sequence,
                                thread_,
                                frame.layer,
                                frame.phase,
                                frame.device_begin,
                                device_ ? device_->stamp() : kNoEvent,
                                frame.site};
    }
    const int64_t took = now - frame.begin;
    around.inner += took;
    add(frame.cell, frame.kind != Kind::kInnerStep, took - frame.inner);
    if (frame.kind == Kind::kStep) end_step(took);
    if (annotations_) annotations_->pop();
    if (depth_ == 0) publish();
  }

  void add(uint32_t cell, uint64_t count, int64_t ticks) noexcept {
    Cell& sum = open_[cell];
    if (!sum.touched) {
      sum.touched = 1;
      touched_.push_back(cell);  // has room for all cells
    }
    sum.count += count;
    sum.ticks += ticks;
  }

  void annotate(const Frame& frame) noexcept;
  uint32_t annotate_node(uint32_t site, const Frame& around) noexcept;
  uint32_t context_here() const noexcept;
  uint32_t context_of_node(int64_t sequence, uint64_t forward_thread, int32_t graph_task) const noexcept;
  void set_context(Frame& top, uint32_t context) noexcept;
  uint32_t begin_step() noexcept;
  void end_step(int64_t took) noexcept;
  void unwind(uint32_t token, int64_t now) noexcept;
  void publish() noexcept;
  uint32_t lost() noexcept;
  bool deepen() noexcept;
  bool make_room(uint32_t site) noexcept;
  uint32_t learn(uint32_t parent, uint32_t layer, uint32_t phase) noexcept;
  Owner owner_of_node(const Frame& around, int64_t sequence, uint64_t forward_thread, int32_t graph_task) noexcept;
  bool is_free() const noexcept;

  Recorder& recorder_;
  const uint32_t thread_;
  uint64_t number_;                     // autograd's own number of the thread
  bool serves_ = false;                 // the thread is autograd's own
  std::atomic<uint32_t> own_steps_{0};  // marked steps that are open on this thread
  std::shared_ptr<std::atomic<bool>> thread_ended_;
  const bool observes_nodes_;
  Ring<Span> spans_;
  Ring<Node> nodes_;
  const Autograd autograd_;
  DeviceClock* const device_;
  Annotations* const annotations_;
  std::vector<uint32_t> places_;  // of the sites that this thread has called or run nodes of
  uint32_t depth_ = 0, node_depth_ = 0;
  std::vector<Frame> frames_;
  size_t deepest_;  // how many of them there are
  SiteCache known_;
  std::vector<Cell> open_;  // since the outermost interval began
  std::vector<uint32_t> touched_;
  Ranges ranges_;
  std::atomic<uint64_t> lost_{0}, unplaced_{0};
  std::mutex published_mutex_;
  std::vector<Cell> published_;  // what had ended with its outermost interval
};

class Recorder : public Places {
 public:
  explicit Recorder(Options options);

  Place here() noexcept override;

  // This thread's buffer; made on the thread's first call, nullptr when there is no memory for it.
  ThreadBuffer* this_thread() noexcept {
    const Cached& cached = cache_[id_ % kCached];
    return cached.recorder == id_ ? cached.buffer : find_or_make();
  }

  struct Drained {
    std::vector<Span> spans;  // times are nanoseconds
    std::vector<Node> nodes;
    std::vector<uint64_t> threads;  // autograd's number of thread i
    uint64_t dropped = 0;           // intervals whose stamps found no room since the last call
  };
  // The stamps of all that has ended since the last call, thread by thread in the order of beginning. Thread-safe.
  Drained drain();

  struct Sums {
    std::vector<Site> sites;
    std::vector<Cell> cells;  // kCells for each site, of all threads together
    uint64_t lost = 0;        // calls that could not be added up: their time is part of their callers' own
    uint64_t unplaced = 0;    // nodes whose call was too long ago: their time is nobody's
  };
  // All that has ended by now, together with the outermost interval around it. Thread-safe.
  Sums sums();

 private:
  struct Cached {
    uint64_t recorder = 0;
    ThreadBuffer* buffer = nullptr;
  };
  static constexpr uint64_t kCached = 4;
  static thread_local Cached cache_[kCached] __attribute__((tls_model("initial-exec")));

  friend class ThreadBuffer;

  ThreadBuffer* find_or_make() noexcept;
  ThreadBuffer* find() noexcept;
  uint32_t context_beside() const noexcept {
    return open_steps_.load(std::memory_order_relaxed) > 0 ? kBeside : kUnmarked;
  }
  bool is_in_step(uint64_t thread_number) noexcept;
  const Ranges* ranges_of(uint64_t thread_number) noexcept;

  const uint64_t id_;
  const Options options_;
  CallTree tree_;
  std::atomic<int32_t> open_steps_{0};
  std::atomic<bool> serving_{false};  // a thread of autograd's own runs a node of a marked step
  std::mutex mutex_;                  // guards the list of buffers and draining, never an event of a call
  struct Owned {
    uint64_t key;  // which thread owns it
    std::unique_ptr<ThreadBuffer> buffer;
  };
  std::vector<Owned> threads_;
};

}  // namespace pyprof
