from __future__ import annotations

import sys
import warnings
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from closed_forms import closed_form
from model_steps import PlainStep, registry_step
from torch import nn

from pyprof.indicators import flops, macs
from pyprof.indicators.counting import operators
from pyprof.indicators.counting.formulas import multiply_adds
from pyprof.indicators.counting.kinds import sort_of
from pyprof.models.registry import ENTRIES, entry

# In each case the shorter length by default; FlexAttention takes seconds to trace.
CASES = [
    pytest.param(
        each.name,
        attention,
        mode,
        length,
        id=f"{each.name}-{attention}-{mode}-{length}",
        marks=[pytest.mark.slow] if attention == "flex" or length in (96, 112) else [],
    )
    for each in ENTRIES
    for attention in each.attentions
    for mode in ("infer", "train")
    for length in ((300,) if attention == "flex" else (50, 96) if each.unit == "token" else (64, 112))
    if not (attention == "flex" and mode == "train")
]


@pytest.mark.parametrize(("name", "attention", "mode", "length"), CASES)
def test_flops_are_those_of_the_closed_form(name: str, attention: str, mode: str, length: int) -> None:
    step = registry_step(name, length, mode, attention)
    reading = flops.count(step)
    forward, backward = closed_form(name, step.model.architecture.config, length, attention, mode)
    assert (reading.detail["forward"], reading.detail["backward"]) == (2 * forward, 2 * backward)
    assert reading.value == 2 * (forward + backward) == sum(reading.detail["by_operator"].values())
    assert reading.detail["update"] == 0
    assert macs.count(step).value == forward + backward
    assert sum(each["share"] for each in reading.detail["uncounted"].values()) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "hubert", "vit", "swin"])
def test_those_of_the_published_size_are_too(name: str) -> None:
    length = 128 if entry(name).unit == "token" else 224
    step = registry_step(name, length, size="base", attention="sdpa")
    forward, _ = closed_form(name, step.model.architecture.config, length, "sdpa", "infer")
    assert flops.count(step).value == 2 * forward


def counted(module: nn.Module, *args: torch.Tensor, **how: Any) -> Any:
    return flops.count(PlainStep(module, *args, **how)).detail


def test_an_update_is_told_apart_from_a_second_forward() -> None:
    layer = nn.Linear(4, 8, bias=False)

    class Preconditioned(torch.optim.SGD):
        """As Muon does, a product in the update."""

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            with torch.no_grad():
                layer.weight.sub_(layer.weight.grad @ torch.eye(4))  # type: ignore[operator]

    source = torch.randn(3, 4)
    detail = counted(layer, source, train=True, optimizer=Preconditioned(layer.parameters(), lr=0.1))
    assert [detail[phase] for phase in ("forward", "backward", "update")] == [2 * 96, 2 * 96, 2 * 8 * 4 * 4]


def test_what_is_sparse_packed_or_grouped_counts_what_it_does() -> None:
    from torch.ao.quantization import quantize_dynamic

    source = torch.randn(3, 64)
    layer = nn.Linear(64, 32, bias=False)
    dense = counted(layer, source)["forward"]
    assert dense == 2 * 3 * 64 * 32
    mask = torch.rand(32, 64) < 0.1

    class Sparse(nn.Module):
        def __init__(self, layout: str) -> None:
            super().__init__()
            weight = (layer.weight * mask).detach()
            self.weight = weight.to_sparse() if layout == "coo" else weight.to_sparse_csr()

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return (self.weight @ given.t()).t()

    for layout in ("coo", "csr"):
        assert counted(Sparse(layout), source)["forward"] == 2 * 3 * int(mask.sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        packed = quantize_dynamic(nn.Sequential(layer), {nn.Linear})
    assert counted(packed, source)["forward"] == dense


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, groups=2), (1, 4, 9, 9), 4 * 4 * 6 * 2 * 9),
        (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (1, 4, 5), 5 * 4 * 3 * 3),
        (nn.LSTM(6, 5, 2), (7, 1, 6), 7 * 4 * (5 * (6 + 5) + 5 * (5 + 5))),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), (1, 5, 8), 5 * (4 * 64 + 2 * 128 + 2 * 5 * 8)),
    ],
    ids=["convolution", "transposed", "lstm", "fused encoder layer"],
)
def test_layers_of_pytorch(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    detail = counted(module, torch.randn(shape))
    assert (detail["forward"], detail["uncounted"]) == (2 * macs, {})
    if not isinstance(module, nn.TransformerEncoderLayer):
        detail = counted(module, torch.randn(shape).requires_grad_(), train=True)
        # The first layer of an LSTM and its second one both have gradients of their inputs and of their weights.
        assert detail["backward"] == 2 * 2 * macs


def test_an_operator_without_a_formula_is_named_with_its_calls() -> None:
    class Solve(nn.Module):
        def forward(self, matrix: torch.Tensor) -> torch.Tensor:
            return torch.linalg.inv(matrix) + torch.linalg.inv(matrix + 1)

    uncounted = counted(Solve(), torch.eye(200))["uncounted"]
    assert [(name, each["calls"]) for name, each in uncounted.items()] == [("linalg_inv_ex", 2)]
    assert uncounted["linalg_inv_ex"]["share"] > 0.1


def test_a_compiled_step_counts_as_it_is_written() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    expected = counted(module, torch.randn(3, 4))
    module.compile(backend="eager")
    assert counted(module, torch.randn(3, 4)) == expected


def test_a_compiler_that_the_step_loads_is_told_to_stand_by_before_it_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stances, compiler = [], "a_compiler_that_is_not_loaded"
    step = PlainStep(nn.Linear(4, 8), torch.randn(3, 4))
    monkeypatch.setattr(operators, "_COMPILER", compiler)
    monkeypatch.setattr(torch.compiler, "set_stance", lambda stance: stances.append(stance) or nullcontext())
    assert flops.count(step).value == 2 * 3 * 4 * 8
    assert stances == []
    monkeypatch.setitem(sys.modules, compiler, sys)
    assert flops.count(PlainStep(nn.Linear(4, 8), torch.randn(3, 4))).value == 2 * 3 * 4 * 8
    assert stances == ["force_eager"]
    monkeypatch.delitem(sys.modules, compiler)

    class Compiling(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            monkeypatch.setitem(sys.modules, compiler, sys)
            return super().forward(x)

    assert flops.count(PlainStep(Compiling(4, 8), torch.randn(3, 4))).value == 2 * 3 * 4 * 8
    assert stances == ["force_eager"] * 2


def test_a_formula_that_a_user_registers_counts() -> None:
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    schema = "(Tensor given) -> Tensor"
    operator = torch.library.custom_op("pyprof_test::twice", lambda given: given * 2, mutates_args=(), schema=schema)

    class Own(nn.Module):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return operator(given)  # type: ignore[no-any-return]

    packet = torch.ops.pyprof_test.twice
    assert list(counted(Own(), torch.ones(3))["uncounted"]) == ["pyprof_test::twice"]
    register_flop_formula(packet)(lambda shape, **_: 2 * shape[0])
    sort_of.cache_clear()
    try:
        detail = counted(Own(), torch.ones(3))
        assert (detail["forward"], detail["uncounted"]) == (6, {})
    finally:
        del flop_registry[packet]
        sort_of.cache_clear()


@pytest.mark.parametrize("name", ["flash", "efficient", "cudnn"])
def test_attention_on_a_gpu_has_the_formulas_of_the_host(name: str) -> None:
    query, key = torch.empty(2, 8, 5, 16, device="meta"), torch.empty(2, 4, 7, 16, device="meta")
    value = torch.empty(2, 4, 7, 32, device="meta")
    forward = getattr(torch.ops.aten, f"_scaled_dot_product_{name}_attention").default
    backward = getattr(torch.ops.aten, f"_scaled_dot_product_{name}_attention_backward").default
    pairs = 2 * 8 * 5 * 7
    assert multiply_adds(forward, (query, key, value), {}, None) == pairs * (16 + 32)
    assert multiply_adds(backward, (value, query, key, value), {}, None) == pairs * (3 * 16 + 2 * 32)


def test_a_transform_counts_as_its_authors_do() -> None:
    class Mixing(nn.Module):
        """FNet's mixing: along the width, then along the tokens."""

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(torch.fft.fft(given, dim=-1), dim=-2).real

    # Half of 5 n log2 n are multiply-adds; of the first one the input is real.
    macs = 8 * 2.5 * 16 * 4 / 2 + 16 * 2.5 * 8 * 3
    detail = counted(Mixing(), torch.randn(1, 8, 16))
    assert (detail["forward"], detail["uncounted"]) == (2 * macs, {})
