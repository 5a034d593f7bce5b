// The recorder's core under sanitizers: many threads that nest, overflow and end, while another one drains.
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "recorder/recorder.h"

using namespace pyprof;

namespace {

std::atomic<uint64_t> sequence{0};
uint64_t next_sequence() { return sequence.fetch_add(1, std::memory_order_relaxed); }

#define REQUIRE(condition)                                                           \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                  \
    }                                                                                \
  } while (false)

void nest(ThreadBuffer& buffer, uint32_t depth, uint32_t deepest) {
  const ThreadBuffer::Open open = buffer.begin(depth);
  if (depth < deepest) {
    nest(buffer, depth + 1, deepest);
    nest(buffer, depth + 1, deepest);
  } else {
    std::this_thread::yield();  // so that the reader comes along while spans are open, on few processors too
  }
  buffer.end(open);
}

struct Counts {
  uint64_t spans = 0, nodes = 0, dropped = 0;
};

// A layer's number is its depth and spans come in the order of beginning, so the enclosing span is the last one of the
// layer before.
void check(const Recorder::Drained& drained, Counts& counts) {
  std::vector<const Span*> open;
  for (const Span& span : drained.spans) {
    REQUIRE(span.begin <= span.end);
    REQUIRE(span.sequence_begin < span.sequence_end);
    REQUIRE(span.layer <= open.size());
    open.resize(span.layer);
    if (span.layer > 0) {
      const Span& parent = *open.back();
      REQUIRE(parent.thread == span.thread);
      REQUIRE(parent.begin <= span.begin && span.end <= parent.end);
    }
    open.push_back(&span);
  }
  for (const Node& node : drained.nodes) REQUIRE(node.begin <= node.end && node.sequence == 3);
  counts.spans += drained.spans.size();
  counts.nodes += drained.nodes.size();
  counts.dropped += drained.dropped;
}

// Whatever is drained meanwhile, no event is lost: each one is either handed over or counted as dropped.
void threads_and_reader(uint32_t capacity, uint32_t deepest, bool may_drop) {
  constexpr int kThreads = 4, kRounds = 100;
  Options options;
  options.span_capacity = capacity;
  options.node_capacity = capacity;
  options.nodes = true;
  options.autograd.sequence = next_sequence;
  Recorder recorder(options);
  std::atomic<int> running{kThreads};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        ThreadBuffer* buffer = recorder.this_thread();
        nest(*buffer, 0, deepest);
        buffer->end_node(buffer->begin_node(3, 1, 0));
      }
      running.fetch_sub(1);
    });
  }
  Counts counts;
  while (running.load() > 0) check(recorder.drain(), counts);
  for (std::thread& thread : threads) thread.join();
  check(recorder.drain(), counts);
  const uint64_t calls = (uint64_t{1} << (deepest + 1)) - 1;
  REQUIRE(counts.spans + counts.nodes + counts.dropped == kThreads * kRounds * (calls + 1));
  REQUIRE(may_drop || counts.dropped == 0);
  REQUIRE(!may_drop || counts.dropped > 0);
}

// Buffers of ended recorders must not be found through a thread's cache.
void many_recorders() {
  for (int i = 0; i < 100; ++i) {
    Recorder one({.span_capacity = 8}), other({.span_capacity = 8});
    for (Recorder* recorder : {&one, &other, &one}) recorder->this_thread()->end(recorder->this_thread()->begin(0));
    REQUIRE(one.drain().spans.size() == 2);
    REQUIRE(other.drain().spans.size() == 1);
  }
}

void clock_agrees_with_the_system() {
  const TickScale& scale = TickScale::get();
  const int64_t ticks_before = ticks(), raw_before = raw_nanoseconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto raw = static_cast<double>(raw_nanoseconds() - raw_before);
  const auto own = static_cast<double>(scale.nanoseconds(ticks()) - scale.nanoseconds(ticks_before));
  REQUIRE(own / raw > 0.99 && own / raw < 1.01);
}

}  // namespace

int main() {
  TickScale::get();  // The first drain would wait for the clock's rate, and the threads could end meanwhile.
  threads_and_reader(1 << 16, 4, false);
  threads_and_reader(16, 5, true);
  many_recorders();
  clock_agrees_with_the_system();
  std::puts("recorder: all held");
}
