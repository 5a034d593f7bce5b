"""A yardstick for memory: how dear it is at this moment to be handed out pages by the system.

The price of a page fault depends on the state of the machine's memory: a virtual machine that gave memory back has to
ask for it again. No product of matrices shows that, and a step that allocates afresh pays it a million times.
"""

from __future__ import annotations

import mmap

# So many pages are touched for the first time: 8 MiB, some milliseconds.
PAGES = 2048


class PageFaults:
    """A call that maps fresh memory, touches each of its pages, and gives it back, whatever the allocator."""

    def __init__(self, pages: int = PAGES) -> None:
        self._size = pages * mmap.PAGESIZE

    def __call__(self) -> None:
        with mmap.mmap(-1, self._size) as memory:
            if hasattr(memory, "madvise") and hasattr(mmap, "MADV_NOHUGEPAGE"):
                # A huge page would be one fault in place of five hundred.
                memory.madvise(mmap.MADV_NOHUGEPAGE)
            memory[:: mmap.PAGESIZE] = bytes(self._size // mmap.PAGESIZE)
