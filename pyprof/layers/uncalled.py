"""Layers that no step has called: their times are blank with the reason beside them, never zero. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pyprof.layers.kinds import FUSED, NORMALISATION, OTHER

if TYPE_CHECKING:
    from pyprof.layers.profile import LayerCost

SKIPPED = "skipped: "
# How the communication of a layer is attached, which is seen where there is any.
WATCHED = "watched"
NO_FORWARD = f"{SKIPPED}has no forward of its own"


def explained(layers: Sequence[LayerCost]) -> tuple[LayerCost, ...]:
    """The layers of a profile, parents first, with blank times and a reason where a layer was never called.

    A layer that ran while nothing in it was called has done the work of what is in it: PyTorch's fused encoder layer, a
    compiled module, a program of TorchScript. Where these are layers of several kinds, their times cannot be told
    apart, and the layer's own kind becomes "fused".
    """
    made: list[LayerCost] = []
    fused = _fused(layers)
    for layer in layers:
        above = None if layer.parent is None else made[layer.parent]
        if layer.index in fused:
            made.append(replace(layer, kind=FUSED))
        elif _called(layer):
            made.append(layer)
        else:
            reason = _reason(layer, above)
            made.append(replace(layer, forward_seconds=None, own_forward_seconds=None, reason=reason))
    return tuple(made)


def counted_kinds(layers: Sequence[LayerCost]) -> list[str]:
    """The kind that each layer's time and parameters are summed under: of what a fused layer did, "fused"."""
    kinds: list[str] = []
    for layer in layers:
        inside = layer.parent is not None and kinds[layer.parent] == FUSED and layer.reason is not None
        kinds.append(FUSED if inside else layer.kind)
    return kinds


def _called(layer: LayerCost) -> bool:
    """Whether a layer ran, or holds layers that did (a ModuleList)."""
    return bool(layer.calls or layer.forward_seconds or layer.attached == WATCHED)


def _fused(layers: Sequence[LayerCost]) -> set[int]:
    """The numbers of the layers that ran while nothing in them was called, though several kinds of layers are there.

    One that holds layers of a single kind keeps its own: an attention, say, whose output projection is a layer that it
    never calls.
    """
    ran_inside = [False] * len(layers)
    kinds_inside: list[set[str]] = [set() for _ in layers]
    for layer in reversed(layers):
        if layer.parent is None:
            continue
        ran_inside[layer.parent] |= ran_inside[layer.index] or bool(layer.calls)
        own = {layer.kind} - {NORMALISATION, OTHER} if layer.parameters else set()
        kinds_inside[layer.parent] |= kinds_inside[layer.index] | own
    return {
        layer.index
        for layer in layers
        if layer.calls and not ran_inside[layer.index] and len(kinds_inside[layer.index]) > 1
    }


def _reason(layer: LayerCost, above: LayerCost | None) -> str:
    if layer.attached.startswith(SKIPPED) and layer.attached != NO_FORWARD:
        return layer.attached.removeprefix(SKIPPED)
    if above is None:
        return "not called"
    if above.reason is not None:
        return above.reason
    if above.kind == FUSED:
        return f"not called: the fused path of {above.type} ran"
    # A ModuleList, say, calls nothing by itself.
    return "not called" if above.attached == NO_FORWARD else f"not called: {above.type} ran without calling it"
