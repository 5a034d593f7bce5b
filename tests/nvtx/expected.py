"""Run inside the watched program: what the ranges have to be, by what the recorder itself has kept."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pyprof.layers import attribution
from pyprof.layers.instrument import Probes
from pyprof.layers.sums import IN_STEP, STEPS, Sums, node_cell
from pyprof.layers.trace import STEP, Trace


def expected(probes: Probes) -> dict[str, Any]:
    """The calls of each thread as (depth, name, category) in the order of beginning, and the nodes of each layer."""
    facts = [(path or type(layer).__name__, path) for path, layer in probes._paths]
    numbers = {id(spot.module): number for number, spot in enumerate(probes._spots)}
    modules = [numbers[id(layer)] for _, layer in probes._paths]
    sums = Sums.of(probes._recorder.sums())
    parents, layers = sums.sites["parent"].tolist(), sums.sites["layer"].tolist()
    places = attribution.places_of(parents, layers, [path for _, path in facts], modules)
    names = [facts[place][0] if place >= 0 else "step" for place in places]
    trace = probes.trace
    assert trace.dropped == 0
    calls: dict[int, list[list[Any]]] = {}
    open_until: dict[int, list[int]] = {}
    for span in sorted(trace.spans.tolist(), key=lambda span: (span[4], span[0], -span[1])):
        begin, end, _, _, thread, layer, phase, _, _, site = span
        stack = open_until.setdefault(thread, [])
        while stack and stack[-1] <= begin:
            stack.pop()
        category = "step" if layer == STEP else ("forward", "recompute")[phase]
        name = "step" if layer == STEP else names[site]
        calls.setdefault(thread, []).append([len(stack), name, category])
        stack.append(end)
    nodes: Counter[str] = Counter()
    for site in range(STEPS + 1, len(parents)):
        for context in range(IN_STEP + 2):
            for second_order in (False, True):
                nodes[names[site]] += int(sums.cells[site, node_cell(context, second_order)]["count"])
    callers = [names[parent] if STEPS < parent < len(names) else None for parent in parents]
    return {
        "threads": list(calls.values()),
        "nodes": {name: count for name, count in nodes.items() if count},
        "nested": nested(trace),
        "callers": [list(pair) for pair in zip(names, callers, strict=True)][STEPS + 1 :],
        "table": [layer.path or layer.type for layer in probes.profile().layers if layer.calls],
    }


def nested(trace: Trace) -> int:
    """How many nodes ran inside of another one (CopySlices runs the node that it stands for)."""
    ends: dict[int, int] = {}
    count = 0
    for thread, _, end in sorted(trace.nodes[["thread", "begin", "end"]].tolist()):
        count += end <= ends.get(thread, 0)
        ends[thread] = max(end, ends.get(thread, 0))
    return count
