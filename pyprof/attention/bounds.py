"""What bounds a kernel of attention: the work that it cannot do without, at what the machine reaches. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Tensors of the query's size that a call reads or writes at the least: query, key, value, output; in a backward alone
# also the output's gradient, and three gradients that are written.
TENSORS = {"forward": 4, "backward": 8}
# Beside them the log-sum-exp of each query, in float32: written by a forward that is trained, read by a backward.
LSE_BYTES = 4


def least_bytes(shape: tuple[int, int, int, int], itemsize: int, mode: str) -> int:
    """Bytes that a call moves at the least: every input is read once and every result is written once.

    `shape` is (batch, heads, length, head_dim). A forward without gradients keeps no log-sum-exp.
    """
    batch, heads, length, head_dim = shape
    rows = batch * heads * length
    return TENSORS[mode] * rows * head_dim * itemsize + (rows * LSE_BYTES if mode == "backward" else 0)


@dataclass(frozen=True)
class Bound:
    """The least time in seconds that a call can take, and what it is bound by."""

    by: Literal["compute", "memory"]
    seconds: float


def bound(flops: float, moved: float, flops_per_second: float, bytes_per_second: float) -> Bound:
    """The bound of useful `flops` and `moved` bytes on a machine with these limits; the larger of the two times.

    Raises ValueError where a limit is not above zero.
    """
    if flops_per_second <= 0 or bytes_per_second <= 0:
        raise ValueError("a limit is a rate above zero")
    compute, memory = flops / flops_per_second, moved / bytes_per_second
    return Bound("compute", compute) if compute >= memory else Bound("memory", memory)


def rotations(set_bytes: int, cache_bytes: int | None, free_bytes: int) -> int:
    """How many sets of inputs are called in turn, so that none is still in the cache when it is its turn again.

    One where there is no such cache, else two at least and eight at most, and no more than a quarter of the free memory
    holds.
    """
    if cache_bytes is None:
        return 1
    wanted = max(2, min(8, -(-2 * cache_bytes // max(set_bytes, 1))))
    return max(1, min(wanted, free_bytes // 4 // max(set_bytes, 1)))
