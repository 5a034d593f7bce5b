"""The stamps of a recording's last calls: intervals in integer nanoseconds, without names. Loads no torch.

A profile does not come from these: what layers cost is added up while it is recorded (pyprof.layers.sums).
"""

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
        ("site", "u4"),
    ],
    align=True,  # as the native recorder's structs are
)
NODE_DTYPE: Final = np.dtype(
    [
        ("begin", "i8"),
        ("end", "i8"),
        ("sequence", "i8"),
        ("forward_thread", "u8"),
        ("sequence_begin", "u8"),
        ("sequence_end", "u8"),
        ("thread", "u4"),
        ("graph_task", "i4"),
        ("device_begin", "i4"),
        ("device_end", "i4"),
    ],
    align=True,
)


@dataclass(frozen=True)
class Trace:
    """The stamps that were kept of a recording: of whole steps, and of the last ones only.

    `spans` (SPAN_DTYPE) are calls of layers and marked steps; a call used up the autograd sequence numbers
    [sequence_begin, sequence_end) of its thread, and `site` is its place in the call tree. `nodes` (NODE_DTYPE) are
    autograd nodes that ran in backward; sequence -1 is the accumulation into a parameter's gradient, and the nodes
    [sequence_begin, sequence_end) were made by one as it ran. `threads[i]` is the number by which a node's
    `forward_thread` names the thread that spans and nodes call i. `dropped` counts the intervals whose stamps found no
    room. On a device, the i-th stamp on its stream (device_begin, device_end) was at `device_times[i]`; None on the
    host.
    """

    spans: npt.NDArray[np.void]
    nodes: npt.NDArray[np.void]
    threads: npt.NDArray[np.uint64]
    dropped: int
    device_times: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, drained: Sequence[Mapping[str, Any]], dropped: int | None = None) -> Trace:
        """What a recorder has handed over, one time after the other, and how many found no room if more than those."""
        times: list[npt.NDArray[np.int64]] = []
        entries: dict[str, list[npt.NDArray[np.void]]] = {
            "spans": [np.empty(0, SPAN_DTYPE)],
            "nodes": [np.empty(0, NODE_DTYPE)],
        }
        threads: dict[int, int] = {}  # a buffer whose thread has ended goes to another one, so numbers tell them apart
        stamps = 0
        for part in drained:
            places = np.array([threads.setdefault(int(number), len(threads)) for number in part["threads"]], np.uint32)
            for name, parts in entries.items():
                moved = part[name].copy()
                moved["thread"] = places[moved["thread"]]
                if stamps:
                    for end in ("device_begin", "device_end"):
                        moved[end] += stamps
                parts.append(moved)
            if part.get("device_times") is not None:
                times.append(part["device_times"])
                stamps += len(part["device_times"])
        return cls(
            np.concatenate(entries["spans"], dtype=SPAN_DTYPE),
            np.concatenate(entries["nodes"], dtype=NODE_DTYPE),
            np.array(list(threads), np.uint64),
            sum(int(part["dropped"]) for part in drained) if dropped is None else dropped,
            np.concatenate(times) if times else None,
        )
