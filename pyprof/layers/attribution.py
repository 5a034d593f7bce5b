"""From sums to layers: which place of the call tree is which layer's, and what each of them cost. Times in nanoseconds.

A module may be held in several places and be called from several places, so modules form no tree; calls do. A layer of
a profile is a path: a module in one of the places that hold it. Each site of the call tree goes to one of its module's
paths, the one that lies within the layer that called it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyprof.layers.sums import BESIDE, CALLS, IN_STEP, STEPS, UNMARKED, Sums, node_cell
from pyprof.layers.trace import FORWARD

_Floats = npt.NDArray[np.float64]
_Seen = list[float | None]


@dataclass
class Attribution:
    """Sums over all steps, in lists with an entry for each path: see LayerCost.

    `steps` is the number of marked steps, `step` their measured time together (or that of the outermost intervals,
    where none was marked), `outside` the part of it that no layer owns. `events` and `nodes` are the calls and backward
    nodes that were recorded. `used` says which paths anything was seen of.
    """

    calls: list[int]
    forward: list[float]
    own_forward: list[float]
    backward: _Seen
    own_backward: _Seen
    recompute: _Seen
    second_order: _Seen
    beside: _Seen
    used: list[bool]
    steps: int
    step: float
    outside: float
    events: int
    nodes: int


def attribute(sums: Sums, paths: Sequence[str], modules: Sequence[int]) -> Attribution:
    """What every path costs; `modules[i]` is the number by which the recorder knows the module at `paths[i]`.

    With marked steps only what ran in them and beside them counts.
    """
    parents, layers, phases = (sums.sites[name].tolist() for name in ("parent", "layer", "phase"))
    count = sums.cells["count"].astype(np.int64)
    # A device's times of what follows closely can come out the wrong way round.
    own: _Floats = np.maximum(sums.cells["nanoseconds"], 0.0)

    steps = int(count[STEPS, CALLS])
    measured = IN_STEP if steps else UNMARKED
    contexts = np.array(_contexts(parents))
    places = places_of(parents, layers, paths, modules)
    here, beside = contexts == measured, (contexts == BESIDE) & (steps > 0)
    forward = np.array(phases) == FORWARD
    first, second, *_ = _node_columns(measured)
    nodes = count[:, first] + count[:, second]
    calls_beside = np.where(beside, count[:, CALLS], 0)
    nodes_beside = count[:, _node_columns(BESIDE)].sum(axis=1) * (steps > 0)
    own_beside = np.where(beside, own[:, CALLS], 0.0) + own[:, _node_columns(BESIDE)].sum(axis=1)
    own_backward = own[:, first] + own[:, second]
    calls = np.where(here, count[:, CALLS], 0)

    by_place = _ByPlace(places, len(paths))
    own_forward = np.where(here & forward, own[:, CALLS], 0.0)
    totals, backward_totals = _totals(parents, phases, own_forward, own_backward, nodes > 0)
    outermost = outermost_of(parents, places)
    # Without a step around them, the gaps between backward nodes lie in no interval, but belong to the nodes.
    all_took = own[STEPS if steps else UNMARKED, CALLS]
    outside_layers = own_backward[:STEPS].sum() + (own[IN_STEP, CALLS] if steps else 0.0)
    used = by_place.sum((calls + calls_beside + nodes + nodes_beside).astype(float))
    return Attribution(
        [int(number) for number in by_place.sum(np.where(forward, calls + calls_beside, 0).astype(float))],
        by_place.sum(np.where(outermost & here & forward, totals, 0.0)),
        by_place.sum(own_forward),
        by_place.seen(backward_totals, outermost & ~np.isnan(backward_totals)),
        by_place.seen(own_backward, nodes > 0),
        by_place.seen(own[:, CALLS], here & ~forward & (calls > 0)),
        by_place.seen(own[:, second], count[:, second] > 0),
        by_place.seen(own_beside, calls_beside + nodes_beside > 0),
        [events > 0 for events in used],
        steps,
        float(all_took),
        float(outside_layers),
        int((calls + calls_beside).sum()),
        int((nodes + nodes_beside).sum()),
    )


class _ByPlace:
    """Adds up values of sites by the paths that the sites were given; the roots have none."""

    def __init__(self, places: Sequence[int], paths: int) -> None:
        self._places = np.array(places[STEPS + 1 :], dtype=np.int64)
        self._paths = paths

    def sum(self, values: _Floats) -> list[float]:
        sums: list[float] = np.bincount(self._places, values[STEPS + 1 :], self._paths).tolist()
        return sums

    def seen(self, values: _Floats, seen: npt.NDArray[np.bool_]) -> _Seen:
        """The sums of what was seen; None for a path of which nothing was."""
        counts = self.sum(seen.astype(float))
        return [
            value if number else None
            for value, number in zip(self.sum(np.where(seen, values, 0.0)), counts, strict=True)
        ]


def _node_columns(context: int) -> list[int]:
    """The columns of cells with the nodes of the first and of the second order that ran in a context."""
    return [node_cell(context, False), node_cell(context, True)]


def _contexts(parents: Sequence[int]) -> list[int]:
    """The context of each site, which its outermost parent names; -1 for the roots themselves."""
    contexts = [-1] * (STEPS + 1)
    for parent in parents[STEPS + 1 :]:
        contexts.append(parent if parent <= STEPS else contexts[parent])
    return contexts


def places_of(parents: Sequence[int], layers: Sequence[int], paths: Sequence[str], modules: Sequence[int]) -> list[int]:
    """Which path each site goes to.

    Of several paths of a module it is one within the layer that called it, the nearest where there are several of
    these: what `1` calls as `1.items.0` is not `0.items.0`, though it be the same module. Where the caller does not
    hold it, the layer around the caller is asked, and so on. What a thread calls first has no caller, and goes to the
    first path.
    """
    held: dict[int, list[int]] = defaultdict(list)
    for place, module in enumerate(modules):
        held[module].append(place)
    places = [-1] * (STEPS + 1)
    for parent, layer in zip(parents[STEPS + 1 :], layers[STEPS + 1 :], strict=True):
        candidates = held[layer]
        if len(candidates) > 1 and parent > STEPS:
            candidates = _within(paths[places[parent]], candidates, paths)
        places.append(min(candidates, key=lambda place: paths[place].count(".")))
    return places


def _within(caller: str, candidates: list[int], paths: Sequence[str]) -> list[int]:
    """Those of the candidates that lie in the caller, or else in the nearest layer around it that holds any."""
    while caller:
        inside = [place for place in candidates if paths[place].startswith(f"{caller}.")]
        if inside:
            return inside
        caller = caller.rpartition(".")[0]
    return candidates


def _totals(
    parents: Sequence[int],
    phases: Sequence[int],
    own_forward: _Floats,
    own_backward: _Floats,
    has_backward: npt.NDArray[np.bool_],
) -> tuple[_Floats, _Floats]:
    """Forward and backward of each site with what it called; a backward that nothing was seen of is NaN in here.

    A part that activation checkpointing runs again is no forward of the layer around it, but its backward is that
    layer's. Checkpointing comes in two kinds. The re-entrant one runs its part without a graph first, so that the
    part's calls have made no nodes; its own node then runs them again and their backward too, all inside of itself.
    That backward belongs to the recomputed calls, whose place in the tree is below the call that made the node. The
    other kind only takes the saved tensors out of what it computes again, and goes on with the nodes of the first
    calls: there the recomputed calls have no backward, and nothing is handed on.
    """
    forward = own_forward.copy()
    backward = np.where(has_backward, own_backward, np.nan)
    for site in range(len(parents) - 1, STEPS, -1):
        parent = parents[site]
        if parent <= STEPS:
            continue
        if phases[parent] == phases[site]:
            forward[parent] += forward[site]
        if not np.isnan(backward[site]):
            backward[parent] = np.nansum([backward[parent], backward[site]])
    return forward, backward


def outermost_of(parents: Sequence[int], places: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Whether no site around each one goes to the same path, whose total it is part of already."""
    outermost = np.ones(len(parents), bool)
    for site in range(STEPS + 1, len(parents)):
        around = parents[site]
        while around > STEPS and places[around] != places[site]:
            around = parents[around]
        outermost[site] = around <= STEPS
    return outermost
