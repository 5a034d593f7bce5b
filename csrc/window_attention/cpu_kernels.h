// What the host kernels of one instruction set offer to cpu.cpp, which chooses among them and shares out the work.
#pragma once

#include <cstddef>
#include <cstdint>

#include "window_attention/window.h"

namespace pyprof::window {

// Where a thread goes on after a slice, so that it can ask for those rows ahead; nowhere where `batch` is negative.
struct Place {
  int64_t batch = -1, head = 0, row = 0;
};

// A piece of work for one thread. Forward: queries [begin, end) of query head `head`, at most kForwardBlock of them.
// Backward: queries and keys [begin, end) of `heads` key heads from `head` on, for all query heads that share them;
// `begin` is a multiple of kTile.
struct Slice {
  int64_t batch, head, begin, end;
  Place after = {};
  int64_t heads = 1;
};

// Queries are taken in tiles of this many, aligned within the sequence, whatever the slices: results do not depend on
// the number of threads.
constexpr int64_t kTile = 32;
constexpr int64_t kForwardBlock = 128;  // queries that share packed keys and values

struct Kernels {
  const char* name;
  void (*forward)(const Problem&, const Forward&, const Slice&, void* scratch);
  void (*backward)(const Problem&, const Backward&, const Slice&, void* scratch);
  // What the problem's global keys add to that, where it has any: to the output of a slice of forward, and to all
  // gradients of a slice of backward that is a whole key head.
  void (*join_global)(const Problem&, const Forward&, const Slice&, void* scratch);
  void (*add_global)(const Problem&, const Backward&, const Slice&, void* scratch);
  size_t (*forward_scratch)(const Problem&);  // bytes, aligned to 64
  size_t (*backward_scratch)(const Problem&);
  size_t (*global_scratch)(const Problem&);
  // The rows of global tokens, some of a head or, in the backward pass, all of them; scratch is by their number.
  void (*global_rows_forward)(const Problem&, const GlobalRowsForward&, const Slice&, void* scratch);
  void (*global_rows_backward)(const Problem&, const GlobalRowsBackward&, const Slice&, void* scratch);
  size_t (*global_rows_scratch)(const Problem&, int64_t rows);
};

extern const Kernels portable_kernels;
#ifdef __x86_64__
extern const Kernels avx2_kernels, avx512_kernels, avx512_bf16_kernels, amx_kernels;
#endif

}  // namespace pyprof::window
