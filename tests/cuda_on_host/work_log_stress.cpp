// The log of a device's work under sanitizers: threads that launch while others start, stop and drain logs.
#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <thread>
#include <vector>

#include "cuda/work_log.h"

using namespace pyprof;

namespace {

#define REQUIRE(condition)                                                           \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                  \
    }                                                                                \
  } while (false)

thread_local uint32_t open_cell = 0;
thread_local bool counts_allocations = false;
thread_local uint64_t allocations = 0;

// Every thread has a cell of its own open.
struct OpenPlaces : Places {
  Place here() noexcept override { return {open_cell, open_cell}; }
};

uint64_t clock_now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC_RAW, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

constexpr uint32_t kThreads = 4, kLaunches = 2000;
using FakeCall = uint32_t (*)(uint32_t, int, const char*, int64_t, uint32_t, uint32_t);
using FakePlant = void (*)(const char*, int64_t);
using FakeCallbackCost = double (*)(int64_t);

struct Seen {
  std::map<uint32_t, uint32_t> cells;  // by correlation
  std::vector<Operation> operations;
  uint64_t lost = 0;

  void take(WorkLog& log) {
    WorkLog::Drained drained = log.drain();
    for (const Launch& launch : drained.launches) REQUIRE(cells.emplace(launch.correlation, launch.cell).second);
    operations.insert(operations.end(), drained.operations.begin(), drained.operations.end());
    lost += drained.lost + drained.lost_launches;
  }
};

// A launch is noted without allocation, also where there is no room for it.
void without_allocation(const std::shared_ptr<Places>& places, const std::string& library, FakeCallbackCost call_back) {
  WorkLog log(places, clock_now, {16, 16, 16}, library);
  log.start();
  counts_allocations = true;
  call_back(100);
  counts_allocations = false;
  log.stop();
  REQUIRE(log.drain().launches.size() == 16 && allocations == 0);
}

// What threads that run at once might hide by chance: each of these has one right outcome.
void one_after_another(const std::shared_ptr<Places>& places, const std::string& library, FakeCall call,
                       FakePlant plant) {
  const auto launch = [&](uint32_t times) {
    for (uint32_t i = 0; i < times; ++i) call(307, 10, "_Z6kernelv", 1000, 0, 7);
  };
  WorkLog stays(places, clock_now, {}, library), comes(places, clock_now, {}, library);
  stays.start();
  comes.start();
  launch(1);
  comes.stop();
  launch(1);  // which only the first one hears
  WorkLog::Drained all = stays.drain();
  REQUIRE(all.operations.size() == 2 && all.launches.size() == 2 && all.lost == 0);
  all = comes.drain();
  REQUIRE(all.operations.size() == 1 && all.launches.size() == 1);

  // There are sixteen buffers, so that most of these need one that was used before.
  for (uint32_t i = 0; i < 100; ++i) {
    launch(1);
    all = stays.drain();
    REQUIRE(all.operations.size() == 1 && all.lost == 0);
  }

  // More than all buffers hold at once: what fits is whole, the rest is counted, and the buffers come back.
  constexpr uint32_t kMany = 100'000;
  plant("fills_all", 1);
  launch(kMany);
  all = stays.drain();
  REQUIRE(all.lost > 0 && all.operations.size() + all.lost == kMany);
  REQUIRE(all.operations.size() > kMany / 4 && all.operations.size() % 16 == 0);
  REQUIRE(all.launches.size() == kMany && all.lost_launches == 0);
  std::map<uint32_t, int64_t> begins;
  for (const Operation& operation : all.operations) {
    REQUIRE(begins.emplace(operation.correlation, operation.begin).second);
    REQUIRE(operation.end - operation.begin == 1000);
  }
  plant("fills_all", 0);
  launch(kMany / 10);
  all = stays.drain();
  REQUIRE(all.operations.size() == kMany / 10 && all.lost == 0);
}

}  // namespace

void* operator new(size_t size) {
  if (counts_allocations) ++allocations;
  if (void* place = std::malloc(size)) return place;
  throw std::bad_alloc();
}
void operator delete(void* place) noexcept { std::free(place); }
void operator delete(void* place, size_t) noexcept { std::free(place); }

int main(int, char** arguments) {
  const std::string library = arguments[1];
  const auto places = std::make_shared<OpenPlaces>();
  void* fake = dlopen(library.c_str(), RTLD_NOW);
  const auto call = reinterpret_cast<FakeCall>(dlsym(fake, "fake_call"));
  const auto plant = reinterpret_cast<FakePlant>(dlsym(fake, "fake_plant"));
  const auto call_back = reinterpret_cast<FakeCallbackCost>(dlsym(fake, "fake_callback_cost"));
  REQUIRE(call && plant && call_back);
  without_allocation(places, library, call_back);
  one_after_another(places, library, call, plant);
  WorkLog whole(places, clock_now, {}, library);
  whole.start();
  // One that is full at once.
  WorkLog small(places, clock_now, {16, 16, 16}, library);
  small.start();

  std::atomic<uint32_t> running{kThreads};
  std::vector<std::thread> threads;
  for (uint32_t thread = 1; thread <= kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      open_cell = thread;
      for (uint32_t i = 0; i < kLaunches; ++i) call(307, 10, "_Z6kernelv", 1000 + thread, 0, thread);
      running.fetch_sub(1);
    });
  }
  // Another log comes and goes while they launch.
  std::thread coming([&] {
    while (running.load() > 0) {
      WorkLog log(places, clock_now, {}, library);
      log.start();
      Seen seen;
      seen.take(log);
      log.stop();
      seen.take(log);
    }
  });
  Seen seen;
  while (running.load() > 0) seen.take(whole);
  for (std::thread& thread : threads) thread.join();
  coming.join();
  seen.take(whole);
  whole.stop();
  seen.take(whole);

  REQUIRE(seen.lost == 0);
  REQUIRE(seen.cells.size() == kThreads * kLaunches);
  REQUIRE(seen.operations.size() == kThreads * kLaunches);
  for (const Operation& operation : seen.operations) {
    const auto cell = seen.cells.find(operation.correlation);
    REQUIRE(cell != seen.cells.end());
    REQUIRE(cell->second == operation.stream);
    REQUIRE(operation.end - operation.begin == 1000 + operation.stream);
    REQUIRE(operation.kind == static_cast<uint32_t>(Kind::kKernel));
  }
  small.stop();
  const WorkLog::Drained drained = small.drain();
  REQUIRE(drained.launches.size() == 16 && drained.lost_launches > 0);
  REQUIRE(drained.names.size() == 1 && drained.names[0] == "kernel()");
  std::puts("all held");
}
