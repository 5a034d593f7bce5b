"""Carbon and money: from energies and times by hand, and what is asked for where something is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_run as synthetic
from simulated_machine import make_environment

from pyprof.analysis.curves import Curves
from pyprof.analysis.usage import usage
from pyprof.cli.main import main
from pyprof.errors import UsageError
from pyprof.indicators import carbon as carbon_indicator
from pyprof.indicators.indicator import stated
from pyprof.indicators.monetary import INDICATOR as MONETARY
from pyprof.indicators.registry import chosen
from pyprof.indicators.restate import restated
from pyprof.records import study as studies
from pyprof.records.case import Case
from pyprof.records.costs import Costs, Price, carbon, monetary, parse_intensity, parse_price
from pyprof.records.reading import Reading
from pyprof.records.run_directory import read
from pyprof.records.store import Store
from pyprof.report.build import About, build_view
from pyprof.report.console import Console
from pyprof.report.terminal import write
from pyprof.study.narrow import Narrowing, narrow

READINGS = {"energy": Reading(36.0, 18.0, 54.0), "latency": Reading(0.9, 0.8, 1.2)}
INFER, TRAIN = Case("bert", 128), Case("bert", 128, "train")
COSTS = Costs(intensity=500.0, price=Price(4.0, "USD"), queries=1_000_000, examples=2_000)


def test_by_hand() -> None:
    # 36 J a query, a million of them: 10 kWh.
    asked = carbon(INFER, READINGS, COSTS)
    assert (asked.value, asked.low, asked.high) == (5000.0, 2500.0, 7500.0)
    assert carbon(TRAIN, READINGS, COSTS).value == pytest.approx(10.0)
    # A million times 0.9 s are 250 hours.
    paid = monetary(INFER, READINGS, COSTS)
    assert (paid.value, paid.detail["price"]) == (pytest.approx(1000.0), "4 USD/h")
    assert monetary(replace(INFER, batch=4), READINGS, COSTS).value == pytest.approx(250.0)


@pytest.mark.parametrize(
    ("readings", "costs", "reason"),
    [
        (READINGS, Costs(), "give --intensity"),
        ({}, COSTS, "the energy was not measured"),
        ({"energy": Reading(None, reason="no counter here")}, COSTS, "no counter here"),
    ],
)
def test_nothing_is_invented(readings: Any, costs: Costs, reason: str) -> None:
    found = carbon(INFER, readings, costs)
    assert found.value is None
    assert reason in (found.reason or "")
    assert "give --price" in (monetary(INFER, READINGS, Costs()).reason or "")


@pytest.mark.parametrize(
    ("text", "grams"), [("380 g/kWh", 380.0), ("0.38 kg/kWh", 380.0), ("380", 380.0), (12, 12.0), (".5g/kwh", 0.5)]
)
def test_intensities(text: Any, grams: float) -> None:
    assert parse_intensity(text) == pytest.approx(grams)


@pytest.mark.parametrize(
    ("text", "price"),
    [("2.50 USD/h", Price(2.5, "USD")), ("3", Price(3.0)), ("1.2€", Price(1.2, "€")), (0.5, Price(0.5))],
)
def test_prices(text: Any, price: Price) -> None:
    assert parse_price(text) == price
    assert parse_price(str(price)) == price


@pytest.mark.parametrize("text", ["", "-1", "nan", "g/kWh", "3 USD/month", "1e9", "1 2"])
def test_what_is_neither(text: str) -> None:
    with pytest.raises(UsageError, match="write 380 g/kWh"):
        parse_intensity(text)
    with pytest.raises(UsageError, match=r"write 2\.50 USD/h"):
        parse_price(text)


@pytest.mark.parametrize("read", [parse_intensity, parse_price])
def test_what_costs_nothing_is_not_compared(read: Callable[[str], object]) -> None:
    with pytest.raises(UsageError, match="above zero"):
        read("0")


def test_a_study_file_has_them_and_keeps_them() -> None:
    table = studies.load("quick").to_table()
    assert "costs" not in table
    given = {"intensity": "0.5 kg/kWh", "price": "4 USD/h", "queries": 1_000_000, "examples": 2_000}
    study = studies.parse(table | {"costs": given}, "here")
    assert study.costs == COSTS
    assert studies.parse(study.to_table(), "again") == study
    assert narrow(study, Narrowing(costs={"queries": 5})).costs == replace(COSTS, queries=5)
    with pytest.raises(UsageError, match="costs: intensity: 'much' is no carbon intensity"):
        studies.parse(table | {"costs": {"intensity": "much"}}, "here")
    with pytest.raises(UsageError, match="price must be a number or a text"):
        studies.parse(table | {"costs": {"price": [1]}}, "here")


def test_what_is_derived_brings_what_it_needs_and_says_what_it_is_of() -> None:
    assert [each.name for each in chosen(["carbon"])] == ["energy", "carbon"]
    facts = stated(MONETARY, COSTS)
    assert (facts.unit, facts.short_unit) == ("USD", "USD")
    assert "1,000,000 queries" in facts.scope
    assert stated(carbon_indicator.INDICATOR, Costs()).scope == "of one example"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both modes, with an energy beside every latency."""
    tmp_path = tmp_path_factory.mktemp("run")
    study = replace(studies.load("quick"), metrics=("latency", "energy"))
    with Store(tmp_path) as store:
        store.begin(study, synthetic.RESOLVED, make_environment())
        for record in synthetic.quick():
            latency = record.indicators.get("latency")
            energy = {} if latency is None or latency.value is None else {"energy": Reading(100.0 * latency.value)}
            store.append(replace(record, indicators={**record.indicators, **energy}))
    return tmp_path


def test_a_run_is_restated_without_measuring(run: Path) -> None:
    before = read(run)
    after = restated(before, COSTS)
    for key, record in before.records.items():
        own = after.records[key].indicators
        if record.status == "ok" and record.case.batch == 1 and "latency" in record.indicators:
            count = 2_000 if record.case.mode == "train" else 1_000_000
            seconds = record.indicators["latency"].value or 0.0
            assert own["carbon"].value == pytest.approx(count * 100 * seconds * 500 / 3.6e6)
            assert own["monetary"].value == pytest.approx(count * seconds * 4 / 3600)
    assert read(run).records == before.records


def test_training_and_queries_are_added(run: Path) -> None:
    restated_run = restated(read(run), COSTS)
    view = build_view(
        restated_run.records.values(), restated_run.resolved, About("quick", "here", plan=restated_run.study)
    )
    assert view.usage
    for line in view.usage:
        assert line.training is not None
        assert line.queries is not None
        assert line.total == line.training + line.queries
    assert {line.metric for line in view.usage} == {"carbon", "monetary"}
    curves = Curves.of(restated_run.records.values())
    assert usage(curves, restated_run.resolved.indicators, Costs(intensity=1.0)) == ()


def test_the_report_states_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    given = ["--intensity", "500 g/kWh", "--price", "4 USD/h", "--queries", "1000000", "--examples", "2000"]
    assert main(["report", str(run), *given]) == 0
    said = capsys.readouterr().out
    assert "what it costs in all" in said
    assert "training on 2,000 examples, then 1,000,000 queries; 500 g of CO2 equivalent a kWh; 4 USD/h" in said
    assert main(["report", str(run), *given, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["usage"]
    assert document["costs"]["price"] == {"per_hour": 4.0, "currency": "USD"}
    page = tmp_path / "money.html"
    assert main(["report", str(run), *given, "--html", str(page)]) == 0
    assert "What it costs in all" in page.read_text()
    assert main(["report", str(run), "--price", "free"]) == 2


def test_without_them_a_report_is_what_it_was(run: Path) -> None:
    view = build_view(read(run).records.values(), read(run).resolved, About("quick", "here"))
    assert view.usage == ()
    console = Console(width=100)
    with console.capture() as captured:
        write(view, console)
    assert "what it costs in all" not in captured.get()
