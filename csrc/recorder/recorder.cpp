#include "recorder.h"

#include <new>

namespace pyprof {

namespace {

std::atomic<uint64_t> next_recorder{1};
std::atomic<uint64_t> next_thread{1};

// Who owns a buffer. The key is never reused, unlike a thread's handle: a new thread must not continue an ended one's
// buffer before it is known that the other one has ended.
struct ThisThread {
  const uint64_t key = next_thread.fetch_add(1, std::memory_order_relaxed);
  std::shared_ptr<std::atomic<bool>> ended = std::make_shared<std::atomic<bool>>(false);
  ~ThisThread() { ended->store(true, std::memory_order_release); }
};
ThisThread& this_thread_key() {
  static thread_local ThisThread thread;
  return thread;
}

}  // namespace

thread_local Recorder::Cached Recorder::cache_[Recorder::kCached] __attribute__((tls_model("initial-exec")));

Recorder::Recorder(Options options)
    : id_(next_recorder.fetch_add(1, std::memory_order_relaxed)), options_(std::move(options)) {}

ThreadBuffer* Recorder::find_or_make() noexcept {
  try {
    const ThisThread& thread = this_thread_key();
    const std::lock_guard lock(mutex_);
    ThreadBuffer* buffer = nullptr;
    for (Owned& owned : threads_) {
      if (owned.key == thread.key) buffer = owned.buffer.get();
    }
    for (Owned& owned : threads_) {
      if (buffer || !owned.buffer->is_free()) continue;
      buffer = owned.buffer.get();
      owned.key = thread.key;
    }
    if (!buffer) {
      threads_.push_back(
          {thread.key, std::make_unique<ThreadBuffer>(static_cast<uint32_t>(threads_.size()), options_, *this)});
      buffer = threads_.back().buffer.get();
    }
    buffer->thread_ended_ = thread.ended;
    buffer->number_ = options_.autograd.thread_number();
    buffer->serves_ = options_.autograd.on_own_thread();
    cache_[id_ % kCached] = {id_, buffer};
    return buffer;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

Place Recorder::here() noexcept {
  const Cached& cached = cache_[id_ % kCached];
  const ThreadBuffer* buffer = cached.recorder == id_ ? cached.buffer : find();
  return buffer ? buffer->here() : Place{calls_cell(context_beside()), kNoThread};
}

// This thread's buffer where it has one; it gets none for being asked.
ThreadBuffer* Recorder::find() noexcept {
  const uint64_t key = this_thread_key().key;
  const std::lock_guard lock(mutex_);
  for (const Owned& owned : threads_) {
    if (owned.key == key) return owned.buffer.get();
  }
  return nullptr;
}

bool Recorder::is_in_step(uint64_t thread_number) noexcept {
  const std::lock_guard lock(mutex_);
  for (const Owned& owned : threads_) {
    if (owned.buffer->number_ == thread_number && owned.buffer->own_steps_.load(std::memory_order_relaxed) > 0)
      return true;
  }
  return false;
}

const Ranges* Recorder::ranges_of(uint64_t thread_number) noexcept {
  const std::lock_guard lock(mutex_);
  for (const Owned& owned : threads_) {
    if (owned.buffer->number_ == thread_number) return &owned.buffer->ranges_;
  }
  return nullptr;
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
    all.threads.push_back(owned.buffer->number_);
    all.dropped += owned.buffer->spans_.take_dropped() + owned.buffer->nodes_.take_dropped();
  }
  return all;
}

Recorder::Sums Recorder::sums() {
  const std::lock_guard lock(mutex_);
  Sums all;
  for (const Owned& owned : threads_) {
    const std::lock_guard published(owned.buffer->published_mutex_);
    const std::vector<Cell>& cells = owned.buffer->published_;
    if (all.cells.size() < cells.size()) all.cells.resize(cells.size());
    for (size_t i = 0; i < cells.size(); ++i) {
      all.cells[i].count += cells[i].count;
      all.cells[i].ticks += cells[i].ticks;
    }
    all.lost += owned.buffer->lost_.load(std::memory_order_relaxed);
    all.unplaced += owned.buffer->unplaced_.load(std::memory_order_relaxed);
  }
  // The tree comes last, so that it has all sites that there are sums of.
  all.sites = tree_.sites();
  all.cells.resize(all.sites.size() * kCells);
  return all;
}

}  // namespace pyprof
