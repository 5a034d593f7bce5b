// The emulation's own containers allocate, and ThreadSanitizer watches allocations in code that it does not watch
// otherwise: while one of these lives, it does not look at this thread.
#pragma once

#if defined(PYPROF_TSAN)
extern "C" void __tsan_ignore_thread_begin();
extern "C" void __tsan_ignore_thread_end();
#endif

namespace pyprof::gpu::emulation {

struct Unwatched {
#if defined(PYPROF_TSAN)
  Unwatched() { __tsan_ignore_thread_begin(); }
  ~Unwatched() { __tsan_ignore_thread_end(); }
#else
  Unwatched() {}
#endif
};

}  // namespace pyprof::gpu::emulation
