"""What follows the backward of a training step: an optimizer's update, or sharpness-aware minimisation's two passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

from pyprof.device.memory import tensors_in

_LEARNING_RATE = 1e-5
_MOMENTUM = 0.9
# The radius within which the loss is to be low (Foret et al., section 3).
_RADIUS = 0.05

# Gradients anew: a forward, the loss and a backward.
Backward = Callable[[], None]


class Trainer(Protocol):
    """Takes training steps."""

    def step(self, backward: Backward) -> None:
        """Compute the gradients, maybe more than once, and update the weights."""
        ...

    @property
    def state(self) -> list[Tensor]:
        """The tensors that are kept between two steps."""
        ...


class Plain:
    """One pass and an optimizer's update."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def step(self, backward: Backward) -> None:
        backward()
        self._optimizer.step()

    @property
    def state(self) -> list[Tensor]:
        return list(tensors_in(list(self._optimizer.state.values())))


class SharpnessAware:
    """Sharpness-aware minimisation (Foret et al., ICLR 2021), around SGD with momentum.

    A first pass tells the way in which the loss rises most; the gradients of a second pass, taken some way up there,
    update the weights where they were. Between the passes the weights are there twice.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._weights = [weight for group in optimizer.param_groups for weight in group["params"]]

    def step(self, backward: Backward) -> None:
        backward()
        before = self._climb()
        backward()
        with torch.no_grad():
            for weight, kept in before:
                weight.copy_(kept)
        self._optimizer.step()

    @torch.no_grad()
    def _climb(self) -> list[tuple[Tensor, Tensor]]:
        """Move the weights up; returns them with what they were."""
        uphill = [(weight, weight.grad) for weight in self._weights if weight.grad is not None]
        norm = torch.stack([gradient.norm().double() for _, gradient in uphill]).norm()
        before = [(weight, weight.clone()) for weight, _ in uphill]
        for weight, gradient in uphill:
            weight.addcmul_(gradient, (_RADIUS / (norm + 1e-12)).to(weight.dtype))
        return before

    @property
    def state(self) -> list[Tensor]:
        return list(tensors_in(list(self._optimizer.state.values())))


def trainer(name: str, weights: Iterable[Tensor], *, captured: bool) -> Trainer:
    """The trainer of that name, one of `pyprof.records.case.OPTIMIZERS` but none.

    `captured`: its steps are to be captured into a device's graph.
    """
    if name == "adamw":
        # A captured AdamW counts its steps on the device.
        return Plain(torch.optim.AdamW(weights, lr=_LEARNING_RATE, capturable=captured))
    momentum = 0.0 if name == "sgd" else _MOMENTUM
    optimizer = torch.optim.SGD(weights, lr=_LEARNING_RATE, momentum=momentum)
    return SharpnessAware(optimizer) if name == "sam" else Plain(optimizer)
