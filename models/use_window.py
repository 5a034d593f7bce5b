"""Sliding-window attention in any transformers model that dispatches its attention by name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import nn

from pyprof.errors import UsageError
from pyprof.failures import guarded
from pyprof.layers.snapshot import given_back
from pyprof.models.architecture import random_tokens
from pyprof.models.verify import attention_modules, callers, silent
from pyprof.models.vision import side_of
from pyprof.models.windows import windows
from pyprof.ops import interface

Model = TypeVar("Model", bound=nn.Module)


def use_window_attention(
    model: Model, window: Any, implementation: str = "fused", *, inputs: Mapping[str, Any] | None = None
) -> Model:
    """Give every attention layer of a transformers model a window, and prove in one forward pass that it is used.

    Args:
        model: any transformers model; it is changed in place. Its configuration is replaced by a copy, which holds the
            window, since a configuration may be shared with other models.
        window: (left, right) neighbours that a query sees, itself not counted, or one such pair for each layer; None
            for the windows that the model has already, as ModernBERT's local layers have.
        implementation: fused, chunks, flex or sdpa-mask.
        inputs: keyword arguments of one forward pass; random ones unless given, for models of token numbers,
            waveforms and images.

    Returns:
        The model itself. Whatever the forward passes moved (modes, buffers, gradients, the random state) is as it was.

    Raises:
        UsageError: a layer does not call the implementation, or passes it something that it cannot honour, such as a
            bias of relative positions. The model is then as it was.
    """
    config = getattr(model, "config", None)
    if not hasattr(config, "_attn_implementation"):
        raise UsageError(f"{type(model).__name__} is no transformers model: call pyprof.window_attention in its layers")
    interface.install()
    if implementation not in interface.IMPLEMENTATIONS:
        raise UsageError(
            f"there is no window attention {implementation!r}: choose from {', '.join(interface.IMPLEMENTATIONS)}"
        )
    layers = attention_modules(model)
    pairs = _windows(model, window, layers)
    example = dict(_example(model) if inputs is None else inputs)
    with given_back(model, example), ExitStack() as failed:
        model.eval()
        _run(model, example, f"{type(model).__name__} fails on the example that it is tried on")
        change = _Change(model)
        failed.callback(change.undo)
        change.configuration._attn_implementation = implementation
        change.configuration.window = pairs
        if pairs is not None and not isinstance(pairs[0], int):
            change.number(layers.values())
        _prove(model, implementation, example)
        failed.pop_all()
    return model


def _windows(model: nn.Module, window: Any, layers: Mapping[str, nn.Module]) -> Any:
    """The windows for a configuration, checked against the layers; None for a model's own."""
    name = type(model).__name__
    if window is None:
        if all(getattr(layer, "sliding_window", None) is None for layer in layers.values()):
            raise UsageError(f"{name} has no windows of its own: give a window")
        return None
    pairs = windows(window, len(layers))
    ahead = pairs[1] if isinstance(pairs[0], int) else max(right for _, right in pairs)
    if ahead and any(getattr(layer, "is_causal", False) for layer in layers.values()):
        raise UsageError(f"{name} is causal: give a window (left, 0)")
    return pairs


class _Change:
    """A model's configuration replaced by a copy of its own, and what it takes to put it back."""

    def __init__(self, model: nn.Module) -> None:
        copies: dict[int, Any] = {}
        self.configuration: Any = copy.deepcopy(model.config, copies)
        self._before: list[tuple[nn.Module, Any]] = []
        self._numbered: list[nn.Module] = []
        for module in model.modules():
            # A model's parts hold the same object, or the part of it that is theirs.
            own = module.__dict__.get("config")
            if own is not None and id(own) in copies:
                self._before.append((module, own))
                module.config = copies[id(own)]

    def number(self, layers: Any) -> None:
        """Tell layers that do not know it which one they are, for windows that differ between layers."""
        for index, layer in enumerate(layers):
            if getattr(layer, "layer_idx", None) is None:
                layer.layer_idx = index
                self._numbered.append(layer)

    def undo(self) -> None:
        for module, config in self._before:
            module.config = config
        for layer in self._numbered:
            del layer.layer_idx


def _prove(model: nn.Module, implementation: str, example: dict[str, Any]) -> None:
    """Raise UsageError unless every attention layer calls the implementation in one forward pass."""
    name = type(model).__name__
    with callers(implementation) as seen:
        try:
            _run(model, example, f"{name} fails with window attention {implementation!r}")
        except UsageError:
            # A model of its own attention may stumble over the mask that it is given.
            if seen:
                raise
    missing = silent(model, seen)
    if missing:
        what = f"{missing[0]} of {name}" if missing[0] != name else name
        raise UsageError(
            f"{what} does not dispatch its attention by name, so no window can be given to it: "
            "call pyprof.window_attention in its code"
        )


def _run(model: nn.Module, example: dict[str, Any], what: str) -> None:
    with torch.no_grad():
        guarded(what, model, **example)


def _example(model: Any) -> dict[str, Any]:
    """Random keyword arguments of a short example on the model's device; raises UsageError for unknown modalities."""
    name, config = str(getattr(model, "main_input_name", None)), model.config
    generator = torch.Generator().manual_seed(0)
    if name == "input_ids" and hasattr(config, "vocab_size"):
        example = random_tokens((1, 16), config, generator)
    elif name == "input_values":
        example = torch.randn(1, 4000, generator=generator).to(model.dtype)
    elif name == "pixel_values" and hasattr(config, "image_size"):
        side = side_of(config.image_size)
        example = torch.randn(1, config.num_channels, side, side, generator=generator).to(model.dtype)
    else:
        raise UsageError(f"there is no example to try {type(model).__name__} on: give inputs={{name: tensor, ...}}")
    return {name: example.to(model.device)}
