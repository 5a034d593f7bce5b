// Which kernel runs for which problem on CUDA: one table, of which the first line that fits is taken. Launchers follow
// it, and Python shows it. The figures are of one H100, bfloat16, replayed CUDA graphs, in us; those of Hopper's
// kernels and of mma_wide are of the prototypes that they were written from.
#pragma once

#include <cstdint>

#include "window.h"

namespace pyprof::window {

enum class Direction : int32_t { forward, backward };

enum class Kernel : int32_t {
  plain,
  mma,
  mma_wide,
  mma_one_pass,
  hopper_narrow,
  hopper_middle,
  hopper_wide,
  hopper_widest,
  hopper_large,
  hopper_narrow_96,
  hopper_narrow_shared_96,
  hopper_narrow_128,
  hopper_narrow_large,
  hopper_one_pass_64,
  hopper_one_pass_128
};

// A line, and what a problem has to be for it. Where a condition has its default, any problem fits.
struct Choice {
  Kernel kernel;
  const char* name;
  Direction direction;
  bool is_16_bit;
  const char* why;
  int32_t head_dim = 0;        // 0: 32, 64 and 128
  int64_t narrowest = 0;       // of both sides of the window together
  int64_t widest = INT64_MAX;  // the same
  bool in_eights = false;      // each side counts as the next multiple of 8
  bool own_keys = false;       // heads share no key
  bool kept = false;           // no dropout
  bool global_keys = false;    // runs with global keys too
  bool hopper = false;         // compute capability 9.0 alone, rows aligned to 16 bytes, and only where it is asked for
  bool asked_for = false;      // only where PYPROF_CUDA_KERNELS is its name
};

inline constexpr Choice kChoices[] = {
    {.kernel = Kernel::hopper_large,
     .name = "hopper_large",
     .direction = Direction::forward,
     .is_16_bit = true,
     .why = "window 1024, length 16384, 32 heads: 849, FlashAttention-2 1909, mma 3571",
     .head_dim = 128,
     .hopper = true},
    {.kernel = Kernel::hopper_narrow,
     .name = "hopper_narrow",
     .direction = Direction::forward,
     .is_16_bit = true,
     .why = "96 columns hold all that 64 queries see; window 16, 8 x 12 x 2500: 48, FlashAttention-2 188, mma 60",
     .head_dim = 64,
     .widest = 32,
     .hopper = true},
    {.kernel = Kernel::hopper_middle,
     .name = "hopper_middle",
     .direction = Direction::forward,
     .is_16_bit = true,
     .why = "four small blocks hide what one waits for; window 50, 8 x 12 x 2500: 54, FlashAttention-2 188, mma 90",
     .head_dim = 64,
     .widest = 399,
     .hopper = true},
    {.kernel = Kernel::hopper_wide,
     .name = "hopper_wide",
     .direction = Direction::forward,
     .is_16_bit = true,
     .why = "scores are computed ahead; window 256, length 4096, 12 heads: 26.6, FlashAttention-2 78, mma 64",
     .head_dim = 64,
     .widest = 1599,
     .hopper = true},
    {.kernel = Kernel::hopper_widest,
     .name = "hopper_widest",
     .direction = Direction::forward,
     .is_16_bit = true,
     .why = "192 queries share keys; window 1024, length 16384, 32 heads: 583, FlashAttention-2 1549, mma 1623",
     .head_dim = 64,
     .kept = true,
     .hopper = true},
    {.kernel = Kernel::hopper_wide,
     .name = "hopper_wide",
     .direction = Direction::forward,
     .is_16_bit = true,
     .why = "with dropout the widest instance lacks registers; not measured",
     .head_dim = 64,
     .hopper = true},
    {.kernel = Kernel::hopper_narrow_96,
     .name = "hopper_narrow_96",
     .direction = Direction::backward,
     .is_16_bit = true,
     .why = "one launch, nothing across blocks; window 16, 8 x 12 x 2500: 95, FlashAttention-2 363, mma 203",
     .head_dim = 64,
     .widest = 32,
     .in_eights = true,
     .own_keys = true,
     .hopper = true},
    {.kernel = Kernel::hopper_narrow_shared_96,
     .name = "hopper_narrow_shared_96",
     .direction = Direction::backward,
     .is_16_bit = true,
     .why = "keys stay for all heads that share them, while the next head is on its way; not measured",
     .head_dim = 64,
     .widest = 32,
     .in_eights = true,
     .hopper = true},
    {.kernel = Kernel::hopper_narrow_128,
     .name = "hopper_narrow_128",
     .direction = Direction::backward,
     .is_16_bit = true,
     .why = "the same with wider tiles, one block a multiprocessor (two in the prototype, without shared keys); window "
            "32: 111, FlashAttention-2 360, mma 211",
     .head_dim = 64,
     .widest = 64,
     .in_eights = true,
     .hopper = true},
    {.kernel = Kernel::hopper_narrow_large,
     .name = "hopper_narrow_large",
     .direction = Direction::backward,
     .is_16_bit = true,
     .why = "one launch, keys stay for all heads that share them; not measured",
     .head_dim = 128,
     .widest = 32,
     .in_eights = true,
     .hopper = true},
    {.kernel = Kernel::hopper_one_pass_64,
     .name = "hopper_one_pass_64",
     .direction = Direction::backward,
     .is_16_bit = true,
     .why = "five products instead of seven; window 50, 8 x 12 x 2500: 174, FlashAttention-2 358, mma 261",
     .head_dim = 64,
     .hopper = true},
    {.kernel = Kernel::hopper_one_pass_128,
     .name = "hopper_one_pass_128",
     .direction = Direction::backward,
     .is_16_bit = true,
     .why = "window 1024, length 16384, 32 heads: 2734, FlashAttention-2 4715, mma 8700",
     .head_dim = 128,
     .hopper = true},
    {.kernel = Kernel::mma_wide,
     .name = "mma_wide",
     .direction = Direction::forward,
     .is_16_bit = true,
     .why = "each fragment of keys serves 32 queries; window 256, length 4096, 12 heads: 41.5, FlashAttention-2 78, "
            "mma 64",
     .head_dim = 64,
     .narrowest = 256},
    {.kernel = Kernel::mma_wide,
     .name = "mma_wide",
     .direction = Direction::forward,
     .is_16_bit = true,
     .why = "the same; window 256, length 16384, 32 heads: 861, FlashAttention-2 678, mma 1083",
     .head_dim = 128,
     .narrowest = 256},
    {.kernel = Kernel::mma,
     .name = "mma",
     .direction = Direction::forward,
     .is_16_bit = true,
     .why = "any strides, every card from Ampere on; window 16, 8 x 12 x 2500: 60, FlashAttention-2 188",
     .global_keys = true},
    {.kernel = Kernel::mma_one_pass,
     .name = "mma_one_pass",
     .direction = Direction::backward,
     .is_16_bit = true,
     .why = "five products instead of seven; not measured on any card, so only where it is asked for",
     .head_dim = 64,
     .asked_for = true},
    {.kernel = Kernel::mma_one_pass,
     .name = "mma_one_pass",
     .direction = Direction::backward,
     .is_16_bit = true,
     .why = "the same",
     .head_dim = 128,
     .asked_for = true},
    {.kernel = Kernel::mma,
     .name = "mma",
     .direction = Direction::backward,
     .is_16_bit = true,
     .why = "the same; window 16, 8 x 12 x 2500: 203, FlashAttention-2 363",
     .global_keys = true},
    {.kernel = Kernel::plain,
     .name = "plain",
     .direction = Direction::forward,
     .is_16_bit = false,
     .why = "no tensor core multiplies float32 as it is; global keys are joined by PyTorch's products",
     .global_keys = true},
    {.kernel = Kernel::plain,
     .name = "plain",
     .direction = Direction::backward,
     .is_16_bit = false,
     .why = "the same",
     .global_keys = true},
};

// What the table asks of a problem.
struct Asked {
  Direction direction;
  bool is_16_bit;
  int64_t head_dim, left, right;
  bool own_keys, dropout, global_keys;
  bool hopper;            // the card is of compute capability 9.0, rows are aligned, and somebody asks for its kernels
  bool one_pass = false;  // somebody asks for the backward in one pass
};

inline bool fits(const Choice& line, const Asked& asked) {
  const auto side = [&](int64_t width) { return line.in_eights ? (width + 7) / 8 * 8 : width; };
  const int64_t most = int64_t{1} << 40;  // of a side, so that a sum of two is one
  const int64_t width = side(asked.left < most ? asked.left : most) + side(asked.right < most ? asked.right : most);
  const bool head_dim = line.head_dim == 0 ? asked.head_dim == 32 || asked.head_dim == 64 || asked.head_dim == 128
                                           : asked.head_dim == line.head_dim;
  return line.direction == asked.direction && line.is_16_bit == asked.is_16_bit && head_dim &&
         width >= line.narrowest && width <= line.widest && (asked.own_keys || !line.own_keys) &&
         (!asked.dropout || !line.kept) && (!asked.global_keys || line.global_keys) && (asked.hopper || !line.hopper) &&
         (asked.one_pass || !line.asked_for);
}

// The line that is taken, or null where there is none.
inline const Choice* choice_of(const Asked& asked) {
  for (const Choice& line : kChoices) {
    if (fits(line, asked)) return &line;
  }
  return nullptr;
}

inline Asked asked_of(const Problem& problem, Direction direction, bool hopper, bool one_pass = false) {
  return {direction,
          problem.type == Type::float16 || problem.type == Type::bfloat16,
          problem.head_dim,
          problem.left,
          problem.right,
          problem.heads == problem.key_heads,
          Dropout(problem.dropout_p).active(),
          problem.global_keys > 0,
          hopper,
          one_pass};
}

}  // namespace pyprof::window
