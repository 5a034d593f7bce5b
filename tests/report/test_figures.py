"""The pictures that --figures writes are all of the page's charts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_run as synthetic
from simulated_machine import make_environment, make_study

from pyprof.indicators import registry
from pyprof.quality.arena.published import SOURCE, scores
from pyprof.records.case import Case
from pyprof.records.comparison import ModelFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.records.run_directory import Run
from pyprof.report.charts import figures as drawn
from pyprof.report.page import report as page
from pyprof.report.several import several

LENGTHS = (192, 1024, 2048, 4096)
SECONDS = {"lra-transformer": 0.4, "lra-linear": 0.1, "lra-local": 0.2}


def arena() -> Run:
    """A run of three of the arena's models over four lengths, with the scores of the text task at the first."""
    records = []
    for number, (model, seconds) in enumerate(SECONDS.items()):
        for length in LENGTHS:
            readings = {
                "latency": Reading(seconds * length / 1024),
                "peak_memory": Reading(length * 2.0**20 * seconds),
            }
            if length == LENGTHS[0]:
                detail = {"task": "text", "baseline": 0.5, "published": dict(scores("text")), "source": SOURCE}
                readings["text_accuracy"] = Reading(0.7 + number / 20, 0.6, 0.9, detail=detail)
            case = Case(model, length, "train")
            records.append(Record(case, "ok", "machine", "2026-01-01T00:00:00Z", 1.0, indicators=readings))
    claims = {str(length): float(length**2) for length in LENGTHS}
    facts = {name: ModelFacts("bytes", "token", complexity="L * L", claims=claims) for name in SECONDS}
    indicators = tuple(registry.find(name).facts for name in ("latency", "peak_memory", "text_accuracy"))
    return run(records, Resolved((), facts, indicators))


def run(records: list[Record], resolved: Resolved) -> Run:
    study = make_study(comparison=[{"vanilla": "vit", "variants": ["swin"], "lengths": [224, 384]}])
    return Run(Path("run"), study, resolved, make_environment(), {each.case.key: each for each in records})


def quick() -> Run:
    return run(list(synthetic.quick()), synthetic.RESOLVED)


@pytest.mark.parametrize(
    "runs",
    [[quick()], [arena()], [arena(), replace(arena(), directory=Path("again"))], [quick(), arena()]],
    ids=["costs", "arena", "arena twice", "both"],
)
def test_every_chart_of_the_page_is_a_figure(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    on_page: list[str] = []

    def noted(title: str, parts: Any, charts: Any, *_: Any, **__: Any) -> str:
        on_page.extend(chart.name for chart in charts)
        return title

    monkeypatch.setattr(page, "document", noted)
    page.report_page(runs)
    made = drawn.figures(several(runs))
    # A figure of several charts has the tables of each under its name.
    parts = {name.rsplit(" ", 1)[0] for spec in made.values() for name in spec["datasets"]}
    assert on_page
    assert [name for name in on_page if name not in made and name not in parts] == []


def test_the_arena_has_its_figure_its_speeds_and_its_growth() -> None:
    assert {"scores-0", "arena-0", "growth-train"} <= set(drawn.figures(several([arena()])))


def test_only_a_page_speaks_of_a_pointer() -> None:
    runs = [quick()]
    assert "A pointer tells their names." in page.report_page(runs)
    assert "pointer" not in str(drawn.figures(several(runs)))
