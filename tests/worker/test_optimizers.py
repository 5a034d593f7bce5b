"""What follows a backward: updates by hand, and what sharpness-aware minimisation's second pass costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from model_steps import registry_step
from torch import nn

from pyprof.errors import UsageError
from pyprof.indicators import flops, memory_components
from pyprof.records import study as studies
from pyprof.records.case import OPTIMIZERS, Case
from pyprof.records.run_directory import read
from pyprof.records.study import Study, parse
from pyprof.report.run import view_of
from pyprof.study.resolve import resolve
from pyprof.study.run import run_study
from pyprof.worker.executors import InProcessExecutor
from pyprof.worker.optimizers import trainer
from pyprof.worker.step import Step

FLOAT = 4


def test_sharpness_aware_minimisation_by_hand() -> None:
    layer = nn.Linear(3, 1).double()
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    start = {name: value.detach().clone() for name, value in layer.named_parameters()}

    def loss(values: dict[str, torch.Tensor]) -> torch.Tensor:
        return (rows @ values["weight"].T + values["bias"]).pow(4).mean()

    def gradients(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
        return dict(zip(leaves, torch.autograd.grad(loss(leaves), list(leaves.values())), strict=True))

    first = gradients(start)
    norm = torch.cat([each.flatten() for each in first.values()]).norm()
    second = gradients({name: start[name] + 0.05 * first[name] / norm for name in start})
    passes = []

    def backward() -> None:
        passes.append(1)
        layer.zero_grad(set_to_none=True)
        loss(dict(layer.named_parameters())).backward()

    trainer("sam", layer.parameters(), captured=False).step(backward)
    assert len(passes) == 2
    for name, value in layer.named_parameters():
        torch.testing.assert_close(value.detach(), start[name] - 1e-5 * second[name], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("name", "kept"), [("sgd", 0), ("momentum", 1), ("adamw", 2), ("sam", 1)])
def test_what_is_kept_between_two_steps(name: str, kept: int) -> None:
    step = registry_step("bert", 16, "train", optimizer=name)
    step()
    weights = [each for each in step.step.parameters() if each.grad is not None]
    numbers = [each for each in step.optimizer_state if each.dim()]
    assert sum(each.numel() for each in numbers) == kept * sum(each.numel() for each in weights)


def test_the_second_pass_is_counted() -> None:
    once, twice = (flops.count(registry_step("bert", 16, "train", optimizer=name)) for name in ("momentum", "sam"))
    for phase in ("forward", "backward"):
        assert twice.detail[phase] == 2 * once.detail[phase] > 0


@pytest.mark.parametrize("name", ["momentum", "sam"])
def test_components_sum_to_the_peak_with_two_passes_too(name: str) -> None:
    step = registry_step("bert", 96, "train", optimizer=name)
    reading = memory_components.count(step)
    assert reading.value == sum(reading.detail.values()) == step.peak_memory().value
    assert all(bytes_of >= 0 for bytes_of in reading.detail.values())
    if name == "sam":
        weights = sum(each.numel() for each in step.step.parameters() if each.requires_grad)
        assert reading.detail["workspace"] > 0.9 * FLOAT * weights


def test_the_case_says_which_and_its_key_too() -> None:
    case = Case("bert", 16, "train", "eager", "tiny")
    keys = {replace(case, optimizer=name).key for name in OPTIMIZERS}
    assert len(keys) == len(OPTIMIZERS)
    step = registry_step("bert", 16, "train")
    own = Step(step.model, replace(case, optimizer="adamw"), "sgd", 1)
    own()
    assert own.optimizer_state


def compared(**settings: object) -> Study:
    table = studies.load("optimizers").to_table() | {"size": "tiny", "device": "cpu"}
    table["comparison"] = [{"vanilla": "bert", "lengths": {"values": [16]}, "implementations": ["now"]}]
    table["measure"] |= {"min_samples": 1, "max_samples": 1}
    return parse(table | settings, "here")


def test_each_is_held_against_the_first_of_a_study(tmp_path: Path) -> None:
    study = compared(optimizers=["sgd", "adamw", "sam"], metrics=["latency", "peak_memory"])
    names = [each.sense for each in resolve(study).comparisons]
    assert names == ["now, adamw against sgd", "now, sam against sgd"]
    run_study(study, tmp_path / "run", executor=InProcessExecutor())
    run = read(tmp_path / "run")
    assert {record.case.optimizer for record in run.records.values()} == {"sgd", "adamw", "sam"}
    assert {record.status for record in run.records.values()} == {"ok"}
    peaks = {record.case.optimizer: record.indicators["peak_memory"].value or 0.0 for record in run.records.values()}
    assert peaks["sgd"] < peaks["adamw"]
    view = view_of(run)
    [modality] = view.modalities
    table = next(each for each in modality.tables if each.indicator.name == "peak_memory")
    assert [column.how for column in table.columns] == ["sdpa, adamw", "sdpa, sam", "sdpa, sgd"]


def test_optimizers_are_compared_where_models_are_trained() -> None:
    with pytest.raises(UsageError, match="set modes to train alone"):
        compared(modes=["infer", "train"])
    with pytest.raises(UsageError, match="keep one of the two"):
        compared(optimizer="sgd")
