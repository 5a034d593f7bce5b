"""Profilers of other projects, through their documented interfaces; each needs its package to be importable."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import nn

from pyprof.overhead.tool import HEAP, Attached, LayerTime, Tool
from pyprof.overhead.torch_profiler import hush


class _DeepSpeed(Attached):
    """DeepSpeed's FlopsProfiler on its own: hooks that time and count, and counting wrappers of PyTorch's functions."""

    def __init__(self, module: nn.Module, backward: bool) -> None:
        package = importlib.import_module("deepspeed.profiling.flops_profiler.profiler")
        importlib.import_module("deepspeed.utils").logger.setLevel("WARNING")  # it logs every start and end
        self._module = module
        self._duration = package.get_module_duration
        self._profiler: Any = package.FlopsProfiler(module)
        self._profiler.start_profile()

    def layers(self) -> Mapping[str, LayerTime]:
        times = {path: 1e9 * float(self._duration(layer)) for path, layer in self._module.named_modules()}
        return {path: LayerTime(taken) for path, taken in times.items() if taken > 0}

    def detach(self) -> None:
        self._profiler.end_profile()


class _Torchprof(Attached):
    """torchprof: an autograd profiler of its own around every call of a module without children."""

    def __init__(self, module: nn.Module, backward: bool) -> None:
        hush()
        package = importlib.import_module("torchprof")
        self._module = module
        self._profile: Any = package.Profile(module, use_cuda=False).__enter__()

    def layers(self) -> Mapping[str, LayerTime] | None:
        # It gives its events only after it has been exited.
        self.detach()
        _, events = self._profile.raw()
        times = {}
        for path, calls in events.items():
            top = [event for call in calls for event in call if event.cpu_parent is None]
            times[".".join(path[1:])] = LayerTime(1e3 * sum(event.cpu_time_total for event in top))
        return times

    def detach(self) -> None:
        if not self._profile.exited:
            self._profile.__exit__(None, None, None)
            # Its wrappers were attributes of the modules, and so are the methods that it puts back.
            for layer in self._module.modules():
                with suppress(KeyError):
                    if getattr(layer.__dict__["forward"], "__self__", None) is layer:
                        del layer.__dict__["forward"]


DEEPSPEED = Tool(
    "DeepSpeed",
    _DeepSpeed,
    timed="nothing else",
    bytes_by=HEAP,
    package="deepspeed",
    install="pip install deepspeed",
)
TORCHPROF = Tool(
    "torchprof",
    _Torchprof,
    timed="nothing else",
    bytes_by=HEAP,
    package="torchprof",
    install="pip install --no-deps torchprof",
    keeps_cupti=True,
)
