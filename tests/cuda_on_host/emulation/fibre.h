// Threads that take turns by their own will. The sanitizers are told of each switch, since they would otherwise take
// another stack for a broken one (AddressSanitizer) or see only one thread (ThreadSanitizer).
#pragma once

#include <cstddef>
#include <vector>

namespace pyprof::gpu::emulation {

class Fibre {
 public:
  using Body = void (*)(void* argument);

  Fibre();  // the one that is running already: the caller's own stack
  Fibre(Body body, void* argument);
  ~Fibre();
  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;

  // Leaves `from`, which must be the running one, and goes on here. No memory is ordered by it. A body never returns.
  void switch_from(Fibre& from);

 private:
  static void enter();

  void* stack_pointer_ = nullptr;
  void* context_ = nullptr;     // where there is no switch of our own
  void* fake_stack_ = nullptr;  // AddressSanitizer's
  void* thread_ = nullptr;      // ThreadSanitizer's
  char* stack_ = nullptr;
  size_t stack_bytes_ = 0;
  Body body_ = nullptr;
  void* argument_ = nullptr;
};

}  // namespace pyprof::gpu::emulation
