"""Adding up the stamps of a trace, on a device with times that become known after the step. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pyprof.layers.adding_up import CallTree, Interval, Ranges, Stack
from pyprof.layers.sums import Sums
from pyprof.layers.trace import Trace


class Placed(NamedTuple):
    """A span or a node of a trace by its fields, and the interval that it became."""

    row: dict[str, Any]
    is_node: bool
    interval: Interval


class Replay:
    """Adds up traces, one step after the other, so that none of them has to be kept."""

    def __init__(self) -> None:
        self._tree = CallTree()
        self._ranges: dict[int, Ranges] = {}
        self._stacks: dict[int, Stack] = {}

    def add(self, trace: Trace) -> list[Placed]:
        """Add up what has ended in a trace, on a device with the device's own times, and tell where each interval went.

        What lies in what is told by the host's stamps, also there, since events that follow one another closely get the
        same time on a device. All threads' work goes to one stream of it, so that a node lies in the step around it.
        """
        times = None if trace.device_times is None else trace.device_times.tolist()
        numbers = [int(number) for number in trace.threads]
        spans = [(row["begin"], -row["end"], False, row) for row in _rows(trace.spans)]
        nodes = [(row["begin"], -row["end"], True, row) for row in _rows(trace.nodes)]
        opened: list[tuple[int, Callable[[], None]]] = []
        placed: list[Placed] = []
        for begin, end, is_node, row in sorted(spans + nodes, key=lambda interval: interval[:2]):
            self._close(opened, begin)
            start, stop = (begin, -end) if times is None else (times[row["device_begin"]], times[row["device_end"]])
            stack = self._stacks.setdefault(row["thread"] if times is None else 0, Stack(self._tree))
            ranges = self._ranges.setdefault(numbers[row["thread"]], Ranges())
            first, last = int(row["sequence_begin"]), int(row["sequence_end"])
            if is_node:
                made_by = self._ranges.get(int(row["forward_thread"]))
                interval = stack.begin_node(row["sequence"], made_by, row["graph_task"], first, ranges)
                closing = (stack.end_node, interval, stop, last)
            else:
                interval = stack.begin(row["layer"], row["phase"], first, ranges)
                closing = (stack.end, interval, stop, last)
            interval.begin = start
            opened.append((-end, _call_later(*closing)))
            placed.append(Placed(row, is_node, interval))
        self._close(opened, None)
        return placed

    def sums(self) -> Sums:
        """What was added up by now."""
        return Sums.of(self._tree.sums())

    @staticmethod
    def _close(opened: list[tuple[int, Callable[[], None]]], until: int | None) -> None:
        """End what has ended by a moment, in the order of ending, and of two at once the one that began last."""
        ended = [entry for entry in reversed(opened) if until is None or entry[0] <= until]
        opened[:] = [entry for entry in opened if until is not None and entry[0] > until]
        for _, close in sorted(ended, key=lambda entry: entry[0]):
            close()


def _call_later(
    close: Callable[[Interval, int, int], None], interval: Interval, time: int, sequence: int
) -> Callable[[], None]:
    return lambda: close(interval, time, sequence)


def _rows(entries: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    names = entries.dtype.names or ()
    return [dict(zip(names, row, strict=True)) for row in entries.tolist()]
