"""Adding up intervals as they begin and end: what csrc/recorder does natively, in plain Python. Loads no torch.

The twin of the native recorder does it as it records; `pyprof.layers.replay` does it with the stamps of a trace. Times
are integer nanoseconds of any clock.

Which layer a backward node belongs to cannot be told by the clock, since the node runs when the call has long ended,
often on another thread. But autograd numbers the nodes of a thread in the order in which they are made, so a call has
made exactly the nodes from the number at its begin up to the one at its end; a node's number and the thread that made
it then name the call. The innermost call whose numbers hold a node's own is the layer that the node does the backward
of. A node that is itself recorded by autograd (create_graph) makes nodes of the second order, which go to the same
layer.
"""

from __future__ import annotations

import bisect
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pyprof.layers.sums import (
    BESIDE,
    CALLS,
    CELL_DTYPE,
    CELLS,
    IN_STEP,
    SITE_DTYPE,
    STEPS,
    UNMARKED,
    node_cell,
)
from pyprof.layers.trace import FORWARD, STEP

_NO_SITE = 0xFFFFFFFF
_MOST_RANGES = 1 << 20


class CallTree:
    """The sites of all threads of a recording, and what was added up for them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open_steps = 0
        self.unplaced = 0
        self._sites: list[tuple[int, int, int]] = [(_NO_SITE, STEP, FORWARD)] * (STEPS + 1)
        self._children: dict[tuple[int, int, int], int] = {}
        self._cells: dict[tuple[int, int], list[int]] = {}

    def child(self, parent: int, layer: int, phase: int) -> int:
        """The site of a layer that is called from `parent`; one that is called by itself stays where that began."""
        key = (parent, layer, phase)
        if (known := self._children.get(key)) is not None:
            return known
        with self.lock:
            site = parent
            while site > STEPS and self._sites[site][2] == phase:
                if self._sites[site][1] == layer:
                    return self._children.setdefault(key, site)
                site = self._sites[site][0]
            if key not in self._children:
                self._sites.append(key)
                self._children[key] = len(self._sites) - 1
            return self._children[key]

    def publish(self, sums: dict[tuple[int, int], list[int]]) -> None:
        """Add what one thread has added up in its outermost interval."""
        with self.lock:
            for cell, values in sums.items():
                total = self._cells.setdefault(cell, [0, 0])
                for i, value in enumerate(values):
                    total[i] += value
        sums.clear()

    def sums(self) -> dict[str, Any]:
        """All that has been published by now, in the form of `Sums.of`."""
        with self.lock:
            cells = np.zeros((len(self._sites), CELLS), CELL_DTYPE)
            for (site, cell), values in self._cells.items():
                cells[site, cell] = tuple(values)
            return {
                "sites": np.array(self._sites, SITE_DTYPE),
                "cells": cells,
                "lost": 0,
                "unplaced": self.unplaced,
            }


class Owner(NamedTuple):
    """Whose a backward node is: the site whose call made it, and whether it is of the second order."""

    site: int
    second_order: bool


class Ranges:
    """Which call of one thread made the autograd node of a number.

    It is enough to note the numbers at which the innermost call changes: a node belongs to the last entry that is not
    above its number.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._owners: list[Owner | None] = []
        self._step = 0  # how many entries there were when the step began
        self._forgot = False

    def set(self, number: int, owner: Owner | None) -> None:
        """Nodes from this number on belong to `owner`."""
        if self._numbers and number <= self._numbers[-1]:
            self._owners[-1] = owner
            return
        if len(self._numbers) >= _MOST_RANGES:
            self._forget(_MOST_RANGES // 2)
        self._numbers.append(number)
        self._owners.append(owner)

    def forget_older_steps(self) -> None:
        """Forget what the step before the last one has made."""
        self._forget(self._step)
        self._step = len(self._numbers)

    def find(self, number: int) -> tuple[Owner | None, bool]:
        """The owner of the node with this number, and whether it is known at all."""
        position = bisect.bisect_right(self._numbers, number) - 1
        return (self._owners[position], True) if position >= 0 else (None, not self._forgot)

    def _forget(self, count: int) -> None:
        self._forgot |= count > 0
        del self._numbers[:count], self._owners[:count]
        self._step = max(self._step - count, 0)


@dataclass(slots=True)
class Interval:
    """An open interval: a call, a step, a node, or the thread itself around all of its intervals."""

    site: int = UNMARKED
    cell: tuple[int, int] = (UNMARKED, CALLS)
    context: int = UNMARKED
    owner: Owner | None = None  # of the nodes that are made inside
    counts: int = 1  # 0 for a step inside of a step, which is a part of it
    is_call: bool = False
    is_step: bool = False
    begin: int = 0
    inner: int = 0  # time of what ran right inside, and of the gaps after nodes
    ranges: Ranges | None = None
    owner_before: Owner | None = None
    gap_of: tuple[tuple[int, int], int] | None = None  # the cell of the node before, and when that one ended
    # The node that ran last right inside: its gap up to the next one is its own as long as no call comes between.
    follows_node: bool = False
    last_task: int | None = None
    last_owner: Owner | None = None
    last_made: Owner | None = None
    last_cell: tuple[int, int] = (UNMARKED, CALLS)
    last_end: int = 0
    last_sequence: int = 0


class Stack:
    """The open intervals of one thread. What opens one returns it, and its caller then sets when it began."""

    def __init__(self, tree: CallTree) -> None:
        self._tree = tree
        self._intervals = [Interval()]
        self._sums: dict[tuple[int, int], list[int]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing is open."""
        return len(self._intervals) == 1

    def begin(self, layer: int, phase: int, sequence: int, ranges: Ranges) -> Interval:
        """Open a call of a layer, or a step."""
        around = self._around()
        around.follows_node = False
        if layer != STEP:
            site = self._tree.child(around.site, layer, phase)
            opened = Interval(site, (site, CALLS), around.context, Owner(site, False), is_call=True)
        elif around.context == IN_STEP:
            opened = Interval(around.site, around.cell, IN_STEP, around.owner, counts=0)
        else:
            opened = Interval(IN_STEP, (IN_STEP, CALLS), IN_STEP, is_step=True)
            ranges.forget_older_steps()
            self._tree.open_steps += 1
        self._open(opened, sequence, ranges)
        return opened

    def begin_node(
        self, sequence: int, made_by: Ranges | None, graph_task: int, next_sequence: int, ranges: Ranges
    ) -> Interval:
        """Open a node; it was made by the thread of `made_by`, and `ranges` are those of the thread it runs on."""
        around = self._around()
        follows = around.follows_node and around.last_task == graph_task
        if follows and next_sequence > around.last_sequence:
            # Between two nodes the engine adds up gradients: what it made for that is of the earlier node.
            ranges.set(around.last_sequence, around.last_made)
        owner = self._owner(around, sequence, made_by, graph_task)
        site, second_order = owner or Owner(around.context, False)
        opened = Interval(site, (site, node_cell(around.context, second_order)), around.context)
        opened.owner = None if owner is None else Owner(site, True)
        opened.gap_of = (around.last_cell, around.last_end) if follows else None
        around.last_task, around.last_owner = graph_task, owner
        self._open(opened, next_sequence, ranges)
        return opened

    def end(self, opened: Interval, time: int, sequence: int) -> None:
        """Close a call or a step, and whatever was begun in it and never ended."""
        around = self._close(opened, time, sequence)
        if around is not None:
            if opened.is_step:
                self._tree.open_steps -= 1
                self._add((STEPS, CALLS), 1, time - opened.begin)
            self._publish()

    def end_node(self, opened: Interval, time: int, sequence: int) -> None:
        """Close a node.

        When a node has ended, the engine hands its gradients on: it adds each to those that wait already for the same
        input, where several layers have used one tensor, and only then takes the next node. So what lies between two
        nodes of one call of backward is the earlier one's work; between two calls of backward lies the user's code.
        """
        around = self._close(opened, time, sequence)
        if around is None:
            return
        if opened.gap_of is not None:
            cell, begin = opened.gap_of
            self._add(cell, 0, opened.begin - begin)
            around.inner += opened.begin - begin
        around.follows_node = True
        around.last_made, around.last_cell = opened.owner, opened.cell
        around.last_end, around.last_sequence = time, sequence
        self._publish()

    def _around(self) -> Interval:
        around = self._intervals[-1]
        if self.is_idle:
            around.site = around.context = BESIDE if self._tree.open_steps > 0 else UNMARKED
        return around

    def _owner(self, around: Interval, sequence: int, made_by: Ranges | None, graph_task: int) -> Owner | None:
        if sequence < 0:
            # An accumulation into a parameter's gradient is made once, not by a call, and has no number. But the engine
            # takes it before all others as soon as its gradient is there, so the node before it has computed it.
            return around.last_owner if around.last_task == graph_task else None
        owner, known = made_by.find(sequence) if made_by else (None, True)
        self._tree.unplaced += not known
        return owner

    def _open(self, opened: Interval, sequence: int, ranges: Ranges) -> None:
        opened.ranges = ranges
        opened.owner_before = self._intervals[-1].owner
        self._intervals.append(opened)
        ranges.set(sequence, opened.owner)

    def _close(self, opened: Interval, time: int, sequence: int) -> Interval | None:
        """The interval around the closed one; None for one that was closed already, with one around it."""
        if not any(interval is opened for interval in self._intervals):
            return None
        while (last := self._intervals[-1]) is not opened:
            (self.end if last.is_call or last.is_step or not last.counts else self.end_node)(last, time, sequence)
        self._intervals.pop()
        around = self._intervals[-1]
        assert opened.ranges is not None
        opened.ranges.set(sequence, opened.owner_before)
        took = time - opened.begin
        around.inner += took
        self._add(opened.cell, opened.counts, took - opened.inner)
        return around

    def _add(self, cell: tuple[int, int], count: int, time: int) -> None:
        values = self._sums.setdefault(cell, [0, 0])
        values[0] += count
        values[1] += time

    def _publish(self) -> None:
        if self.is_idle:
            top = self._intervals[0]
            self._add((top.context, CALLS), 1, top.inner)
            top.inner = 0
            self._tree.publish(self._sums)
