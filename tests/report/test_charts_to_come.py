"""Charts of what analysis brings: disagreement, fronts, matched comparisons, growth; with made-up figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import synthetic_run as synthetic
from test_charts import fields
from test_page import HOSTILE, Page

from pyprof.report.build import About, build_view
from pyprof.report.charts.chart import Chart
from pyprof.report.charts.disagreement import disagreement_groups
from pyprof.report.charts.front import Axes, Measure, Point, front_chart
from pyprof.report.charts.growth import Growth, growth_chart
from pyprof.report.charts.matched import Matched, matched_group
from pyprof.report.charts.pairs import Pair, pairs_chart
from pyprof.report.charts.render import image
from pyprof.report.charts.slopes import Slope, slopes_chart
from pyprof.report.page.document import simple_page


def matrix(name: str = "latency") -> list[Chart]:
    pairs = [
        Pair(name, "FLOPs", 0.33, -0.33, 1.0, "1 reversal"),
        Pair(name, "parameters", -0.67, -0.67, -0.67, "3 reversals"),
        Pair("FLOPs", "parameters", None, None, None),
    ]
    return [pairs_chart("tau", f"Order by {name}", pairs, caption=name)]


def slopes(name: str = "longformer") -> list[Chart]:
    made = [
        Slope(model, place, ratio, low, high)
        for model, ratios in {"bert": (1.0, 1.0, 1.0), name: (1.36, 0.8, 1.9)}.items()
        for place, ratio, low, high in zip(
            ("parameters", "FLOPs", "latency"), ratios, (None, None, 0.9 * ratios[2]), (None, None, 1.1 * ratios[2]),
            strict=True,
        )
    ]  # fmt: skip
    return [slopes_chart("slopes", f"{name} by indicator", made, "times the cost of bert")]


def front(name: str = "longformer") -> list[Chart]:
    points = [
        Point("bert", Measure(1.0, 0.9, 1.1), Measure(0.65, 0.64, 0.66), "member", 9.5e8),
        Point(name, Measure(0.5, 0.45, 0.55), Measure(0.63, 0.61, 0.65), "member", 3.2e8),
        Point("reformer", Measure(0.8, 0.7, 0.9), Measure(0.62), "near", 2.4e8),
        Point("synthesizer", Measure(1.1), Measure(0.55, 0.5, 0.6), "dominated", 0.8e8, said=f"by {name}"),
    ]
    axes = Axes("times the latency of bert", "score", y_log=False, area="peak memory in bytes")
    return [front_chart("arena", "Score against speed", points, axes)]


def growth(name: str = "dense") -> list[Chart]:
    lengths = (1024, 2048, 4096)
    grown = [
        Growth(name, lengths, tuple(3.0 * n**2 for n in lengths), 3.0, 2.0, 1.97, 2.03, "n²"),
        Growth("window", lengths, tuple(900.0 * n for n in lengths), 900.0, 1.0, None, None, "n"),
    ]
    return [growth_chart("growth", f"Growth of {name}", grown, "FLOPs", "token")]


def matched(name: str = "latency") -> list[Chart]:
    rows = [
        Matched(target, indicator, 1.0 if indicator == target else ratio, None, None)
        for target, ratio in (("parameters", 1.8), ("FLOPs", 1.3), (name, 0.7))
        for indicator in ("parameters", "FLOPs", name)
    ]
    return [*matched_group("matched", "Matched comparisons", rows).charts]


CHARTS: dict[str, Callable[[str], list[Chart]]] = {
    "matrix": matrix,
    "slopes": slopes,
    "front": front,
    "growth": growth,
    "matched": matched,
}


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_a_chart_draws_columns_that_it_has_and_says_what_it_shows(make: Callable[[str], list[Chart]]) -> None:
    for chart in make("a name"):
        columns = {name for table in chart.tables.values() for name in table} | {"at"}
        assert set(fields(chart.spec)) <= columns
        assert all(len({len(column) for column in table.values()}) == 1 for table in chart.tables.values())
        assert len(chart.description) > 40


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_a_chart_is_drawn_for_paper_and_what_a_user_named_is_text(make: Callable[[str], list[Chart]]) -> None:
    for chart in make(HOSTILE):
        drawn = image(chart, "svg").decode()
        assert drawn.startswith("<svg")
        assert "<script" not in drawn
    made = simple_page("charts", [], make(HOSTILE))
    assert "<script>alert(1)" not in made
    assert Page(made).data["charts"].keys() == {chart.name for chart in make(HOSTILE)}


def test_a_matrix_shows_each_pair_once_and_says_where_it_cannot_tell() -> None:
    (chart,) = matrix()
    words = chart.tables["words"]
    assert list(words["shown"]) == ["0.33", "-0.67", "?"]
    assert list(words["said"]) == [
        "0.33 [-0.33 to 1.00]; 1 reversal",
        "-0.67; 3 reversals",
        "cannot be told",
    ]
    assert list(chart.tables["cells"]["agreement"]) == [0.33, -0.67]
    assert "latency and parameters -0.67; 3 reversals" in chart.description


def test_slopes_keep_the_order_of_places_and_draw_bounds_only_where_there_are_some() -> None:
    (chart,) = slopes()
    assert list(dict.fromkeys(chart.tables["slopes"]["place"])) == ["parameters", "FLOPs", "latency"]
    assert list(chart.tables["bounds"]["place"]) == ["latency", "latency"]
    assert list(chart.tables["names"]["name"]) == ["bert", "longformer"]


def test_a_front_goes_through_its_members_in_order_and_has_the_third_measure_as_area() -> None:
    (chart,) = front()
    assert list(chart.tables["front"]["x"]) == [0.5, 1.0]
    assert len(chart.tables["across"]["low"]) == 3
    assert len(chart.tables["along"]["low"]) == 3
    assert "At the front: longformer, bert." in chart.description
    assert "Area: peak memory in bytes." in chart.caption
    sizes = [layer["encoding"]["size"] for layer in chart.spec["layer"] if "size" in layer["encoding"]]
    assert sizes[0]["field"] == "area"
    without = front_chart("f", "Front", [Point("a", Measure(1.0), Measure(2.0), "member")], Axes("x", "y"))
    sizes = [layer["encoding"]["size"] for layer in without.spec["layer"] if "size" in layer["encoding"]]
    assert "field" not in sizes[0]


def test_growth_draws_the_fit_over_what_was_measured() -> None:
    (chart,) = growth()
    fits = chart.tables["fits"]
    assert list(zip(fits["name"], fits["length"], fits["cost"], strict=True))[:2] == [
        ("dense", 1024, pytest.approx(3 * 1024**2, rel=1e-4)),
        ("dense", 4096, pytest.approx(3 * 4096**2, rel=1e-4)),
    ]
    assert "as the length to the power of 2.00 [1.97 to 2.03], claimed n²" in chart.description


def test_a_report_shows_where_its_indicators_disagree() -> None:
    """Latency and peak memory of the synthetic run: what is drawn are the ratios of the view to the vanilla model."""
    view = build_view(synthetic.quick(), synthetic.RESOLVED, About("quick", "a machine"))
    part = next(part for part in view.modalities if part.name == "text")
    groups = disagreement_groups(part, view.indicators)
    assert 1 <= len(groups) <= 2
    line = next(
        line
        for line in reversed(part.disagreements)
        if f"Text: {line.name}, {line.mode}, {line.length:,} tokens" == groups[0].title
    )
    slopes = groups[0].charts[0]
    base = next(column for column in line.columns if column.vanilla)
    drawn = dict(
        zip(
            zip(slopes.tables["slopes"]["name"], slopes.tables["slopes"]["place"], strict=True),
            slopes.tables["slopes"]["ratio"],
            strict=True,
        )
    )
    titles = {each.name: each.title for each in view.indicators}
    pairs = [contrast for contrast in line.contrasts if base in (contrast.first, contrast.second)]
    assert pairs
    for contrast in pairs:
        other = contrast.second if contrast.first == base else contrast.first
        for verdict in contrast.verdicts:
            ratio = verdict.ratio if contrast.second == base else 1 / verdict.ratio
            assert drawn[f"{other.model} {other.attention}", titles[verdict.metric]] == pytest.approx(ratio, rel=1e-3)
    fronts = [chart for chart in groups[0].charts if "front" in chart.name]
    assert set(fronts[0].tables["points"]["standing"]) <= {"member", "near", "dominated"}
    assert "is cheaper than" in groups[0].caption


def test_matched_comparisons_have_the_same_indicators_in_every_column() -> None:
    charts = matched()
    assert [chart.title for chart in charts] == ["equal parameters", "equal FLOPs", "equal latency"]
    assert {tuple(chart.tables["lines"]["name"]) for chart in charts} == {("parameters", "FLOPs", "latency")}
    assert list(charts[2].tables["lines"]["value"]) == [0.7, 0.7, 1.0]
    assert list(charts[2].tables["lines"]["tint"]) == ["series-0", "series-0", "series-6"]
