"""Scores on the arena's tasks beside the published ones: the analysis, a terminal, a page, its figure and JSON."""

from __future__ import annotations

from io import StringIO

import pytest

from pyprof.analysis.arena_scores import arena_scores
from pyprof.analysis.curves import Curves
from pyprof.indicators import registry
from pyprof.quality.arena.published import SOURCE, scores
from pyprof.records.case import Case
from pyprof.records.comparison import ModelFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.report.as_json import document
from pyprof.report.build import About, build_view
from pyprof.report.charts.arena import score_charts
from pyprof.report.console import Console
from pyprof.report.page.growth import scores_part
from pyprof.report.style import Glyphs
from pyprof.report.terminal import render

TASKS = {"listops": 48, "text": 192, "pathx": 1024}
INDICATORS = tuple(
    registry.find(name).facts for name in ("latency", "peak_memory", *(f"{task}_accuracy" for task in TASKS))
)


def reading(task, value, half=0.02):
    detail = {"task": task, "baseline": 0.5, "published": dict(scores(task)), "source": SOURCE}
    if value is None:
        return Reading(None, reason="1 of 5 trainings diverged: the loss is nan", detail=detail)
    return Reading(value, value - half, value + half, detail=detail)


def record(model, task, value, seconds):
    readings = {
        "latency": Reading(seconds),
        "peak_memory": Reading(seconds * 2**30),
        f"{task}_accuracy": reading(task, value),
    }
    return Record(Case(model, TASKS[task], "train"), "ok", "machine", "2026-01-01T00:00:00Z", 1.0, indicators=readings)


MODELS = {"lra-transformer": (0.6, 0.9, 0.51), "lra-local": (0.55, 0.8, None), "lra-linear": (0.6, 0.7, 0.7)}
RECORDS = [
    record(model, task, value, 0.1 * (number + 1))
    for number, (model, values) in enumerate(MODELS.items())
    for task, value in zip(TASKS, values, strict=True)
]


def view(records=RECORDS):
    facts = {name: ModelFacts("bytes", "token") for name in MODELS}
    return build_view(records, Resolved((), facts, INDICATORS), About("arena", "a machine"))


def test_rows_have_scores_averages_and_the_costs_at_the_text_task():
    (table,) = arena_scores(Curves.of(RECORDS), INDICATORS)
    assert table.tasks == tuple(TASKS)
    assert table.length == 192
    first, local, linear = table.rows
    assert first.scores["listops"].published == pytest.approx(0.3637)
    assert first.scores["pathx"].published is None
    assert local.scores["pathx"].reason == "1 of 5 trainings diverged: the loss is nan"
    # Path-X has no score of every model, so that no average is over it.
    assert first.average == pytest.approx(0.75)
    assert first.high - first.average == pytest.approx((2 * 0.02**2) ** 0.5 / 2)
    assert linear.published_average == pytest.approx((0.1613 + 0.6590) / 2)
    assert [row.speed for row in table.rows] == pytest.approx([10, 5, 10 / 3])
    assert first.memory == pytest.approx(0.1 * 2**30)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_terminal_has_ours_beside_the_published_and_says_what_did_not_learn(width):
    file = StringIO()
    Console(file=file, width=width).print(render(view(), width, Glyphs()))
    lines = file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "60.0 [58–62] / 36.4" in text
    assert "Text accuracy lra-transformer eager 0.9 [0.88–0.92]" in text
    assert "Path-X: not shown to be above the most frequent class: lra-transformer" in text
    assert "Path-X, lra-local: 1 of 5 trainings diverged: the loss is nan" in text


def test_a_page_a_figure_and_json_have_them_too():
    made = view()
    page = "".join(scores_part(made))
    assert "60.0 [58–62] / 36.4" in page
    assert "trainings diverged" in page
    (chart,) = score_charts(made.scores)
    points = chart.tables["points"]
    assert list(points["name"]) == list(MODELS)
    assert list(points["x"]) == pytest.approx([10, 5, 10 / 3], rel=1e-3)
    assert list(points["y"]) == pytest.approx([75, 67.5, 65])
    assert points["area"][0] < points["area"][2]
    told = document(made)["scores"][0]
    assert told["rows"][0]["scores"]["text"]["value"] == 0.9


def test_a_run_without_tasks_has_none():
    plain = [
        Record(
            Case("lra-local", 64, "train"), "ok", "m", "2026-01-01T00:00:00Z", 1.0, indicators={"latency": Reading(1.0)}
        )
    ]
    made = view(plain)
    assert made.scores == ()
    assert not [*scores_part(made)]
    assert score_charts(made.scores) == []


def test_names_stand_beside_the_areas_on_the_side_where_there_is_room():
    (table,) = arena_scores(Curves.of(RECORDS), INDICATORS)
    (chart,) = score_charts([table])
    points = chart.tables["points"]
    # By speed: linear, local, and the Transformer at the right end.
    sides = dict(zip(points["name"], points["align"], strict=True))
    assert sides == {"lra-transformer": "right", "lra-local": "left", "lra-linear": "left"}
    aside = dict(zip(points["name"], points["aside"], strict=True))
    assert aside["lra-linear"] > aside["lra-local"] > 0 > aside["lra-transformer"]
    # The largest circle has 1,600 square pixels, and a radius of 23.
    assert aside["lra-linear"] == 27
