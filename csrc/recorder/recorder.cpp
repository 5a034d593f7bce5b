#include "recorder.h"

#include <new>

namespace pyprof {

namespace {

std::atomic<uint64_t> next_recorder{1};
std::atomic<uint64_t> next_thread{1};

// Never reused, unlike a thread's handle: a new thread must not continue an ended one's buffer.
uint64_t this_thread_key() noexcept {
  static thread_local const uint64_t key = next_thread.fetch_add(1, std::memory_order_relaxed);
  return key;
}

}  // namespace

thread_local Recorder::Cached Recorder::cache_[Recorder::kCached] __attribute__((tls_model("initial-exec")));

int64_t ThreadBuffer::begin_node(int64_t sequence, uint64_t forward_thread, int32_t graph_task) noexcept {
  ++node_depth_;
  const int64_t index = nodes_.open();
  if (index == Ring<Node>::kDropped) return index;
  Node& node = nodes_.at(index);
  node.sequence = sequence;
  node.forward_thread = forward_thread;
  node.thread = thread_;
  node.graph_task = graph_task;
  node.device_begin = device_ ? device_->stamp() : kNoEvent;
  node.begin = ticks();
  return index;
}

void ThreadBuffer::end_node(int64_t index) noexcept {
  const int64_t now = ticks();
  if (index == Ring<Node>::kDropped) {
    nodes_.close_dropped();
  } else {
    Node& node = nodes_.at(index);
    node.end = now;
    node.device_end = device_ ? device_->stamp() : kNoEvent;
  }
  if (--node_depth_ == 0) nodes_.publish();
}

Recorder::Recorder(Options options)
    : id_(next_recorder.fetch_add(1, std::memory_order_relaxed)), options_(std::move(options)) {}

ThreadBuffer* Recorder::find_or_make() noexcept {
  const uint64_t key = this_thread_key();
  const std::lock_guard lock(mutex_);
  ThreadBuffer* buffer = nullptr;
  for (const Owned& owned : threads_) {
    if (owned.key == key) buffer = owned.buffer.get();
  }
  if (!buffer) {
    try {
      auto made = std::make_unique<ThreadBuffer>(static_cast<uint32_t>(threads_.size()), options_);
      buffer = made.get();
      threads_.push_back({key, std::move(made), options_.autograd.thread_number()});
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  cache_[id_ % kCached] = {id_, buffer};
  return buffer;
}

Recorder::Drained Recorder::drain() {
  const TickScale& scale = TickScale::get();
  const std::lock_guard lock(mutex_);
  Drained all;
  for (const Owned& owned : threads_) {
    owned.buffer->spans_.drain([&](const Span& span) {
      all.spans.push_back(span);
      Span& copy = all.spans.back();
      copy.begin = scale.nanoseconds(span.begin);
      copy.end = scale.nanoseconds(span.end);
    });
    owned.buffer->nodes_.drain([&](const Node& node) {
      all.nodes.push_back(node);
      Node& copy = all.nodes.back();
      copy.begin = scale.nanoseconds(node.begin);
      copy.end = scale.nanoseconds(node.end);
    });
    all.threads.push_back(owned.autograd_number);
    all.dropped += owned.buffer->spans_.take_dropped() + owned.buffer->nodes_.take_dropped();
  }
  return all;
}

}  // namespace pyprof
