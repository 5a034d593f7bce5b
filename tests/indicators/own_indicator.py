"""An indicator of one's own, and two models that it tells apart: the whole of it is in this file."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading

# At this many tokens the two models take inputs of one size.
EVEN = 64
# What a test changes to make a later run of the linear model cost more.
extra = 0


def read(step: Step) -> Reading:
    """All elements of the inputs; in the detail what else an indicator is told of the step."""
    args, kwargs = step.inputs
    elements = sum(tensor.numel() for tensor in (*args, *kwargs.values()))
    told = {"mode": step.mode, "batch": step.batch, "length": step.length, "device": step.device.name}
    return Reading(float(elements), detail={**told, "module": type(step.module).__name__})


ELEMENTS = Indicator(
    name="elements",
    title="Input elements",
    unit="1",
    format="count",
    better="lower",
    scope="of one example",
    meaning="number of elements that the model is given",
    source="this test",
    exact=True,
    place=50,
    how="counted",
    read=read,
)


def layers(step: Step) -> Reading:
    return Reading(float(sum(1 for _ in step.module.modules())))


LAYERS = Indicator(
    name="layers",
    title="Layers",
    unit="modules",
    format="count",
    better="lower",
    meaning="number of modules",
    source="this test",
    exact=True,
    varies_with_length=False,
    modes=("infer",),
    place=60,
    read=layers,
)


def failing(step: Step) -> Reading:
    raise ValueError(f"nothing to count at {step.length}")


FAILING = Indicator(
    name="failing",
    title="Failing",
    unit="1",
    better="lower",
    meaning="fails",
    source="this test",
    exact=True,
    read=failing,
)


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.scale(x.sum().reshape(1, 1))
        return out


Made = tuple[nn.Module, Callable[[int, int], dict[str, torch.Tensor]]]


def square() -> Made:
    return Sum(), lambda length, batch: {"x": torch.ones(batch, length, length)}


def linear() -> Made:
    return Sum(), lambda length, batch: {"x": torch.ones(batch, length, EVEN + extra)}
