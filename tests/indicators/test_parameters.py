from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pyprof.indicators.parameters import count
from pyprof.models.registry import ENTRIES, Entry, load


class Tied(nn.Module):
    """An embedding tied to the output layer, a layer used twice, and a parameter of the model's own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.embedding = nn.Embedding(10, 4)
        self.norm = nn.LayerNorm(4)
        self.again = self.norm
        self.output = nn.Linear(4, 10)
        self.output.weight = self.embedding.weight


def test_tied_parameters_count_once_and_stay_tied() -> None:
    module: Any = Tied()
    reading = count(SimpleNamespace(module=module))  # type: ignore[arg-type]
    assert reading.value == 3 + 10 * 4 + 2 * 4 + 10
    assert module.output.weight is module.embedding.weight
    assert dict(module.output.named_parameters()).keys() == {"weight", "bias"}


def test_frozen_parameters_are_told_apart() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    reading = count(SimpleNamespace(module=module))  # type: ignore[arg-type]
    assert (reading.value, reading.detail) == (30.0, {"trainable": 10})


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one.name)
def test_models_are_counted_without_the_head_of_a_training_step(one: Entry) -> None:
    model = load(one.name, size="tiny", attention="then", mode="train", longest=64)
    step: Any = SimpleNamespace(module=model.module)
    assert count(step).value == sum(parameter.numel() for parameter in model.module.parameters())
