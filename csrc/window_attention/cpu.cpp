// Chooses the instruction set for the host kernels and shares their work among PyTorch's threads.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "window_attention/cpu_kernels.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pyprof::window {
namespace {

struct Level {
  const Kernels* kernels;
  bool usable;    // on this CPU
  bool for_type;  // made for the type; otherwise the next lower level runs it
};

#ifdef __x86_64__
// Tiles need the CPU's support and, once in a process, the kernel's permission (Linux 5.16 or newer).
bool may_use_tiles() {
  static const bool may = [] {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
    constexpr unsigned kBfloat16 = 1u << 22, kTiles = 1u << 24;
    if (!(edx & kBfloat16) || !(edx & kTiles)) return false;
#ifdef __linux__
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
  }();
  return may;
}
#endif

std::vector<Level> levels(Type type) {
  std::vector<Level> found{{&portable_kernels, true, true}};
#ifdef __x86_64__
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool pairs = avx512 && __builtin_cpu_supports("avx512bf16"), for_type = type == Type::bfloat16;
  found.push_back({&avx2_kernels, avx2, true});
  found.push_back({&avx512_kernels, avx512, true});
  found.push_back({&avx512_bf16_kernels, pairs, for_type});
  found.push_back({&amx_kernels, pairs && may_use_tiles(), for_type});
#endif
  return found;
}

// `wanted` is a name, or null for the best.
const Kernels& choose_among_levels(Type type, const char* wanted) {
  const Kernels* best = nullptr;
  std::string names;
  bool known = false;
  for (const Level& level : levels(type)) {
    if (level.usable) names += (names.empty() ? "" : ", ") + std::string(level.kernels->name);
    if (level.usable && level.for_type && !known) best = level.kernels;
    if (level.usable && wanted && !std::strcmp(wanted, level.kernels->name)) known = true;
  }
  if (wanted && !known)
    throw std::invalid_argument("PYPROF_CPU_ISA is \"" + std::string(wanted) + "\": set it to one of " + names +
                                ", which this CPU has, or leave it unset.");
  return *best;
}

// The environment is read at every call, and what this CPU can do once.
const Kernels& choose(Type type) {
  static const Kernels* const best[] = {&choose_among_levels(Type::float32, nullptr),
                                        &choose_among_levels(Type::bfloat16, nullptr),
                                        &choose_among_levels(Type::float16, nullptr)};
  if (type == Type::float64)
    throw std::invalid_argument("the host kernels of window attention don't take float64: use impl=\"reference\".");
  const char* wanted = std::getenv("PYPROF_CPU_ISA");
  return wanted && *wanted ? choose_among_levels(type, wanted) : *best[static_cast<int>(type)];
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Runs `work(slice index, scratch)` for each index, with scratch of `bytes` for each thread.
template <class Work>
void share(int64_t count, int64_t grain, size_t bytes, const Work& work) {
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<void, Free> scratch(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
    if (!scratch) throw std::bad_alloc();
    work(begin, end, scratch.get());
  });
}

// Whether the heads of one position lie side by side, as projections give them, and its neighbours far away.
bool heads_lie_together(const Problem& problem) { return problem.key_strides.row > problem.key_strides.head; }

// The order in which forward takes its blocks of queries: all blocks of a head, which have keys in common, or all heads
// of a block, which share pages where heads lie together. A head alone has a page for every few positions then, more
// than the processor keeps translations of. The output's heads always lie together, which counts where it is large and
// a window so narrow that blocks have few keys in common.
class BlockOrder {
 public:
  BlockOrder(const Problem& problem, const Forward& forward)
      : problem_(problem), blocks_((problem.length + kForwardBlock - 1) / kForwardBlock) {
    constexpr int64_t kNarrow = 64, kLarge = 4 << 20;
    const int64_t reach = std::min(problem.left, problem.length) + std::min(problem.right, problem.length);
    const int64_t bytes = problem.length * forward.output_strides.row * (problem.type == Type::float32 ? 4 : 2);
    heads_inside_ = heads_lie_together(problem) || (reach <= kNarrow && bytes > kLarge);
  }

  int64_t count() const { return problem_.batch * problem_.heads * blocks_; }

  // Where block number `index` begins.
  Place place(int64_t index) const {
    const int64_t inner = heads_inside_ ? problem_.heads : blocks_, outer = heads_inside_ ? blocks_ : problem_.heads;
    const int64_t low = index % inner, high = index / inner % outer;
    return {index / inner / outer, heads_inside_ ? low : high, (heads_inside_ ? high : low) * kForwardBlock};
  }

  // Block number `index`, before those up to `end`.
  Slice slice(int64_t index, int64_t end) const {
    const Place from = place(index);
    return {from.batch, from.head, from.row, std::min(problem_.length, from.row + kForwardBlock),
            index + 1 < end ? place(index + 1) : Place{}};
  }

 private:
  const Problem& problem_;
  const int64_t blocks_;
  bool heads_inside_;
};

}  // namespace

void cpu_forward(const Problem& problem, const Forward& forward) {
  const Kernels& kernels = choose(problem.type);
  const bool global = problem.global_keys > 0;
  const BlockOrder order(problem, forward);
  const size_t bytes = std::max(kernels.forward_scratch(problem), global ? kernels.global_scratch(problem) : 0);
  share(order.count(), 1, bytes, [&](int64_t begin, int64_t end, void* scratch) {
    for (; begin < end; ++begin) {
      const Slice slice = order.slice(begin, end);
      kernels.forward(problem, forward, slice, scratch);
      // Global keys are joined to a block while it is in the cache.
      if (global) kernels.join_global(problem, forward, slice, scratch);
    }
  });
}

void cpu_backward(const Problem& problem, const Backward& given) {
  const Kernels& kernels = choose(problem.type);
  const int64_t heads = problem.batch * problem.key_heads;
  if (heads == 0 || problem.length == 0) return;
  Backward backward = given;
  std::unique_ptr<float[]> kept;
  if (problem.global_keys > 0) {
    kept.reset(new float[2 * problem.batch * problem.heads * problem.length]);
    backward.kept = kept.get();
  }
  // A piece of a sequence computes again what its neighbours' queries give to its keys: long pieces waste less.
  const int64_t reach = std::min(problem.left, problem.length) + std::min(problem.right, problem.length);
  const int64_t wanted = heads % at::get_num_threads() == 0 ? 1 : (4 * at::get_num_threads() + heads - 1) / heads;
  const int64_t length = std::max((problem.length + wanted - 1) / wanted, std::max<int64_t>(256, 4 * reach));
  const int64_t piece = (length + kTile - 1) / kTile * kTile;
  const int64_t pieces = (problem.length + piece - 1) / piece;
  const bool heads_inside = heads_lie_together(problem);
  share(heads * pieces, 1, kernels.backward_scratch(problem), [&](int64_t begin, int64_t end, void* scratch) {
    while (begin < end) {
      const int64_t inner = heads_inside ? problem.key_heads : pieces,
                    outer = heads_inside ? pieces : problem.key_heads;
      const int64_t low = begin % inner, high = begin / inner % outer;
      const int64_t head = heads_inside ? low : high, first = (heads_inside ? high : low) * piece;
      const int64_t some = heads_inside ? std::min(problem.key_heads - head, end - begin) : 1;
      const Slice slice{begin / inner / outer, head, first, std::min(problem.length, first + piece), {}, some};
      kernels.backward(problem, backward, slice, scratch);
      begin += some;
    }
  });
  if (problem.global_keys == 0) return;
  share(heads, 1, kernels.global_scratch(problem), [&](int64_t begin, int64_t end, void* scratch) {
    for (; begin < end; ++begin) {
      const Slice slice{begin / problem.key_heads, begin % problem.key_heads, 0, problem.length};
      kernels.add_global(problem, backward, slice, scratch);
    }
  });
}

void cpu_global_rows_forward(const Problem& problem, const GlobalRowsForward& forward) {
  const Kernels& kernels = choose(problem.type);
  constexpr int64_t kStrip = 16;
  const int64_t strips = (forward.rows + kStrip - 1) / kStrip, heads = problem.batch * problem.heads;
  const size_t bytes = kernels.global_rows_scratch(problem, kStrip);
  share(heads * strips, 1, bytes, [&](int64_t begin, int64_t end, void* scratch) {
    for (; begin < end; ++begin) {
      const int64_t head = begin / strips, first = begin % strips * kStrip;
      const Slice slice{head / problem.heads, head % problem.heads, first, std::min(forward.rows, first + kStrip)};
      kernels.global_rows_forward(problem, forward, slice, scratch);
    }
  });
}

void cpu_global_rows_backward(const Problem& problem, const GlobalRowsBackward& backward) {
  const Kernels& kernels = choose(problem.type);
  const size_t bytes = kernels.global_rows_scratch(problem, backward.rows);
  share(problem.batch * problem.heads, 1, bytes, [&](int64_t begin, int64_t end, void* scratch) {
    for (; begin < end; ++begin) {
      const Slice slice{begin / problem.heads, begin % problem.heads, 0, backward.rows};
      kernels.global_rows_backward(problem, backward, slice, scratch);
    }
  });
}

const char* cpu_isa(Type type) { return choose(type).name; }

}  // namespace pyprof::window
