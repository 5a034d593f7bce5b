// The host half of gpu_hopper.h. As in gpu_on_host.h, whatever touches a kernel's memory is inline here.
#pragma once

#include "hopper_machine.h"
#include "turns.h"

#define PYPROF_GRID_CONSTANT

namespace pyprof::gpu {

inline void barrier_init(Barrier* barrier, int count, const emulation::Place& place = emulation::Place::current()) {
  emulation::init_barrier(barrier, count, place);
}
inline void barriers_visible() { emulation::show_barriers(); }
inline void barrier_arrive(Barrier* barrier, const emulation::Place& place = emulation::Place::current()) {
  emulation::arrive(barrier, 0, place);
}
inline void barrier_expect(Barrier* barrier, int bytes, const emulation::Place& place = emulation::Place::current()) {
  emulation::arrive(barrier, bytes, place);
}

namespace emulation {

inline void spoil(const Box& box) {
  auto* words = reinterpret_cast<volatile uint32_t*>(box.to);
  for (int i = 0; i < box.bytes / 4; ++i) words[i] = poison();
}

inline void start_box(const Barrier* barrier, const Box& box, const Place& place) {
  window_address(box.to, place);
  window_address(box.to + box.bytes - 1, place);
  spoil(box);
  issue(barrier, box, place);
}

inline void bring(const Box& box, const Place& place) {
  for (int i = 0; box.rows == 0 && i < box.bytes / 4; ++i) {
    reinterpret_cast<volatile uint32_t*>(box.to)[i] = reinterpret_cast<const volatile uint32_t*>(box.from)[i];
  }
  const bool inside = box.head >= 0 && box.head < box.sizes[2] && box.batch >= 0 && box.batch < box.sizes[3];
  for (int r = 0; r < box.rows; ++r) {
    const int64_t row = int64_t{box.row} + r;
    const bool valid = inside && row >= 0 && row < box.sizes[1];
    for (int c = 0; c < kLine / 4; ++c) {
      const uint32_t address = window_address(box.to, place) + static_cast<uint32_t>(r * kLine + c * 4);
      const uint32_t swizzled = address ^ (address >> 3 & 0x70);
      auto* to = reinterpret_cast<volatile uint32_t*>(const_cast<unsigned char*>(at_window(swizzled, place)));
      const int64_t column = int64_t{box.column} + c * 2;
      uint32_t word = 0;
      if (valid && column >= 0 && column < box.sizes[0]) {
        const unsigned char* from =
            box.from + row * box.steps[0] + box.head * box.steps[1] + box.batch * box.steps[2] + column * 2;
        word = *reinterpret_cast<const volatile uint32_t*>(from);
      }
      *to = word;
    }
  }
}

// Calls `with(place of a word, pointer to it)` for the pairs along the contraction of rows `first` to `first + rows -
// 1`.
template <class With>
void each_pair(const Location& at, int first, int rows, const Place& place, const With& with) {
  const auto element = [&](int row, int k) {
    const uint32_t line = at.lines_are_rows ? row : k, across = at.lines_are_rows ? k : row;
    const uint32_t address = at.address + line / 8 * kSwizzle + line % 8 * kLine +
                             (at.lines_are_rows ? 0 : across / kPanel * at.panel_bytes) + across % kPanel * 2;
    return reinterpret_cast<const volatile uint16_t*>(at_window(address ^ (address >> 3 & 0x70), place));
  };
  for (int row = 0; row < rows; ++row) {
    for (int pair = 0; pair < 8; ++pair)
      with(row * 8 + pair, element(first + row, 2 * pair), element(first + row, 2 * pair + 1));
  }
}

inline void read_operand(const Location& at, int first, int rows, std::vector<uint32_t>& words, const Place& place) {
  if (at.address & (kSwizzle - kLine)) broken("an operand does not begin at a multiple of 1024 bytes", place);
  words.resize(rows * 8);
  each_pair(at, first, rows, place, [&](int i, const volatile uint16_t* low, const volatile uint16_t* high) {
    check_fenced(const_cast<const uint16_t*>(low), place);
    check_fenced(const_cast<const uint16_t*>(high), place);
    words[i] = *low | static_cast<uint32_t>(*high) << 16;
  });
}

inline void check_operand(const Location& at, int first, int rows, const std::vector<uint32_t>& words,
                          const Place& place) {
  each_pair(at, first, rows, place, [&](int i, const volatile uint16_t* low, const volatile uint16_t* high) {
    if (words[i] != (*low | static_cast<uint32_t>(*high) << 16)) {
      broken("an operand has changed before its product was waited for", place);
    }
  });
}

inline Location located(uint64_t descriptor, bool lines_are_rows) {
  return {static_cast<uint32_t>(descriptor & 0x3fff) << 4, static_cast<uint32_t>(descriptor >> 16 & 0x3fff) << 4,
          lines_are_rows};
}

template <class T>
inline void start(Product& product, float* d, int columns, const Location& b, bool add, const Place& place) {
  static_assert(is_tag<T>);
  product.float16 = std::is_same_v<T, Float16>;
  product.columns = columns;
  product.d = d;
  product.add = add;
  product.b_at = b;
  if (here.thread % kWarp == 0) {
    read_operand(b, 0, columns, product.b, place);
    if (!product.a_is_kept) {
      read_operand(product.a_at, here.thread / kWarp % 4 * 16, 16, product.a, place);
    }
  }
  issue_product(product, place);
  for (int i = 0; i < columns / 2; ++i) d[i] = std::bit_cast<float>(poison());
}

}  // namespace emulation

inline void barrier_wait(Barrier* barrier, uint32_t parity,
                         const emulation::Place& place = emulation::Place::current()) {
  while (!emulation::wait_for(barrier, parity, place)) {
    emulation::Box box;
    while (emulation::box_due(barrier, box)) {
      emulation::bring(box, place);
      emulation::box_is_there(barrier, box);
    }
  }
}
inline void named_sync(int id, int threads, const emulation::Place& place = emulation::Place::current()) {
  emulation::sync_named(id, threads, place);
}
inline void fence_async() { emulation::fence_writes(); }

inline void copy_box(void* to, const TensorMap& map, Barrier* barrier, int column, int row, int head, int batch,
                     const emulation::Place& place = emulation::Place::current()) {
  emulation::check_aligned(to, kLine, place);
  emulation::Box box{
      static_cast<unsigned char*>(to),
      static_cast<int32_t>(map.words[8]) * kLine,
      reinterpret_cast<const unsigned char*>(map.words[0]),
      {static_cast<int64_t>(map.words[1]), static_cast<int64_t>(map.words[2]), static_cast<int64_t>(map.words[3])},
      {static_cast<int64_t>(map.words[4]), static_cast<int64_t>(map.words[5]), static_cast<int64_t>(map.words[6]),
       static_cast<int64_t>(map.words[7])},
      column,
      row,
      head,
      batch,
      static_cast<int32_t>(map.words[8])};
  emulation::start_box(barrier, box, place);
}

inline void copy_bulk(void* to, const void* from, int bytes, Barrier* barrier,
                      const emulation::Place& place = emulation::Place::current()) {
  emulation::check_aligned(to, 16, place);
  emulation::check_aligned(from, 16, place);
  if (bytes <= 0 || bytes % 16 != 0) emulation::broken("a bulk copy is not of whole 16 bytes", place);
  emulation::check_turn(place);
  const emulation::Box box{
      static_cast<unsigned char*>(to), bytes, static_cast<const unsigned char*>(from), {}, {}, 0, 0, 0, 0, 0};
  emulation::start_box(barrier, box, place);
}

inline uint32_t shared_address(const void* pointer, const emulation::Place& place = emulation::Place::current()) {
  return emulation::window_address(pointer, place);
}

template <int N, bool kMore>
void set_registers() {
  static_assert(N % 8 == 0 && N >= 24 && N <= 256);
}

inline uint64_t descriptor_of(const void* tile, int by, int panel_bytes, const emulation::Place& place) {
  return static_cast<uint64_t>((emulation::window_address(tile, place) + by) >> 4 & 0x3fff) |
         static_cast<uint64_t>(panel_bytes >> 4) << 16;
}
inline Operand<true> rows_of(const void* tile, int by = 0,
                             const emulation::Place& place = emulation::Place::current()) {
  return {descriptor_of(tile, by * 2, 16, place)};
}
inline Operand<false> columns_of(const void* tile, int panel_bytes,
                                 const emulation::Place& place = emulation::Place::current()) {
  return {descriptor_of(tile, 0, panel_bytes, place)};
}

inline void products_begin() { emulation::begin_products(); }
inline void products_commit(const emulation::Place& place = emulation::Place::current()) {
  emulation::commit_products(place);
}

template <class T, int N, bool kARows, bool kBRows>
void product(float (&d)[N / 2], const Operand<kARows>& a, const Operand<kBRows>& b, bool add,
             const emulation::Place& place = emulation::Place::current()) {
  emulation::Product product{};
  product.a_at = emulation::located(a.descriptor, kARows);
  emulation::start<T>(product, d, N, emulation::located(b.descriptor, kBRows), add, place);
}

template <class T, int N, bool kBRows>
void product(float (&d)[N / 2], const uint32_t (&a)[4], const Operand<kBRows>& b, bool add,
             const emulation::Place& place = emulation::Place::current()) {
  emulation::Product product{};
  product.a_is_kept = true;
  product.kept_at = a;
  for (int i = 0; i < 4; ++i) product.kept[i] = a[i];
  emulation::start<T>(product, d, N, emulation::located(b.descriptor, kBRows), add, place);
}

template <int N>
void products_wait(const emulation::Place& place = emulation::Place::current()) {
  emulation::Product product;
  std::vector<float> result;
  while (emulation::product_due(N, product, result)) {
    if (emulation::here.thread % kWarp == 0) {
      emulation::check_operand(product.b_at, 0, product.columns, product.b, place);
      if (!product.a_is_kept) {
        emulation::check_operand(product.a_at, emulation::here.thread / kWarp % 4 * 16, 16, product.a, place);
      }
    }
    for (int i = 0; product.a_is_kept && i < 4; ++i) {
      if (product.kept[i] != product.kept_at[i]) {
        emulation::broken("a register of an operand has changed before its product was waited for", place);
      }
    }
    for (size_t i = 0; i < result.size(); ++i) product.d[i] = result[i];
  }
}

template <int N>
void hold(float (&)[N]) {}

template <class T>
TensorMap tensor_map(const void* data, int64_t batch, int64_t heads, int64_t length, int64_t head_dim,
                     const BoxStrides& strides, int rows) {
  const auto word = [](int64_t value) { return static_cast<uint64_t>(value); };
  const emulation::Place place = emulation::Place::current();
  for (const int64_t step : {strides.row, strides.head, strides.batch}) {
    if (step <= 0 || step * 2 % 16 != 0) emulation::broken("a tensor map has a stride that no copy can take", place);
  }
  if (rows <= 0 || rows > 256) emulation::broken("a box has more rows than a copy can take", place);
  emulation::check_aligned(data, 16, place);
  return {{reinterpret_cast<uint64_t>(data), word(strides.row * 2), word(strides.head * 2), word(strides.batch * 2),
           word(head_dim), word(length), word(heads), word(batch), word(rows)}};
}

namespace emulation {

template <class Params>
void run_hopper(void (*kernel)(Params), int grid, int blocks, int threads, size_t shared_bytes, const Params& params,
                bool at_once) {
  const auto body = [](const void* kernel, const void* params) {
    (*static_cast<void (*const*)(Params)>(kernel))(*static_cast<const Params*>(params));
  };
  if (threads * blocks > 2048 || shared_bytes > kSharedMostHopper / blocks) {
    broken("more blocks are to share a multiprocessor than it has room for", Place::current());
  }
  options.note_writes = true;
  run({grid, 1, 1}, threads, shared_bytes, body, &kernel, &params, kSharedMostHopper, at_once);
}

}  // namespace emulation

template <class Params>
void launch_persistent(void (*kernel)(Params), int items, int blocks, int threads, size_t shared_bytes, Stream,
                       const Params& params) {
  const int most = blocks * emulation::multiprocessors;
  if (items <= 0) return;
  emulation::run_hopper(kernel, items < most ? items : most, blocks, threads, shared_bytes, params, true);
}

// As many at once as there is room for; the last one to take a number goes on first, so that it waits for the others.
template <class Params>
void launch_taking(void (*kernel)(Params), int items, int blocks, int threads, size_t shared_bytes, Stream,
                   const Params& params) {
  const int most = blocks * emulation::multiprocessors;
  emulation::options.all_take_first = true;
  for (int left = items; left > 0; left -= most) {
    emulation::run_hopper(kernel, left < most ? left : most, blocks, threads, shared_bytes, params, true);
  }
  emulation::options.all_take_first = false;
}

template <class Params>
void launch_each(void (*kernel)(Params), int items, int blocks, int threads, size_t shared_bytes, Stream,
                 const Params& params) {
  emulation::run_hopper(kernel, items, blocks, threads, shared_bytes, params, false);
}

}  // namespace pyprof::gpu
