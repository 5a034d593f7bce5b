// What the parts of the Hopper backward share: what a launch is given, instances, the block's shared memory, items, and
// which tiles and blocks of keys meet.
#pragma once

#include "hopper_tile.cuh"
#include "mma_backward.cuh"

namespace pyprof::window::hopper {

inline constexpr int kQueryTile = 64;  // queries that are worked on at once
inline constexpr int kKeyBlock = 128;  // keys of an item

struct BackwardParams {
  gpu::TensorMap query_map, key_map, value_map, grad_map;
  mma_kernels::BackwardParams plain;  // tiles are those of kQueryTile queries, and `padded` is that many whole ones
  float* sums;                        // (batch, heads, tiles, kQueryTile * head_dim), in the order of registers
  int* turns;                         // (batch, heads, tiles)
  int* counter;                       // the number of the next item
  int* before;                        // of an item: which one its block worked on before, or -1
  int32_t blocks, items, together, group_heads;
  float share_kept;  // by dropout: 1 over its scale
};

// Ahead: the scores of the next tile are under way while this one's dQ is handed over. Kept: keys and values stay in
// registers as left operands. Adders: threads, with a buffer each, that add up dQ.
template <class T_, int D_, bool Dropped_, int Slots, int KeySlots, int Adders, bool Ahead, bool Kept>
struct BackwardConfig {
  using T = T_;
  static constexpr int D = D_, kSlots = Slots, kKeySlots = KeySlots, kAdders = Adders, kBlocks = 1;
  static constexpr bool Dropped = Dropped_, kAhead = Ahead, kKept = Kept;
  static constexpr int kGroups = 2, kWarps = 4 * kGroups, kThreads = gpu::kWarpgroup * (kGroups + 1);
  static constexpr int kPanels = D / gpu::kPanel, kPart = D / kGroups;  // columns of dQ that a warpgroup computes
  static constexpr int kKeyBytes = kKeyBlock * D * 2, kTileBytes = kQueryTile * D * 2;
  static constexpr int kScoreBytes = kKeyBlock * kQueryTile * 2, kSumBytes = kQueryTile * D * 4;
  static constexpr int kStatisticsBytes = kQueryTile * int{sizeof(gpu::Float2)};
  static constexpr int kBarriers = 2 * (kSlots + kKeySlots + kAdders);
  static constexpr int kSharedBytes = gpu::kSwizzle + kKeySlots * 2 * kKeyBytes +
                                      kSlots * (2 * kTileBytes + kStatisticsBytes) + 2 * kScoreBytes +
                                      kAdders * kSumBytes + kBarriers * 8 + (kKeySlots + 1) * 4;
  static_assert(kAdders <= 3 && kPart <= gpu::kPanel);
  // Registers move from the warpgroup of the other threads to the consumers.
  static constexpr int kEntryRegisters = 65536 / kThreads / 8 * 8, kOtherRegisters = D == 64 ? 40 : 24;
  static constexpr int kConsumerRegisters = (kEntryRegisters * (kGroups + 1) - kOtherRegisters) / kGroups / 8 * 8;
};

template <class C>
struct BackwardShared {
  unsigned char *keys, *tiles, *scores, *sums;
  gpu::Float2* statistics;
  gpu::Barrier *full, *empty, *keys_full, *keys_empty, *sums_full, *sums_ready;
  int* items;  // that the slots of keys belong to, or `no_more`; then the last one that was taken

  PYPROF_DEVICE BackwardShared() {
    auto* raw = gpu::shared_memory<unsigned char>();
    keys = raw + (-gpu::shared_address(raw) & (gpu::kSwizzle - 1));
    tiles = keys + C::kKeySlots * 2 * C::kKeyBytes;
    scores = tiles + C::kSlots * 2 * C::kTileBytes;
    sums = scores + 2 * C::kScoreBytes;
    statistics = reinterpret_cast<gpu::Float2*>(sums + C::kAdders * C::kSumBytes);
    full = reinterpret_cast<gpu::Barrier*>(statistics + C::kSlots * kQueryTile);
    empty = full + C::kSlots;
    keys_full = empty + C::kSlots;
    keys_empty = keys_full + C::kKeySlots;
    sums_full = keys_empty + C::kKeySlots;
    sums_ready = sums_full + C::kAdders;
    items = reinterpret_cast<int*>(sums_ready + C::kAdders);
  }
  PYPROF_DEVICE unsigned char* key(int slot) const { return keys + slot * 2 * C::kKeyBytes; }
  PYPROF_DEVICE unsigned char* value(int slot) const { return key(slot) + C::kKeyBytes; }
  PYPROF_DEVICE unsigned char* query(int slot) const { return tiles + slot * 2 * C::kTileBytes; }
  PYPROF_DEVICE unsigned char* grad(int slot) const { return query(slot) + C::kTileBytes; }
};

// Which tiles of queries see a block of keys, and which blocks of keys a tile sees: both from one band, so that a block
// is in the list of a tile exactly if the tile is in its list.
struct Reach {
  int left, right, length, keys;

  PYPROF_DEVICE Span tiles_of(int block) const { return tiles_of(block * kKeyBlock, kKeyBlock); }
  PYPROF_DEVICE Span tiles_of(int first, int count) const {
    const int last = first + count < keys ? first + count - 1 : keys - 1;
    if (first >= keys) return {0, 0};
    return {first_key<int>(first, right) / kQueryTile, (end_key<int>(last, left, length) - 1) / kQueryTile + 1};
  }
  PYPROF_DEVICE Span blocks_of(int tile) const {
    const int first = tile * kQueryTile, last = first + kQueryTile < length ? first + kQueryTile - 1 : length - 1;
    const int begin = first_key<int>(first, left), end = end_key<int>(last, right, keys);
    if (end <= begin) return {0, 0};
    return {begin / kKeyBlock, (end - 1) / kKeyBlock + 1};
  }
};

// What a block computes next: a block of keys of one head. Numbers go over a few heads together, and over the blocks of
// keys from the last one down: an item waits only for items with smaller numbers.
struct KeyItem {
  int block, head, batch, end_head;  // the first head of queries that is not its own
  Reach reach;
  Span tiles;

  PYPROF_DEVICE KeyItem(const BackwardParams& p, int number) {
    const auto& shape = p.plain.shape;
    // What divisions prepare would be kept over the items, in registers that few threads have.
    const int together = gpu::anew(p.together), key_heads = gpu::anew(shape.key_heads);
    const int set = together * p.blocks, rest = number % set;
    const int row = number / set * together + rest % together;
    block = PYPROF_MUTANT(hopper_blocks_wait_for_later_ones, p.blocks - 1 - rest / together, rest / together);
    batch = row / key_heads;
    head = row % key_heads;
    reach = {shape.left, shape.right, shape.length, keys_of(shape, batch)};
    tiles = reach.tiles_of(block);
    end_head = first_head(p) + PYPROF_MUTANT(hopper_only_the_first_head_counts, p.group_heads, 1);
  }
  PYPROF_DEVICE int first_head(const BackwardParams& p) const { return head * p.group_heads; }
};

// Where one is in an item: over the tiles of one head of queries, then over those of the next.
struct Step {
  int tile, head;
  PYPROF_DEVICE Step(const BackwardParams& p, const KeyItem& at)
      : tile(at.tiles.begin), head(at.tiles.begin < at.tiles.end ? at.first_head(p) : at.end_head) {}
  PYPROF_DEVICE bool there(const KeyItem& at) const { return head < at.end_head; }
  PYPROF_DEVICE bool last(const KeyItem& at) const { return head + 1 == at.end_head && tile + 1 == at.tiles.end; }
  PYPROF_DEVICE void next(const KeyItem& at) {
    if (++tile < at.tiles.end) return;
    tile = at.tiles.begin;
    ++head;
  }
  PYPROF_DEVICE int row(const BackwardParams& p, const KeyItem& at) const {
    return at.batch * p.plain.shape.heads + head;
  }
};

// What stands for an item when there are no more, and tells which one was the last of this block (-1: none).
PYPROF_DEVICE int no_more(int last) { return -2 - last; }

}  // namespace pyprof::window::hopper
