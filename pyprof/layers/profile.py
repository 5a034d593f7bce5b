"""The layer tree: what every layer cost, forward and backward, assembled from a recorder's sums. Loads no torch.

Which times belong to which layer is decided in pyprof.layers.attribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyprof.errors import InvariantError
from pyprof.layers.attribution import Attribution, attribute
from pyprof.layers.device_time import DeviceTime, LayerWork, Work, by_layer, used_paths
from pyprof.layers.device_work import DeviceSums
from pyprof.layers.plain_steps import PlainSteps
from pyprof.layers.sums import Sums
from pyprof.layers.uncalled import WATCHED, counted_kinds, explained
from pyprof.printing import ShownInNotebook, printed
from pyprof.quantity import format_seconds, plural
from pyprof.records.noise import SystemPart

# How a layer was attached whose times another tool has taken.
FROM_TRACE = "read from a trace"


@dataclass(frozen=True)
class LayerFacts:
    """What is known of a layer before it runs: `parameters` counts its own ones, shared ones at their first owner only,
    so that they add up to the model's.

    A module that is held in several places has facts for each of its paths; `module` is the number by which the
    recorder knows it, None where it is that of the path. `attached` is "replaced" (the probe stands in for `forward`),
    "hooked" (module hooks), "compiled" (the probe stands in for the compiled call), "watched" (communication between
    processes, which is a layer of its own below the one that called it), FROM_TRACE or "skipped: reason".
    """

    path: str
    type: str
    kind: str
    parent: int | None
    parameters: int
    attached: str
    module: int | None = None


@dataclass(frozen=True)
class LayerCost:
    """One layer's cost, in seconds for one step (or for the whole recording where no steps were marked).

    A module that is called from several layers that hold it is a layer in each of them, with the path that it has
    there; its parameters count at the first one. `calls` is a mean, whole where it can be: a layer that runs in every
    other step has 0.5. Totals include what the layer called; `own` times do not. Backward times are None where no
    backward of the layer was seen, `recompute_seconds` (own) where activation checkpointing did not run its forward
    again. `second_order_seconds` is the part of `own_backward_seconds` that is the backward of the layer's backward
    (create_graph), None where there was none. `beside_seconds` is what the layer took (own, forward and backward) in
    other threads than the step's while the step ran, None where nothing did; it is in none of the other times. Of a
    layer that was never called the forward times are None, and `reason` says why.
    """

    index: int
    parent: int | None
    path: str
    type: str
    kind: str
    calls: float
    parameters: int
    forward_seconds: float | None
    own_forward_seconds: float | None
    backward_seconds: float | None
    own_backward_seconds: float | None
    recompute_seconds: float | None
    attached: str
    second_order_seconds: float | None = None
    beside_seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True, repr=False)
class Profile(ShownInNotebook):
    """What each layer cost; printed, it is the table of the command line in plain text, as wide as the terminal.

    `layers` holds the root first. `step_seconds` is the mean duration of the steps that were looked at, and what the
    layers' times are parts of; `outside_seconds` is the part of it outside of every layer (the loss, the optimizer, the
    start of the autograd engine). `plain` are the steps without probes that were taken in turn with these: how long a
    step takes when nobody looks, and what the probes cost; None where there were none. Nothing is subtracted. Without
    marked steps (`steps` is 0) the recording's calls and backward nodes make up the step. `calls` and `nodes` are the
    events that were recorded. `overflowed` counts the events that could not be kept: the times of the layers that they
    belong to are part of their callers' own times. `unplaced` counts the backward nodes whose call was too long ago to
    be known: their time is outside. `omissions` says both in words. `notes` say in sentences what was different from
    what was asked for. `system` is what the system took of a step, None where it doesn't tell or nobody counted.
    `device_time` is what a GPU did for each layer, where its work was recorded: the times of the layers themselves are
    then the host's, which launches that work.
    """

    layers: tuple[LayerCost, ...]
    steps: int
    step_seconds: float
    outside_seconds: float
    calls: int
    nodes: int
    overflowed: int
    unplaced: int = 0
    plain: PlainSteps | None = None
    notes: tuple[str, ...] = ()
    system: SystemPart | None = None
    device_time: DeviceTime | None = None

    @property
    def beside_seconds(self) -> float:
        """What the layers took in other threads while a step ran, in seconds; no part of the step's time."""
        return sum(layer.beside_seconds or 0.0 for layer in self.layers)

    @property
    def is_from_trace(self) -> bool:
        """Whether another tool has taken the times, and its own cost is in them."""
        return bool(self.layers) and self.layers[0].attached == FROM_TRACE

    def omissions(self) -> tuple[str, ...]:
        """What the figures do not show as it was, a sentence each; none where everything was kept."""
        said = []
        if self.overflowed:
            events = plural(self.overflowed, "event")
            said.append(f"{events} found no room in the recorder: some times are counted in the calling layers")
        if self.unplaced:
            nodes = plural(self.unplaced, "backward node")
            said.append(f"{nodes} came too long after the forward to be given to a layer: their time is outside")
        return (*said, *(self.device_time.omissions() if self.device_time else ()))

    def __str__(self) -> str:
        return printed(self)

    def __repr__(self) -> str:
        step = f"a step of {format_seconds(self.step_seconds)}" if self.steps else format_seconds(self.step_seconds)
        if self.plain is not None:
            step = f"a step of {format_seconds(self.plain.step.value)} without probes, {self.plain}"
        system = [str(self.system)] if self.system and self.system.is_much else []
        return "; ".join([f"profile of {len(self.layers)} layers, {step}", *system, *self.omissions()])

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

    def device_seconds(self) -> list[float] | None:
        """What a device worked for each layer by itself in a step, in all directions; None where nothing tells."""
        if self.device_time is None:
            return None
        works = ((layer.own_forward, layer.own_backward, layer.recompute) for layer in self.device_time.layers)
        return [sum(work.seconds for work in own if work is not None) for own in works]

    def device_kinds(self) -> dict[str, float]:
        """What a device worked for each kind in a step; empty where nothing tells."""
        sums: dict[str, float] = {}
        for kind, seconds in zip(counted_kinds(self.layers), self.device_seconds() or (), strict=False):
            sums[kind] = sums.get(kind, 0.0) + seconds
        return sums

    def on_device(self) -> Profile:
        """The same by the device's times: of its kernels, copies and memsets in place of the host's launching them.

        A step is as long as the device was busy or idle in it; `outside_seconds` is what no layer's work fills, idle
        time included. The same profile where the device's work was not recorded.
        """
        device = self.device_time
        if device is None:
            return self
        layers = tuple(map(_on_device, self.layers, device.layers))
        step = device.busy_seconds + device.idle_seconds
        worked = sum((layer.own_forward_seconds or 0.0) + (layer.own_backward_seconds or 0.0) for layer in layers)
        worked += sum(layer.recompute_seconds or 0.0 for layer in layers)
        return replace(self, layers=layers, step_seconds=step, outside_seconds=step - worked)

    def self_check(self, tolerance: float = 0.01) -> None:
        """Raise InvariantError unless all own times and the outside sum to the step, but for `tolerance` of it.

        What the device did has to sum to its whole exactly.
        """
        if self.device_time:
            self.device_time.self_check()
        total = self.outside_seconds + sum(
            forward + (backward or 0.0) for forward, backward, _ in self.kinds().values()
        )
        if abs(total - self.step_seconds) > tolerance * self.step_seconds + 1e-6:
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
            "plain": None if self.plain is None else self.plain.to_json(),
            "beside_seconds": self.beside_seconds,
            "overflowed": self.overflowed,
            "unplaced": self.unplaced,
            "system": None if self.system is None else vars(self.system),
            "notes": list(self.notes),
            "device_time": None if self.device_time is None else self.device_time.to_json(),
        }


def assemble(sums: Sums, facts: Sequence[LayerFacts], dropped: int = 0, device: DeviceSums | None = None) -> Profile:
    """The profile of what was added up, in the order of `facts`.

    With marked steps only what ran in them and beside them counts, and all times are means over the steps. A further
    path of a module that has several is there only if the module was called from there. `dropped` counts events that
    the sums do not hold. `device` is what a device did at the places of `sums`.
    """
    modules = [index if fact.module is None else fact.module for index, fact in enumerate(facts)]
    paths = [fact.path for fact in facts]
    by_path = attribute(sums, paths, modules)
    _settle_communication(by_path, facts)
    steps = max(by_path.steps, 1)
    scale = 1e-9 / steps
    children: list[list[int]] = [[] for _ in facts]
    for index, fact in enumerate(facts):
        if fact.parent is not None:
            children[fact.parent].append(index)
    for index in reversed(range(len(facts))):
        _sum_up_container(by_path, index, children[index])
    used = by_path.used
    if device is not None:
        # A replayed graph works for layers whose forward is not called.
        used = [one or other for one, other in zip(used, used_paths(device, sums.sites, paths, modules), strict=True)]
    shown = _shown(used, facts, modules)
    rows = {index: row for row, index in enumerate(shown)}
    layers = tuple(
        LayerCost(
            rows[index],
            None if (parent := facts[index].parent) is None else rows[parent],
            facts[index].path,
            facts[index].type,
            facts[index].kind,
            _mean(by_path.calls[index], steps),
            facts[index].parameters,
            by_path.forward[index] * scale,
            by_path.own_forward[index] * scale,
            _scaled(by_path.backward[index], scale),
            _scaled(by_path.own_backward[index], scale),
            _scaled(by_path.recompute[index], scale),
            facts[index].attached,
            _scaled(by_path.second_order[index], scale),
            _scaled(by_path.beside[index], scale),
        )
        for index in shown
    )
    return Profile(
        # Where events found no room, a layer without a call may have been called.
        layers if sums.lost + dropped else explained(layers),
        by_path.steps,
        by_path.step * scale,
        by_path.outside * scale,
        by_path.events,
        by_path.nodes,
        sums.lost + dropped,
        sums.unplaced,
        device_time=None
        if device is None
        else by_layer(
            device, sums.sites, paths, modules, [fact.parent for fact in facts], steps=by_path.steps
        ).of_layers(shown),
    )


def _shown(used: Sequence[bool], facts: Sequence[LayerFacts], modules: Sequence[int]) -> list[int]:
    """The first path of every module, and of the others those that were called, with all that is around them.

    Of communication there is no first path: it is shown where it was seen.
    """
    first = {modules[index]: index for index in reversed(range(len(facts))) if facts[index].attached != WATCHED}
    shown = set(first.values())
    for index in (index for index, is_used in enumerate(used) if is_used):
        around: int | None = index
        while around is not None and around not in shown:
            shown.add(around)
            around = facts[around].parent
    return sorted(shown)


def _settle_communication(by_path: Attribution, facts: Sequence[LayerFacts]) -> None:
    """Communication within a backward is a part of it: no forward that is computed again, as calls of layers would be.

    The layers that it is called from have it in their totals.
    """
    for index, fact in enumerate(facts):
        took = by_path.recompute[index]
        if fact.attached != WATCHED or took is None:
            continue
        by_path.own_backward[index], by_path.recompute[index] = took, None
        around: int | None = index
        while around is not None:
            by_path.backward[around] = (by_path.backward[around] or 0.0) + took
            around = facts[around].parent


def _sum_up_container(by_path: Attribution, index: int, children: list[int]) -> None:
    """A module that is never called itself (a ModuleList) shows the sum of its children as its total."""
    if by_path.calls[index]:
        return
    by_path.forward[index] = sum(by_path.forward[child] for child in children)
    seen = [backward for child in children if (backward := by_path.backward[child]) is not None]
    if seen and by_path.backward[index] is None:
        by_path.backward[index] = sum(seen)


def _on_device(layer: LayerCost, work: LayerWork) -> LayerCost:
    def seconds(part: Work | None) -> float | None:
        return None if part is None else part.seconds

    worked = work.forward.seconds or work.backward or work.recompute
    return replace(
        layer,
        forward_seconds=work.forward.seconds,
        own_forward_seconds=work.own_forward.seconds,
        backward_seconds=seconds(work.backward),
        own_backward_seconds=seconds(work.own_backward),
        recompute_seconds=seconds(work.recompute),
        second_order_seconds=seconds(work.second_order),
        beside_seconds=None,
        reason=None if worked else layer.reason,
    )


def _mean(total: int, steps: int) -> float:
    """How many for one step; a whole number stays whole."""
    return total // steps if total % steps == 0 else total / steps


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
