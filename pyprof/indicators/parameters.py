"""The number of parameters of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading

if TYPE_CHECKING:
    from torch import nn


def count(step: Step) -> Reading:
    """Parameters of the bare model (without the head of a training step), tied ones once; the detail has the trainable.

    Counted by torchinfo from the model's structure, without a forward pass, as in the study of Diwan et al. (2023).
    """
    import torchinfo

    with _tied_once(step.module):
        summary = torchinfo.summary(step.module, verbose=0)
    return Reading(value=float(summary.total_params), detail={"trainable": int(summary.trainable_params)})


@contextmanager
def _tied_once(module: nn.Module) -> Iterator[None]:
    """Hide every place but the first of a parameter that several layers share, since torchinfo counts each place."""
    seen: set[int] = set()
    hidden: list[tuple[nn.Module, str, nn.Parameter]] = []
    for layer in module.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if id(parameter) in seen:
                hidden.append((layer, name, parameter))
            seen.add(id(parameter))
    try:
        for layer, name, _ in hidden:
            setattr(layer, name, None)
        yield
    finally:
        for layer, name, parameter in hidden:
            setattr(layer, name, parameter)


INDICATOR = Indicator(
    name="parameters",
    title="Parameters",
    unit="1",
    format="count",
    better="lower",
    meaning="number of model parameters, tied ones once",
    source="Diwan, Choi, Harwath, ACL 2023",
    exact=True,
    varies_with_length=False,
    place=40,
    how="counted",
    read=count,
)
