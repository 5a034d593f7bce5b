// What one thread records: its open intervals, whose each of autograd's nodes is, and what they all add up to.
#include <new>

#include "recorder.h"

namespace pyprof {

ThreadBuffer::ThreadBuffer(uint32_t thread, const Options& options, Recorder& recorder)
    : recorder_(recorder),
      thread_(thread),
      number_(0),
      observes_nodes_(options.nodes),
      spans_(options.span_capacity),
      nodes_(options.nodes ? options.node_capacity : 1),
      autograd_(options.autograd),
      device_(options.device.get()),
      annotations_(options.annotations.get()),
      frames_(64),
      deepest_(frames_.size()) {
  if (!make_room(kSteps)) throw std::bad_alloc();
}

uint32_t ThreadBuffer::context_here() const noexcept { return recorder_.context_beside(); }

// On a GPU autograd runs backward on threads of its own while the thread that called it waits: their nodes are in the
// step in which their forward's thread is. Where two such threads work at once (for two devices), the second one's time
// would be counted twice, and so lies beside the step.
uint32_t ThreadBuffer::context_of_node(int64_t sequence, uint64_t forward_thread, int32_t graph_task) const noexcept {
  if (!serves_ || recorder_.open_steps_.load(std::memory_order_relaxed) == 0) return context_here();
  // An accumulation into a gradient may have been made by any thread: it goes with the node before it.
  const bool follows = sequence < 0 && frames_[0].last_task == graph_task;
  const bool in_step = follows ? frames_[0].context == kInStep : recorder_.is_in_step(forward_thread);
  if (!in_step || recorder_.serving_.exchange(true, std::memory_order_acquire)) return kBeside;
  return kInStep;
}

void ThreadBuffer::set_context(Frame& top, uint32_t context) noexcept {
  if (top.context != context) top.follows_node = false;
  top.context = static_cast<uint8_t>(context);
  top.site = context;
}

// A step inside of a step is a part of it, and what runs in it belongs to whatever the inner one was begun in.
uint32_t ThreadBuffer::begin_step() noexcept {
  if (depth_ + 1 == deepest_ && !deepen()) return lost();
  const bool inner = frames_[depth_].context == kInStep;
  const uint32_t site = inner ? frames_[depth_].site : kInStep;
  Frame& frame = open_frame(site, inner ? frames_[depth_].cell : calls_cell(kInStep), kInStep);
  frame.layer = kStep;
  frame.phase = frames_[depth_ - 1].phase;
  frame.owner = inner ? frames_[depth_ - 1].owner : kNobody;
  frame.kind = inner ? Kind::kInnerStep : Kind::kStep;
  if (!inner) {
    frame.phase = kForward;
    ranges_.forget_older_steps();
    recorder_.open_steps_.fetch_add(1, std::memory_order_relaxed);
    own_steps_.fetch_add(1, std::memory_order_relaxed);
  }
  return start_span(frame);
}

void ThreadBuffer::end_step(int64_t took) noexcept {
  add(calls_cell(kSteps), 1, took);
  recorder_.open_steps_.fetch_sub(1, std::memory_order_relaxed);
  own_steps_.fetch_sub(1, std::memory_order_relaxed);
}

// What was begun later and never ended, ends now.
void ThreadBuffer::unwind(uint32_t token, int64_t now) noexcept {
  while (depth_ > token) {
    if (frames_[depth_].kind == Kind::kNode) {
      end_node(depth_);
    } else {
      close_span(frames_[depth_], now);
    }
  }
}

uint32_t ThreadBuffer::begin_node(int64_t sequence, uint64_t forward_thread, int32_t graph_task) noexcept {
  if (depth_ == 0) set_context(frames_[0], context_of_node(sequence, forward_thread, graph_task));
  if (depth_ + 1 == deepest_ && !deepen()) return lost();
  const Frame& around = frames_[depth_];
  const bool follows = around.follows_node && around.last_task == graph_task;
  const uint64_t made = autograd_.sequence();
  // Between two nodes the engine adds up gradients: what it made for that is of the earlier node, as the time is.
  if (follows && made > around.last_sequence) ranges_.set(around.last_sequence, around.last_made);
  Owner owner = owner_of_node(around, sequence, forward_thread, graph_task);
  const bool owned = owner < kForgotten && make_room(owner >> 1);
  if (owner == kForgotten) unplaced_.fetch_add(1, std::memory_order_relaxed);
  if (!owned) owner = owner_of(around.context, false);

  Frame& outer = frames_[depth_];
  Frame& frame = frames_[++depth_];
  frame = Frame{};
  frame.site = owner >> 1;
  frame.context = outer.context;
  frame.cell = node_cell(owner, outer.context);
  frame.owner = owned ? owner_of(owner >> 1, true) : kNobody;
  frame.kind = Kind::kNode;
  frame.sequence_begin = made;
  ranges_.set(made, frame.owner);
  ++node_depth_;
  outer.last_task = graph_task;
  outer.last_owner = owned ? owner : kNobody;
  frame.index = nodes_.open();
  if (frame.index != Ring<Node>::kDropped) {
    Node& node = nodes_.at(frame.index);
    node.sequence = sequence;
    node.forward_thread = forward_thread;
    node.thread = thread_;
    node.graph_task = graph_task;
  }
  if (annotations_ && owned) frame.ranges = annotate_node(frame.site, outer);
  frame.device_begin = device_ ? device_->stamp() : kNoEvent;
  frame.begin = ticks();
  if (follows) {
    add(outer.last_cell, 0, frame.begin - outer.last_end);
    outer.inner += frame.begin - outer.last_end;
  }
  return depth_;
}

Owner ThreadBuffer::owner_of_node(const Frame& around, int64_t sequence, uint64_t forward_thread,
                                  int32_t graph_task) noexcept {
  // An accumulation into a parameter's gradient is made once, not by a call, and has no number. But the engine takes it
  // before all others as soon as its gradient is there, so the node before it has computed the gradient.
  if (sequence < 0) return around.last_task == graph_task ? around.last_owner : kNobody;
  const Ranges* ranges = forward_thread == number_ ? &ranges_ : recorder_.ranges_of(forward_thread);
  return ranges ? ranges->find(static_cast<uint64_t>(sequence)) : kNobody;
}

void ThreadBuffer::end_node(uint32_t token) noexcept {
  const int64_t now = ticks();
  if (token == 0 || token > depth_) return;
  if (token < depth_) unwind(token, now);
  const Frame& frame = frames_[depth_];
  Frame& around = frames_[--depth_];
  around.last_sequence = autograd_.sequence();
  ranges_.set(around.last_sequence, around.owner);
  if (frame.index == Ring<Node>::kDropped) {
    nodes_.close_dropped();
  } else {
    Node& node = nodes_.at(frame.index);
    node.begin = frame.begin;
    node.end = now;
    node.sequence_begin = frame.sequence_begin;
    node.sequence_end = around.last_sequence;
    node.device_begin = frame.device_begin;
    node.device_end = device_ ? device_->stamp() : kNoEvent;
  }
  --node_depth_;
  around.inner += now - frame.begin;
  around.follows_node = true;
  around.last_cell = frame.cell;
  around.last_made = frame.owner;
  around.last_end = now;
  add(frame.cell, 1, now - frame.begin - frame.inner);
  for (uint32_t range = 0; range < frame.ranges; ++range) annotations_->pop();
  if (depth_ == 0) publish();
}

void ThreadBuffer::annotate(const Frame& frame) noexcept {
  if (frame.kind != Kind::kCall) {
    annotations_->push(kNoPlace, Category::kStep);
  } else {
    annotations_->push(places_[frame.site], frame.phase == kForward ? Category::kForward : Category::kRecompute);
  }
}

// A node runs when its call and all calls around that have long ended. So it opens a range for each of them, that of
// its own layer innermost, and ends them all: who runs the next node, on this thread or another, is not known to any.
uint32_t ThreadBuffer::annotate_node(uint32_t site, const Frame& around) noexcept {
  // What runs inside of another node (re-entrant checkpointing, say) finds the ranges of that one open.
  const uint32_t open = around.kind == Kind::kNode && around.ranges > 0 ? around.site : kNoSite;
  try {
    const std::vector<CallTree::Numbered> path = recorder_.tree_.path(site, open);
    uint32_t ranges = 0;
    for (const auto& [number, called] : path) {
      if (!make_room(number)) break;
      const uint32_t caller = called.parent > kSteps ? places_[called.parent] : kNoPlace;
      places_[number] = annotations_->place(caller, called.layer);
      annotations_->push(places_[number], Category::kBackward);
      ++ranges;
    }
    return ranges;
  } catch (const std::bad_alloc&) {
    return 0;
  }
}

void ThreadBuffer::publish() noexcept {
  Frame& top = frames_[0];
  if (top.context == kInStep) {
    // Autograd's own thread: what it did for the step is what the step's thread waited for.
    add(calls_cell(kInStep), 0, -top.inner);
    recorder_.serving_.store(false, std::memory_order_release);
  } else {
    add(calls_cell(top.context), 1, top.inner);
  }
  top.inner = 0;
  spans_.publish();
  nodes_.publish();
  const std::lock_guard lock(published_mutex_);
  for (const uint32_t cell : touched_) {
    Cell& sum = published_[cell];
    sum.count += open_[cell].count;
    sum.ticks += open_[cell].ticks;
    open_[cell] = {};
  }
  touched_.clear();
}

uint32_t ThreadBuffer::lost() noexcept {
  lost_.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

bool ThreadBuffer::deepen() noexcept {
  try {
    frames_.resize(2 * frames_.size());
    deepest_ = frames_.size();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool ThreadBuffer::make_room(uint32_t site) noexcept {
  const size_t cells = std::bit_ceil((size_t{site} + 1) * kCells);
  if (cells <= open_.size()) return true;
  try {
    touched_.reserve(cells);
    if (annotations_) places_.resize(cells / kCells, kNoPlace);
    {
      const std::lock_guard lock(published_mutex_);
      published_.resize(cells);
    }
    open_.resize(cells);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

uint32_t ThreadBuffer::learn(uint32_t parent, uint32_t layer, uint32_t phase) noexcept {
  const uint32_t site = recorder_.tree_.child(parent, layer, phase);
  if (site == kNoSite || !make_room(site)) return kNoSite;
  if (annotations_ && places_[site] == kNoPlace) {
    places_[site] = annotations_->place(parent > kSteps ? places_[parent] : kNoPlace, layer);
  }
  try {
    known_.add(site_key(parent, layer, phase), site);
  } catch (const std::bad_alloc&) {
    // The next call asks the tree once more.
  }
  return site;
}

// Whether another thread may go on with the buffer: its own one has ended, and its stamps have been handed over.
bool ThreadBuffer::is_free() const noexcept {
  return thread_ended_->load(std::memory_order_acquire) && depth_ == 0 && spans_.is_empty() && nodes_.is_empty();
}

}  // namespace pyprof
