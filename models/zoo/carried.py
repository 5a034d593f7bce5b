"""Attention that remembers: a long document is read piece by piece, each call going on where the last one ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention


class Remembering(Attention):
    """Attention over segments, one after the other, that hands what it remembers from each to the next.

    A call begins with nothing remembered, but within `carrying` with what the last call left.
    """

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        self._carries = False
        self._carried: Any = None

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        there = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device) if mask is None else mask
        context, after = self.read(hidden, there, self.start(hidden) if self._carried is None else self._carried)
        if self._carries:
            self._carried = after
        return context

    def start(self, hidden: Tensor) -> Any:
        """What is remembered before the first segment."""
        raise NotImplementedError

    def read(self, hidden: Tensor, there: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """The context of (batch, length, width), and what is remembered after it."""
        raise NotImplementedError

    def carry(self, carries: bool) -> None:
        """Begin to carry from call to call, or end it; either way nothing is remembered."""
        self._carries, self._carried = carries, None


def remembering(model: nn.Module) -> list[Remembering]:
    """The parts of a model that can carry what they remember from call to call."""
    return [module for module in model.modules() if isinstance(module, Remembering)]


@contextmanager
def carrying(model: nn.Module) -> Iterator[None]:
    """Within the block each call goes on where the last one ended, for the same examples in the same order.

    Token positions are counted from the beginning of each call, as they were in training; distances to what is
    remembered go on. Without gradients only. What was remembered is gone after the block.
    """
    parts = remembering(model)
    for part in parts:
        part.carry(True)
    try:
        yield
    finally:
        for part in parts:
            part.carry(False)
