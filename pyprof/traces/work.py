"""What a device did in a trace, added up as it is read. Loads no torch.

A reader hands over the calls that launched work, the nodes of CUDA graphs where it knows them, and then the work in
parts of any size; sums are those of `pyprof.layers.device_work`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyprof.layers.busy import NO_TIME, add_busy, window_of, windows_of
from pyprof.layers.device_work import COLUMNS, KERNEL, LAUNCHES, PHASES, DeviceSums
from pyprof.layers.sums import STEPS

NO_LAUNCH: Final = -1
# Sums of doubles are exact up to so many nanoseconds, a hundred days.
_MOST: Final = 2**53

Integers = npt.NDArray[np.int64]


@dataclass
class Launches:
    """The calls that gave a device work: `keys` are sorted, and name a launch in its process."""

    keys: Integers
    begins: Integers
    sites: Integers
    phases: Integers

    @classmethod
    def of(cls, keys: Integers, begins: Integers, sites: Integers, phases: Integers) -> Launches:
        """From columns in any order."""
        if len(keys) > 1 and not (np.diff(keys) > 0).all():
            order = np.argsort(keys, kind="stable")
            keys, begins, sites, phases = keys[order], begins[order], sites[order], phases[order]
        return cls(keys, begins, sites, phases)

    def find(self, keys: Integers) -> Integers:
        """The place of each launch, NO_LAUNCH where it was not seen."""
        if not len(self.keys):
            return np.full(len(keys), NO_LAUNCH)
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[found] == keys, found, NO_LAUNCH)


NO_LAUNCHES: Final = Launches(*(np.empty(0, np.int64) for _ in range(4)))


def joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """One array of many, which are let go."""
    joined = np.concatenate(parts)
    parts.clear()
    return joined


NO_NODE: Final = -2
"""In the place of a graph's node: the operation is no graph's."""


class GraphNodes:
    """Where the nodes of CUDA graphs were made: what they replay is of the layer that was open then."""

    def __init__(self) -> None:
        self._places: dict[int, dict[int, tuple[int, int]]] = {}  # by process and node, site and phase
        self._sorted: dict[int, tuple[Integers, Integers]] = {}  # by process, nodes and their numbers
        self.sites: Integers = np.empty(0, np.int64)
        self.phases: Integers = np.empty(0, np.int64)

    def add(self, process: int, node: int, source: int, place: tuple[int, int]) -> None:
        """In the order of time: a node that was made at a place or, with a `source` that is not 0, cloned from that.

        A graph that is gone leaves its numbers to others, so what is told last holds. A clone of a node that was not
        seen is not known.
        """
        mine = self._places.setdefault(process, {})
        if source == 0:
            mine[node] = place
        elif source in mine:
            mine[node] = mine[source]
        else:
            mine.pop(node, None)

    def finish(self) -> None:
        """All have been added."""
        places: list[tuple[int, int]] = []
        for process, mine in self._places.items():
            nodes = np.array(sorted(mine), np.int64)
            self._sorted[process] = nodes, np.arange(len(places), len(places) + len(nodes))
            places += [mine[node] for node in nodes.tolist()]
        self._places.clear()
        self.sites, self.phases = np.array(places, np.int64).reshape(-1, 2).T

    def find(self, process: Integers, node: Integers) -> Integers:
        """The number of each node, -1 where it is not known and NO_NODE where it is 0."""
        found = np.where(node == 0, NO_NODE, -1)
        for each, (nodes, numbers) in self._sorted.items():
            if len(nodes):
                at = np.minimum(np.searchsorted(nodes, node), len(nodes) - 1)
                found = np.where((process == each) & (node != 0) & (nodes[at] == node), numbers[at], found)
        return found


class DeviceWork:
    """Adds up operations as they are read, a part after the other."""

    def __init__(self, launches: Launches, steps: Sequence[tuple[int, int]], nodes: GraphNodes | None = None) -> None:
        self._launches = launches
        self._nodes = nodes or GraphNodes()
        bounds = np.array(list(steps), np.dtype([("begin", "i8"), ("end", "i8")]))
        self._windows = windows_of(bounds)
        self._steps = len(steps)
        rows = 1 + max(int(launches.sites.max(initial=STEPS)), int(self._nodes.sites.max(initial=STEPS)))
        self._work = np.zeros(rows * PHASES * COLUMNS, np.int64)
        self._sums = DeviceSums(self._work.reshape(rows, PHASES, COLUMNS))
        # Begin, end, device, launch and window of everything that counts, whose union over all is the busy time.
        self._columns: tuple[list[npt.NDArray[Any]], ...] = ([], [], [], [], [])
        self._used = np.zeros(len(launches.keys), bool)
        self._kernels: dict[int, tuple[int, int]] = {}

    def add(
        self,
        kind: int,
        begins: Integers,
        ends: Integers,
        devices: Integers,
        streams: Integers,
        keys: Integers,
        names: Integers,
        nodes: Integers | None = None,
    ) -> None:
        """Operations of one kind; `names` are numbers that `finish` gets the words of, `nodes` what `find` gave.

        Raises ValueError where they are said to have taken longer than anything can have been recorded.
        """
        launch = self._launches.find(keys)
        seen = launch >= 0
        launched = np.where(seen, self._launches.begins[launch] if len(self._launches.begins) else 0, NO_TIME)
        window = window_of(self._windows, np.where(seen, launched, begins))
        counted = window >= 0
        took = np.maximum(ends - begins, 0)
        if np.maximum(ends.astype(float) - begins, 0).sum() >= _MOST:
            raise ValueError("its work is said to have taken more than a hundred days")
        site, phase = self._places(launch, nodes, counted)
        here, unknown = counted & (site >= 0), counted & (site < 0)
        places = (site[here] * PHASES + phase[here]) * COLUMNS + 2 * kind
        size = len(self._work)
        self._work += np.bincount(places, took[here].astype(float), size).astype(np.int64)
        self._work += np.bincount(places + 1, minlength=size)
        self._used[launch[counted & seen]] = True
        for total, chosen in ((self._sums.total, counted), (self._sums.unknown, unknown)):
            total[2 * kind] += took[chosen].sum()
            total[2 * kind + 1] += chosen.sum()
        if kind == KERNEL:
            numbers, places = np.unique(names[counted], return_inverse=True)
            columns = np.bincount(places, took[counted].astype(float)), np.bincount(places)
            for name, nanoseconds, count in zip(numbers.tolist(), *(each.tolist() for each in columns), strict=True):
                before = self._kernels.get(name, (0, 0))
                self._kernels[name] = before[0] + round(nanoseconds), before[1] + int(count)
        for device in np.unique(devices[counted]).tolist():
            self._sums.streams |= {
                (device, stream) for stream in np.unique(streams[counted & (devices == device)]).tolist()
            }
        kept: tuple[npt.NDArray[Any], ...] = begins, ends, devices.astype(np.uint16), launched, window.astype(np.int32)
        for parts, column in zip(self._columns, kept, strict=True):
            parts.append(column[counted])

    def _places(
        self, launch: Integers, nodes: Integers | None, counted: npt.NDArray[np.bool_]
    ) -> tuple[Integers, Integers]:
        """Site (-1: not known) and phase of operations: as `pyprof.layers.device_work` gives them to places."""
        site, phase = np.full(len(launch), -1), np.zeros(len(launch), np.int64)
        if len(self._launches.keys):
            site = np.where(launch >= 0, self._launches.sites[launch], -1)
            phase = self._launches.phases[launch].astype(np.int64)
        if nodes is None or (nodes == NO_NODE).all():
            return site, phase
        replayed, known = nodes != NO_NODE, nodes >= 0
        made = np.where(known, self._nodes.sites[nodes] if known.any() else -1, -1)
        self._sums.unplaced_nodes += int((counted & replayed & (made < 0) & (site <= STEPS)).sum())
        use = (made > STEPS) | ((made >= 0) & (site < 0))
        return np.where(use, made, site), np.where(use, self._nodes.phases[nodes] if known.any() else 0, phase)

    def finish(self, words: Mapping[int, str]) -> DeviceSums:
        """What was added up, with the kernels' names."""
        sums = self._sums
        for number, (nanoseconds, count) in self._kernels.items():
            name = words.get(number, "unknown")
            before = sums.kernels.get(name, (0, 0))
            sums.kernels[name] = before[0] + nanoseconds, before[1] + count
        used = np.flatnonzero(self._used)
        places = (self._launches.sites[used] * PHASES + self._launches.phases[used]) * COLUMNS + LAUNCHES
        self._work += np.bincount(places, minlength=len(self._work))
        sums.total[LAUNCHES] = len(used)
        sums.steps = self._steps
        if self._columns[0]:
            self._launches = NO_LAUNCHES  # their memory is needed
            begin, end, device, launched, window = (joined(parts) for parts in self._columns)
            add_busy(sums, {"begin": begin, "end": end, "device": device}, launched, window, self._windows)
        return sums
