"""A yardstick: fixed work that is timed beside what is measured, and so tells how fast the machine is at that moment.

Neighbours on a shared machine (the other hyperthread of a core, most of all) change its speed without leaving a trace
in any counter of the operating system. What they slow down they slow down together, so a time in units of a yardstick's
is far steadier than one in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pyprof.timing.clock import HostStopwatch, Stopwatch, time_calls
from pyprof.timing.watch import AnyWatch

# The name of the yardstick among the contestants of a round.
NAME = "(yardstick)"
SIZE = 1024
# As long as the yardstick took less than this share of the time, it is read again.
_SHARE = 0.2
# A reading is smoothed with its neighbours, as a pause that hits one of them says nothing about the samples around.
_SMOOTHING = 3
# Fewer undisturbed samples than these give no interval.
_FEWEST_UNDISTURBED = 6


class Yardstick:
    """The product of two square matrices of one dtype on one device; calling it does the work once.

    `flops` counts a multiplication and an addition as two. `fastest_ns` is the least that a reading has ever taken,
    None before the first one: the machine at its full speed, or as near to it as it was seen. Loads torch when made.
    """

    def __init__(self, device: Any = "cpu", dtype: str = "float32", size: int = SIZE) -> None:
        import torch

        self.flops = 2 * size**3
        self.fastest_ns: int | None = None
        kind = getattr(torch, dtype)
        self._left, self._right, self._product = (torch.rand(size, size, device=device).to(kind) for _ in range(3))
        self._multiply = torch.mm

    def __call__(self) -> None:
        self._multiply(self._left, self._right, out=self._product)

    def calibrate(self, seconds: float, stopwatch: Stopwatch | None = None) -> None:
        """Read for so long, to see the machine at its full speed: one that is slow at first is then known to be."""
        stopwatch = HostStopwatch() if stopwatch is None else stopwatch
        end = stopwatch.clock.now_ns() + round(seconds * 1e9)
        while stopwatch.clock.now_ns() < end:
            self.read(stopwatch)

    def read(self, stopwatch: Stopwatch) -> int:
        """One reading, in nanoseconds."""
        nanoseconds = max(1, time_calls(stopwatch, self))
        self.fastest_ns = min(nanoseconds, self.fastest_ns or nanoseconds)
        return nanoseconds


def undisturbed(hits: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which samples to keep: those that no noise has hit, or all where these are too few to stand for them."""
    quiet = np.asarray(hits) == 0
    return quiet if quiet.sum() >= _FEWEST_UNDISTURBED else np.ones(len(quiet), dtype=bool)


class Beside:
    """Readings of a yardstick taken between samples, about a fifth of the time at most.

    `readings` are nanoseconds, and `positions` say how many samples had been taken before each of them.
    """

    def __init__(self, yardstick: Yardstick, stopwatch: Stopwatch, watch: AnyWatch) -> None:
        self._yardstick = yardstick
        self._stopwatch = stopwatch
        self._watch = watch
        self._spent_ns = 0
        self._hits: list[int] = []
        self.readings: list[int] = []
        self.positions: list[int] = []
        yardstick.read(stopwatch)  # its own warm-up
        self.read(0)

    def read(self, position: int) -> None:
        """Take a reading now."""
        self._watch.begin()
        self.readings.append(self._yardstick.read(self._stopwatch))
        self._hits.append(self._watch.end())
        self.positions.append(position)
        self._spent_ns += self.readings[-1]

    def read_if_due(self, position: int, elapsed_ns: int) -> None:
        """Take a reading if the last ones took less than their share of the time that has passed."""
        if self._spent_ns <= _SHARE * elapsed_ns:
            self.read(position)

    def around(self, count: int) -> npt.NDArray[np.float64]:
        """The yardstick's time around each of `count` samples, in nanoseconds, interpolated between the readings."""
        kept = undisturbed(self._hits)
        readings = np.log(np.asarray(self.readings, dtype=np.float64)[kept])
        positions = np.asarray(self.positions)[kept]
        padded = np.pad(readings, _SMOOTHING // 2, mode="edge")
        smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, _SMOOTHING), axis=1)
        # A reading between two samples lies half-way between them.
        nanoseconds: npt.NDArray[np.float64] = np.exp(np.interp(np.arange(count), positions - 0.5, smooth))
        return nanoseconds
