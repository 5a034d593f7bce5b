"""What ran when, thread by thread: calls as they were made, and backward as slices of the layers that it was of.

A call is a slice. Backward has no calls: its nodes run one after the other when the calls have ended. Each node, with
the engine's work up to the next one of the same backward, is a part of a slice of its layer, inside of one of each
layer around; slices go on while nodes of the same layer follow each other. So what a slice took without those inside
of it is the layer's own time, to the nanosecond as the recorder adds it up.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pyprof.errors import UsageError
from pyprof.layers.attribution import places_of
from pyprof.layers.last_steps import LastSteps
from pyprof.layers.replay import Placed, Replay
from pyprof.layers.sums import STEPS
from pyprof.layers.trace import FORWARD, STEP

NOBODY: Final = -1
"""The layer of what belongs to none."""


@dataclass(slots=True, eq=False)
class Slice:
    """A stretch of a thread's time: begin and end in nanoseconds, the thread by its place among the trace's.

    `phase` is step, forward, recompute or backward, and `layer` the place of the layer among the recording's facts, or
    NOBODY. A slice of backward of which nodes are the layer's own has their number, and `calls` are the moments at
    which it went over to the nodes of a call, with the slice of that call.
    """

    begin: int
    end: int
    thread: int
    phase: str
    layer: int
    site: int
    nodes: int = 0
    calls: list[tuple[int, Slice]] = field(default_factory=list)


@dataclass(slots=True)
class _Level:
    """What is open: a call, a node, or the thread itself; `open` are slices of backward that nodes in it have opened.

    `chain` are the sites of the layers that a node is of, outermost first, and `own` the slice that a node is part of.
    """

    end: float
    chain: tuple[int, ...] = ()
    own: Slice | None = None
    open: list[Slice] = field(default_factory=list)
    until: int = 0  # the end of the last node

    def close(self, keep: int, end: int) -> None:
        """End all open slices but the outermost ones."""
        for each in self.open[keep:]:
            each.end = end
        del self.open[keep:]


class _Thread:
    """Makes the slices of one thread, from what began in it one after the other."""

    def __init__(self, chain_of: Callable[[int], tuple[int, ...]], place_of: Callable[[int], int]) -> None:
        self.slices: list[Slice] = []
        self.nodes: list[tuple[Slice, dict[str, Any]]] = []
        self.made: list[tuple[Slice, int, int]] = []  # the numbers of the autograd nodes that calls made
        self._chain_of, self._place_of = chain_of, place_of
        self._levels = [_Level(float("inf"))]

    def add(self, placed: Placed) -> None:
        """A call, a step or a node; those that begin later come later, and what is inside of another after that."""
        begin, end = placed.row["begin"], placed.row["end"]
        self.close(begin)
        level = self._levels[-1]
        if placed.is_node:
            self._node(level, placed, begin, end)
            return
        level.close(0, level.until)
        site = placed.interval.site
        if placed.row["layer"] == STEP:
            self._slice(begin, end, placed, "step", NOBODY, site)
        else:
            phase = "forward" if placed.row["phase"] == FORWARD else "recompute"
            call = self._slice(begin, end, placed, phase, self._place_of(site), site)
            self.made.append((call, placed.row["sequence_begin"], placed.row["sequence_end"]))
        self._levels.append(_Level(end))

    def close(self, until: float) -> None:
        """End what has ended by a moment."""
        while len(self._levels) > 1 and self._levels[-1].end <= until:
            level = self._levels.pop()
            level.close(0, level.until)
        if until == float("inf"):
            self._levels[0].close(0, self._levels[0].until)

    def _node(self, level: _Level, placed: Placed, begin: int, end: int) -> None:
        chain = self._chain_of(placed.interval.site)
        if placed.interval.gap_of is None:
            level.close(0, level.until)
        wanted = chain[_common(level.chain, chain) :]
        if not wanted and chain != level.chain:
            wanted = chain[-1:]  # an outer layer's node inside of an inner one's
        kept = _common([each.site for each in level.open], wanted)
        level.close(kept, begin)
        for site in wanted[kept:]:
            layer = self._place_of(site) if site > STEPS else NOBODY
            level.open.append(self._slice(begin, end, placed, "backward", layer, site))
        own = level.open[-1] if level.open else level.own
        assert own is not None
        own.nodes += 1
        self.nodes.append((own, placed.row))
        level.until = end
        self._levels.append(_Level(end, chain, own))

    def _slice(self, begin: int, end: int, placed: Placed, phase: str, layer: int, site: int) -> Slice:
        self.slices.append(Slice(begin, end, placed.row["thread"], phase, layer, site))
        return self.slices[-1]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many of both are the same, from the first on."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (first, second) in enumerate(pairs) if first != second), min(len(one), len(other)))


def slices_of(recorded: LastSteps) -> list[Slice]:
    """All slices of the last marked step, or of all that was kept where none was marked; outer ones before inner ones.

    What other threads began while the step ran is there too. Raises UsageError where nothing was recorded.
    """
    # A device's own times are of its stream: threads have the host's.
    trace = replace(recorded.trace, device_times=None)
    replay = Replay()
    placed = replay.add(trace)
    if not placed:
        raise UsageError("nothing was recorded that could be drawn: call the module while its probes are attached")
    sites = replay.sums().sites
    parents, layers = sites["parent"].tolist(), sites["layer"].tolist()
    places = places_of(parents, layers, recorded.paths, recorded.modules)
    chains: dict[int, tuple[int, ...]] = {}

    def chain_of(site: int) -> tuple[int, ...]:
        if site not in chains:
            above = parents[site] if site > STEPS else 0
            chains[site] = (*(chain_of(above) if above > STEPS else ()), site)
        return chains[site]

    threads: dict[int, _Thread] = defaultdict(lambda: _Thread(chain_of, places.__getitem__))
    for each in placed:
        threads[each.row["thread"]].add(each)
    for thread in threads.values():
        thread.close(float("inf"))
    _link(threads.values(), [int(number) for number in trace.threads])
    slices = [each for thread in threads.values() for each in thread.slices]
    steps = [(each.row["begin"], each.row["end"]) for each in placed if each.interval.is_step]
    begin, end = max(steps, default=(min(each.begin for each in slices), None))
    return sorted(
        (each for each in slices if begin <= each.begin and (end is None or each.begin < end)),
        key=lambda each: each.begin,
    )


def _link(threads: Iterable[_Thread], numbers: Sequence[int]) -> None:
    """Give every slice of backward the calls whose nodes it ran.

    A node names the thread that made it by that one's number; its own number lies in those that the call used up.
    """
    threads = list(threads)
    calls: dict[tuple[int, int], list[tuple[int, int, Slice]]] = defaultdict(list)
    for thread in threads:
        for each, first, last in thread.made:
            if last > first:
                calls[numbers[each.thread], each.site].append((first, last, each))
    for made in calls.values():
        made.sort(key=lambda entry: entry[0])
    for thread in threads:
        for own, node in thread.nodes:
            made = calls.get((int(node["forward_thread"]), own.site), [])
            at = bisect.bisect_right(made, node["sequence"], key=lambda entry: entry[0]) - 1
            if at < 0 or node["sequence"] >= made[at][1]:
                continue
            if not own.calls or own.calls[-1][1] is not made[at][2]:
                own.calls.append((node["begin"], made[at][2]))
