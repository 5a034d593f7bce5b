"""Profilers of other projects, through what they document; each is there only if its package can be imported."""

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
        found = importlib.import_module("deepspeed.profiling.flops_profiler.profiler")
        importlib.import_module("deepspeed.utils").logger.setLevel("WARNING")  # it tells of every start and end
        self._module = module
        self._duration = found.get_module_duration
        self._profiler: Any = found.FlopsProfiler(module)
        self._profiler.start_profile()

    def layers(self) -> Mapping[str, LayerTime]:
        times = {path: 1e9 * float(self._duration(one)) for path, one in self._module.named_modules()}
        return {path: LayerTime(taken) for path, taken in times.items() if taken > 0}

    def detach(self) -> None:
        self._profiler.end_profile()


class _Torchprof(Attached):
    """torchprof: an autograd profiler of its own around every call of a module without children."""

    def __init__(self, module: nn.Module, backward: bool) -> None:
        hush()
        found = importlib.import_module("torchprof")
        self._module = module
        self._profile: Any = found.Profile(module, use_cuda=False).__enter__()

    def layers(self) -> Mapping[str, LayerTime] | None:
        # It hands out what it has only once it has been left.
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
            for one in self._module.modules():
                with suppress(KeyError):
                    if getattr(one.__dict__["forward"], "__self__", None) is one:
                        del one.__dict__["forward"]


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
)
