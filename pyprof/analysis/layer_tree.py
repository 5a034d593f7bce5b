"""A layer profile as a list of lines: indented, with shares of the step, and repeated blocks folded into one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import TYPE_CHECKING

from pyprof.analysis.shares import FUSED, OUTSIDE, rank

if TYPE_CHECKING:
    from pyprof.layers.profile import LayerCost, Profile

LEAST_ALIKE = 3


@dataclass(frozen=True)
class LayerLine:
    """One line of a layer table; times in seconds for one step.

    `name` is the last part of the layer's path. A line can stand for several layers that are alike: `last` is then the
    last one's name, `beside` how many lie next to each other, `repeats` how many the line stands for in the whole
    model. Its times are means over these, its shares are of all of them together. `parameters` and `share` (of the
    step, backward and recomputation included) hold what lies below the layer too; `own_share` does not. A backward time
    is None where none was seen, a recomputation's (own) where activation checkpointing ran no forward again, and so are
    the second order's and what ran in other threads beside the step (own; no part of the shares). A forward time is
    None where the layer was never called: `reason` says why. `members` are the places of its layers in the profile.
    """

    depth: int
    name: str
    last: str | None
    path: str
    type: str
    kind: str
    beside: int
    repeats: int
    calls: float
    parameters: int
    forward_seconds: float | None
    own_forward_seconds: float | None
    backward_seconds: float | None
    own_backward_seconds: float | None
    recompute_seconds: float | None
    second_order_seconds: float | None
    beside_seconds: float | None
    share: float
    own_share: float
    reason: str | None
    members: tuple[int, ...] = ()


@dataclass(frozen=True)
class KindLine:
    """What all layers of a kind took of a step: own times, forward and backward, in seconds and as a share of 1.

    Where a device's own times are known, these are of its work, and so is the share.
    """

    kind: str
    seconds: float
    share: float


@dataclass(frozen=True)
class _Node:
    """A layer with what lies below it; layers of one shape have the same types, kinds, calls and names below.

    Layers that are called in some steps only (experts) are alike in that, however often each of them is.
    """

    layer: LayerCost
    children: tuple[_Node, ...]
    parameters: int
    own: float
    total: float
    shape: tuple[object, ...]


def layer_lines(profile: Profile, *, fold: bool = True) -> tuple[LayerLine, ...]:
    """The lines of all layers, root first; folded, neighbours that are alike and numbered share one line."""
    roots = _tree(profile.layers)
    least = LEAST_ALIKE if fold else len(profile.layers) + 1
    return tuple(_lines([[root] for root in roots], 0, least, profile.step_seconds or 1.0))


def kind_lines(profile: Profile) -> tuple[KindLine, ...]:
    """Every kind of layer in a profile, and what lies outside of all layers, the most expensive first.

    Kinds that only a fused layer holds took 0 s: what it ran is all of the kind "fused". Outside is then what no layer
    launched of a device's work.
    """
    device = profile.device_time
    shown = profile.on_device()
    seconds = dict.fromkeys((layer.kind for layer in profile.layers), 0.0)
    seconds |= {kind: forward + (backward or 0.0) for kind, (forward, backward, _) in shown.kinds().items()}
    seconds[OUTSIDE] = device.outside.seconds + device.unknown.seconds if device else profile.outside_seconds
    whole = (device.total.seconds if device else profile.step_seconds) or 1.0
    lines = [KindLine(kind, took, took / whole) for kind, took in seconds.items()]
    return tuple(sorted(lines, key=lambda line: (-line.seconds, rank(line.kind))))


def unprobed(profile: Profile) -> dict[str, tuple[str, ...]]:
    """The layers with parameters that no probe stands in for, by what was done instead: hooked, or skipped: reason."""
    found: dict[str, list[str]] = {}
    for layer in profile.layers:
        if layer.attached == "hooked" or (layer.attached.startswith("skipped") and layer.parameters):
            found.setdefault(layer.attached, []).append(layer.path or layer.type)
    return {attached: tuple(paths) for attached, paths in found.items()}


def uncalled(profile: Profile) -> dict[str, tuple[str, ...]]:
    """The layers with parameters that a probe stood in for and that were never called, by the reason."""
    paths: dict[str, list[str]] = {}
    for layer in profile.layers:
        if layer.reason is not None and layer.parameters and not layer.attached.startswith("skipped"):
            paths.setdefault(layer.reason, []).append(layer.path or layer.type)
    return {reason: tuple(some) for reason, some in paths.items()}


def fused(profile: Profile) -> dict[str, tuple[str, ...]]:
    """The classes of the layers that ran several kinds in one piece, with those kinds in the order of a report."""
    kinds: dict[str, set[str]] = {}
    inside: dict[int, str] = {}
    for layer in profile.layers:
        around = None if layer.parent is None else inside.get(layer.parent)
        if around is not None:
            inside[layer.index] = around
            if layer.parameters:
                kinds[around].add(layer.kind)
        elif layer.kind == FUSED:
            inside[layer.index] = layer.type
            kinds.setdefault(layer.type, set())
    return {name: tuple(sorted(some, key=rank)) for name, some in kinds.items()}


def _tree(layers: Sequence[LayerCost]) -> list[_Node]:
    below: dict[int | None, list[LayerCost]] = {}
    for layer in layers:
        below.setdefault(layer.parent, []).append(layer)
    return [_node(layer, below) for layer in below.get(None, ())]


def _node(layer: LayerCost, below: dict[int | None, list[LayerCost]]) -> _Node:
    children = tuple(_node(child, below) for child in below.get(layer.index, ()))
    own = (layer.own_forward_seconds or 0.0) + (layer.own_backward_seconds or 0.0) + (layer.recompute_seconds or 0.0)
    parameters = layer.parameters + sum(child.parameters for child in children)
    names = tuple((_name(child.layer), child.shape) for child in children)
    return _Node(
        layer,
        children,
        parameters,
        own,
        own + sum(child.total for child in children),
        (layer.type, layer.kind, _whole(layer.calls), layer.parameters, layer.attached, layer.reason, names),
    )


def _lines(groups: Iterable[Sequence[_Node]], depth: int, least: int, step: float) -> list[LayerLine]:
    """The lines of sibling positions; a group holds the layers at one position in all blocks that are folded above."""
    lines: list[LayerLine] = []
    for _, alike in groupby(groups, key=lambda group: (_name(group[0].layer).isdigit(), group[0].shape)):
        positions = list(alike)
        if len(positions) >= least and _name(positions[0][0].layer).isdigit():
            lines += _folded(positions, depth, least, step)
        else:
            lines += [line for position in positions for line in _folded([position], depth, least, step)]
    return lines


def _folded(positions: Sequence[Sequence[_Node]], depth: int, least: int, step: float) -> list[LayerLine]:
    """The line of positions that share one, and the lines below it."""
    members = [node for position in positions for node in position]
    layers = [node.layer for node in members]
    first = layers[0]
    line = LayerLine(
        depth=depth,
        name=_name(first),
        last=_name(positions[-1][0].layer) if len(positions) > 1 else None,
        path=first.path,
        type=first.type,
        kind=first.kind,
        beside=len(positions),
        repeats=len(members),
        calls=first.calls if _whole(first.calls) is not None else fmean(layer.calls for layer in layers),
        parameters=members[0].parameters,
        forward_seconds=_mean(layer.forward_seconds for layer in layers),
        own_forward_seconds=_mean(layer.own_forward_seconds for layer in layers),
        backward_seconds=_mean(layer.backward_seconds for layer in layers),
        own_backward_seconds=_mean(layer.own_backward_seconds for layer in layers),
        recompute_seconds=_mean(layer.recompute_seconds for layer in layers),
        second_order_seconds=_mean(layer.second_order_seconds for layer in layers),
        beside_seconds=_mean(layer.beside_seconds for layer in layers),
        share=sum(node.total for node in members) / step,
        own_share=sum(node.own for node in members) / step,
        reason=first.reason,
        members=tuple(layer.index for layer in layers),
    )
    below = [list(position) for position in zip(*(node.children for node in members), strict=True)]
    return [line, *_lines(below, depth + 1, least, step)]


def _mean(values: Iterable[float | None]) -> float | None:
    seen = [value for value in values if value is not None]
    return fmean(seen) if seen else None


def _whole(calls: float) -> int | None:
    return int(calls) if calls == int(calls) else None


def _name(layer: LayerCost) -> str:
    return layer.path.rsplit(".", 1)[-1]
