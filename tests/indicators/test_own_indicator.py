"""An indicator is one entry: one file of a user's own is all that a study, its records and its reports need."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import own_indicator
import pytest
from rich.console import Console

from pyprof.cli.main import main
from pyprof.errors import UsageError
from pyprof.indicators import registry
from pyprof.records import run_directory
from pyprof.records.study import Study, parse
from pyprof.report import terminal
from pyprof.report.as_json import document
from pyprof.report.gate import markdown
from pyprof.report.gate.view import Wish, gate_view
from pyprof.report.gate.view import document as gate_document
from pyprof.report.page.report import report_page
from pyprof.report.run import view_of
from pyprof.study.run import run_study
from pyprof.worker.executors import InProcessExecutor, WorkerExecutor

LENGTHS = (16, 32, 48, 80, 128)


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    registry.register(own_indicator.ELEMENTS)
    registry.register(own_indicator.LAYERS)
    yield
    registry.forget("elements")
    registry.forget("layers")


def study(*metrics: str, modes: tuple[str, ...] = ("infer",)) -> Study:
    block = {
        "vanilla": "own_indicator:square",
        "variants": ["own_indicator:linear"],
        "lengths": list(LENGTHS),
        "implementations": ["now"],
    }
    care = {"min_samples": 6, "max_samples": 6, "max_seconds": 1.0}
    return parse(
        {"name": "own", "comparison": [block], "metrics": list(metrics), "modes": modes, "measure": care}, "own"
    )


def measure(directory: Path, *metrics: str, modes: tuple[str, ...] = ("infer",)) -> run_directory.Run:
    run_study(study(*metrics, modes=modes), directory, executor=InProcessExecutor())
    return run_directory.read(directory)


@pytest.fixture
def run(tmp_path: Path) -> run_directory.Run:
    return measure(tmp_path / "run", "latency", "elements", "layers")


def test_records_hold_it_exactly_with_what_it_was_told_of_the_step(run: run_directory.Run) -> None:
    assert len(run.records) == 2 * len(LENGTHS)
    for record in run.records.values():
        length = record.case.length
        reading = record.indicators["elements"]
        assert reading.value == length * (length if "square" in record.case.model else own_indicator.EVEN)
        assert (reading.low, reading.high) == (None, None)
        told = {"mode": "infer", "batch": 1, "length": length, "device": "cpu", "module": "Sum"}
        assert reading.detail == told


def test_the_run_keeps_all_that_a_report_needs_to_know_of_it(run: run_directory.Run) -> None:
    assert own_indicator.ELEMENTS.facts in run.resolved.indicators
    before = document(view_of(run))
    registry.forget("elements")
    assert document(view_of(run_directory.read(run.directory))) == before


def test_the_document_has_its_table_and_its_tipping_point_between_measured_lengths(run: run_directory.Run) -> None:
    (part,) = document(view_of(run))["modalities"]
    (table,) = [table for table in part["tables"] if table["metric"] == "elements"]
    assert (table["counted"], [row["length"] for row in table["rows"]]) == (True, list(LENGTHS))
    assert [cell["value"] for cell in table["rows"][-1]["cells"]] == [128 * 128, 128 * own_indicator.EVEN]
    (line,) = [line for line in part["tipping"] if line["metric"] == "elements"]
    assert line["tipping"]["status"] == "point"
    crossing = line["tipping"]["crossing"]
    assert (crossing["low"], crossing["high"]) == (48, 80)
    assert crossing["length"] == pytest.approx(own_indicator.EVEN, rel=1e-9)
    assert line["published"] is None
    assert not any(line["metric"] == "layers" for line in part["tipping"])


def test_the_terminal_shows_it_under_its_own_title(run: run_directory.Run) -> None:
    file = io.StringIO()
    terminal.write(view_of(run), Console(file=file, width=100))
    text = file.getvalue()
    assert "Input elements of one example, infer" in text
    row = next(line for line in text[text.index("Input elements of") :].splitlines() if line.lstrip().startswith("128"))
    assert row.split()[1:3] == ["16,384", "8,192▼"]
    assert "input elements" in text[text.index("Tipping points") :]
    fixed = text[text.index("The same at every length") :]
    assert "Layers" in fixed
    assert "2 modules" in fixed


def test_the_page_and_pandas_have_it_too(run: run_directory.Run) -> None:
    page = report_page([run])
    assert "Input elements" in page
    assert "16,384" in page
    frame = run.to_frame("records")
    column = next(each for each in frame.columns if each.name.startswith("elements"))
    read = {record.case.key: record.indicators["elements"].value for record in run.records.values()}
    keys = next(each for each in frame.columns if each.name == "key").values
    assert dict(zip(keys, column.values, strict=True)) == read
    pytest.importorskip("pandas", reason="pandas is not installed")
    assert list(run.to_pandas()[column.name]) == list(column.values)


def test_the_gate_takes_any_growth_of_it_for_certain(
    run: run_directory.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_indicator, "extra", 1)
    head = measure(tmp_path / "head", "latency", "elements", "layers")
    view = gate_view(run, head, Wish(fail_over=0.01, metrics=("elements",)))
    assert view.outcome == "failed"
    worse = [change for change in gate_document(view)["changes"] if change["verdict"] == "regression"]
    assert {(change["metric"], change["case"]["model"]) for change in worse} == {("elements", "own_indicator:linear")}
    assert all(change["ratio"] == change["low"] == change["high"] == 65 / 64 for change in worse)
    assert "input elements" in markdown.markdown(view)
    assert gate_view(run, head, Wish(fail_over=0.02, metrics=("elements",))).outcome == "passed"


def test_it_is_measured_only_in_its_modes(tmp_path: Path) -> None:
    run = measure(tmp_path / "run", "elements", "layers", modes=("infer", "train"))
    by_mode = {record.case.mode: set(record.indicators) for record in run.records.values()}
    assert by_mode == {"infer": {"elements", "layers"}, "train": {"elements"}}


def test_by_its_place_it_is_known_to_the_process_that_measures_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.forget("elements")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    result = run_study(study("own_indicator:ELEMENTS"), tmp_path / "run", executor=WorkerExecutor())
    assert {record.indicators["elements"].value for record in result.records.values() if record.case.length == 16} == {
        16.0 * 16,
        16.0 * own_indicator.EVEN,
    }


def test_a_counter_that_fails_is_a_reason_and_the_rest_stands(tmp_path: Path) -> None:
    registry.register(own_indicator.FAILING)
    try:
        run = measure(tmp_path / "run", "latency", "failing")
    finally:
        registry.forget("failing")
    for record in run.records.values():
        assert record.status == "ok"
        assert record.indicators["latency"].value is not None
        failed = record.indicators["failing"]
        assert (failed.value, failed.reason) == (None, f"ValueError: nothing to count at {record.case.length}")
    (omission,) = document(view_of(run))["omitted"]
    assert (omission["metric"], omission["title"], omission["cases"]) == ("failing", "Failing", 2 * len(LENGTHS))


def test_wrong_names_are_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for metric, words in (
        ("element", "has no metric 'element': did you mean 'elements'?"),
        ("own_indicator:MISSING", "own_indicator has no indicator 'MISSING'"),
        ("own_indicator:EVEN", "own_indicator:EVEN is no pyprof.indicators.indicator.Indicator"),
        ("nowhere_at_all:X", "nowhere_at_all cannot be imported for the indicator"),
    ):
        assert main(["study", "quick", "-o", str(tmp_path / "run"), "--metrics", metric]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert len(error.strip().splitlines()) == 1
    with pytest.raises(UsageError, match="there is an indicator 'elements' already"):
        registry.register(own_indicator.Indicator(**{**own_indicator.ELEMENTS.__dict__, "title": "Other"}))
