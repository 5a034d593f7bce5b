"""The layer tree: what every layer cost, forward and backward, assembled from a trace. Loads no torch.

Which times belong to which layer is decided in pyprof.layers.attribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyprof.errors import InvariantError
from pyprof.layers.attribution import Attribution, attribute
from pyprof.layers.trace import Trace
from pyprof.layers.uncalled import counted_kinds, explained


@dataclass(frozen=True)
class LayerFacts:
    """What is known of a layer before it runs: `parameters` counts its own ones, shared ones at their first owner only,
    so that they add up to the model's.

    `attached` is "replaced" (the probe stands in for `forward`), "hooked" (module hooks), "compiled" (the probe
    stands in for the compiled call) or "skipped: reason".
    """

    path: str
    type: str
    kind: str
    parent: int | None
    parameters: int
    attached: str


@dataclass(frozen=True)
class ProbeCost:
    """Calibrated cost of the probes, in seconds: of a call, inside and outside of its own interval, and of one backward
    node.
    """

    inside: float = 0.0
    outside: float = 0.0
    node: float = 0.0

    @property
    def call(self) -> float:
        """What one probed call costs, in seconds."""
        return self.inside + self.outside


@dataclass(frozen=True)
class LayerCost:
    """One layer's cost, in seconds for one step (or for the whole recording where no steps were marked).

    Totals include what the layer called; `own` times do not. Backward times are None where no backward of the layer
    was seen, `recompute_seconds` (own) where activation checkpointing did not run its forward again. Of a layer that
    was never called the forward times are None, and `reason` says why.
    """

    index: int
    parent: int | None
    path: str
    type: str
    kind: str
    calls: int
    parameters: int
    forward_seconds: float | None
    own_forward_seconds: float | None
    backward_seconds: float | None
    own_backward_seconds: float | None
    recompute_seconds: float | None
    attached: str
    reason: str | None = None


@dataclass(frozen=True)
class Profile:
    """What each layer cost.

    `layers` holds the root first. `step_seconds` is the measured duration of a step less what the probes cost;
    `outside_seconds` is the part of it outside of every layer (the loss, the optimizer, the start of the autograd
    engine). Without marked steps (`steps` is 0) the recording's calls and backward nodes make up the step. `calls`
    and `nodes` are the events that `cost` was subtracted for; `overflowed` counts the events that found no room: with
    any, the times of the layers that they belong to are part of their callers' own times. `notes` say in sentences what
    was different from what was asked for.
    """

    layers: tuple[LayerCost, ...]
    steps: int
    step_seconds: float
    outside_seconds: float
    calls: int
    nodes: int
    cost: ProbeCost
    overflowed: int
    notes: tuple[str, ...] = ()

    @property
    def probe_seconds(self) -> float:
        """What the probes cost a step, in seconds; it has been subtracted everywhere."""
        return (self.calls * self.cost.call + self.nodes * self.cost.node) / max(self.steps, 1)

    def kinds(self) -> dict[str, tuple[float, float | None, int]]:
        """Kind to (own forward seconds with recomputation, own backward seconds or None, own parameters).

        What a fused layer ran in one piece is all of the kind "fused".
        """
        sums: dict[str, tuple[float, float | None, int]] = {}
        for layer, kind in zip(self.layers, counted_kinds(self.layers), strict=True):
            forward, backward, parameters = sums.get(kind, (0.0, None, 0))
            if layer.own_backward_seconds is not None:
                backward = (backward or 0.0) + layer.own_backward_seconds
            forward += (layer.own_forward_seconds or 0.0) + (layer.recompute_seconds or 0.0)
            sums[kind] = (forward, backward, parameters + layer.parameters)
        return sums

    def self_check(self, tolerance: float = 0.01) -> None:
        """Raise InvariantError unless all own times and the outside sum to the step.

        They may differ by `tolerance` of it and by the probes' own cost: no time is let fall below zero by
        subtracting that.
        """
        total = self.outside_seconds + sum(
            forward + (backward or 0.0) for forward, backward, _ in self.kinds().values()
        )
        if abs(total - self.step_seconds) > tolerance * self.step_seconds + self.probe_seconds + 1e-6:
            raise InvariantError(
                f"the layers' own times sum to {total:.9f} s and the step took {self.step_seconds:.9f} s: "
                "report this as a defect of pyprof, with the model"
            )

    def to_json(self) -> dict[str, Any]:
        """Columns of all layers and the sums, ready for JSON."""
        names = LayerCost.__dataclass_fields__
        return {
            "layers": {name: [getattr(layer, name) for layer in self.layers] for name in names},
            "steps": self.steps,
            "step_seconds": self.step_seconds,
            "outside_seconds": self.outside_seconds,
            "probe_seconds": self.probe_seconds,
            "overflowed": self.overflowed,
            "notes": list(self.notes),
        }


def assemble(trace: Trace, facts: Sequence[LayerFacts], cost: ProbeCost) -> Profile:
    """The profile of a trace whose spans number the layers as `facts` does.

    With marked steps only what lies in them counts, and all times are means over the steps.
    """
    sums = attribute(trace, len(facts), inside=cost.inside * 1e9, outside=cost.outside * 1e9, node=cost.node * 1e9)
    scale = 1e-9 / max(sums.steps, 1)
    children: list[list[int]] = [[] for _ in facts]
    for index, fact in enumerate(facts):
        if fact.parent is not None:
            children[fact.parent].append(index)
    for index in reversed(range(len(facts))):
        _sum_up_container(sums, index, children[index])
    layers = tuple(
        LayerCost(
            index,
            fact.parent,
            fact.path,
            fact.type,
            fact.kind,
            sums.calls[index] // max(sums.steps, 1),
            fact.parameters,
            sums.forward[index] * scale,
            sums.own_forward[index] * scale,
            _scaled(sums.backward[index], scale),
            _scaled(sums.own_backward[index], scale),
            _scaled(sums.recompute[index], scale),
            fact.attached,
        )
        for index, fact in enumerate(facts)
    )
    return Profile(
        # Where events found no room, a layer without a call may have been called.
        layers if trace.dropped else explained(layers),
        sums.steps,
        sums.step * scale,
        sums.outside * scale,
        sum(sums.calls) + sums.recomputations,
        sums.nodes,
        cost,
        trace.dropped,
    )


def _sum_up_container(sums: Attribution, index: int, children: list[int]) -> None:
    """A module that is never called itself (a ModuleList) shows the sum of its children as its total."""
    if sums.calls[index]:
        return
    sums.forward[index] = sum(sums.forward[child] for child in children)
    seen = [backward for child in children if (backward := sums.backward[child]) is not None]
    if seen and sums.backward[index] is None:
        sums.backward[index] = sum(seen)


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
