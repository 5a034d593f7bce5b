"""`pyprof overhead` from end to end, on a model of the user's own."""

from __future__ import annotations

import json

import pytest

from pyprof.cli.main import main
from pyprof.errors import UsageError
from pyprof.models.setup import ModelSetup
from pyprof.overhead import OverheadRequest

MODEL = """
import torch
from torch import nn

def model():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU()), lambda length, batch: (torch.ones(batch, length, 64),)

class InPlace(nn.Module):
    def forward(self, value):
        return value.mul_(2)

def in_place():
    layers = nn.Sequential(nn.Linear(64, 64), InPlace())
    return layers, lambda length, batch: (torch.ones(batch, length, 64),)
"""
QUICK = ("--seconds", "1", "--length", "16")


def run(capsys, *arguments):
    code = main(["overhead", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def factories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"overhead_models_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODEL)
    return name


def test_the_document_of_both_modes(capsys, factories):
    code, out, err = run(capsys, f"{factories}:model", *QUICK, "--tools", "pyprof,record_function", "--json")
    assert code == 0
    document = json.loads(out)
    assert [mode["mode"] for mode in document["modes"]] == ["infer", "train"]
    for mode in document["modes"]:
        assert [row["tool"] for row in mode["rows"]] == ["pyprof", "record_function"]
        for row in mode["rows"]:
            assert row["status"] == "ok"
            assert row["ratio"]["low"] < row["ratio"]["value"] < row["ratio"]["high"]
            assert len(row["samples"]) == mode["rounds"] >= 6
        assert mode["rows"][0]["errors"]["forward"]["seen"] == 28
        assert (mode["rows"][0]["errors"]["backward"] is not None) == (mode["mode"] == "train")
        stated = mode["stated"]
        assert stated["rounds"] >= 6
        assert stated["ratio"]["low"] < stated["ratio"]["value"] < stated["ratio"]["high"]
        assert stated["calls"] == {"infer": 3, "train": 6}[mode["mode"]]  # the training step has a head
    assert document["modes"][0]["stated"]["nodes"] == 0
    assert document["modes"][1]["stated"]["nodes"] > 0
    assert "infer: loading" in err


def test_a_tool_that_fails_on_the_model_is_a_row_with_its_reason(capsys, factories, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, err = run(capsys, f"{factories}:in_place", *QUICK, "--mode", "train", "--tools", "pyprof,hooks")
    assert code == 3
    assert "error Python hooks: RuntimeError: Output 0 of BackwardHook" in " ".join(out.split())
    assert "tools that failed: 1" in err
    [ours] = [line for line in out.splitlines() if line.startswith("pyprof   ")]
    assert " to " in ours


def test_wrong_use_is_one_sentence(capsys, factories):
    code, out, err = run(capsys, f"{factories}:model", "--tools", "pyproof")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "did you mean 'pyprof'" in err
    for wrong in ({"batch": 0}, {"length": 0}):
        with pytest.raises(UsageError):
            ModelSetup("bert", **{"length": 16, **wrong})
    for wrong in ({"seconds": 0}, {"modes": ("test",)}):
        with pytest.raises(UsageError):
            OverheadRequest(ModelSetup("bert", 16), **wrong)


def test_the_layer_table_states_what_looking_costs(capsys, factories):
    assert main(["profile", f"{factories}:model", "--length", "16", "--seconds", "0.05"]) == 0
    assert "profiling overhead: a step is " in capsys.readouterr().out
