"""Windows of attention as a configuration holds them: one pair (left, right), or one pair for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyprof.errors import UsageError
from pyprof.ops.arguments import is_pair

Pair = tuple[int, int]


def windows(window: Any, layers: int | None = None) -> Pair | tuple[Pair, ...]:
    """One pair, or a tuple of one pair for each of `layers`, as tuples; raises UsageError for anything else."""
    if is_pair(window):
        return (window[0], window[1])
    if isinstance(window, Sequence) and window and all(map(is_pair, window)):
        if layers is not None and len(window) != layers:
            raise UsageError(
                f"there are {len(window)} windows for {layers} layers: give one pair, or one for each layer"
            )
        return tuple((left, right) for left, right in window)
    raise UsageError(
        f"a window is a pair (left, right) of numbers of neighbours, or one pair for each layer, not {window!r}"
    )


def window_of_context(context: int) -> Pair:
    """Half of a context on each side; raises UsageError for an odd or negative one."""
    if isinstance(context, bool) or not isinstance(context, int) or context < 0 or context % 2:
        raise UsageError(f"a context is an even number of neighbours, half of them on each side, not {context!r}")
    return (context // 2, context // 2)
