"""A run as tables: what they hold, and that CSV, JSON, Parquet and pandas hold the same."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import synthetic_run as synthetic
from simulated_machine import make_environment, make_study

import pyprof
from pyprof.errors import UsageError
from pyprof.records.case import Case
from pyprof.records.export import TABLES, TableName
from pyprof.records.frame import Column, Frame
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.run_directory import Run
from pyprof.records.store import Store
from pyprof.report.export import FORMATS

HOSTILE = '=1+1\x1b[2J\r"a,b"\n<script>\u202e'
LAYERS = {
    "path": ["", "encoder", HOSTILE],
    "kind": ["other", "self-attention", "feedforward"],
    "parent": [None, 0, 1],
    "calls": [1, 0.5, 2],
    "parameters": [0, 10, 20],
    "forward_seconds": [0.3, 0.1, None],
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two measured cases with layers, one of the largest batch, one that failed with a hostile message."""
    first, second = (synthetic.record(model, "eager", 128, "infer") for model in ("bert", "longformer"))
    few = synthetic.record("bert", "eager", 256, "train", samples=3)
    unmeasured = Reading(None, reason="this host does not tell", detail={"still_changing": True})
    first.indicators["device_time"] = unmeasured  # type: ignore[index]
    failed = synthetic.missing(Case("longformer", 256, "infer", "eager"), "error", HOSTILE)
    with Store(tmp_path / "run") as store:
        store.begin(make_study(), synthetic.RESOLVED, make_environment())
        store.append(first, LAYERS)
        store.append(second, {**LAYERS, "device_seconds": [1.0, None, 0.25]})
        for record in (few, failed, synthetic.throughput("bert", "eager", 128, "infer")):
            store.append(record)
    return pyprof.read_run(tmp_path / "run")


def rows(frame: Frame) -> list[dict[str, Any]]:
    return [dict(zip(frame.names, row, strict=True)) for row in frame.rows()]


def test_a_record_is_a_row_with_its_intervals_and_nothing_in_place_of_what_was_not_measured(run: Run) -> None:
    first, second, few, failed, largest = rows(run.to_frame())
    latency = run.records[first["key"]].indicators["latency"]
    assert (first["model"], first["length"], first["mode"], first["attention"]) == ("bert", 128, "infer", "eager")
    assert (first["modality"], first["length_unit"], first["vanilla"]) == ("text", "token", None)
    assert (second["vanilla"], second["family"]) == ("bert", "fixed pattern + memory")
    assert (first["latency_seconds"], first["latency_samples"]) == (latency.value, 7)
    assert (first["latency_seconds_low"], first["latency_seconds_high"]) == (latency.low, latency.high)
    assert (first["device_time_seconds"], first["device_time_reason"]) == (None, "this host does not tell")
    assert first["device_time_detail_still_changing"] is True
    assert (few["latency_seconds_low"], few["latency_samples"]) == (None, 3)
    assert first["peak_memory_bytes"] == run.records[first["key"]].indicators["peak_memory"].value
    assert (failed["status"], failed["latency_seconds"], failed["parameters"]) == ("error", None, None)
    assert failed["reason"] == '=1+1\\x1b[2J\\x0d"a,b"\n<script>\\u202e'
    assert (first["batch"], first["largest_batch"]) == (1, False)
    assert (largest["batch"], largest["largest_batch"]) == (16, True)
    assert largest["throughput_examples_per_second"] > 1
    assert largest["latency_seconds"] is None
    assert "parameters_low" not in first


def test_a_layer_is_a_row_with_the_columns_that_any_case_has(run: Run) -> None:
    frame = rows(run.to_frame("layers"))
    assert [row["layer"] for row in frame] == [0, 1, 2, 0, 1, 2]
    assert [row["parent"] for row in frame] == [None, 0, 1] * 2
    assert [row["forward_seconds"] for row in frame] == [0.3, 0.1, None] * 2
    assert [row["device_seconds"] for row in frame] == [None, None, None, 1.0, None, 0.25]
    assert {row["key"] for row in frame} == set(list(run.records)[:2])


def test_a_kind_is_a_row_and_inference_has_no_backward(run: Run) -> None:
    frame = rows(run.to_frame("kinds"))
    mine = {row["kind"]: row for row in frame if row["key"] == next(iter(run.records))}
    costs = next(iter(run.records.values())).kinds
    assert {kind: row["forward_seconds"] for kind, row in mine.items()} == {
        kind: cost.forward_seconds for kind, cost in costs.items()
    }
    assert all(row["backward_seconds"] is None for row in mine.values())
    assert all(row["backward_seconds"] is not None for row in frame if row["mode"] == "train")


def from_csv(written: bytes, frame: Frame) -> list[dict[str, Any]]:
    types = {column.name: column.type for column in frame.columns}
    read = {
        "text": lambda text: text.removeprefix("'") if text.startswith("'=") else text,
        "integer": int,
        "number": float,
        "truth": {"true": True, "false": False}.__getitem__,
    }
    lines = csv.DictReader(io.StringIO(written.decode(), newline=""))
    return [{name: None if text == "" else read[types[name]](text) for name, text in line.items()} for line in lines]


def from_parquet(written: bytes) -> list[dict[str, Any]]:
    from pyarrow import parquet

    found: list[dict[str, Any]] = parquet.read_table(io.BytesIO(written)).to_pylist()
    return found


@pytest.mark.parametrize("table", TABLES)
def test_all_formats_hold_the_same(run: Run, table: TableName) -> None:
    frame = run.to_frame(table)
    without_empty = [
        {name: value or None if value == "" else value for name, value in row.items()} for row in rows(frame)
    ]
    assert without_empty
    assert from_csv(FORMATS["csv"](frame), frame) == without_empty
    assert json.loads(FORMATS["json"](frame)) == rows(frame)
    assert from_parquet(FORMATS["parquet"](frame)) == rows(frame)


@pytest.mark.parametrize("table", TABLES)
def test_pandas_has_the_same_with_missing_values_of_its_own(run: Run, table: TableName) -> None:
    frame = run.to_frame(table)
    data = run.to_pandas(table)
    assert tuple(data.columns) == frame.names
    for column in frame.columns:
        assert list(data[column.name].isna()) == [value is None for value in column.values]
        assert list(data[column.name].dropna()) == [value for value in column.values if value is not None]
    if table == "records":
        assert math.isclose(data.latency_seconds.mean(), data.latency_seconds.dropna().sum() / 3)
        assert data.dtypes["length"] == "Int64"


def test_a_run_without_records_has_the_columns(tmp_path: Path) -> None:
    with Store(tmp_path / "run") as store:
        store.begin(make_study(), synthetic.RESOLVED, make_environment())
    run = pyprof.read_run(str(tmp_path / "run"))
    for table in TABLES:
        frame = run.to_frame(table)
        assert rows(frame) == []
        assert "key" in frame.names
        assert len(run.to_pandas(table)) == len(from_parquet(FORMATS["parquet"](frame))) == 0
    assert "latency_seconds_low" in run.to_frame().names


def test_a_column_is_of_the_narrowest_type_that_holds_what_is_there() -> None:
    def kind(*values: Any, expected: Any = "text") -> tuple[str, tuple[Any, ...]]:
        column = Column.of("x", values, expected)
        return column.type, column.values

    assert kind(1, None, expected="number") == ("number", (1.0, None))
    assert kind(True, None) == ("truth", (True, None))
    assert kind(1, 2) == ("integer", (1, 2))
    assert kind(1, 2.5) == ("number", (1.0, 2.5))
    assert kind(1, "a", expected="number") == ("text", ("1", '"a"'))
    assert kind({"a": 1}, [2]) == ("text", ('{"a": 1}', "[2]"))
    assert kind(None, expected="integer") == ("integer", (None,))


def test_names_that_stand_twice_get_numbers() -> None:
    assert Frame.of(Column.of(name, [1]) for name in ("a", "a\x1b", "a\x1b", "a")).names == (
        "a",
        "a\\x1b",
        "a\\x1b_2",
        "a_2",
    )


def test_an_indicator_of_a_name_that_is_a_column_already_keeps_both(run: Run, tmp_path: Path) -> None:
    key, record = next(iter(run.records.items()))
    changed = Record(**{**vars(record), "indicators": {"length": Reading(7.0), "x y": Reading(8.0)}})
    names = Run(tmp_path, run.study, run.resolved, run.environment, {key: changed}).to_frame().names
    assert names.count("length") == 1
    assert {"length_2", "x y"} <= set(names)


def test_a_table_that_is_none_and_a_package_that_is_missing_are_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="a run has no table 'layer': did you mean 'layers'"):
        run.to_frame("layer")  # type: ignore[arg-type]
    import sys

    for package, use in (("pandas", run.to_pandas), ("pyarrow", lambda: FORMATS["parquet"](run.to_frame()))):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UsageError, match=rf"this needs {package}, .*pip install 'pyprof-transformers\[export\]'"):
            use()
