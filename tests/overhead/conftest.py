from __future__ import annotations

import importlib.machinery
import sys
import time
import types
from collections.abc import Callable

import pytest
import torch
from torch import nn


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: object) -> None:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__path__ = []  # type: ignore[attr-defined]
    module.__dict__.update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


class FlopsProfiler:
    """The surface of DeepSpeed's FlopsProfiler that we use, with hooks that time as it has them."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.handles: list[object] = []

    def start_profile(self) -> None:
        def start(module: nn.Module, _: object) -> None:
            module.__start_time__ = time.time()

        def end(module: nn.Module, *_: object) -> None:
            module.__duration__ += time.time() - module.__start_time__

        for one in self.model.modules():
            one.__duration__ = 0
            self.handles += [one.register_forward_pre_hook(start), one.register_forward_hook(end)]

    def end_profile(self) -> None:
        for handle in self.handles:
            handle.remove()
        for one in self.model.modules():
            del one.__duration__
            if hasattr(one, "__start_time__"):
                del one.__start_time__


def get_module_duration(module: nn.Module) -> float:
    return module.__duration__ or sum(map(get_module_duration, module.children()))


class Profile:
    """The surface of torchprof.Profile that we use: a profiler of its own around each call of a leaf."""

    def __init__(self, model: nn.Module, use_cuda: bool = False) -> None:
        self.model, self.exited = model, False
        self.events: dict[tuple[str, ...], list[object]] = {}
        self.before: dict[nn.Module, Callable[..., object]] = {}

    def __enter__(self) -> Profile:
        for path, one in self.model.named_modules():
            if next(one.children(), None) is None:
                self.before[one] = one.forward
                one.forward = self._wrapped(one.forward, (type(self.model).__name__, *path.split(".")))
        return self

    def _wrapped(self, forward: Callable[..., object], path: tuple[str, ...]) -> Callable[..., object]:
        def wrap_forward(*args: object) -> object:
            with torch.autograd.profiler.profile() as profile:
                result = forward(*args)
            self.events.setdefault(path, []).append(profile.function_events)
            return result

        return wrap_forward

    def __exit__(self, *_: object) -> None:
        for one, forward in self.before.items():
            one.forward = forward
        self.exited = True

    def raw(self) -> tuple[tuple[object, ...], dict[tuple[str, ...], list[object]]]:
        assert self.exited
        return (), self.events


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the packages of other projects."""
    for name in ("deepspeed", "deepspeed.profiling", "deepspeed.profiling.flops_profiler"):
        fake(monkeypatch, name)
    surface = {"FlopsProfiler": FlopsProfiler, "get_module_duration": get_module_duration}
    fake(monkeypatch, "deepspeed.profiling.flops_profiler.profiler", **surface)
    fake(monkeypatch, "deepspeed.utils", logger=types.SimpleNamespace(setLevel=lambda _: None))
    fake(monkeypatch, "torchprof", Profile=Profile)
