"""The implementations of sliding-window attention by name, and their registration with transformers."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from pyprof.models.attention.chunks import chunked_attention


class WindowAttention(Protocol):
    """Attention of every query to itself and `window` (left, right) neighbours; shapes as in `chunked_attention`."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        window: tuple[int, int],
        *,
        key_mask: Tensor | None = None,
        scale: float | None = None,
        dropout_p: float = 0.0,
    ) -> Tensor: ...


IMPLEMENTATIONS: dict[str, WindowAttention] = {"chunks": chunked_attention}


def register(name: str, implementation: WindowAttention) -> None:
    """Make an implementation selectable by name in every model whose configuration has a `window`."""
    IMPLEMENTATIONS[name] = implementation

    def forward(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        **_: Any,
    ) -> tuple[Tensor, None]:
        window: tuple[int, int] = module.config.window  # type: ignore[union-attr,assignment]
        output = implementation(query, key, value, window, key_mask=attention_mask, scale=scaling, dropout_p=dropout)
        return output.transpose(1, 2), None

    AttentionInterface.register(name, forward)
    AttentionMaskInterface.register(name, _key_mask)


def install() -> None:
    """Register every known implementation; transformers would silently drop the padding mask of an unregistered one."""
    for name, implementation in tuple(IMPLEMENTATIONS.items()):
        if name not in AttentionInterface():
            register(name, implementation)


def _key_mask(*, attention_mask: Tensor | None = None, **_: Any) -> Tensor | None:
    """The padding mask as it is, (batch, length), true for keys that take part."""
    return None if attention_mask is None else attention_mask.to(torch.bool)
