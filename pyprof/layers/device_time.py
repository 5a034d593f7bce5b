"""Device time by layer: the sums of `pyprof.layers.device_work` for each layer of a profile. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pyprof.errors import InvariantError
from pyprof.layers.attribution import outermost_of, places_of
from pyprof.layers.device_work import BACKWARD, COLUMNS, FORWARD, PHASES, RECOMPUTE, SECOND_ORDER, DeviceSums
from pyprof.layers.kernel_names import short_name
from pyprof.layers.sums import STEPS
from pyprof.quantity import format_count, plural

_Work = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """What the device did, for one step: seconds are sums over kernels (copies, memsets), the other numbers are means.

    `launches` counts the calls of the driver that gave the device work: a CUDA graph of many kernels is one.
    """

    kernel_seconds: float = 0.0
    kernels: float = 0.0
    copy_seconds: float = 0.0
    copies: float = 0.0
    memset_seconds: float = 0.0
    memsets: float = 0.0
    launches: float = 0.0

    @property
    def seconds(self) -> float:
        """Of kernels, copies and memsets together."""
        return self.kernel_seconds + self.copy_seconds + self.memset_seconds


@dataclass(frozen=True)
class LayerWork:
    """What the device did for one layer; totals include what the layer called, `own` work does not.

    As with a layer's times on the host, `recompute` (own) is apart from the forward, and None where nothing was run
    again; `second_order` is the part of `own_backward` that is of the second order; the backward is None where none was
    seen.
    """

    forward: Work
    own_forward: Work
    backward: Work | None
    own_backward: Work | None
    recompute: Work | None
    second_order: Work | None


@dataclass(frozen=True)
class BusyTime:
    """How long one device worked in a step, in seconds: the union of its kernels, copies and memsets over all streams.

    `idle_seconds` is the rest of the step. `launch_bound_seconds` is the part of that in which the host had not yet
    launched what came next, or had nothing more to launch.
    """

    device: int
    busy_seconds: float
    idle_seconds: float
    launch_bound_seconds: float


@dataclass(frozen=True)
class KernelTime:
    """All kernels of one name, for one step: `name` is in full, `short` for people."""

    name: str
    short: str
    seconds: float
    count: float


@dataclass(frozen=True)
class DeviceTime:
    """What the device did for each layer, in the order of the profile's layers, and for the step.

    `outside` is what was launched in the step outside of every layer, `unknown` the work whose launch nobody saw;
    `total` is all of it: own work of all layers, outside and unknown sum to it, which `self_check` holds. `kernels`
    are by name, the longest first. `unplaced` counts the replayed operations of a step whose graph was captured
    unseen, `early` those that began before their launch, which no device does, `lost` and `lost_launches` the records
    that found no room. `source` names who recorded it.
    """

    layers: tuple[LayerWork, ...]
    steps: int
    outside: Work
    unknown: Work
    total: Work
    devices: tuple[BusyTime, ...]
    kernels: tuple[KernelTime, ...]
    streams: int
    unplaced: float = 0
    early: float = 0
    lost: int = 0
    lost_launches: int = 0
    source: str = "cupti"

    @property
    def busiest(self) -> BusyTime:
        """The device that worked longest."""
        return max(self.devices, key=lambda one: one.busy_seconds, default=BusyTime(0, 0.0, 0.0, 0.0))

    @property
    def busy_seconds(self) -> float:
        """How long the busiest device worked in a step."""
        return self.busiest.busy_seconds

    @property
    def idle_seconds(self) -> float:
        """How long the busiest device did not work in a step."""
        return self.busiest.idle_seconds

    @property
    def launch_bound_share(self) -> float:
        """The share of the step in which the busiest device had nothing to do, since the host hadn't launched it."""
        whole = self.busy_seconds + self.idle_seconds
        return self.busiest.launch_bound_seconds / whole if whole else 0.0

    def self_check(self) -> None:
        """Raise InvariantError unless the work of all layers, outside and unknown sum to the device's, of each kind."""
        parts = [self.outside, self.unknown]
        for layer in self.layers:
            parts += [work for work in (layer.own_forward, layer.own_backward, layer.recompute) if work is not None]
        for name, whole in vars(self.total).items():
            total = sum(getattr(part, name) for part in parts)
            if abs(total - whole) > 1e-9 * max(whole, 1.0):
                raise InvariantError(
                    f"the layers' {name} sum to {total:.9g} and the device's are {whole:.9g}: "
                    "report this as a defect of pyprof, with the model"
                )

    def omissions(self) -> tuple[str, ...]:
        """What the device's figures do not show as it was, a sentence each; none where everything was seen."""
        said = []
        if self.lost:
            said.append(f"{plural(self.lost, 'record')} of the device's work found no room: kernel times lack them")
        if self.lost_launches:
            said.append(f"{plural(self.lost_launches, 'launch call')} found no room: their kernels are of no layer")
        if self.unknown.kernels:
            share = self.unknown.kernel_seconds / self.total.kernel_seconds if self.total.kernel_seconds else 0.0
            kernels = format_count(round(self.unknown.kernels)) if self.unknown.kernels >= 1 else "some"
            said.append(f"the launch of {kernels} kernels a step ({share:.1%} of the time) was not seen")
        if self.unplaced:
            said.append(
                f"{format_count(round(self.unplaced))} operations a step are replayed from a graph that was captured "
                "before the probes were attached: they belong to no layer"
            )
        if self.early:
            said.append(
                f"{format_count(max(round(self.early), 1))} operations a step began before their launch, so the clocks "
                "of host and device disagree: how long the device was busy or idle is not to be trusted"
            )
        return tuple(said)

    def of_layers(self, shown: Sequence[int]) -> DeviceTime:
        """The same with the layers at these places only."""
        return replace(self, layers=tuple(self.layers[index] for index in shown))

    def to_json(self) -> dict[str, Any]:
        """Columns of all layers and the sums, ready for JSON."""
        columns: dict[str, list[float | None]] = {}
        for part in LayerWork.__dataclass_fields__:
            works = [getattr(layer, part) for layer in self.layers]
            for name in Work.__dataclass_fields__:
                columns[f"{part}_{name}"] = [None if work is None else getattr(work, name) for work in works]
        return {
            "source": self.source,
            "layers": columns,
            "steps": self.steps,
            "busy_seconds": self.busy_seconds,
            "idle_seconds": self.idle_seconds,
            "launch_bound_share": self.launch_bound_share,
            "devices": [vars(device) for device in self.devices],
            "streams": self.streams,
            "total": vars(self.total),
            "outside": vars(self.outside),
            "unknown": vars(self.unknown),
            "kernels": [vars(kernel) for kernel in self.kernels],
            "unplaced": self.unplaced,
            "early": self.early,
            "lost": self.lost,
            "lost_launches": self.lost_launches,
        }


def used_paths(
    sums: DeviceSums, sites: npt.NDArray[np.void], paths: Sequence[str], modules: Sequence[int]
) -> list[bool]:
    """Which paths the device did anything for."""
    places, _, work = _placed(sums, sites, paths, modules)
    done = np.bincount(places[STEPS + 1 :], work[STEPS + 1 :].sum(axis=(1, 2)), len(paths))
    return [value > 0 for value in done.tolist()]


def by_layer(
    sums: DeviceSums,
    sites: npt.NDArray[np.void],
    paths: Sequence[str],
    modules: Sequence[int],
    parents: Sequence[int | None],
    source: str = "cupti",
    steps: int | None = None,
) -> DeviceTime:
    """What the device did for the layer at each path, as means over the steps (or the sum, where none was marked).

    `sites` are the places of the recording (SITE_DTYPE); `modules[i]` is the number by which these name the layer at
    `paths[i]`, and `parents[i]` the place of the path around it. A layer of which there is no call (a ModuleList)
    shows the sum of those right below it. `steps` is their number where that is known better than from the sums, for
    which a step inside of a step is one more.
    """
    marked = sums.steps if steps is None else steps
    steps = max(marked, 1)
    places, site_parents, work = _placed(sums, sites, paths, modules)
    phases = sites["phase"].tolist()
    outermost = outermost_of(site_parents, places.tolist())
    own_backward = work[:, BACKWARD] + work[:, SECOND_ORDER]
    forward, backward = work[:, FORWARD].copy(), own_backward.copy()
    for site in range(len(work) - 1, STEPS, -1):
        around = site_parents[site]
        if around > STEPS:
            if phases[around] == phases[site]:
                forward[around] += forward[site]
            backward[around] += backward[site]

    def at_paths(values: _Work, chosen: npt.NDArray[np.bool_] | None = None) -> _Work:
        sums_at = np.zeros((len(paths), COLUMNS))
        mine = np.flatnonzero(chosen) if chosen is not None else np.arange(len(values))
        mine = mine[mine > STEPS]
        np.add.at(sums_at, places[mine], values[mine])
        return sums_at

    total_forward, total_backward = (
        at_paths(forward, outermost & (np.array(phases) == 0)),
        at_paths(backward, outermost),
    )
    called = np.zeros(len(paths), bool)
    called[places[STEPS + 1 :]] = True
    children: list[list[int]] = [[] for _ in paths]
    for index, parent in enumerate(parents):
        if parent is not None:
            children[parent].append(index)
    for index in reversed(range(len(paths))):
        if not called[index]:
            total_forward[index] = total_forward[children[index]].sum(axis=0)
            total_backward[index] = total_backward[children[index]].sum(axis=0)
    own = {phase: at_paths(work[:, phase]) for phase in (FORWARD, RECOMPUTE, SECOND_ORDER)}
    own_backwards = at_paths(own_backward)
    layers = tuple(
        LayerWork(
            _work(total_forward[index], steps),
            _work(own[FORWARD][index], steps),
            _seen(total_backward[index], steps),
            _seen(own_backwards[index], steps),
            _seen(own[RECOMPUTE][index], steps),
            _seen(own[SECOND_ORDER][index], steps),
        )
        for index in range(len(paths))
    )
    return DeviceTime(
        layers,
        marked,
        outside=_work(work[: STEPS + 1].sum(axis=(0, 1)), steps),
        unknown=_work(sums.unknown, steps),
        total=_work(sums.total, steps),
        devices=tuple(
            BusyTime(device, *(values[device] / steps * 1e-9 for values in (sums.busy, sums.idle, sums.launch_bound)))
            for device in sorted(sums.busy)
        ),
        kernels=tuple(
            KernelTime(name, short_name(name), nanoseconds / steps * 1e-9, count / steps)
            for name, (nanoseconds, count) in sorted(sums.kernels.items(), key=lambda item: (-item[1][0], item[0]))
        ),
        streams=len(sums.streams),
        unplaced=sums.unplaced_nodes / steps,
        early=sums.early / steps,
        lost=sums.lost,
        lost_launches=sums.lost_launches,
        source=source,
    )


def _placed(
    sums: DeviceSums, sites: npt.NDArray[np.void], paths: Sequence[str], modules: Sequence[int]
) -> tuple[npt.NDArray[np.int64], list[int], _Work]:
    """The path of every site (-1 for roots), every site's parent, and the work of each site and phase."""
    parents, layers = sites["parent"].tolist(), sites["layer"].tolist()
    work = np.zeros((len(sites), PHASES, COLUMNS))
    rows = min(len(sites), len(sums.work))
    work[:rows] = sums.work[:rows]
    return np.array(places_of(parents, layers, paths, modules), np.int64), parents, work


def _work(columns: npt.NDArray[Any], steps: int) -> Work:
    values = columns.tolist()
    seconds = [value / steps * 1e-9 for value in values[0:6:2]]
    counts = [_mean(value, steps) for value in values[1:6:2]]
    return Work(seconds[0], counts[0], seconds[1], counts[1], seconds[2], counts[2], _mean(values[6], steps))


def _seen(columns: npt.NDArray[Any], steps: int) -> Work | None:
    return _work(columns, steps) if columns.any() else None


def _mean(total: float, steps: int) -> float:
    """How many for one step; a whole number stays whole."""
    whole = int(total)
    return whole // steps if whole % steps == 0 else whole / steps
