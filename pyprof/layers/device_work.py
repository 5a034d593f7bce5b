"""What a device did for each layer: from records of its work and of the calls that launched it. Loads no torch.

The records come from CUPTI while a profile is taken, or are read from another profiler's trace: both fill the same flat
tables, on one clock in nanoseconds, and everything else is computed here. A piece of work (an operation: a kernel, a
copy, a memset) belongs to the place that was open in the thread that launched it. Work that a CUDA graph replays
belongs to the place at which its node was captured, wherever the graph is launched from.

Places are those of a recording (`pyprof.layers.sums`): a layer together with the place of the call around it.
`pyprof.layers.adding_up.CallTree` makes them where there is no recorder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyprof.layers.busy import NO_TIME, add_busy, window_of, windows_of
from pyprof.layers.sums import STEPS

KERNEL: Final = 0
COPY: Final = 1
MEMSET: Final = 2

# The phase of a layer that work is done for. The first two are those of a span.
FORWARD: Final = 0
RECOMPUTE: Final = 1
BACKWARD: Final = 2
SECOND_ORDER: Final = 3
"""The part of a backward that is the backward of a backward (create_graph)."""
PHASES: Final = 4

NO_NAME: Final = 0xFFFFFFFF

OPERATION_DTYPE: Final = np.dtype(
    [
        ("begin", "i8"),
        ("end", "i8"),
        ("node", "u8"),  # of the CUDA graph that it was a part of, 0 for none
        ("correlation", "u4"),  # of the call that launched it
        ("device", "u4"),
        ("context", "u4"),
        ("stream", "u4"),
        ("graph", "u4"),
        ("name", "u4"),  # which of the names, NO_NAME for none
        ("kind", "u4"),
    ],
    align=True,
)
LAUNCH_DTYPE: Final = np.dtype(
    [
        ("begin", "i8"),  # on the host; NO_TIME where it isn't known
        ("end", "i8"),  # NO_TIME where it isn't known
        ("correlation", "u4"),
        ("thread", "u4"),
        ("site", "u4"),  # the innermost open place of the thread; a root (at most STEPS) where no layer was
        ("phase", "u4"),
    ],
    align=True,
)
GRAPH_NODE_DTYPE: Final = np.dtype(
    [
        ("node", "u8"),
        ("source", "u8"),  # the node that it was cloned from, 0 for one that was captured or made
        ("site", "u4"),  # of what was open when it was captured
        ("phase", "u4"),
    ],
    align=True,
)
STEP_DTYPE: Final = np.dtype([("begin", "i8"), ("end", "i8")])

_Table = npt.NDArray[np.void]
_Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DeviceRecords:
    """Flat tables of what was recorded: OPERATION_DTYPE, LAUNCH_DTYPE, GRAPH_NODE_DTYPE, STEP_DTYPE.

    Operations and launches may stand in any order. All operations of a launch, a graph's too, have its correlation;
    where several launches have the same one, operations are of the last before their end. `steps` are the marked
    steps; where there is none, everything counts. `names[i]` is the name that operations call i. `lost` counts
    operations and `lost_launches` launches that found no room.
    """

    operations: _Table
    launches: _Table
    nodes: _Table
    steps: _Table
    names: tuple[str, ...] = ()
    lost: int = 0
    lost_launches: int = 0

    @classmethod
    def of(
        cls,
        operations: Sequence[Mapping[str, int]] = (),
        launches: Sequence[Mapping[str, int]] = (),
        nodes: Sequence[Mapping[str, int]] = (),
        steps: Sequence[tuple[int, int]] = (),
        names: Sequence[str] = (),
    ) -> DeviceRecords:
        """From rows by field; a field that a row leaves out is 0, and NO_NAME or NO_TIME where there is one."""
        return cls(
            _table(operations, OPERATION_DTYPE, name=NO_NAME),
            _table(launches, LAUNCH_DTYPE, begin=NO_TIME, end=NO_TIME),
            _table(nodes, GRAPH_NODE_DTYPE),
            np.array(list(steps), STEP_DTYPE),
            tuple(names),
        )


def _table(rows: Sequence[Mapping[str, int]], dtype: np.dtype[np.void], **missing: int) -> _Table:
    table = np.zeros(len(rows), dtype)
    for name, value in missing.items():
        table[name] = value
    for place, row in enumerate(rows):
        for name, number in row.items():
            table[name][place] = number
    return table


# Columns of the work of a place: nanoseconds and number of each kind of operation, in the order of the kinds, and how
# often something was launched.
LAUNCHES: Final = 6
# By so many nanoseconds the two clocks may disagree about which of two moments came first.
_CLOCKS_DIFFER: Final = 1_000_000
COLUMNS: Final = 7


@dataclass
class DeviceSums:
    """What a device did, added up; several of them can be added.

    `work` has a row of COLUMNS for each phase of each site; rows of roots hold what no layer launched. `unknown` is the
    work whose launch was not seen, `total` all work that was counted. `busy`, `idle` and `launch_bound` are nanoseconds
    by device: see `pyprof.layers.device_time.BusyTime`. `kernels` are nanoseconds and number by the kernel's name.
    `unplaced_nodes` counts replayed operations whose node nobody saw being captured, `early` those that began a
    millisecond or more before their launch.
    """

    work: npt.NDArray[np.int64]
    unknown: _Integers = field(default_factory=lambda: np.zeros(COLUMNS, np.int64))
    total: _Integers = field(default_factory=lambda: np.zeros(COLUMNS, np.int64))
    busy: dict[int, int] = field(default_factory=dict)
    idle: dict[int, int] = field(default_factory=dict)
    launch_bound: dict[int, int] = field(default_factory=dict)
    kernels: dict[str, tuple[int, int]] = field(default_factory=dict)
    streams: set[tuple[int, int]] = field(default_factory=set)
    steps: int = 0
    unplaced_nodes: int = 0
    early: int = 0
    lost: int = 0
    lost_launches: int = 0

    @classmethod
    def empty(cls) -> DeviceSums:
        """Nothing yet."""
        return cls(np.zeros((0, PHASES, COLUMNS), np.int64))

    def add(self, other: DeviceSums) -> None:
        """Add what was recorded at another time."""
        rows = max(len(self.work), len(other.work))
        work = np.zeros((rows, PHASES, COLUMNS), np.int64)
        work[: len(self.work)] += self.work
        work[: len(other.work)] += other.work
        self.work = work
        self.unknown = self.unknown + other.unknown
        self.total = self.total + other.total
        for mine, others in (
            (self.busy, other.busy),
            (self.idle, other.idle),
            (self.launch_bound, other.launch_bound),
        ):
            for device, nanoseconds in others.items():
                mine[device] = mine.get(device, 0) + nanoseconds
        for name, (nanoseconds, count) in other.kernels.items():
            before = self.kernels.get(name, (0, 0))
            self.kernels[name] = before[0] + nanoseconds, before[1] + count
        self.streams |= other.streams
        self.steps += other.steps
        self.unplaced_nodes += other.unplaced_nodes
        self.early += other.early
        self.lost += other.lost
        self.lost_launches += other.lost_launches


def add_up(records: DeviceRecords) -> DeviceSums:
    """Add up what was recorded.

    With marked steps only what was launched in one counts (by any thread), and work whose launch is not known where it
    began in one.
    """
    operations = records.operations
    launches, launch, site, phase, unplaced = launch_and_place(records)
    launched_at = _taken(launches["begin"], launch, NO_TIME)
    windows = windows_of(records.steps)
    window = window_of(windows, np.where(launched_at == NO_TIME, operations["begin"], launched_at))
    launch_window = window_of(windows, launches["begin"])
    counted, launches_counted = window >= 0, launch_window >= 0

    took = np.maximum(operations["end"] - operations["begin"], 0)
    known = site >= 0
    sites = 1 + max(int(site.max(initial=STEPS)), int(launches["site"].max(initial=0) if len(launches) else 0), STEPS)
    work = np.zeros((sites, PHASES, COLUMNS), np.int64)
    unknown, total = np.zeros(COLUMNS, np.int64), np.zeros(COLUMNS, np.int64)
    kind = operations["kind"].astype(np.int64)
    here, lost = counted & known, counted & ~known
    for column, values in ((2 * kind, took), (2 * kind + 1, np.ones(len(took), np.int64))):
        np.add.at(work, (site[here], phase[here], column[here]), values[here])
        np.add.at(unknown, column[lost], values[lost])
        np.add.at(total, column[counted], values[counted])
    at = launches[launches_counted]
    np.add.at(work, (at["site"], at["phase"], np.full(len(at), LAUNCHES)), 1)
    total[LAUNCHES] = len(at)

    sums = DeviceSums(
        work,
        unknown,
        total,
        kernels=_by_name(operations[counted & (kind == KERNEL)], records.names),
        streams={
            (int(row["device"]), int(row["stream"])) for row in np.unique(operations[counted][["device", "stream"]])
        },
        steps=len(records.steps),
        unplaced_nodes=int((counted & unplaced).sum()),
        early=int((counted & (launched_at != NO_TIME) & (operations["begin"] < launched_at - _CLOCKS_DIFFER)).sum()),
        lost=records.lost,
        lost_launches=records.lost_launches,
    )
    add_busy(sums, operations[counted], launched_at[counted], window[counted], windows)
    return sums


def launch_and_place(
    records: DeviceRecords,
) -> tuple[_Table, _Integers, _Integers, _Integers, npt.NDArray[np.bool_]]:
    """The launches in order, and of every operation which of them launched it (-1: not known), its site (the same),
    its phase, and whether it was replayed from an unknown node.
    """
    launches = np.sort(records.launches, order=("correlation", "begin"))
    launch = _find(launches["correlation"], records.operations["correlation"])
    if (launches["correlation"][1:] == launches["correlation"][:-1]).any():
        launch = np.where(launch < 0, launch, _last_before(launches, records.operations, launch))
    return launches, launch, *_places(records.nodes, records.operations, launches, launch)


def _last_before(launches: _Table, operations: _Table, first: _Integers) -> _Integers:
    """Of launches with one correlation, as after a recorder has begun to count anew, the last one before the end of
    each operation; the first where none is before it.

    `launches` are in the order of their correlations and begins, and `first` names any launch of the same correlation.
    """
    count = len(launches)
    correlation = np.concatenate([launches["correlation"], operations["correlation"]])
    time = np.concatenate([launches["begin"], operations["end"]])
    order = np.lexsort((np.arange(len(time)) >= count, time, correlation))
    place = np.where(order < count, order, -1)
    last = np.empty(len(time), np.int64)
    last[order] = np.maximum.accumulate(place)
    found: _Integers = last[count:]
    same = (found >= 0) & (launches["correlation"][found] == operations["correlation"])
    return np.where(same, found, first)


def _find(sorted_keys: npt.NDArray[Any], keys: npt.NDArray[Any]) -> _Integers:
    """Where each key stands among the sorted ones, -1 where it doesn't."""
    if not len(sorted_keys):
        return np.full(len(keys), -1, np.int64)
    found = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.where(sorted_keys[found] == keys, found, -1)


def _taken(values: npt.NDArray[Any], places: _Integers, missing: int) -> _Integers:
    taken = np.full(len(places), missing, np.int64)
    taken[places >= 0] = values[places[places >= 0]]
    return taken


def _places(
    nodes: _Table, operations: _Table, launches: _Table, launch: _Integers
) -> tuple[_Integers, _Integers, npt.NDArray[np.bool_]]:
    """The site (-1: not known) and the phase of each operation, and whether it was replayed from an unknown node.

    What a graph replays goes to where its node was captured. Where nobody saw that, or no layer was open then, it goes
    to where the graph was launched, which a block of torch.compile does within the layer around it.
    """
    site, phase = _taken(launches["site"], launch, -1), _taken(launches["phase"], launch, FORWARD)
    replayed = operations["node"] != 0
    if not replayed.any():
        return site, phase, np.zeros(len(operations), bool)
    captured = np.sort(_resolved(nodes), order="node")
    found = _find(captured["node"], operations["node"])
    place = _taken(captured["site"], found, -1)
    unplaced = replayed & (place < 0) & (site <= STEPS)
    use = replayed & ((place > STEPS) | ((place >= 0) & (site < 0)))
    return (
        np.where(use, place, site),
        np.where(use, _taken(captured["phase"], found, FORWARD), phase),
        unplaced,
    )


def _resolved(nodes: _Table) -> _Table:
    """The nodes with the places of those that they were cloned from, over any number of copies.

    A node that was told of twice has the place that was told last: graphs that are gone leave their numbers to others.
    A copy of what nobody saw being made is left out.
    """
    places: dict[int, tuple[int, int]] = {}
    for node, source, site, phase in nodes.tolist():
        if source == 0:
            places[node] = site, phase
        elif source in places:
            places[node] = places[source]
        else:
            places.pop(node, None)
    return _table(
        [{"node": node, "site": site, "phase": phase} for node, (site, phase) in places.items()], GRAPH_NODE_DTYPE
    )


def _by_name(kernels: _Table, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    sums: dict[str, tuple[int, int]] = {}
    numbers, places = np.unique(kernels["name"], return_inverse=True)
    took = np.bincount(places, (kernels["end"] - kernels["begin"]).astype(float), len(numbers))
    counts = np.bincount(places, minlength=len(numbers))
    for number, nanoseconds, count in zip(numbers.tolist(), took.tolist(), counts.tolist(), strict=True):
        name = names[number] if number < len(names) else "unknown"
        before = sums.get(name, (0, 0))
        sums[name] = before[0] + round(nanoseconds), before[1] + int(count)
    return sums
