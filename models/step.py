"""What is timed: a bare model's forward pass, or a training step's forward pass to a scalar loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyprof.errors import UsageError
from pyprof.layers.steps import loss_of

CLASSES = 2


class LightHead(nn.Module):
    """The mean over tokens, one linear layer to two classes, and the cross entropy against class 0.

    It is as light as a head can be, so that a training step's cost is the model's. Where a model's width is not
    known, the layer is made at the first call. A scalar is passed on as it is: the model computes a loss of its own.
    """

    def __init__(self, width: int | None, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self.classifier: nn.Linear | None = None
        if width is not None:
            self.materialise(width)

    def materialise(self, width: int, like: Tensor | None = None) -> nn.Linear:
        """Make the linear layer, with weights that the seed fixes, where it is not there yet."""
        if self.classifier is None:
            classifier = nn.Linear(width, CLASSES)
            generator = torch.Generator().manual_seed(self._seed)
            nn.init.normal_(classifier.weight, std=0.02, generator=generator)
            nn.init.zeros_(classifier.bias)
            self.classifier = classifier if like is None else classifier.to(like.device, like.dtype)
        return self.classifier

    def forward(self, output: Any) -> Tensor:
        hidden = first_tensor(output)
        if hasattr(hidden, "full_tensor"):
            # Of a sharded model, whose ranks may hold a part each.
            hidden = hidden.full_tensor()
        if hidden.dim() == 0:
            return hidden
        classifier = self.materialise(hidden.shape[-1], hidden)
        pooled = hidden.flatten(1, -2).mean(dim=1) if hidden.dim() > 2 else hidden
        target = torch.zeros(len(pooled), dtype=torch.long, device=pooled.device)
        return functional.cross_entropy(classifier(pooled), target)


class TrainStep(nn.Module):
    """A model and a light head; takes the model's own arguments and returns the scalar loss."""

    def __init__(self, model: nn.Module, head: LightHead) -> None:
        super().__init__()
        self.model = model
        self.head = head

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = self.head(self.model(*args, **kwargs))
        return loss


class LossStep(nn.Module):
    """A model with a head of its own, labels among its arguments; returns its own loss, or its outputs' mean."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return loss_of(self.model(*args, **kwargs))


def first_tensor(output: Any) -> Tensor:
    """The first floating-point tensor of a model's output (a tensor, mapping or sequence).

    Raises UsageError where there is none.
    """
    if isinstance(output, Tensor):
        candidates = [output]
    elif isinstance(output, Mapping):
        candidates = [value for value in output.values() if isinstance(value, Tensor)]
    elif isinstance(output, (tuple, list)):
        candidates = [value for value in output if isinstance(value, Tensor)]
    else:
        candidates = []
    for candidate in candidates:
        if candidate.is_floating_point():
            return candidate
    raise UsageError(
        f"a model in train mode has to return a tensor of hidden states or a loss, not {type(output).__name__}: "
        "wrap it so that it does"
    )
