"""Sliding-window attention in any transformers model that dispatches its attention by name."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
            for the windows that the model has already, as Mistral's layers and ModernBERT's local ones have.
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
        _prove(model, implementation, example, own=pairs is None)
        failed.pop_all()
    return model


def _windows(model: nn.Module, window: Any, layers: Mapping[str, nn.Module]) -> Any:
    """The windows for a configuration, checked against the layers; None for a model's own."""
    name = type(model).__name__
    if window is None:
        if all(_own_window(layer) is None for layer in layers.values()):
            raise UsageError(_without_own_window(model))
        return None
    pairs = windows(window, len(layers))
    ahead = pairs[1] if isinstance(pairs[0], int) else max(right for _, right in pairs)
    if ahead and any(getattr(layer, "is_causal", False) for layer in layers.values()):
        raise UsageError(f"{name} is causal: give a window (left, 0)")
    return pairs


def _own_window(layer: nn.Module) -> Any:
    """The sliding window that a layer has, or that its configuration has where the layer keeps none itself."""
    if hasattr(layer, "sliding_window"):
        return layer.sliding_window
    return getattr(getattr(layer, "config", None), "sliding_window", None)


def _without_own_window(model: Any) -> str:
    name = type(model).__name__
    text = model.config.get_text_config()
    if not hasattr(text, "sliding_window"):
        return f"{name} has no windows of its own: give a window"
    if text.sliding_window is None:
        return f"{name} has no windows of its own, as sliding_window of its configuration is None: give a window"
    kinds = getattr(text, "layer_types", None)
    if kinds and "sliding_attention" not in kinds:
        return f"{name} has no windows of its own, as no layer_types of its configuration slides: give a window"
    return f"{name} does not use sliding_window of its configuration: give a window"


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


def _prove(model: nn.Module, implementation: str, example: dict[str, Any], *, own: bool) -> None:
    """Raise UsageError unless every attention layer calls the implementation in one forward pass.

    Where the windows are the model's own, one layer at least has to ask for one.
    """
    name = type(model).__name__
    asked: list[int] = []
    with callers(implementation, asked) as seen, _called() as ran:
        try:
            _run(model, example, f"{name} fails with window attention {implementation!r}")
        except UsageError:
            # A model of its own attention may stumble over the mask that it is given, before it reaches any layer.
            if seen:
                raise
            ran.update(map(id, model.modules()))
    missing = silent(model, seen)
    if missing:
        what = f"{missing[0]} of {name}" if missing[0] != name else name
        if missing[0] != name and id(model.get_submodule(missing[0])) not in ran:
            raise UsageError(
                f"{what} is not called in the example, so nothing shows whether it would use a window: give "
                "inputs={name: tensor, ...} that reach it, or give the window to a part of the model"
            )
        raise UsageError(
            f"{what} does not dispatch its attention by name, so no window can be given to it: "
            "call pyprof.window_attention in its code"
        )
    if own and not asked:
        raise UsageError(_without_own_window(model))


@contextmanager
def _called() -> Iterator[set[int]]:
    """The ids of the modules that are called in a block."""
    ran: set[int] = set()
    hook = torch.nn.modules.module.register_module_forward_pre_hook(lambda module, _: ran.add(id(module)))
    try:
        yield ran
    finally:
        hook.remove()


def _run(model: nn.Module, example: dict[str, Any], what: str) -> None:
    with torch.no_grad():
        guarded(what, model, **example)


def _example(model: Any) -> dict[str, Any]:
    """Random keyword arguments of a short example on the model's device; raises UsageError for unknown modalities."""
    name, config = str(getattr(model, "main_input_name", None)), model.config
    generator = torch.Generator().manual_seed(0)
    if name == "input_ids" and hasattr(config.get_text_config(), "vocab_size"):
        example = random_tokens((1, 16), config.get_text_config(), generator)
    elif name == "input_values":
        example = torch.randn(1, 4000, generator=generator).to(model.dtype)
    elif name == "pixel_values" and hasattr(config, "image_size"):
        side = side_of(config.image_size)
        example = torch.randn(1, config.num_channels, side, side, generator=generator).to(model.dtype)
    else:
        raise UsageError(f"there is no example to try {type(model).__name__} on: give inputs={{name: tensor, ...}}")
    return {name: example.to(model.device)}
