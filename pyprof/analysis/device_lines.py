"""What a device did for the lines of a layer table: means over the layers that a line stands for, and its share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyprof.analysis.layer_tree import LayerLine
    from pyprof.layers.device_time import DeviceTime, LayerWork, Work
    from pyprof.layers.profile import Profile


@dataclass(frozen=True)
class DeviceLine:
    """Device time of one line, in seconds for one step: kernels, copies and memsets together.

    Times are means over the line's layers, None where nothing was launched for a backward or a recomputation.
    `kernels` counts those of all phases, with what lies below; `share` is of all the device's work, of the line's
    layers together and with what lies below them, `own_share` without.
    """

    forward_seconds: float
    own_forward_seconds: float
    backward_seconds: float | None
    own_backward_seconds: float | None
    recompute_seconds: float | None
    kernels: float
    share: float
    own_share: float


def device_lines(profile: Profile, lines: Sequence[LayerLine]) -> tuple[DeviceLine, ...]:
    """The device's line beside each line of the table; none where the profile has no device time."""
    device = profile.device_time
    if device is None:
        return ()
    own = [_seconds(work) for work in device.layers]
    whole = list(own)
    for layer in reversed(profile.layers):
        if layer.parent is not None:
            whole[layer.parent] += whole[layer.index]
    return tuple(_line(device, line.members, own, whole) for line in lines)


def _line(device: DeviceTime, members: Sequence[int], own: Sequence[float], whole: Sequence[float]) -> DeviceLine:
    layers = [device.layers[index] for index in members]
    everything = device.total.seconds or 1.0

    def mean(part: str) -> float | None:
        works: list[Work] = [work for layer in layers if (work := getattr(layer, part)) is not None]
        return sum(work.seconds for work in works) / len(layers) if works else None

    kernels = sum(work.kernels for layer in layers for work in (layer.forward, layer.backward) if work is not None)
    return DeviceLine(
        mean("forward") or 0.0,
        mean("own_forward") or 0.0,
        mean("backward"),
        mean("own_backward"),
        mean("recompute"),
        kernels / len(layers),
        sum(whole[index] for index in members) / everything,
        sum(own[index] for index in members) / everything,
    )


def _seconds(layer: LayerWork) -> float:
    """All of a layer's own work."""
    own = layer.own_forward, layer.own_backward, layer.recompute
    return sum(work.seconds for work in own if work is not None)
