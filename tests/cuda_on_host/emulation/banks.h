// Bank conflicts: shared memory has 32 banks of 4 bytes, and one pass serves each bank once. An access of 4 bytes by 32
// lanes is served in one pass at best; of 8 bytes in two, half a warp each; of 16 bytes in four, a quarter each.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyprof::gpu::emulation {

// Passes that `lanes` addresses need in one go. Equal words are served together.
int passes(const uintptr_t* addresses, int lanes, size_t bytes);

void flush_accesses();  // at a block's end: counts what not all lanes of a warp did

}  // namespace pyprof::gpu::emulation
