"""`pyprof export`: a run's tables in files and on standard output."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic_run as synthetic
from simulated_machine import make_environment, make_study

from pyprof.cli.main import main
from pyprof.records.run_directory import read
from pyprof.records.store import Store
from pyprof.report.export import FORMATS


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with Store(tmp_path / "run") as store:
        store.begin(make_study(), synthetic.RESOLVED, make_environment())
        for model in ("bert", "longformer"):
            store.append(synthetic.record(model, "eager", 128, "infer"), {"path": [""], "forward_seconds": [0.5]})
    return tmp_path / "run"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("table", ["records", "kinds", "layers"])
def test_a_file_is_in_the_format_that_its_name_ends_in(directory, tmp_path, capsys, format, table):
    path = tmp_path / f"quick.{format}"
    assert main(["export", str(directory), str(path), "--table", table]) == 0
    frame = read(directory).to_frame(table)
    assert path.read_bytes() == FORMATS[format](frame)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"of {len(frame.columns)} columns are in {path}" in err
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([path.name, "run"])


def test_standard_output_is_csv_unless_told_otherwise(directory, capsys):
    assert main(["export", str(directory)]) == 0
    assert [row["model"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["bert", "longformer"]
    for arguments in (["--json"], ["-", "--format", "json"]):
        assert main(["export", str(directory), *arguments]) == 0
        assert [row["length"] for row in json.loads(capsys.readouterr().out)] == [128, 128]


def test_parquet_goes_through_a_pipe_as_it_is(directory):
    command = [sys.executable, "-m", "pyprof", "export", str(directory), "--format", "parquet"]
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "COLUMNS": "80"})
    assert done.stdout == FORMATS["parquet"](read(directory).to_frame())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["quick.txt"], "'quick.txt' cannot be written: a table has a name that ends in .csv or .json or .parquet"),
        (["quick.csv", "--format", "parquet"], "csv and parquet are two formats of the same: choose one"),
        (["quick.csv", "--json"], "csv and json are two formats of the same"),
        (["no/such/quick.csv"], "there is no directory 'no/such'"),
        ([""], "must not be empty"),
        (["--table", "layer"], "invalid choice: 'layer'"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(directory, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(directory), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_parquet_is_not_written_to_a_terminal(directory, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["export", str(directory), "--format", "parquet"]) == 2
    assert "Parquet is no text for a terminal" in capsys.readouterr().err


def test_warnings_of_a_damaged_run_are_said_and_the_rest_is_written(directory, capsys):
    with (directory / "records.jsonl").open("a") as records:
        records.write("{torn\n")
    with (directory / "layers.jsonl").open("a") as layers:
        layers.write('{"key": "0", "path": 3}\n[]\n')
    for table in ("records", "layers"):
        assert main(["export", str(directory), "--table", table]) == 0
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == 3
        assert "is not a JSON object" in err
