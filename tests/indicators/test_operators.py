"""What operators read and write, and what a forward puts out, against sums by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_steps import PlainStep, registry_step
from torch import nn
from torch.nn import functional

from pyprof.indicators import activations, memory_access
from pyprof.indicators.counting.operators import operators_of

FLOAT, LONG = 4, 8


class Calls(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.function(*args)
        return result


def bytes_of(function: Any, *args: torch.Tensor) -> tuple[int, int]:
    detail = memory_access.count(PlainStep(Calls(function), *args)).detail
    return detail["read"], detail["written"]


def test_a_layer_reads_its_input_and_weights_and_writes_its_output() -> None:
    layer, source = nn.Linear(8, 16), torch.randn(3, 8)
    reading = memory_access.count(PlainStep(layer, source))
    assert (reading.detail["read"], reading.detail["written"]) == (FLOAT * (24 + 128 + 16), FLOAT * 48)
    assert reading.value == FLOAT * (24 + 128 + 16 + 48)
    assert reading.detail["intensity"] == 2 * 3 * 8 * 16 / (FLOAT * 216)
    assert reading.detail["by_operator"] == {"linear": reading.value}
    assert reading.detail["measured"] is None
    assert "Nsight Compute" in reading.detail["measured_reason"]


def test_its_backward_reads_and_writes_by_hand_too() -> None:
    layer, source = nn.Linear(8, 16, bias=False), torch.randn(3, 8)
    found = operators_of(PlainStep(layer, source, train=True))
    # The product, its sum, and the 1 from which the backward starts, which is expanded to the sum's gradient.
    assert (found.total("read", "forward"), found.total("written", "forward")) == (FLOAT * 200, FLOAT * (48 + 1 + 1))
    assert found.by_operator("read", "backward") == {"mm": FLOAT * (1 + 24)}
    assert found.by_operator("written", "backward") == {"mm": FLOAT * 128}


@pytest.mark.parametrize(
    ("function", "args", "read", "written"),
    [
        (lambda a: a.t()[1:].unsqueeze(0), [(3, 4)], 0, 0),
        (lambda a: a + a, [(3, 4)], 12, 12),
        (lambda a, b: a + b, [(3, 4), (4,)], 16, 12),
        (lambda a: a.expand(3, 4) * 2, [(1, 4)], 4, 12),
        (lambda a: a.clone().add_(1), [(3, 4)], 24, 24),
        (lambda a: a.new_zeros(5, 5).fill_(2.0), [(3, 4)], 0, 50),
        (lambda a: torch.cat([a, a[:1]]), [(3, 4)], 16, 16),
        (lambda a: torch.empty(3, 4).copy_(a), [(3, 4)], 12, 12),
        (lambda a: a.softmax(-1), [(3, 4)], 12, 12),
        (lambda a: a.to_mkldnn().to_dense(), [(3, 4)], 24, 24),
        (
            lambda a, b: functional.scaled_dot_product_attention(a, b, b),
            [(1, 2, 5, 8), (1, 2, 7, 8)],
            80 + 112,
            80 + 10,
        ),
    ],
    ids=[
        "views",
        "twice",
        "broadcast",
        "expanded",
        "in place",
        "fill",
        "cat",
        "copy",
        "softmax",
        "oneDNN's layout",
        "attention",
    ],
)
def test_every_input_is_read_once_and_every_output_written_once(
    function: Any, args: list[tuple[int, ...]], read: int, written: int
) -> None:
    assert bytes_of(function, *map(torch.randn, args)) == (FLOAT * read, FLOAT * written)


def test_a_table_is_read_where_it_is_looked_up() -> None:
    table = nn.Embedding(1000, 16)
    assert bytes_of(table, torch.arange(5)) == (5 * LONG + FLOAT * 80, FLOAT * 80)
    assert bytes_of(lambda rows, at: rows[at], torch.randn(1000, 16), torch.arange(5)) == (
        5 * LONG + FLOAT * 80,
        FLOAT * 80,
    )

    def put(rows: torch.Tensor, at: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        rows.index_put_((at,), values)
        return rows

    given = torch.randn(1000, 16), torch.arange(5), torch.randn(5, 16)
    assert bytes_of(put, *given) == (5 * LONG + FLOAT * 80, FLOAT * 80)


def test_narrow_types_are_read_in_their_own_bytes() -> None:
    layer = nn.Linear(8, 16).bfloat16()
    assert memory_access.count(PlainStep(layer, torch.randn(3, 8).bfloat16())).value == 2 * (24 + 128 + 16 + 48)


def test_activations_are_the_results_of_products_in_the_forward() -> None:
    module = nn.Sequential(nn.Conv1d(3, 5, 3), nn.GELU(), nn.Flatten(), nn.Linear(5 * 8, 2), nn.LayerNorm(2))
    source = torch.randn(1, 3, 10)
    for train in (False, True):
        reading = activations.count(PlainStep(module, source, train=train))
        assert (reading.value, reading.detail["bytes"]) == (5 * 8 + 2, FLOAT * (5 * 8 + 2))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_activations_of_bert_by_hand(attention: str) -> None:
    """Four projections, two of the feedforward part, attention's output, and its scores where they are written out."""
    length = 50
    step = registry_step("bert", length, attention=attention)
    config = step.model.architecture.config
    width, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    layer = length * (4 * width + inner + width + width) + (heads * length**2 if attention == "eager" else 0)
    assert activations.count(step).value == config.num_hidden_layers * layer + width


def test_one_pass_serves_all_that_ask() -> None:
    calls = []

    class Counted(nn.Module):
        def forward(self, source: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return source

    step: Any = PlainStep(Counted(), torch.randn(2))
    for indicator in (activations, memory_access, activations):
        indicator.count(step)
    assert len(calls) == 1
