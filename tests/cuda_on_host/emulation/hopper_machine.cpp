#include <algorithm>
#include <memory>
#include <unordered_map>

#include "unwatched.h"
#include "window_attention/gpu_hopper.h"

namespace pyprof::gpu::emulation {

namespace {

// Not a multiple of kSwizzle, as nobody promises one: a kernel has to align its tiles itself.
constexpr uint32_t kWindow = 5 * kLine;

struct BarrierState {
  int count = 0, missing = 0;
  int64_t bytes = 0;  // still to come
  uint32_t phase = 0;
  bool visible = false;
  int initialised_by = 0;
  std::vector<Box> boxes;     // on their way
  std::vector<int> waiting;   // threads
  std::vector<int> fetching;  // those of them that were resumed to bring boxes
};

struct Pending {
  Product product;
  std::vector<float> result;  // of this thread
};

struct ThreadState {
  bool begun = false;  // products_begin since the last commit
  int committed = 0, groups = 0;
  std::vector<Pending> pending;                // those up to `committed` belong to groups
  std::vector<const unsigned char*> unfenced;  // what it wrote since its last fence, 4 bytes each
};

struct NamedState {
  int arrived = 0;
  int threads = 0;
  uint32_t generation = 0;
  std::vector<int> waiting;
};

struct GroupState {
  Product* brought[kWarpgroup] = {};
  int arrived = 0;
  Place place;
};

struct Hopper {
  std::unordered_map<const void*, BarrierState> barriers;
  NamedState named[kNamedBarriers];
  GroupState groups[kThreadsMost / kWarpgroup];
  ThreadState threads[kThreadsMost];
  std::unordered_map<const unsigned char*, int> unfenced;  // 4 bytes each, and the thread that wrote them
};

// Of the block in each slot.
std::vector<std::unique_ptr<Hopper>>& all() {
  static auto& one = *new std::vector<std::unique_ptr<Hopper>>;
  return one;
}

Hopper& hopper() { return *all()[here.slot]; }

BarrierState& barrier_at(const void* barrier, const Place& place) {
  const auto found = hopper().barriers.find(barrier);
  if (found == hopper().barriers.end()) broken("a barrier is used that nobody has initialised", place);
  return found->second;
}

void end_phase_if_complete(BarrierState& it) {
  if (it.missing > 0 || it.bytes != 0) return;
  ++it.phase;
  it.missing = it.count;
  for (const int thread : it.waiting) resume(thread);
  it.waiting.clear();
}

// A waiter of a barrier whose bytes are all that is missing, or else of any one with boxes on their way.
bool resume_a_carrier() {
  const Unwatched unwatched;
  for (const bool only_bytes : {true, false}) {
    for (auto& [address, it] : hopper().barriers) {
      if (it.boxes.empty() || it.waiting.empty() || (only_bytes && it.missing > 0)) continue;
      it.fetching.push_back(it.waiting.front());
      resume(it.waiting.front());
      it.waiting.erase(it.waiting.begin());
      return true;
    }
  }
  return false;
}

void begin_block() {
  const Unwatched unwatched;
  while (all().size() <= static_cast<size_t>(here.slot)) all().push_back(nullptr);
  all()[here.slot] = std::make_unique<Hopper>();
  begin_turns();
}

void end_block() {
  const Unwatched unwatched;
  for (const auto& [address, it] : hopper().barriers) {
    if (!it.boxes.empty()) broken("a block ends while copies are on their way", Place::current());
  }
  for (const ThreadState& it : hopper().threads) {
    if (!it.pending.empty()) broken("a thread leaves the kernel with products not waited for", Place::current());
  }
  end_turns();
}

const bool registered = [] {
  hooks = {begin_block, end_block, resume_a_carrier};
  return true;
}();

float widen(bool float16, uint32_t bits) {
  return float16 ? widen_float16(static_cast<uint16_t>(bits)) : widen_bfloat16(static_cast<uint16_t>(bits));
}

// Both operands as floats, along the contraction; those of `a` by the warp that they belong to.
void multiply(GroupState& group) {
  const Product& first = *group.brought[0];
  static float a[64][16], b[256][16];
  for (int row = 0; row < 64; ++row) {
    const Product& lane = *group.brought[row / 16 * kWarp];
    for (int k = 0; k < 16; ++k) {
      if (!lane.a_is_kept) a[row][k] = widen(first.float16, lane.a[row % 16 * 8 + k / 2] >> (k % 2 * 16) & 0xffff);
    }
  }
  for (int thread = 0; first.a_is_kept && thread < kWarpgroup; ++thread) {
    const Product& mine = *group.brought[thread];
    for (int r = 0; r < 4; ++r) {
      const int row = thread / kWarp * 16 + thread % kWarp / 4 + r % 2 * 8, k = thread % 4 * 2 + r / 2 * 8;
      a[row][k] = widen(first.float16, mine.kept[r] & 0xffff), a[row][k + 1] = widen(first.float16, mine.kept[r] >> 16);
    }
  }
  for (int column = 0; column < first.columns; ++column) {
    for (int k = 0; k < 16; ++k)
      b[column][k] = widen(first.float16, first.b[column * 8 + k / 2] >> (k % 2 * 16) & 0xffff);
  }
  const int base = here.thread / kWarpgroup * kWarpgroup;
  for (int thread = 0; thread < kWarpgroup; ++thread) {
    Product& mine = *group.brought[thread];
    ThreadState& state = hopper().threads[base + thread];
    Pending next{mine, std::vector<float>(mine.columns / 2)};
    const std::vector<float>* before = nullptr;  // of a product that is on its way to the same d
    for (const Pending& other : state.pending) {
      if (other.product.d == mine.d) before = &other.result;
    }
    if (before && before->size() != next.result.size())
      broken("two products of other shapes share a result", group.place);
    for (int i = 0; i < mine.columns / 2; ++i) {
      const int row = thread / kWarp * 16 + thread % kWarp / 4 + i / 2 % 2 * 8,
                column = i / 4 * 8 + thread % 4 * 2 + i % 2;
      float sum = !mine.add ? 0.0f : before ? (*before)[i] : mine.d[i];
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[column][k];
      next.result[i] = sum;
    }
    state.pending.push_back(std::move(next));
  }
  ++counters.products;
}

}  // namespace

void init_barrier(const void* barrier, int count, const Place& place) {
  const Unwatched unwatched;
  check_aligned(barrier, 8, place);
  window_address(barrier, place);
  BarrierState state;
  state.count = state.missing = count;
  state.initialised_by = here.thread;
  if (!hopper().barriers.emplace(barrier, state).second) broken("a barrier is initialised twice", place);
}

void show_barriers() {
  const Unwatched unwatched;
  for (auto& [address, it] : hopper().barriers) it.visible = it.visible || it.initialised_by == here.thread;
}

void arrive(const void* barrier, int bytes, const Place& place) {
  const Unwatched unwatched;
  BarrierState& it = barrier_at(barrier, place);
  if (it.missing == 0) broken("more threads arrive at a barrier than it counts", place);
  release_at(barrier);
  it.bytes += bytes;
  --it.missing;
  end_phase_if_complete(it);
}

bool wait_for(const void* barrier, uint32_t parity, const Place& place) {
  const Unwatched unwatched;
  BarrierState& it = barrier_at(barrier, place);
  const auto ended = [&] { return (it.phase & 1) != parity; };
  if (!ended() && options.reversed && !it.boxes.empty()) {
    it.fetching.push_back(here.thread);
    return false;
  }
  if (!ended()) {
    it.waiting.push_back(here.thread);
    pause("waits for a barrier", place);
    if (!ended()) return false;
  }
  acquire_at(barrier);
  return true;
}

void issue(const void* barrier, const Box& box, const Place& place) {
  const Unwatched unwatched;
  BarrierState& it = barrier_at(barrier, place);
  if (!it.visible) broken("a copy counts at a barrier that is not visible to it", place);
  release_at(barrier);
  it.boxes.push_back(box);
}

bool box_due(const void* barrier, Box& box) {
  const Unwatched unwatched;
  BarrierState& it = barrier_at(barrier, Place::current());
  const auto me = std::find(it.fetching.begin(), it.fetching.end(), here.thread);
  if (me == it.fetching.end()) return false;
  if (it.boxes.empty()) {
    it.fetching.erase(me);
    return false;
  }
  acquire_at(barrier);
  box = it.boxes.front();
  it.boxes.erase(it.boxes.begin());
  return true;
}

void box_is_there(const void* barrier, const Box& box) {
  const Unwatched unwatched;
  BarrierState& it = barrier_at(barrier, Place::current());
  release_at(barrier);
  it.bytes -= box.bytes;
  end_phase_if_complete(it);
}

void sync_named(int id, int threads, const Place& place) {
  const Unwatched unwatched;
  if (id <= 0 || id >= kNamedBarriers || threads <= 0 || threads % kWarp != 0)
    broken("a named barrier makes no sense", place);
  NamedState& it = hopper().named[id];
  if (it.arrived > 0 && it.threads != threads) broken("threads disagree how many meet at a named barrier", place);
  it.threads = threads;
  const void* key = order_of_named(id, it.generation % 2);
  release_at(key);
  if (++it.arrived == threads) {
    it.arrived = 0;
    ++it.generation;
    for (const int thread : it.waiting) resume(thread);
    it.waiting.clear();
  } else {
    it.waiting.push_back(here.thread);
    pause("waits at a named barrier", place);
  }
  acquire_at(key);
}

uint32_t window_address(const void* pointer, const Place& place) {
  const Unwatched unwatched;
  const auto* at = static_cast<const unsigned char*>(pointer);
  if (at < here.shared || at >= here.shared + here.shared_bytes) broken("an address is not in shared memory", place);
  return kWindow + static_cast<uint32_t>(at - here.shared);
}

const unsigned char* at_window(uint32_t address, const Place& place) {
  const Unwatched unwatched;
  if (address < kWindow || address >= kWindow + here.shared_bytes) broken("an address is not in shared memory", place);
  return here.shared + (address - kWindow);
}

void note_write(const void* address, size_t bytes, const Place&) {
  const Unwatched unwatched;
  const auto* at = static_cast<const unsigned char*>(address);
  if (at < here.shared || at >= here.shared + here.shared_bytes) return;
  Hopper& h = hopper();
  for (size_t i = 0; i < bytes; i += 4) {
    h.unfenced[at + i] = here.thread;
    h.threads[here.thread].unfenced.push_back(at + i);
  }
}

void check_fenced(const void* address, const Place& place) {
  const Unwatched unwatched;
  const auto& unfenced = hopper().unfenced;
  if (unfenced.empty()) return;
  const auto* at = reinterpret_cast<const unsigned char*>(reinterpret_cast<uintptr_t>(address) / 4 * 4);
  if (unfenced.contains(at)) broken("what was written is read by a copy or a product without fence_async", place);
}

void fence_writes() {
  const Unwatched unwatched;
  Hopper& h = hopper();
  auto& own = h.threads[here.thread].unfenced;
  for (const unsigned char* at : own) {
    const auto found = h.unfenced.find(at);
    if (found != h.unfenced.end() && found->second == here.thread) h.unfenced.erase(found);
  }
  own.clear();
}

void begin_products() { hopper().threads[here.thread].begun = true; }

void issue_product(Product& product, const Place& place) {
  const Unwatched unwatched;
  ThreadState& me = hopper().threads[here.thread];
  if (!me.begun) broken("a product is issued without products_begin", place);
  product.group = -1;
  GroupState& group = hopper().groups[here.thread / kWarpgroup];
  if (group.arrived > 0 && group.place.line() != place.line()) {
    broken("the threads of a warpgroup are at different products", place);
  }
  group.place = place;
  group.brought[here.thread % kWarpgroup] = &product;
  if (++group.arrived < kWarpgroup) {
    pause("waits for its warpgroup", place);
    return;
  }
  group.arrived = 0;
  multiply(group);
  const int base = here.thread / kWarpgroup * kWarpgroup;
  for (int i = 0; i < kWarpgroup; ++i) {
    if (base + i != here.thread) resume(base + i);
  }
}

void commit_products(const Place& place) {
  const Unwatched unwatched;
  ThreadState& me = hopper().threads[here.thread];
  if (!me.begun) broken("products are committed that were not begun", place);
  for (; me.committed < static_cast<int>(me.pending.size()); ++me.committed) {
    me.pending[me.committed].product.group = me.groups;
  }
  ++me.groups;
  me.begun = false;
}

bool product_due(int open_groups, Product& product, std::vector<float>& result) {
  const Unwatched unwatched;
  ThreadState& me = hopper().threads[here.thread];
  if (me.committed == 0 || me.pending.front().product.group >= me.groups - open_groups) return false;
  product = std::move(me.pending.front().product);
  result = std::move(me.pending.front().result);
  me.pending.erase(me.pending.begin());
  --me.committed;
  for (const Pending& other : me.pending) {
    if (other.product.d == product.d) result.clear();
  }
  return true;
}

}  // namespace pyprof::gpu::emulation
