#include "fibre.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(PYPROF_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(PYPROF_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace pyprof::gpu::emulation {

namespace {

constexpr size_t kStackBytes = 256 * 1024;

Fibre* coming = nullptr;  // the fibre that a switch is on its way to
Fibre* leaving = nullptr;

}  // namespace

#if defined(__x86_64__)

// Saves what a call must keep, changes the stack, and returns into the other side's call. swapcontext would do, but it
// makes two system calls, and a kernel makes hundreds of switches for each matrix product.
extern "C" void pyprof_switch_stack(void** save, void* to);
asm(R"(
.text
.globl pyprof_switch_stack
.type pyprof_switch_stack, @function
pyprof_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size pyprof_switch_stack, .-pyprof_switch_stack
)");

#endif

Fibre::Fibre() {
#if !defined(__x86_64__)
  context_ = new ucontext_t;
#endif
#if defined(PYPROF_TSAN)
  thread_ = __tsan_get_current_fiber();
#endif
}

Fibre::Fibre(Body body, void* argument) : stack_bytes_(kStackBytes), body_(body), argument_(argument) {
  void* memory =
      mmap(nullptr, stack_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  stack_ = static_cast<char*>(memory);
#if defined(__x86_64__)
  auto* top = reinterpret_cast<uintptr_t*>(stack_ + stack_bytes_);
  top[-2] =
      reinterpret_cast<uintptr_t>(&Fibre::enter);  // top[-1] stays 0: nobody to return to, and the right alignment
  stack_pointer_ = top - 8;                        // six saved registers below the return address, all 0
#else
  auto* context = new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack_;
  context->uc_stack.ss_size = stack_bytes_;
  context->uc_link = nullptr;
  makecontext(context, &Fibre::enter, 0);
  context_ = context;
#endif
#if defined(PYPROF_TSAN)
  thread_ = __tsan_create_fiber(0);
#endif
}

Fibre::~Fibre() {
#if defined(PYPROF_TSAN)
  if (stack_) __tsan_destroy_fiber(thread_);
#endif
#if !defined(__x86_64__)
  delete static_cast<ucontext_t*>(context_);
#endif
  if (stack_) munmap(stack_, stack_bytes_);
}

void Fibre::enter() {
#if defined(PYPROF_ASAN)
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  if (!leaving->stack_) {  // the caller's own stack: only now it is known where that lies
    leaving->stack_bytes_ = bytes;
    leaving->argument_ = const_cast<void*>(bottom);
  }
#endif
  coming->body_(coming->argument_);
  std::abort();
}

void Fibre::switch_from(Fibre& from) {
  coming = this;
  leaving = &from;
#if defined(PYPROF_ASAN)
  __sanitizer_start_switch_fiber(&from.fake_stack_, stack_ ? stack_ : argument_, stack_bytes_);
#endif
#if defined(PYPROF_TSAN)
  __tsan_switch_to_fiber(thread_, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__x86_64__)
  pyprof_switch_stack(&from.stack_pointer_, stack_pointer_);
#else
  swapcontext(static_cast<ucontext_t*>(from.context_), static_cast<ucontext_t*>(context_));
#endif
#if defined(PYPROF_ASAN)
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
}

}  // namespace pyprof::gpu::emulation
