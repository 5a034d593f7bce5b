"""From intervals to layers: nesting, own times, and which layer a backward node belongs to. All times in
nanoseconds.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pyprof.layers.trace import FORWARD, RECOMPUTE, STEP, Trace


@dataclass
class Attribution:
    """Sums over all steps, layer by layer: see LayerCost. `step` is the measured sum, `outside` what no layer owns."""

    calls: list[int]
    forward: list[float]
    own_forward: list[float]
    backward: list[float | None]
    own_backward: list[float | None]
    recompute: list[float | None]
    steps: int = 0
    step: float = 0.0
    outside: float = 0.0
    nodes: int = 0
    recomputations: int = 0


@dataclass
class _Interval:
    """A span or a node. The host's clock, which no two stamps share, says what lies in what; durations are those of the
    clock that is measured with: the host's, or the device's.
    """

    begin: int
    end: int
    thread: int  # or the device's stream
    start: int
    stop: int
    layer: int = STEP
    phase: int = FORWARD
    sequence: tuple[int, int] = (0, 0)
    node: bool = False
    origin: int = 0  # of a span: its thread's autograd number; of a node: the number of the thread that made it
    graph_task: int = -1
    parent: _Interval | None = None
    owner: _Interval | None = None  # of a node: the call whose forward made it
    own: float = 0.0
    total: float = 0.0  # of a span: own times of itself and of the spans of its phase below it
    backward: float | None = None
    own_backward: float | None = None
    children: list[_Interval] = field(default_factory=list)

    @property
    def took(self) -> int:
        return self.stop - self.start

    @property
    def is_step(self) -> bool:
        return not self.node and self.layer == STEP


def attribute(trace: Trace, layers: int, *, inside: float, outside: float, node: float) -> Attribution:
    """Sums of all layers; the costs (ns) of a probed call inside and outside of its interval, and of a node, are
    taken off.
    """
    intervals = _intervals(trace)
    steps = [interval for interval in intervals if interval.is_step]
    if steps:
        intervals = _within(intervals, steps)
    _nest(intervals)
    gaps = _own_times(intervals, inside, outside, node)
    _find_owners(intervals)
    found = Attribution(
        [0] * layers,
        [0.0] * layers,
        [0.0] * layers,
        [None] * layers,
        [None] * layers,
        [None] * layers,
        steps=len(steps),
    )
    _sum_up(found, intervals)
    # Without a step around them, the gaps between backward nodes lie in no interval, but belong to the nodes.
    measured = steps or [interval for interval in intervals if interval.parent is None]
    took = sum(interval.took for interval in measured) + (0 if steps else gaps)
    probed = sum(found.calls) + found.recomputations
    found.step = max(took - probed * (inside + outside) - found.nodes * node, 0.0)
    return found


def _intervals(trace: Trace) -> list[_Interval]:
    threads = [int(number) for number in trace.threads]
    times = None if trace.device_times is None else trace.device_times.tolist()

    def place(begin: int, end: int, thread: int, first: int, last: int) -> tuple[int, int, int, int, int]:
        return (begin, end, thread, begin, end) if times is None else (begin, end, 0, times[first], times[last])

    spans = [
        _Interval(*place(begin, end, thread, first, last), layer, phase, (low, high), origin=threads[thread])
        for begin, end, low, high, thread, layer, phase, first, last in trace.spans.tolist()
    ]
    nodes = [
        _Interval(
            *place(begin, end, thread, first, last),
            sequence=(sequence, sequence),
            node=True,
            origin=origin,
            graph_task=task,
        )
        for begin, end, sequence, origin, thread, task, first, last in trace.nodes.tolist()
    ]
    return sorted(spans + nodes, key=lambda interval: (interval.thread, interval.begin, -interval.end))


def _within(intervals: Sequence[_Interval], steps: Sequence[_Interval]) -> list[_Interval]:
    """What begins inside of a marked step, on any thread."""
    ordered = sorted((step.begin, step.end) for step in steps)
    begins = [begin for begin, _ in ordered]
    kept = []
    for interval in intervals:
        position = bisect.bisect_right(begins, interval.begin) - 1
        if position >= 0 and interval.begin < ordered[position][1]:
            kept.append(interval)
    return kept


def _nest(intervals: Sequence[_Interval]) -> None:
    open_ones: list[_Interval] = []
    for interval in intervals:
        while open_ones and (open_ones[-1].thread != interval.thread or open_ones[-1].end <= interval.begin):
            open_ones.pop()
        if open_ones:
            interval.parent = open_ones[-1]
            interval.parent.children.append(interval)
        open_ones.append(interval)


def _own_times(intervals: Sequence[_Interval], inside: float, outside: float, node: float) -> int:
    """Set all own times; returns the gaps between backward nodes at the top of a thread."""
    tops: dict[int, list[_Interval]] = defaultdict(list)
    for interval in intervals:
        probed = sum(1 for child in interval.children if not child.node and not child.is_step)
        interval.own += interval.took - sum(child.took for child in interval.children)
        interval.own -= probed * outside
        if interval.node:
            interval.own -= node
        elif not interval.is_step:
            interval.own -= inside
        interval.own -= _extend_to_next(interval.children)
        if interval.parent is None:
            tops[interval.thread].append(interval)
    return sum(_extend_to_next(siblings) for siblings in tops.values())


def _extend_to_next(siblings: Sequence[_Interval]) -> int:
    """Give the gap after a node to the node, where another one of the same backward call follows; returns their sum."""
    given = 0
    for earlier, later in pairwise(siblings):
        if earlier.node and later.node and earlier.graph_task == later.graph_task:
            earlier.own += later.start - earlier.stop
            given += later.start - earlier.stop
    return given


def _find_owners(intervals: Sequence[_Interval]) -> None:
    """The innermost call whose range of sequence numbers holds the node's; an accumulation goes with the node before
    it.
    """
    calls: dict[int, list[_Interval]] = defaultdict(list)
    nodes: dict[int, list[_Interval]] = defaultdict(list)
    for interval in intervals:
        if interval.node:
            nodes[interval.origin].append(interval)
        elif not interval.is_step and interval.sequence[0] < interval.sequence[1]:
            calls[interval.origin].append(interval)
    for origin, made in nodes.items():
        # Calls come in the order of beginning, so that of two with the same range the inner one comes last.
        ordered = sorted(calls[origin], key=lambda call: (call.sequence[0], -call.sequence[1]))
        open_calls: list[_Interval] = []
        position = 0
        for found in sorted((one for one in made if one.sequence[0] >= 0), key=lambda one: one.sequence[0]):
            number = found.sequence[0]
            while position < len(ordered) and ordered[position].sequence[0] <= number:
                open_calls.append(ordered[position])
                position += 1
            while open_calls and open_calls[-1].sequence[1] <= number:
                open_calls.pop()
            found.owner = open_calls[-1] if open_calls else None
    last: dict[tuple[int, int], _Interval | None] = {}
    for interval in intervals:
        if not interval.node:
            continue
        place = (interval.thread, interval.graph_task)
        if interval.sequence[0] < 0:
            interval.owner = last.get(place)
        last[place] = interval.owner


def _sum_up(found: Attribution, intervals: Sequence[_Interval]) -> None:
    for interval in intervals:
        if interval.node:
            found.nodes += 1
            if interval.owner is None:
                found.outside += max(interval.own, 0.0)
            else:
                interval.owner.own_backward = (interval.owner.own_backward or 0.0) + max(interval.own, 0.0)
        elif interval.is_step:
            found.outside += max(interval.own, 0.0)
    for interval in reversed(intervals):  # inner calls before the ones around them
        if interval.node or interval.is_step:
            continue
        own = max(interval.own, 0.0)
        interval.total += own
        if interval.own_backward is not None:
            interval.backward = (interval.backward or 0.0) + interval.own_backward
        caller = _caller(interval)
        if caller is not None:
            caller.total += interval.total
        if interval.backward is not None and (above := caller or _recomputed_for(interval)) is not None:
            above.backward = (above.backward or 0.0) + interval.backward
        _add_call(found, interval, own)


def _caller(interval: _Interval) -> _Interval | None:
    """The call around this one in the same phase."""
    around = interval.parent
    return around if around is not None and not around.node and not around.is_step else None


def _recomputed_for(interval: _Interval) -> _Interval | None:
    """The call whose backward node ran this one again (checkpointing of the re-entrant kind has its backward there)."""
    around = interval.parent
    return around.owner if around is not None and around.node else None


def _add_call(found: Attribution, call: _Interval, own: float) -> None:
    layer = call.layer
    if call.phase == RECOMPUTE:
        found.recomputations += 1
        found.recompute[layer] = (found.recompute[layer] or 0.0) + own
    else:
        found.calls[layer] += 1
        found.own_forward[layer] += own
    if call.own_backward is not None:
        found.own_backward[layer] = (found.own_backward[layer] or 0.0) + call.own_backward
    if _called_by_itself(call):
        return
    if call.phase == FORWARD:
        found.forward[layer] += call.total
    if call.backward is not None:
        found.backward[layer] = (found.backward[layer] or 0.0) + call.backward


def _called_by_itself(call: _Interval) -> bool:
    """Whether a call of the same layer is around this one, so that its total is part of that one's already."""
    around = _caller(call)
    while around is not None:
        if around.layer == call.layer:
            return True
        around = _caller(around)
    return False
