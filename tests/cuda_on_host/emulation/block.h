// The machine's own side of machine.h: the blocks that are there, their threads, and who goes on when one must wait.
#pragma once

#include <memory>
#include <vector>

#include "fibre.h"
#include "window_attention/gpu.h"

namespace pyprof::gpu::emulation {

enum class State { ready, waits_for_warp, waits_for_block, paused, left };

struct Thread {
  State state;
  Place place;
  const char* why;   // it is paused
  const void* flag;  // that it waits for, if it does
  Slot* slot;
  int block_syncs, warp_syncs;
  // Copies in the order of their opening; those from `committed` on belong to no group yet.
  int done, committed, opened, groups, groups_done;
  Copy copies[kCopiesMost];
  int group_of[kCopiesMost];
};

struct Block {
  Here here;  // what it is where it goes on: of the thread that ran last
  bool begun = false;
  int threads = 0;
  int waiting[kThreadsMost / kWarp] = {}, waiting_for_block = 0;
  int started = 0;  // blocks here before, so that one thread's place in the block is another fibre in each
  std::vector<std::unique_ptr<Thread>> thread;
  std::vector<std::unique_ptr<Fibre>> fibres;
  size_t mapped = 0;
  unsigned char* memory = nullptr;

  Fibre& fibre_of(int number) { return *fibres[(number + 37 * started) % threads]; }
};

struct Machine {
  Body body = nullptr;
  const void* kernel = nullptr;
  const void* params = nullptr;
  std::vector<std::unique_ptr<Block>> blocks;
  int present = 1;         // of them: the others are of another launch
  Block* block = nullptr;  // that runs
  Fibre outside;
};

Machine& machine();

// What ThreadSanitizer takes for the order of memory. Each address is used for one block only: after it, what threads
// of another block did is no longer ordered, as on a GPU.
enum Order {
  kStart = 0,
  kEnd = 8,
  kBlockSync = 16,
  kWarpSync = 32,
  kNamedSync = kWarpSync + 16 * kThreadsMost / kWarp,
  kOrders = kNamedSync + 16 * kNamedBarriers
};
void release(int order);
void acquire(int order);

void run_thread(void*);                // the body of every fibre
void enter(Block& block, int thread);  // `here` is there from now on
Block* next_block(int& thread);        // that can go on, and with which thread; null when all wait
[[noreturn]] void stuck();

}  // namespace pyprof::gpu::emulation
