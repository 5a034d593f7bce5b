// What a multiprocessor of Hopper can do beyond machine.h: barriers in shared memory, bulk copies of boxes, products of
// a warpgroup. A copy's bytes come as late as may be: when somebody waits for them and nobody else can go on (in
// reversed order, as soon as somebody waits). A product is computed from what its operands hold when it is issued, its
// result is NaN until it is waited for, and at the wait the operands must still hold the same.
//
// Included by gpu_hopper.h, after its types; include that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "machine.h"

namespace pyprof::gpu::emulation {

inline constexpr size_t kSharedMostHopper = 227 * 1024;

// A box that is on its way, as the thread that brings it needs to know it. One without rows is of bytes in a line.
struct Box {
  unsigned char* to;
  int32_t bytes;
  const unsigned char* from;  // the tensor
  int64_t steps[3];           // of a row, a head, a batch; in bytes
  int64_t sizes[4];
  int32_t column, row, head, batch, rows;
};

void init_barrier(const void* barrier, int count, const Place& place);
void show_barriers();
void arrive(const void* barrier, int bytes, const Place& place);
// True when the phase has ended; false when this thread has to bring boxes (`box_due`), and then ask again.
bool wait_for(const void* barrier, uint32_t parity, const Place& place);
void issue(const void* barrier, const Box& box, const Place& place);
bool box_due(const void* barrier, Box& box);
void box_is_there(const void* barrier, const Box& box);
void sync_named(int id, int threads, const Place& place);

// A 16-bit operand of a product, where the shared memory of the block has it.
struct Location {
  uint32_t address;      // in the shared window, as a descriptor has it
  uint32_t panel_bytes;  // from 64 columns to the next, where lines are elements of the contraction
  bool lines_are_rows;
};

// One product, as a thread brings it; words of the operands are read by the first lane of each warp.
struct Product {
  bool float16, add;
  int columns;
  bool a_is_kept;
  uint32_t kept[4];
  const uint32_t* kept_at;
  float* d;
  std::vector<uint32_t> a, b;  // pairs along the contraction: [16 rows of the warp][8], [columns][8]
  Location a_at, b_at;
  int group;
};

uint32_t window_address(const void* pointer, const Place& place);
const unsigned char* at_window(uint32_t address, const Place& place);
void check_fenced(const void* address, const Place& place);
void fence_writes();

void begin_products();
void issue_product(Product& product, const Place& place);  // waits for the warpgroup
void commit_products(const Place& place);
// The next product that has to be done, oldest first; what is in `result` then belongs into its d, unless that is empty
// because a younger product goes on with it.
bool product_due(int open_groups, Product& product, std::vector<float>& result);

}  // namespace pyprof::gpu::emulation
