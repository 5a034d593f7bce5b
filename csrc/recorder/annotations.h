// What a tool beside pyprof is told of the intervals that are recorded, at the moments of their stamps.
#pragma once

#include <cstdint>

namespace pyprof {

// What a range stands for; the numbers are those that a tool sees.
enum class Category : uint32_t { kForward = 1, kBackward, kRecompute, kOptimizer, kStep, kCase };

// A place is one of the paths that hold a layer, as the layer table has them: a module that several layers hold has
// several. kNoPlace is that of what no layer has called.
inline constexpr uint32_t kNoPlace = 0xFFFFFFFF;

class Annotations {
 public:
  virtual ~Annotations() = default;

  // The place of a layer that was called from the place `caller`.
  virtual uint32_t place(uint32_t caller, uint32_t layer) const noexcept = 0;
  // Opens a range on this thread, inside of those that are open there; kNoPlace is a step.
  virtual void push(uint32_t place, Category category) noexcept = 0;
  // Closes the one that was opened last.
  virtual void pop() noexcept = 0;
};

}  // namespace pyprof
