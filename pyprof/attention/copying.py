"""The bandwidth of a device: a copy of more than its cache holds."""

from __future__ import annotations

import torch

# More than the cache of any card holds, and little of its memory.
COPIED_BYTES = 256 << 20


class Copy:
    """Copies a tensor into another one; calling it does so once. `moved` bytes are read and written then."""

    def __init__(self, device: str, size: int = COPIED_BYTES) -> None:
        self.moved = 2 * size
        self._from, self._to = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))

    def __call__(self) -> None:
        self._to.copy_(self._from)
