// The order of the backward pass, whatever its products are made of: weights are computed again from the log-sum-exp,
// tile by tile, in one sweep that gives the gradients of a tile's queries and adds to those of the keys and values that
// it sees.
//
// A slice owns queries and keys of the same numbers. Queries of neighbouring slices that see its keys are computed here
// too, for these keys alone: no two threads write the same row, and sums have the same order for any slices.
#pragma once

#include <new>

#include "window_attention/cpu_backward_softmax.h"
#include "window_attention/cpu_backward_sums.h"

namespace pyprof::window {
namespace {

// What a head has in scratch beside its buffers while heads take turns.
constexpr int64_t kSweepBytes = 1024;

struct BackwardSweep {
  const BackwardRows rows;
  const Problem& problem;
  const Slice& slice;
  const Dims dims;
  const Dropout dropout;
  const BackwardPlan plan;
  Scratch scratch;
  const BackwardBuffers buffers;
  const BackwardStatistics statistics;
  KeySums key_sums;
  const QuerySums query_sums;
  const int64_t turn, turns;             // which of the heads that take turns, and how many do
  int64_t block = 0;                     // the first query of the block at hand
  int64_t base = 0;                      // the first key at hand
  bool sums_global_keys = false;         // `take_queries` of a whole tile knows the sums of global keys
  float query_factor, score_factor = 1;  // their product, times query and key, is the exponent of two

  BackwardSweep(const Problem& p, const Backward& b, const Slice& s, void* memory, int64_t turn, int64_t turns)
      : rows(p, b, s),
        problem(p),
        slice(s),
        dims(rows.dims),
        dropout(Dropout(p.dropout_p).seeded(p.seed)),
        plan(p),
        scratch(memory),
        buffers(p, plan, scratch, turn),
        statistics{buffers.lse, buffers.delta, buffers.sum, buffers.products},
        key_sums(rows, plan, buffers),
        query_sums(rows, buffers),
        turn(turn),
        turns(turns),
        query_factor(static_cast<float>(p.scale) * kLog2e) {}
  BackwardSweep(const BackwardSweep&) = delete;
  BackwardSweep& operator=(const BackwardSweep&) = delete;

  // What depends on the kind of products.
  virtual void take_keys(int64_t begin, int64_t end) = 0;            // has these keys and values at hand
  virtual void take_queries(const QueryTile& tile, bool whole) = 0;  // and these queries, with their statistics
  virtual void take_scores(const Part& part, const Scores* weights, const Scores* grads, int strips) = 0;
  virtual void give_grads(const Part& part, const Sight* sights, int strips) = 0;  // adds a part's products to the sums

  void run_wide() {
    sweep_queries();
    sweep_keys();
  }

  // Blocks of queries that share what is taken of the keys. Before a block begins, the sums of keys that lie before all
  // its queries' windows are finished: no later query sees them.
  int64_t first_block() const { return rows.first_query(slice.begin); }
  int64_t end_block() const { return rows.end_query(slice.end); }
  void run_block(int64_t from) {
    block = from;
    const int64_t end = smaller(end_block(), block + plan.block);
    const int64_t first = dims.first(block), last = dims.end(end - 1);
    if (first < last) {
      take_keys(first, last);
      key_sums.advance(smaller(slice.end, larger(first, slice.begin)), smaller(last, slice.end));
    }
    // Heads inside of tiles: they share the tile's keys, which are still in the cache.
    for (int64_t tile = block; tile < end; tile += kTile)
      for (int64_t head = rows.first_head(); head < rows.end_head(); ++head) run_tile(rows.tile(head, tile));
  }
  void finish() { key_sums.finish(); }

  // Whose turn is next: so many key heads on, at the block that begins there.
  struct Next {
    int64_t on, block;
  };
  Next next_turn() const { return turn + 1 < turns ? Next{1, block} : Next{1 - turns, block + plan.block}; }
  // The tile that is next after one of a query head, of the head that corresponds to it.
  QueryTile next_tile(const QueryTile& tile) const {
    if (tile.first + kTile < smaller(end_block(), block + plan.block)) return {tile.head, tile.first + kTile, kTile};
    const Next next = next_turn();
    return {tile.head + next.on * (problem.heads / problem.key_heads), next.block, kTile};
  }

 private:
  // A neighbour's tile is there for the slice's keys alone, but its softmax needs all the keys of a whole one.
  void run_tile(const QueryTile& tile) {
    const bool own = tile.first >= slice.begin && tile.first < slice.end;
    const int64_t begin = rows.first_key_of(tile), end = rows.end_key_of(tile);
    const bool whole = end - begin <= plan.chunk && (problem.global_keys == 0 || sums_global_keys);
    if (begin < end) take_queries(tile, whole);
    for (int64_t from = begin; from < end; from += plan.chunk) {
      const int64_t to = smaller(end, from + plan.chunk);
      if (own || (from < slice.end && to > slice.begin)) run_part({tile, from, to, own, true, whole});
    }
    if (!own) return;
    if (begin < end && problem.global_keys > 0) keep(tile, whole);
    query_sums.store(tile, begin < end);
  }

  // What global keys want to know of a tile's softmax, as they come after all tiles.
  void keep(const QueryTile& tile, bool whole) const {
    for (int64_t r = 0; r < tile.rows; ++r) {
      float* of = rows.kept(tile.head, tile.first + r);
      of[0] = whole ? statistics.sum[r] : 1;
      of[1] = whole ? statistics.products[r] : statistics.delta[r];
    }
  }

  // Where a block's windows have more keys than can be at hand, one sweep would have to keep the sums of all of them.
  // So the gradients of queries come first, for which the chunks of a tile's keys come one after another, and then
  // those of keys and values, for which the tiles that see a chunk do. Scores are computed twice for that.
  void sweep_queries() {
    for (int64_t first = slice.begin; first < slice.end; first += kTile) {
      block = first;
      for (int64_t head = rows.first_head(); head < rows.end_head(); ++head) {
        const QueryTile tile = rows.tile(head, first);
        const int64_t begin = rows.first_key_of(tile), end = rows.end_key_of(tile);
        if (begin < end) take_queries(tile, false);
        for (int64_t from = begin; from < end; from += plan.chunk) {
          const int64_t to = smaller(end, from + plan.chunk);
          take_keys(from, to);
          run_part({tile, from, to, true, false, false});
        }
        if (begin < end && problem.global_keys > 0) keep(tile, false);
        query_sums.store(tile, begin < end);
      }
    }
  }

  void sweep_keys() {
    const int64_t stop = smaller(slice.end, dims.keys);
    for (int64_t from = slice.begin; from < stop; from += plan.chunk) {
      const int64_t to = smaller(stop, from + plan.chunk), last = rows.end_query(to);
      take_keys(from, to);
      key_sums.advance(from, to);
      for (int64_t first = rows.first_query(from); first < last; first += kTile) {
        const QueryTile any = rows.tile(rows.first_head(), first);  // heads have the same windows
        const int64_t begin = larger(from, rows.first_key_of(any)), end = smaller(to, rows.end_key_of(any));
        if (begin >= end) continue;
        block = first;
        for (int64_t head = rows.first_head(); head < rows.end_head(); ++head) {
          const QueryTile tile = rows.tile(head, first);
          take_queries(tile, false);
          run_part({tile, begin, end, false, true, false});
        }
      }
    }
    key_sums.finish();
  }

  void run_part(const Part& part) {
    const QueryTile& tile = part.tile;
    const int strips = tile.rows > kStrip ? 2 : 1;
    const int64_t last = (strips - 1) * kStrip;
    const Sight sights[2] = {Sight(dims, tile.first, smaller(kStrip, tile.rows), part.begin, part.end),
                             Sight(dims, tile.first + last, tile.rows - last, part.begin, part.end)};
    Scores weights[2], grads[2];
    for (int s = 0; s < strips; ++s) {
      const int64_t from = sights[s].begin, to = sights[s].end, first = s * kStrip;
      const int64_t place = (from - part.begin) * kTile + first;
      weights[s] = {from - base, to - base, buffers.query_lanes + first * dims.padded, buffers.weights + place};
      grads[s] = {from - base, to - base, buffers.grad_lanes + first * dims.padded, buffers.grads + place};
    }
    take_scores(part, weights, grads, strips);
    for (int s = 0; s < strips; ++s) run_softmax(part, s, sights[s], weights[s].to, grads[s].to);
    give_grads(part, sights, strips);
  }

  void run_softmax(const Part& part, int strip, const Sight& sight, float* weights, float* grads) const {
    const int64_t first = strip * kStrip;
    const bool drops = dropout.active();
    if (drops)
      dropout_factors(dropout, static_cast<uint32_t>(slice.batch * problem.heads + part.tile.head),
                      part.tile.first + first, sight.begin, sight.end, buffers.factors);
    const ScoreGradients softmax{statistics.lse + first,      statistics.delta + first,          statistics.sum + first,
                                 statistics.products + first, drops ? buffers.factors : nullptr, score_factor};
    for (int g = 0; g < kGroups; ++g) {
      if (part.whole)
        softmax.run<true>(sight, g, weights, grads);
      else
        softmax.run<false>(sight, g, weights, grads);
    }
  }
};

// Runs a slice, whose heads take turns at each block of queries: they share pages where heads lie together.
template <class Sweep>
void sweep_in_turns(const Problem& problem, const Backward& backward, const Slice& slice, void* memory) {
  struct One {
    Slice slice;
    Sweep sweep;

    One(const Problem& p, const Backward& b, const Slice& s, int64_t turn, int64_t turns, void* scratch)
        : slice{s.batch, s.head + turn, s.begin, s.end}, sweep(p, b, slice, scratch, turn, turns) {}
  };
  const BackwardPlan plan(problem);
  One* const sweeps = static_cast<One*>(memory);
  static_assert(sizeof(One) <= kSweepBytes);
  char* const scratch = static_cast<char*>(memory) + plan.heads * kSweepBytes;
  for (int64_t done = 0; done < slice.heads; done += plan.heads) {
    const int64_t turns = smaller(plan.heads, slice.heads - done);
    const Slice group{slice.batch, slice.head + done, slice.begin, slice.end};
    for (int64_t turn = 0; turn < turns; ++turn)
      new (sweeps + turn) One(problem, backward, group, turn, turns, scratch);
    if (plan.wide) {
      sweeps->sweep.run_wide();
      continue;
    }
    const int64_t end = sweeps->sweep.end_block();
    for (int64_t block = sweeps->sweep.first_block(); block < end; block += plan.block)
      for (int64_t turn = 0; turn < turns; ++turn) sweeps[turn].sweep.run_block(block);
    for (int64_t turn = 0; turn < turns; ++turn) sweeps[turn].sweep.finish();
  }
}

}  // namespace
}  // namespace pyprof::window
