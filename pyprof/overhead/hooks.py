"""Layers timed as one would by hand: with the module's hooks, and with record_function around its forward."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from pyprof.overhead.tool import HEAP, Attached, LayerTime, Tool


class _Hooks(Attached):
    """Stamps in pre-hooks and hooks, of the backward too where it is timed: the module's own interface."""

    def __init__(self, module: nn.Module, backward: bool) -> None:
        self._stamps: dict[str, dict[str, list[int]]] = {"forward": {}, "backward": {}}
        self._handles: list[Any] = []
        for path, layer in module.named_modules():
            begin, end = _stampers(self._stamps["forward"].setdefault(path, []))
            self._handles += [layer.register_forward_pre_hook(begin), layer.register_forward_hook(end)]
            if backward:
                begin, end = _stampers(self._stamps["backward"].setdefault(path, []))
                self._handles += [layer.register_full_backward_pre_hook(begin), layer.register_full_backward_hook(end)]

    def layers(self) -> Mapping[str, LayerTime]:
        return {
            path: LayerTime(_between(stamps), backward=_between(self._stamps["backward"].get(path, [])) or None)
            for path, stamps in self._stamps["forward"].items()
            if stamps
        }

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()


def _stampers(stamps: list[int]) -> tuple[Callable[..., None], Callable[..., None]]:
    now, keep = time.perf_counter_ns, stamps.append

    def begin(*_: Any) -> None:
        keep(now())

    def end(*_: Any) -> None:
        keep(now())

    return begin, end


def _between(stamps: list[int]) -> float:
    """The sum of the intervals between a begin and the end that follows it."""
    return float(sum(stamps[1::2]) - sum(stamps[: 2 * (len(stamps) // 2) : 2]))


class RecordFunctions(Attached):
    """A record_function of its path around each layer's forward, as one writes it into a model."""

    def __init__(self, module: nn.Module, backward: bool) -> None:
        self._undo: list[tuple[nn.Module, Any]] = []
        for path, layer in module.named_modules():
            if getattr(type(layer), "forward", nn.Module.forward) is nn.Module.forward:
                continue  # a container that is never called
            self._undo.append((layer, layer.__dict__.get("forward")))
            layer.__dict__["forward"] = _recorded(layer.forward, label(path))

    def detach(self) -> None:
        for layer, before in self._undo:
            if before is None:
                del layer.__dict__["forward"]
            else:
                layer.__dict__["forward"] = before


def label(path: str) -> str:
    """The name of a layer's range in a trace."""
    return f"layer {path}"


def _recorded(forward: Callable[..., Any], name: str) -> Callable[..., Any]:
    def recorded(*args: Any, **kwargs: Any) -> Any:
        with torch.profiler.record_function(name):
            return forward(*args, **kwargs)

    return recorded


HOOKS = Tool("Python hooks", _Hooks, timed="nothing else", bytes_by=HEAP)
RECORD_FUNCTION = Tool("record_function", RecordFunctions, timed="nothing else; no profiler runs, so it gives no times")
