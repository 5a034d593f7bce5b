"""`pyprof advise`: which model of a run to choose for inputs of given lengths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic_run as synthetic
from simulated_machine import make_environment, make_study

from pyprof.cli.main import main
from pyprof.records.run_directory import read
from pyprof.records.store import Store

LENGTHS = (128, 512, 1024, 2048)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with Store(tmp_path / "run") as store:
        store.begin(make_study(), synthetic.RESOLVED, make_environment())
        for model in ("bert", "longformer", "nystromformer"):
            for length in LENGTHS:
                store.append(synthetic.record(model, "eager", length, "infer"))
        store.append(synthetic.record("vit", "eager", 224, "infer"))
    return tmp_path / "run"


def advice(capsys: Any, directory: Path, *arguments: str) -> Any:
    assert main(["advise", str(directory), "--modality", "text", *arguments, "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["advice"]
    return one


def test_the_choice_is_that_of_a_sum_over_the_file(directory, tmp_path, capsys):
    examples = [100, 128, 300, 512, 900, 1024, 1500, 2000]
    (tmp_path / "lengths.txt").write_text("\n".join(map(str, examples)) + "\n")
    found = advice(capsys, directory, "--lengths", str(tmp_path / "lengths.txt"), "--buckets", "128,512,1024,2048")
    values = {
        (record.case.model, record.case.length): record.indicators["latency"].value
        for record in read(directory).records.values()
    }
    brute = {
        model: sum(values[model, next(b for b in LENGTHS if b >= example)] for example in examples) / len(examples)
        for model in ("bert", "longformer", "nystromformer")
    }
    assert {each["subject"]["model"]: each["expected"] for each in found["candidates"]} == pytest.approx(brute)
    assert found["choice"]["model"] == min(brute, key=brute.get)
    assert found["metric"] == "latency"
    assert found["sentence"].startswith(f"Choose {found['choice']['model']} eager")
    (tmp_path / "lengths.json").write_text(json.dumps(examples))
    again = advice(capsys, directory, "--lengths", str(tmp_path / "lengths.json"), "--buckets", "128,512,1024,2048")
    assert again["candidates"] == found["candidates"]


def test_short_inputs_and_long_ones_are_for_different_models(directory, capsys):
    short, long = (advice(capsys, directory, "--lengths", lengths) for lengths in ("140,10", "1900,50"))
    assert (short["choice"]["model"], long["choice"]["model"]) == ("bert", "nystromformer")
    assert short["changes"][0]["factor"] > 1 > long["changes"][0]["factor"]
    assert short["changes"][0]["subject"]["model"] != "bert"


def test_a_data_set_is_its_mean_length(directory, capsys):
    (known, *_) = read(directory).resolved.published.data_sets["text"]
    found = advice(capsys, directory, "--lengths", known.name)
    assert found["lengths"] == {
        "source": f"the mean length of {known.name} alone, whose spread is not known",
        "mean": known.length,
        "different": 1,
    }


def test_the_terminal_says_the_same(directory, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    arguments = ["--lengths", "500,200", "--modality", "text", "--budget", "2 s", "--padded-batch", "4"]
    assert main(["advise", str(directory), *arguments]) == 0
    out = capsys.readouterr().out
    assert "Latency expected over mean 500, deviation 200: 500 tokens on average" in out
    assert "with padding" in out
    assert "within 2.00 s for 95 % of the examples" in out
    assert "fits" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--lengths nowhere --modality text", "no file, no mean and deviation such as 256,120, and no data set"),
        ("--lengths 5 --modality text", "no mean and deviation"),
        ("--lengths nan,1 --modality text", "a mean of at least 1"),
        ("--lengths 100,10", "the run has text, vision, whose lengths count different things"),
        ("--lengths 100,10 --modality speech", "the run has no modality 'speech'"),
        ("--lengths 100,10 --modality text --mode train", "the run has measured nothing in mode train"),
        ("--lengths 100,10 --modality text --metric latencies", "did you mean 'latency'?"),
        ("--lengths 100,10 --modality text --metric throughput", "nothing in mode infer"),
        ("--lengths 900,10 --modality text --buckets 128,256", "add a larger one"),
        ("--lengths 100,10 --modality text --buckets 128 --multiple 8", "not allowed with"),
        ("--lengths 100,10 --modality text --budget fast", "is no"),
        ("--lengths 100,10 --modality text --budget -1", "is no"),
    ],
)
def test_wrong_use_is_one_sentence(directory, capsys, arguments, words):
    assert main(["advise", str(directory), *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("content", ["", "1 2 x", "[1, 2.5]", "[1, true]", "[[[", "0 1", "\x00"])
def test_a_file_that_holds_no_lengths_is_said(directory, tmp_path, capsys, content):
    (tmp_path / "lengths").write_text(content)
    assert main(["advise", str(directory), "--modality", "text", "--lengths", str(tmp_path / "lengths")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
