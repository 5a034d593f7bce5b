"""Sharded models over real ranks: the same output, communication as a kind, the slow rank, and a rank at fault."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sharded_models
import sharded_work
import torch
from simulated_machine import make_study

from pyprof.errors import ModelError
from pyprof.records.ranks import waiting
from pyprof.records.record import Record
from pyprof.records.run_directory import read
from pyprof.report.console import Console
from pyprof.report.page.report import report_page
from pyprof.report.run import view_of
from pyprof.report.style import glyphs
from pyprof.report.terminal import render
from pyprof.study.run import run_study
from pyprof.worker.ranks import RankProcesses

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """The ranks find the models of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        patch.syspath_prepend(str(HERE))
        yield


@pytest.fixture(scope="module")
def processes(importable: None) -> Iterator[RankProcesses]:
    made = RankProcesses(sharded_work.Work(), 2, "cpu", 2, 120.0)
    yield made
    made.close()


@pytest.mark.parametrize("name", ["tensor_parallel", "fsdp"])
def test_a_sharded_model_is_the_unsharded_one(processes: RankProcesses, name: str) -> None:
    model, x = sharded_work.built("plain")
    output = model(x)
    output.square().sum().backward()
    wanted = sharded_work.gradients(model)
    for theirs, gradients in processes.ask("called", name):
        torch.testing.assert_close(theirs, output.detach())
        assert gradients.keys() == wanted.keys()
        for parameter, gradient in gradients.items():
            torch.testing.assert_close(gradient, wanted[parameter], rtol=1e-4, atol=1e-4)


def test_a_pipeline_hands_on_what_a_stage_has_made(processes: RankProcesses) -> None:
    torch.manual_seed(3)
    layer = sharded_models.Layer()
    _, x = sharded_work.built("plain")
    with torch.no_grad():
        wanted = [layer(x), layer(layer(x))]
    for theirs, output in zip(processes.ask("output", "pipeline"), wanted, strict=True):
        torch.testing.assert_close(theirs, output)


@pytest.mark.parametrize("recorder", ["native", "python"])
def test_communication_is_a_kind_below_the_layer_that_communicates(processes: RankProcesses, recorder: str) -> None:
    for told in processes.ask("looked_at", "tensor_parallel", recorder):
        assert told["attached"]
        assert not told["left"]
        forward, backward, parameters = told["kinds"]["communication"]
        assert forward > 0
        assert backward > 0
        assert parameters == 0
        # The collectives of the row-wise layers, one in each attention and feed-forward.
        below = {path for path, parent in told["parents"].items() if parent}
        assert all(path == f"{told['parents'][path]}.communication" for path in below)
        called = {path: calls for path, (calls, _, _) in told["layers"].items() if calls}
        assert all(
            any(path.startswith(f"layers.{n}.{part}") for path in called)
            for n in (0, 1)
            for part in ("attention", "mlp")
        )
        assert sum(own + (other or 0) for own, other, _ in told["kinds"].values()) <= told["step"] * 1.01


def test_communication_of_fsdp_lies_outside_of_the_layers_that_are_gathered(processes: RankProcesses) -> None:
    for told in processes.ask("looked_at", "fsdp", "native"):
        forward, backward, _ = told["kinds"]["communication"]
        assert forward + (backward or 0.0) > 0
        assert not told["left"]


def a_study(directory: Path, *models: str, **changes: object) -> dict[str, Record]:
    vanilla, *variants = (f"sharded_models:{name}" for name in models)
    ranks = {name: 2 for name in (vanilla, *variants) if name != "sharded_models:plain"}
    study = make_study(
        comparison=[{"vanilla": vanilla, "variants": variants, "lengths": [16], "implementations": ["now"]}],
        measure={"min_samples": 6, "max_samples": 8, "max_seconds": 2, "timeout": 120, **changes.pop("measure", {})},
        ranks=ranks,
        device="cpu",
        **{"modes": ["infer"], "metrics": ["latency", "peak_memory", "parameters"], **changes},
    )
    result = run_study(study, directory)
    return {record.case.model.partition(":")[2]: record for record in result.records.values()}


def test_a_slow_rank_is_named_with_what_the_others_wait(tmp_path: Path) -> None:
    records = a_study(tmp_path / "run", "plain", "slow")
    slow, plain = records["slow"], records["plain"]
    assert plain.status == slow.status == "ok", (plain.reason, slow.reason)
    assert slow.case.ranks == 2
    assert plain.ranks == ()
    planted = sharded_models.LAYERS * sharded_models.PLANTED_SECONDS
    told = waiting(slow.ranks)
    assert told is not None
    assert (told.slowest, told.shown) == (1, True)
    assert told.waits[1].value == 0
    assert 0.5 * planted < told.waits[0].value < 1.5 * planted
    latency = slow.indicators["latency"]
    for number, sample in enumerate(latency.samples):
        assert abs(max(rank.samples[number] for rank in slow.ranks) - sample) <= 1
    assert planted <= (latency.value or 0)
    assert slow.kinds["communication"].forward_seconds > 0
    counted, whole = (record.indicators["parameters"] for record in (slow, plain))
    assert (counted.value, counted.detail["trainable"]) == (whole.value, whole.detail["trainable"])
    # A rank stores its part of what is sharded, and all of the rest.
    assert 0.5 * whole.detail["bytes"] < counted.detail["bytes"] < whole.detail["bytes"]
    assert [rank.peak_memory for rank in slow.ranks].count(None) == 0
    run = read(tmp_path / "run")
    assert run.records[slow.case.key] == slow
    said = said_of(tmp_path / "run")
    assert "rank 1 is the slowest of 2: the other one waits" in said
    page = report_page([run])
    assert "Rank 1 is the slowest of 2" in page


def said_of(directory: Path) -> str:
    console = Console(width=120, color_system=None, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render(view_of(read(directory)), 120, glyphs("utf-8")))
    return console.export_text()


def test_a_rank_at_fault_costs_its_case_alone(tmp_path: Path) -> None:
    records = a_study(tmp_path / "run", "plain", "dies", "does_not_load")
    assert {name: record.status for name, record in records.items()} == {
        "plain": "ok",
        "dies": "oom",
        "does_not_load": "error",
    }
    killed = "rank 1 of 2: the measuring process was killed, as the system does when memory runs out"
    assert killed in (records["dies"].reason or "")
    failed = (
        "rank 1 of 2: the factory sharded_models:does_not_load failed: ValueError: planted in the factory of a rank"
    )
    assert failed in (records["does_not_load"].reason or "")


def test_a_rank_that_hangs_is_named_by_the_one_that_waits_in_a_collective() -> None:
    processes = RankProcesses(sharded_work.Work(), 2, "cpu", 2, 24.0)
    try:
        with pytest.raises(ModelError, match=r"^rank 1 of 2 gave no answer: rank 0 waited for it in vain$"):
            processes.ask("output", "hangs")
    finally:
        processes.close()
