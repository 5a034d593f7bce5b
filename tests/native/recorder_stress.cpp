// The recorder's core under sanitizers: many threads that nest, overflow and end, while another one reads.
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "recorder/recorder.h"

using namespace pyprof;

namespace {

thread_local uint64_t sequence = 0;
uint64_t next_sequence() { return ++sequence; }
std::atomic<uint64_t> threads_seen{0};
uint64_t thread_number() {
  static thread_local const uint64_t number = ++threads_seen;
  return number;
}

#define REQUIRE(condition)                                                           \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                  \
    }                                                                                \
  } while (false)

void nest(ThreadBuffer& buffer, uint32_t depth, uint32_t deepest) {
  const uint32_t token = buffer.begin(depth);
  if (depth < deepest) {
    nest(buffer, depth + 1, deepest);
    nest(buffer, depth + 1, deepest);
  } else {
    std::this_thread::yield();  // so that the reader comes along while spans are open, on few processors too
  }
  buffer.end(token);
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

uint64_t count(const Recorder::Sums& sums, uint32_t site) { return sums.cells[calls_cell(site)].count; }

// Each layer has one site, and is called twice by the one before: at any moment what is known is whole trees of calls,
// whose own times sum to the time of the outermost ones.
uint64_t check_sums(const Recorder::Sums& sums) {
  uint64_t trees = 0;
  int64_t own = 0;
  for (uint32_t site = kSteps + 1; site < sums.sites.size(); ++site) {
    const Site& place = sums.sites[site];
    REQUIRE(place.parent == (place.layer == 0 ? kUnmarked : site - 1));
    if (place.layer == 0) trees = count(sums, site);
    REQUIRE(count(sums, site) == trees << place.layer);
    for (uint32_t cell = 0; cell < kCells; ++cell) own += sums.cells[site * kCells + cell].ticks;
  }
  for (uint32_t cell = 1; cell < kCells; ++cell) own += sums.cells[cell].ticks;
  REQUIRE(own == sums.cells[calls_cell(kUnmarked)].ticks);
  REQUIRE(sums.lost == 0);
  return trees;
}

// Whatever is read meanwhile, no call is lost from the sums, and the stamps of each one are either handed over or
// counted as dropped.
void threads_and_reader(uint32_t capacity, uint32_t deepest, bool may_drop) {
  constexpr int kThreads = 4, kRounds = 100;
  Options options;
  options.span_capacity = capacity;
  options.node_capacity = capacity;
  options.nodes = true;
  options.autograd.sequence = next_sequence;
  options.autograd.thread_number = thread_number;
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
  while (running.load() > 0) {
    check(recorder.drain(), counts);
    check_sums(recorder.sums());
  }
  for (std::thread& thread : threads) thread.join();
  check(recorder.drain(), counts);
  REQUIRE(check_sums(recorder.sums()) == kThreads * kRounds);
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

// Of calls within calls, the innermost one that a number was made in is found, by other threads too and while more are
// made, as long as it was made in this step or in the one before.
void ranges_are_found_while_they_grow() {
  constexpr uint64_t kRounds = 40, kCalls = 20'000;
  Ranges ranges;
  std::atomic<uint64_t> made{0}, seen{0};
  std::thread reader([&] {
    uint64_t found = 0;
    for (uint64_t last = 0; (last = made.load(std::memory_order_acquire)) < kRounds * kCalls;) {
      if (last == 0) continue;
      const uint64_t step = (last - 1) / kCalls, number = last - 1;
      const Owner owner = ranges.find(2 * number);
      if (owner == kForgotten) {
        REQUIRE(made.load() / kCalls >= step + 2);  // the step after it has ended meanwhile
      } else {
        REQUIRE(owner == owner_of(static_cast<uint32_t>(number), false));
        ++found;
      }
    }
    seen.store(found);
  });
  for (uint64_t call = 0; call < kRounds * kCalls; ++call) {
    if (call % kCalls == 0) {
      ranges.forget_older_steps();
      if (call > kCalls)
        REQUIRE(ranges.find(2 * (call - kCalls)) == owner_of(static_cast<uint32_t>(call - kCalls), false));
      if (call > 2 * kCalls) REQUIRE(ranges.find(2 * (call - 2 * kCalls - 1)) == kForgotten);
    }
    ranges.set(2 * call, owner_of(static_cast<uint32_t>(call), false));
    ranges.set(2 * call + 1, kNobody);
    made.store(call + 1, std::memory_order_release);
  }
  reader.join();
  REQUIRE(seen.load() > 0);
  const auto last = static_cast<uint32_t>(kRounds * kCalls - 1);
  REQUIRE(ranges.find(2 * last) == owner_of(last, false));
  REQUIRE(ranges.find(2 * last + 1) == kNobody);
}

// Without steps the oldest numbers are forgotten when there is no more room for them.
void ranges_are_bounded() {
  constexpr uint64_t kCalls = 3 << 20;
  Ranges ranges;
  for (uint64_t call = 0; call < kCalls; ++call) ranges.set(call, owner_of(static_cast<uint32_t>(call), false));
  REQUIRE(ranges.find(0) == kForgotten);
  REQUIRE(ranges.find(kCalls - 1) == owner_of(kCalls - 1, false));
  REQUIRE(ranges.find(kCalls - 1'000'000) == owner_of(kCalls - 1'000'000, false));
}

// Threads that have ended leave their buffers to later ones, so that a pool for each step takes no more memory.
void ended_threads_leave_their_buffers() {
  Recorder recorder({.span_capacity = 8});
  for (int i = 0; i < 50; ++i) {
    std::thread([&] {
      ThreadBuffer* buffer = recorder.this_thread();
      for (int call = 0; call < 20; ++call) buffer->end(buffer->begin(0));
    }).join();
    REQUIRE(recorder.drain().threads.size() == 1);
  }
  REQUIRE(recorder.sums().cells[calls_cell(kSteps + 1)].count == 50 * 20);
}

// A step in a step is a part of it; a thread beside it is told apart; what was never ended ends with what is around it.
void steps_and_threads() {
  Recorder recorder({.span_capacity = 64});
  ThreadBuffer* buffer = recorder.this_thread();
  const uint32_t outer = buffer->begin(kStep);
  buffer->end(buffer->begin(0));
  const uint32_t inner = buffer->begin(kStep);
  buffer->end(buffer->begin(0));
  buffer->begin(1);
  buffer->end(inner);
  buffer->end(inner);  // again: ended already
  std::thread([&] { recorder.this_thread()->end(recorder.this_thread()->begin(0)); }).join();
  buffer->end(outer);
  const Recorder::Sums sums = recorder.sums();
  REQUIRE(count(sums, kSteps) == 1);
  int64_t own = sums.cells[calls_cell(kInStep)].ticks;
  uint64_t beside = 0;
  for (uint32_t site = kSteps + 1; site < sums.sites.size(); ++site) {
    REQUIRE(sums.sites[site].parent == kInStep || sums.sites[site].parent == kBeside);
    if (sums.sites[site].parent == kInStep) own += sums.cells[calls_cell(site)].ticks;
    if (sums.sites[site].parent == kBeside) beside += count(sums, site);
  }
  REQUIRE(own == sums.cells[calls_cell(kSteps)].ticks);
  REQUIRE(beside == 1);
}

// Whoever is told of intervals is told of each end, on the same thread, also of those that were never ended themselves.
struct Listener : Annotations {
  static inline thread_local int open = 0;
  std::atomic<uint64_t> calls{0}, nodes{0}, steps{0};
  uint32_t place(uint32_t caller, uint32_t layer) const noexcept override {
    return caller == kNoPlace ? layer : 10 * caller + layer;
  }
  void push(uint32_t place, Category category) noexcept override {
    ++open;
    if (category == Category::kStep) ++steps;
    if (category == Category::kForward) ++calls;
    if (category == Category::kBackward) ++nodes;
    REQUIRE((category == Category::kStep) == (place == kNoPlace));
    REQUIRE(place == kNoPlace || place == 1 || place == 12);
  }
  void pop() noexcept override { REQUIRE(--open >= 0); }
};

void every_range_is_closed() {
  constexpr int kThreads = 4, kRounds = 500;
  const auto listener = std::make_shared<Listener>();
  Recorder recorder({.span_capacity = 64,
                     .node_capacity = 64,
                     .nodes = true,
                     .autograd = {.sequence = next_sequence, .thread_number = thread_number},
                     .annotations = listener});
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        ThreadBuffer* buffer = recorder.this_thread();
        const uint32_t step = buffer->begin(kStep);
        const uint32_t outer = buffer->begin(1);
        buffer->begin(2);
        const int64_t made = static_cast<int64_t>(sequence);
        buffer->end(outer);
        REQUIRE(Listener::open == 1);
        buffer->begin_node(made, thread_number(), 0);
        REQUIRE(Listener::open == 3);
        buffer->end(step);
        REQUIRE(Listener::open == 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(listener->steps == kThreads * kRounds);
  REQUIRE(listener->calls == 2 * kThreads * kRounds);
  REQUIRE(listener->nodes == 2 * kThreads * kRounds);
}

// Layers that call each other have a site each, however deep that goes.
void recursion_stays_where_it_began() {
  Recorder recorder({.span_capacity = 8});
  ThreadBuffer* buffer = recorder.this_thread();
  const uint32_t first = buffer->begin(0);
  for (uint32_t call = 1; call < 1000; ++call) buffer->begin(call % 2);
  buffer->end(first);
  const Recorder::Sums sums = recorder.sums();
  REQUIRE(sums.sites.size() == kSteps + 3);
  REQUIRE(count(sums, kSteps + 1) == 500 && count(sums, kSteps + 2) == 500);
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
  ranges_are_found_while_they_grow();
  ranges_are_bounded();
  ended_threads_leave_their_buffers();
  steps_and_threads();
  recursion_stays_where_it_began();
  every_range_is_closed();
  clock_agrees_with_the_system();
  std::puts("recorder: all held");
}
