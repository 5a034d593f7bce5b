"""From intervals to layers: nesting, own times, and which layer a backward node belongs to. All times in nanoseconds.

Two relations are needed, and they come from different places. What runs inside of what is told by the clock: intervals
of one thread nest. Which call a backward node belongs to is not, since the node runs when the call has long ended,
often on another thread. But autograd numbers the nodes of a thread in the order in which the forward makes them, so a
call has made exactly the nodes from the number at its begin up to the one at its end; a node's number and the thread
that made it then name the call. The ranges of numbers nest as the calls do, and the innermost one that holds a node's
number is the layer that the node does the backward of.
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
    """Sums over all steps, in lists with an entry for each layer: see LayerCost.

    `step` is the measured sum, `outside` the part of it that no layer owns.
    """

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

    @classmethod
    def empty(cls, layers: int) -> Attribution:
        """Nothing seen yet of so many layers."""
        return cls([0] * layers, [0.0] * layers, [0.0] * layers, [None] * layers, [None] * layers, [None] * layers)


@dataclass
class _Interval:
    """A span or a node.

    `begin` and `end` are the host's, and say what lies in what. `start` and `stop` are of the clock that is measured
    with, and give the durations: on the host the same two stamps; on a device its events, which cannot say what lies
    in what, since events that follow one another closely get the same time.
    """

    begin: int
    end: int
    thread: int  # 0 on a device: all threads' work goes to one stream, and a node then lies in the step around it
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

    @property
    def is_call(self) -> bool:
        return not self.node and self.layer != STEP


def attribute(trace: Trace, layers: int, *, inside: float, outside: float, node: float) -> Attribution:
    """Sums of all layers; the costs (ns) of a probed call inside and outside of its interval, and of a node, are
    taken off.
    """
    intervals = _intervals(trace)
    steps = [interval for interval in intervals if interval.is_step]
    if steps:
        intervals = _within(intervals, steps)
    _nest(intervals)
    gaps = _set_own_times(intervals, inside, outside, node)
    _find_owners(intervals)
    _follow_accumulations(intervals)
    sums = Attribution.empty(layers)
    sums.steps = len(steps)
    _sum_up(sums, intervals)
    # Without a step around them, the gaps between backward nodes lie in no interval, but belong to the nodes.
    measured = steps or [interval for interval in intervals if interval.parent is None]
    took = sum(interval.took for interval in measured) + (0 if steps else gaps)
    probed = sum(sums.calls) + sums.recomputations
    sums.step = max(took - probed * (inside + outside) - sums.nodes * node, 0.0)
    return sums


def _intervals(trace: Trace) -> list[_Interval]:
    """All spans and nodes, thread by thread in the order of beginning, outer ones first."""
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
    """Set parents and children: what is still open on its thread when an interval begins is around it."""
    around: list[_Interval] = []
    for interval in intervals:
        while around and (around[-1].thread != interval.thread or around[-1].end <= interval.begin):
            around.pop()
        if around:
            interval.parent = around[-1]
            interval.parent.children.append(interval)
        around.append(interval)


def _set_own_times(intervals: Sequence[_Interval], inside: float, outside: float, node: float) -> int:
    """Set all own times; returns the gaps between backward nodes at the top of a thread."""
    tops: dict[int, list[_Interval]] = defaultdict(list)
    for interval in intervals:
        probed = sum(child.is_call for child in interval.children)
        interval.own += interval.took - sum(child.took for child in interval.children)
        interval.own -= probed * outside
        if interval.node:
            interval.own -= node
        elif interval.is_call:
            interval.own -= inside
        interval.own -= _extend_to_next(interval.children)
        if interval.parent is None:
            tops[interval.thread].append(interval)
    return sum(_extend_to_next(siblings) for siblings in tops.values())


def _extend_to_next(siblings: Sequence[_Interval]) -> int:
    """Give the gap after a node to the node, where another one of the same backward call follows; returns their sum.

    When a node has ended, the engine hands its gradients on: it adds each to those that wait already for the same
    input, where several layers have used one tensor, and only then takes the next node. So what lies between two nodes
    is the earlier one's work. Between two calls of backward lies the user's code, which is nobody's.
    """
    given = 0
    for earlier, later in pairwise(siblings):
        if earlier.node and later.node and earlier.graph_task == later.graph_task:
            earlier.own += later.start - earlier.stop
            given += later.start - earlier.stop
    return given


def _find_owners(intervals: Sequence[_Interval]) -> None:
    """Set the owner of every node that has a number: the innermost call whose range of numbers holds it.

    One pass over calls and nodes in the order of their numbers, with a stack of the calls whose ranges are open. Each
    thread counts for itself, so threads are taken one by one: by that of the forward, which the node names, wherever
    it runs now.
    """
    calls: dict[int, list[_Interval]] = defaultdict(list)
    nodes: dict[int, list[_Interval]] = defaultdict(list)
    for interval in intervals:
        if interval.node and interval.sequence[0] >= 0:
            nodes[interval.origin].append(interval)
        elif interval.is_call and interval.sequence[0] < interval.sequence[1]:
            calls[interval.origin].append(interval)
    for origin, made in nodes.items():
        # Calls come in the order of beginning and sorting keeps that among equals, so that of two calls with the same
        # range (one does nothing but call the other) the inner one comes last and ends on top of the stack.
        ordered = sorted(calls[origin], key=lambda call: (call.sequence[0], -call.sequence[1]))
        around: list[_Interval] = []
        position = 0
        for node in sorted(made, key=lambda node: node.sequence[0]):
            number = node.sequence[0]
            while position < len(ordered) and ordered[position].sequence[0] <= number:
                around.append(ordered[position])
                position += 1
            while around and around[-1].sequence[1] <= number:
                around.pop()
            node.owner = around[-1] if around else None


def _follow_accumulations(intervals: Sequence[_Interval]) -> None:
    """Set the owner of every accumulation into a parameter's gradient: that of the node before it.

    These nodes are made once for each parameter, not by a call, and have no number. But the engine takes them before
    all others as soon as their gradient is there, so the node that ran before one, on its thread and in its call of
    backward, is the node that has computed the gradient.
    """
    latest: dict[tuple[int, int], _Interval | None] = {}
    for interval in intervals:
        if not interval.node:
            continue
        place = (interval.thread, interval.graph_task)
        if interval.sequence[0] < 0:
            interval.owner = latest.get(place)
        latest[place] = interval.owner


def _sum_up(sums: Attribution, intervals: Sequence[_Interval]) -> None:
    """Add up nodes by their owners, and then calls from the innermost one out, each into the call around it."""
    for interval in intervals:
        if interval.node:
            sums.nodes += 1
            if interval.owner is None:
                sums.outside += max(interval.own, 0.0)
            else:
                interval.owner.own_backward = (interval.owner.own_backward or 0.0) + max(interval.own, 0.0)
        elif interval.is_step:
            sums.outside += max(interval.own, 0.0)
    # A call begins after the one around it and after the one that it recomputes, so the latest come first.
    for call in sorted(filter(lambda interval: interval.is_call, reversed(intervals)), key=lambda call: -call.begin):
        own = max(call.own, 0.0)
        call.total += own
        if call.own_backward is not None:
            call.backward = (call.backward or 0.0) + call.own_backward
        caller = _caller(call)
        if caller is not None:
            caller.total += call.total
        if call.backward is not None and (above := caller or _recomputed_for(call)) is not None:
            above.backward = (above.backward or 0.0) + call.backward
        _add_call(sums, call, own)


def _caller(call: _Interval) -> _Interval | None:
    """The call around this one in the same phase; None for one that a backward node runs again."""
    return call.parent if call.parent is not None and call.parent.is_call else None


def _recomputed_for(call: _Interval) -> _Interval | None:
    """The call whose backward node ran this one again.

    Activation checkpointing comes in two kinds. The re-entrant one runs its part without a graph first, so that the
    part's calls have made no nodes; its own node then runs them again and their backward too, all inside of itself.
    That backward belongs to the recomputed calls, and through the node's owner to the layers around the part. The other
    kind only takes the saved tensors out of what it computes again, and goes on with the nodes of the first calls:
    there the recomputed calls have no backward, and nothing is handed on.
    """
    return call.parent.owner if call.parent is not None and call.parent.node else None


def _add_call(sums: Attribution, call: _Interval, own: float) -> None:
    layer = call.layer
    if call.phase == RECOMPUTE:
        sums.recomputations += 1
        sums.recompute[layer] = (sums.recompute[layer] or 0.0) + own
    else:
        sums.calls[layer] += 1
        sums.own_forward[layer] += own
    if call.own_backward is not None:
        sums.own_backward[layer] = (sums.own_backward[layer] or 0.0) + call.own_backward
    if _called_by_itself(call):
        return
    if call.phase == FORWARD:
        sums.forward[layer] += call.total
    if call.backward is not None:
        sums.backward[layer] = (sums.backward[layer] or 0.0) + call.backward


def _called_by_itself(call: _Interval) -> bool:
    """Whether a call of the same layer is around this one, so that its total is part of that one's already."""
    around = _caller(call)
    while around is not None:
        if around.layer == call.layer:
            return True
        around = _caller(around)
    return False
