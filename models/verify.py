"""Which attention implementation really ran: counted, because a model may accept a name and never call it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pyprof.errors import UsageError


class _CountSdpa(TorchFunctionMode):
    """Counts calls of PyTorch's scaled_dot_product_attention."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.calls += func is functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


@contextmanager
def callers(name: str, windows: list[int] | None = None) -> Iterator[list[nn.Module]]:
    """Note which modules call an implementation that is registered with transformers, one entry for each call.

    The sliding windows that they ask for are added to `windows`.
    """
    from transformers import AttentionInterface

    implementation = AttentionInterface()[name]
    seen: list[nn.Module] = []

    def counting(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        seen.append(module)
        if windows is not None and (window := kwargs.get("sliding_window")) is not None:
            windows.append(window)
        return implementation(module, *args, **kwargs)

    AttentionInterface.register(name, counting)
    try:
        yield seen
    finally:
        AttentionInterface.register(name, implementation)


def attention_modules(module: nn.Module) -> dict[str, nn.Module]:
    """The innermost modules whose class is named after attention, by path, in the order of the model."""
    named = {path: layer for path, layer in module.named_modules() if "attention" in type(layer).__name__.lower()}
    outer = {path for path in named for other in named if other.startswith(f"{path}.") or (other and not path)}
    return {path: layer for path, layer in named.items() if path not in outer}


def silent(module: nn.Module, seen: Sequence[nn.Module]) -> list[str]:
    """Paths of the attention modules that called nothing; the model's own name where it has none that called."""
    called = {id(layer) for layer in seen}
    missing = [path for path, layer in attention_modules(module).items() if id(layer) not in called]
    return missing if called else missing or [type(module).__name__]


def verify_attention(
    module: nn.Module, inputs: tuple[tuple[Any, ...], dict[str, Any]], attention: str, choices: Sequence[str]
) -> Any:
    """Run one forward pass and return its output; raises UsageError unless exactly `attention` computed it.

    ``eager`` is a model's own code: no fused attention may run. Any other name has to be called by every layer.
    """
    args, kwargs = inputs
    with torch.no_grad(), _CountSdpa() as sdpa:
        if attention in ("eager", "sdpa"):
            output = module(*args, **kwargs)
            ran = (sdpa.calls > 0) == (attention == "sdpa")
        else:
            with callers(attention) as seen:
                output = module(*args, **kwargs)
            ran = not silent(module, seen)
    if not ran:
        name = type(module).__name__
        raise UsageError(f"{name} ignores attention implementation {attention!r}: choose from {', '.join(choices)}")
    return output
