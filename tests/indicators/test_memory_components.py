from __future__ import annotations

from typing import Any

import pytest
import torch
from model_steps import PlainStep, registry_step
from torch import nn

from pyprof.indicators import memory_components, saved_activations

FLOAT = 4


@pytest.mark.parametrize(
    ("model", "mode", "optimizer"),
    [
        ("bert", "infer", "none"),
        ("bert", "train", "adamw"),
        ("longformer", "train", "none"),
        ("hubert", "train", "sgd"),
        ("swin", "train", "adamw"),
    ],
)
def test_the_components_sum_to_the_peak_that_is_measured_without_them(model: str, mode: str, optimizer: str) -> None:
    step = registry_step(model, 96 if model != "swin" else 64, mode, optimizer=optimizer)
    reading = memory_components.count(step)
    parts = reading.detail
    assert sum(parts.values()) == reading.value == step.peak_memory().value
    assert parts["workspace"] >= 0
    weights = sum(parameter.numel() for parameter in step.step.parameters())
    assert parts["parameters"] == FLOAT * weights
    # Two moments and a counter for each parameter, where a gradient was seen.
    assert (parts["optimizer_state"] > FLOAT * weights) == (optimizer == "adamw")
    assert (parts["activations"] > 0) == (mode == "train")


def test_a_layer_and_its_gradient_by_hand() -> None:
    layer, source = nn.Linear(64, 32, bias=False), torch.randn(128, 64)
    reading = memory_components.count(PlainStep(layer, source, train=True))
    weight, inputs, output = FLOAT * 64 * 32, FLOAT * 128 * 64, FLOAT * 128 * 32
    parts = reading.detail
    assert (parts["parameters"], parts["inputs"], parts["buffers"]) == (weight, inputs, 0)
    assert (parts["gradients"], parts["activations"], parts["optimizer_state"]) == (0, 0, 0)
    # The sum, the 1 that it starts from, the gradient of the output written out, and that of the weight.
    assert parts["workspace"] == 2 * FLOAT + output + weight
    assert reading.value == 2 * weight + inputs + output + 2 * FLOAT


def test_gradients_and_activations_are_told_apart_in_a_chain() -> None:
    """At the peak, the last product's backward, the sigmoids before it are kept, and no gradient is accumulated."""
    width, depth, rows = 64, 6, 512
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width, bias=False), nn.Sigmoid()]
    module, source = nn.Sequential(*layers), torch.randn(rows, width)
    parts = memory_components.count(PlainStep(module, source, train=True)).detail
    output = FLOAT * rows * width
    assert (parts["activations"], parts["gradients"]) == ((depth - 1) * output, 0)
    assert parts["workspace"] == 2 * output + FLOAT * width * width + 2 * FLOAT
    kept = saved_activations.count(PlainStep(module, source, train=True))
    assert (kept.value, kept.detail["tensors"]) == (depth * output, depth)


def test_gradients_count_where_they_are_most_of_the_peak() -> None:
    """Wide layers on one row: the peak is at the end of the backward, when all gradients but the last are there."""
    width, depth = 256, 5
    module = nn.Sequential(*[nn.Linear(width, width, bias=False) for _ in range(depth)])
    parts = memory_components.count(PlainStep(module, torch.randn(1, width), train=True)).detail
    assert parts["gradients"] == (depth - 1) * FLOAT * width * width
    assert FLOAT * width * width <= parts["workspace"] < 2 * FLOAT * width * width


def test_what_is_shared_or_there_before_is_not_saved() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(64))

        def forward(self, source: torch.Tensor) -> torch.Tensor:
            made = source * self.scale
            return made * made + made.exp().view(8, 8).reshape(64)

    reading = saved_activations.count(PlainStep(Twice(), torch.randn(64), train=True))
    # The product, which both factors and the exponential share, and the exponential; input and scale are there anyway.
    assert (reading.value, reading.detail["tensors"]) == (2 * FLOAT * 64, 2)


def test_a_device_that_does_not_tell_gives_a_reason() -> None:
    from pyprof.device.base import Device
    from pyprof.errors import UsageError

    step: Any = PlainStep(nn.Linear(2, 2), torch.randn(2, 2))

    class Silent:
        name = "chip"
        watched_peak_memory = Device.watched_peak_memory

    step.device = Silent()
    with pytest.raises(UsageError, match="chip tells its peak only after a step"):
        memory_components.count(step)
