"""`pyprof quality`: what it prints, keeps and refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pyprof.cli.main import main
from pyprof.errors import ExitCode

pytest.importorskip("accelerate", reason="training needs the extra quality")
TOY = "toy:Toy"


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def run(*arguments):
    return main(["quality", "zoo-dense", "--task", TOY, *map(str, arguments)])


def test_json_is_one_document_with_all_seeds(capsys):
    assert run("--seeds", 5, "--json") == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["low"] <= told["value"] <= told["high"]
    assert [each["seed"] for each in told["seeds"]] == list(range(5))
    assert told["plan"]["steps"] == 12
    assert told["metric"]["better"] == "higher"
    assert told["control"] == []


def test_a_terminal_has_a_row_for_each_training(capsys):
    assert run("--seeds", 2, "--steps", 3, "--control") == ExitCode.DONE
    printed = capsys.readouterr()
    assert "over 2 seeds" in printed.out
    assert "trained on shuffled labels" in printed.out
    for row in ("seed 0", "seed 1", "shuffled, seed 0", "shuffled, seed 1"):
        assert f"\n{row}" in printed.out
    assert "step 3 of 3" in printed.err


def test_a_diverged_training_is_told_and_ends_in_3(capsys, monkeypatch):
    from toy import Toy

    plan = Toy().plan("tiny").but(optimizer="sgd", learning_rate=1e30, clip=0.0)
    monkeypatch.setattr(sys.modules["toy"].Toy, "plan", lambda self, size: plan)
    assert run("--seeds", 2) == ExitCode.INCOMPLETE
    printed = capsys.readouterr()
    assert "none: 2 of 2 trainings diverged" in printed.out
    assert "seed 0: diverged, " in printed.out
    assert "2 of 2 trainings diverged" in printed.err


def test_a_kept_run_is_gone_on_with_only_when_asked(capsys, tmp_path):
    place = tmp_path / "kept"
    assert run("--seeds", 1, "-o", place, "--json") == ExitCode.DONE
    first = capsys.readouterr().out
    assert (place / "seed-0" / "model.safetensors").is_file()
    assert run("--seeds", 1, "-o", place) == ExitCode.WRONG_USE
    assert "is not empty: go on with its trainings by --resume" in capsys.readouterr().err
    assert run("--seeds", 1, "-o", place, "--resume", "--json") == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["seeds"] == json.loads(first)["seeds"]
    assert run("--seeds", 1, "-o", tmp_path / "none", "--resume") == ExitCode.WRONG_USE
    assert run("--seeds", 1, "--resume") == ExitCode.WRONG_USE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quality", "zoo-dense", "--task", "listop"], "did you mean 'listops'"),
        (["quality", "zoo-dens", "--task", TOY], "did you mean 'zoo-dense'"),
        (["quality", "vit", "--task", TOY], "takes no token numbers"),
        (["quality", "zoo-dense", "--task", TOY, "--data", "nowhere"], "there is no directory 'nowhere'"),
        (["quality", "zoo-dense", "--task", TOY, "--device", "cuda:3"], "CUDA_VISIBLE_DEVICES"),
        (["quality", "zoo-dense", "--task", TOY, "--budget", "0"], "--budget"),
    ],
)
def test_wrong_use_is_one_sentence(capsys, arguments, said):
    assert main(arguments) == ExitCode.WRONG_USE
    printed = capsys.readouterr().err
    assert said in printed
    assert len(printed.strip().splitlines()) == 1


def test_a_missing_package_is_told(monkeypatch, capsys):
    monkeypatch.setattr("pyprof.quality.find_spec", lambda name: None)
    assert run() == ExitCode.WRONG_USE
    assert "accelerate is not installed" in capsys.readouterr().err
