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
def _count_registered(name: str) -> Iterator[list[str]]:
    """Count the calls of an implementation that is registered with transformers; the list gets one name per call."""
    from transformers import AttentionInterface

    implementation = AttentionInterface()[name]
    calls: list[str] = []

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return implementation(*args, **kwargs)

    AttentionInterface.register(name, counting)
    try:
        yield calls
    finally:
        AttentionInterface.register(name, implementation)


def verify_attention(
    module: nn.Module, inputs: tuple[tuple[Any, ...], dict[str, Any]], attention: str, choices: Sequence[str]
) -> Any:
    """Run one forward pass and return its output; raises UsageError unless exactly `attention` computed it.

    ``eager`` is a model's own code: no fused attention may run. Any other name has to be called at least once.
    """
    args, kwargs = inputs
    with torch.no_grad(), _CountSdpa() as sdpa:
        if attention in ("eager", "sdpa"):
            output = module(*args, **kwargs)
            ran = (sdpa.calls > 0) == (attention == "sdpa")
        else:
            with _count_registered(attention) as calls:
                output = module(*args, **kwargs)
            ran = bool(calls)
    if not ran:
        name = type(module).__name__
        raise UsageError(f"{name} ignores attention implementation {attention!r}: choose from {', '.join(choices)}")
    return output
