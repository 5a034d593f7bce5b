"""Where probes are put on a module, how each of its layers is looked at, and what a profile says of it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pyprof.device.weights import WeightCount
from pyprof.layers.compiled import has_compiled
from pyprof.layers.profile import LayerFacts
from pyprof.layers.uncalled import NO_FORWARD


@dataclass(frozen=True)
class Spot:
    """A module, its first path, and how it is instrumented: `attached` as in LayerFacts."""

    path: str
    module: nn.Module
    attached: str


def spots_of(module: nn.Module) -> Iterator[Spot]:
    """Every module once, in the order of nn.Module.named_modules, with how it is instrumented."""
    closed: list[tuple[str, str]] = []  # paths whose inside no probe can see, and why
    for path, layer in module.named_modules():
        above = next((reason for prefix, reason in closed if path.startswith(prefix)), None)
        attached = f"skipped: {above}" if above else _attachment(layer)
        if above is None and (reason := _closed(layer)):
            closed.append((f"{path}." if path else "", reason))
        yield Spot(path, layer, attached)


def _closed(module: nn.Module) -> str | None:
    """Why no probe can see the calls of the module's own modules."""
    if isinstance(module, torch.jit.ScriptModule):
        return "inside TorchScript"
    # Without that part of PyTorch, which takes 70 MB, nothing can have been compiled.
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    whole = dynamo is not None and isinstance(module, dynamo.OptimizedModule)
    if whole or _compiled_call(module) or has_compiled(module):
        return "inside torch.compile"
    return None


def _compiled_call(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None


def _attachment(module: nn.Module) -> str:
    if _compiled_call(module):
        return "compiled"
    forward = getattr(module, "forward", None)
    if forward is None or getattr(forward, "__func__", forward) is nn.Module.forward:
        return NO_FORWARD
    # A property, or another descriptor that can be set, comes before the instance's own attributes.
    return "hooked" if hasattr(inspect.getattr_static(type(module), "forward", None), "__set__") else "replaced"


def numbers_of(spots: Sequence[Spot]) -> dict[int, int]:
    """By the identity of each module, the number by which the recorder knows it."""
    return {id(spot.module): number for number, spot in enumerate(spots)}


def facts_of(
    spots: Sequence[Spot], paths: Sequence[tuple[str, nn.Module]], kinds: Mapping[str, str]
) -> list[LayerFacts]:
    """The facts of every path of every module, in the order of nn.Module.named_modules without removing duplicates."""
    modules = numbers_of(spots)
    numbers: dict[str, int] = {}
    weights = WeightCount()
    facts: list[LayerFacts] = []
    for path, layer in paths:
        # A lazy layer that no forward has reached has no weights yet.
        unborn = any(map(is_lazy, layer.parameters(recurse=False)))
        count = 0 if unborn else weights.add(layer)
        parent = numbers[path.rpartition(".")[0]] if path else None
        numbers[path] = len(facts)
        number = modules[id(layer)]
        facts.append(LayerFacts(path, type(layer).__name__, kinds[path], parent, count, spots[number].attached, number))
    return facts
