// What the recorder stores: plain, fixed-size entries. Names and statistics come later, in Python.
#pragma once

#include <cstdint>

namespace pyprof {

inline constexpr int32_t kNoEvent = -1;
inline constexpr uint32_t kStep = 0xFFFFFFFF;  // the layer number of a marked step, which is no layer

// A forward is a recomputation when it runs inside backward, as activation checkpointing makes it.
inline constexpr uint32_t kForward = 0, kRecompute = 1;

// The stamps of one call of a layer. Autograd numbers the nodes that a thread creates, so the call made the nodes
// [sequence_begin, sequence_end) of its thread, and so did its children with a part of them. Which call encloses which
// is not stored: the times of a thread's spans and nodes tell it afterwards, of both at once.
struct Span {
  int64_t begin, end;
  uint64_t sequence_begin, sequence_end;
  uint32_t thread;
  uint32_t layer;
  uint32_t phase;
  int32_t device_begin, device_end;  // events on the device, kNoEvent on the host
  uint32_t site;                     // where it was called from, in the call tree
};
static_assert(sizeof(Span) == 56);

// The stamps of one autograd node that ran in backward. Where backward is itself recorded by autograd (create_graph),
// the node made the nodes [sequence_begin, sequence_end) of the thread that it ran on: those of the second order.
struct Node {
  int64_t begin, end;
  int64_t sequence;         // -1 for the accumulation into a parameter's gradient, which has no number of its own
  uint64_t forward_thread;  // autograd's number of the thread that made the node
  uint64_t sequence_begin, sequence_end;
  uint32_t thread;
  int32_t graph_task;  // which call of backward
  int32_t device_begin, device_end;
};
static_assert(sizeof(Node) == 64);

}  // namespace pyprof
