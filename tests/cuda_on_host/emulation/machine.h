// Multiprocessors on the host: runs a grid block by block, or all of its blocks at once where they wait for one
// another; the threads of a block are fibres that go on until they must wait. What device code sees of it is
// gpu_on_host.h. A broken rule ends the process with status kBroken and a sentence on standard error.
//
// Included by gpu.h, after its types; include that.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <type_traits>

namespace pyprof::gpu::emulation {

inline constexpr int kBroken = 3;
inline constexpr int kThreadsMost = 1024;
inline constexpr int kCopiesMost = 1024;           // open ones of a thread: enough to fill shared memory twice over
inline constexpr size_t kSharedMost = 163 * 1024;  // what a block of sm_80 can ask for; newer ones have more

using Place = std::source_location;

// Where the running thread is. Written by the machine at each switch.
struct Here {
  int thread;
  int slot;  // of the block, among those that are there at once
  Index3 block, grid;
  unsigned char* shared;
  size_t shared_bytes;
};
extern Here here;

struct Options {
  bool reversed = false;         // the last thread and the last block run first
  bool count_conflicts = false;  // of read and write; those of load_matrices are always counted
  bool all_take_first = false;   // every block takes a number before any goes on with its own
  bool note_writes = false;      // to shared memory, which copies and products of Hopper see behind a fence only
};
extern Options options;

// What lies where something asynchronous is on its way: NaN; in reversed order a number, as NaN can be made good by who
// takes it for the inputs' own.
inline uint32_t poison() { return options.reversed ? 0x4b4b4b4bu : 0xffffffffu; }

extern int multiprocessors;  // few, so that persistent blocks come to more than one item

// A conflict is one more pass over the banks than the same access needs at best.
struct Counters {
  int64_t blocks, matrix_loads, matrix_conflicts, accesses, conflicts, products;
};
extern Counters counters;

enum class Operation {
  sync_warp,
  shuffle,
  load_matrices,
  load_matrices_transposed,
  store_matrices,
  mma_float16,
  mma_bfloat16
};

// What a lane brings to a warp function, and takes from it.
struct Slot {
  Operation operation;
  int mask;            // shuffle
  uint32_t value;      // shuffle
  uintptr_t address;   // load_matrices, store_matrices: of a row
  uint32_t words[4];   // load_matrices: the row; store_matrices: parts of four rows; mma: a
  uint32_t b[2];       // mma
  float d[4];          // mma
  uint32_t result[4];  // shuffle, load_matrices; store_matrices: the row
};

struct Copy {
  unsigned char* to;
  const unsigned char* from;
  bool valid;
};

void together(Slot& slot, const Place& place);  // waits for the warp; the last to come does the operation for all
void sync_block(const Place& place);
void open_copy(const Copy& copy);
void commit_copies();
bool next_due(int open_groups, Copy& copy);  // one copy of a group that has to be done, or false
void count_access(const void* address, size_t bytes, const Place& place);
void check_aligned(const void* address, size_t bytes, const Place& place);

void note_write(const void* address, size_t bytes, const Place& place);  // hopper_machine.cpp

using Body = void (*)(const void* kernel, const void* params);
void run(Index3 grid, int threads, size_t shared_bytes, Body body, const void* kernel, const void* params,
         size_t shared_most = kSharedMost, bool at_once = false);

// For what else threads can wait for: a thread pauses until another one resumes it. `hooks` are called at the beginning
// and the end of each block, and when all threads wait: true when one of them has been resumed.
void pause(const char* why, const Place& place);
void resume(int thread);
void pause_at(const void* flag, const Place& place);  // threads of every block may wait at one
void resume_at(const void* flag);
void let_others_begin();  // a block that has not begun does, and goes on as far as it can before this one
struct Hooks {
  void (*begin)();
  void (*end)();
  bool (*all_wait)();
};
extern Hooks hooks;

// What ThreadSanitizer takes for the order of memory, at any address that is used in one block only.
inline constexpr int kNamedBarriers = 16;
const void* order_of_named(int id, int turn);
void release_at(const void* address);
void acquire_at(const void* address);

// Conversions, to nearest even.
float widen_float16(uint16_t bits);
uint16_t round_float16(float value);
float widen_bfloat16(uint16_t bits);
uint16_t round_bfloat16(float value);

[[noreturn]] void broken(const char* what, const Place& place);

}  // namespace pyprof::gpu::emulation
