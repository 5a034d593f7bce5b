"""What a recorder hands over: intervals in integer nanoseconds, without names. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FORWARD: Final = 0
RECOMPUTE: Final = 1
STEP: Final = 0xFFFFFFFF
"""The layer number of a marked step, which is no layer."""

SPAN_DTYPE: Final = np.dtype(
    [
        ("begin", "i8"),
        ("end", "i8"),
        ("sequence_begin", "u8"),
        ("sequence_end", "u8"),
        ("thread", "u4"),
        ("layer", "u4"),
        ("phase", "u4"),
        ("device_begin", "i4"),
        ("device_end", "i4"),
    ],
    align=True,  # as the native recorder's structs are
)
NODE_DTYPE: Final = np.dtype(
    [
        ("begin", "i8"),
        ("end", "i8"),
        ("sequence", "i8"),
        ("forward_thread", "u8"),
        ("thread", "u4"),
        ("graph_task", "i4"),
        ("device_begin", "i4"),
        ("device_end", "i4"),
    ],
    align=True,
)


@dataclass(frozen=True)
class Trace:
    """All intervals of a recording.

    `spans` (SPAN_DTYPE) are calls of layers and marked steps; a call used up the autograd sequence numbers
    [sequence_begin, sequence_end) of its thread. `nodes` (NODE_DTYPE) are autograd nodes that ran in backward;
    sequence -1 is the accumulation into a parameter's gradient. `threads[i]` is the number by which a node's
    `forward_thread` names the thread that spans and nodes call i. `dropped` counts the events for which the buffers
    had no room. On a device, the i-th stamp on its stream (device_begin, device_end) was at `device_times[i]`; None on
    the host.
    """

    spans: npt.NDArray[np.void]
    nodes: npt.NDArray[np.void]
    threads: npt.NDArray[np.uint64]
    dropped: int
    device_times: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, drained: Sequence[Mapping[str, Any]]) -> Trace:
        """All that a recorder has drained, one time after the other."""
        times = [part["device_times"] for part in drained if part.get("device_times") is not None]
        return cls(
            np.concatenate([np.empty(0, SPAN_DTYPE), *(part["spans"] for part in drained)], dtype=SPAN_DTYPE),
            np.concatenate([np.empty(0, NODE_DTYPE), *(part["nodes"] for part in drained)], dtype=NODE_DTYPE),
            drained[-1]["threads"] if drained else np.empty(0, np.uint64),
            sum(int(part["dropped"]) for part in drained),
            np.concatenate(times) if times else None,
        )
