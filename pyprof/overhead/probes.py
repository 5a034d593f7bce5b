"""Our own probes as one of the tools."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from torch import nn

from pyprof.layers.instrument import instrument
from pyprof.overhead.tool import Attached, LayerTime, Tool


class _Probes(Attached):
    def __init__(self, module: nn.Module, backward: bool) -> None:
        self._probes = instrument(module, backward=backward).__enter__()

    def recording(self) -> AbstractContextManager[object]:
        # As `pyprof profile` does: reading a device's records out takes longer than a step of small kernels.
        return self._probes.mark() if self._probes.records_device else self._probes.step()

    def layers(self) -> Mapping[str, LayerTime]:
        return {
            layer.path: LayerTime(
                1e9 * (layer.forward_seconds or 0.0),
                1e9 * (layer.own_forward_seconds or 0.0),
                _nanoseconds(layer.backward_seconds),
                _nanoseconds(layer.own_backward_seconds),
            )
            for layer in self._probes.profile().layers
        }

    def kept_bytes(self) -> int:
        trace = self._probes.trace
        return int(trace.spans.nbytes + trace.nodes.nbytes)

    def detach(self) -> None:
        self._probes.__exit__(None, None, None)


def _nanoseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e9 * seconds


PYPROF = Tool(
    "pyprof",
    _Probes,
    timed="marking the step and, on the host, handing over what was recorded",
    bytes_by="entries of the recording",
)
