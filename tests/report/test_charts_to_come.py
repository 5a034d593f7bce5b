"""Charts of what analysis brings: disagreement, fronts, matched comparisons, growth; with made-up figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import synthetic_run as synthetic
from test_charts import fields
from test_page import HOSTILE, Page

from pyprof.analysis.arena import ArenaCell, ArenaTable
from pyprof.analysis.curves import Setting
from pyprof.analysis.growth import Growth, GrowthLine
from pyprof.records.comparison import Subject
from pyprof.report.build import About, build_view
from pyprof.report.charts.arena import arena_charts
from pyprof.report.charts.chart import Chart
from pyprof.report.charts.disagreement import disagreement_groups
from pyprof.report.charts.front import Axes, Measure, Point, front_chart
from pyprof.report.charts.growth import growth_charts
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
    setting = growth_setting()
    lines = [
        GrowthLine(Subject(model, "eager"), setting, (1024, 4096), claim, Growth(exponent, exponent, exponent), {
            "latency": Growth(0.9 * exponent, 0.8 * exponent, exponent),
            "memory_access": Growth(exponent, exponent, exponent),
        })
        for model, claim, exponent in ((name, "L * L", 2.0), ("window", name, 1.0))
    ]  # fmt: skip
    return growth_charts(lines)


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


def test_names_of_points_that_lie_together_stand_apart() -> None:
    def told(*places: tuple[float, float]) -> list[tuple[str, float]]:
        points = [Point(f"model {number}", Measure(x), Measure(y)) for number, (x, y) in enumerate(places)]
        named = front_chart("f", "Front", points, Axes("x", "y")).tables["points"]
        return list(zip(named["align"], named["down"], strict=True))

    far, near = [(1.0, 1.0), (3.0, 9.0)], [(1.0, 1.0), (1.01, 1.01), (1.02, 1.0), (3.0, 9.0)]
    assert told(*far) == [("left", -7), ("right", -7)]
    # Of three in one place each is on another side or line, and the last one is where it was.
    *crowd, alone = told(*near)
    assert len(set(crowd)) == 3
    assert alone == ("right", -7)


def test_where_no_front_is_known_none_is_drawn_and_bounds_only_where_there_are_some() -> None:
    points = [Point("bert", Measure(1.0, 0.9, 1.1), Measure(2.0)), Point("swin", Measure(2.0), Measure(1.0))]
    chart = front_chart("f", "Speed and memory", points, Axes("x", "y"))
    assert [layer["data"]["name"] for layer in chart.spec["layer"]] == ["across", "points", "points"]
    assert list(chart.tables["across"]["low"]) == [0.9]
    assert "front" not in chart.description


def test_growth_has_the_fits_of_each_cost_beside_the_claim() -> None:
    (chart,) = growth()
    growths, claims = chart.tables["growths"], chart.tables["claims"]
    assert list(zip(growths["model"], growths["cost"], growths["exponent"], strict=True)) == [
        ("window eager", "latency", 0.9),
        ("window eager", "memory access", 1.0),
        ("dense eager", "latency", 1.8),
        ("dense eager", "memory access", 2.0),
    ]
    assert list(zip(claims["model"], claims["exponent"], strict=True)) == [("window eager", 1.0), ("dense eager", 2.0)]


def test_intervals_that_reach_far_leave_room_for_the_exponents() -> None:
    def drawn(low: float, high: float) -> tuple[list[float], str]:
        line = GrowthLine(
            Subject("dense", "eager"), growth_setting(), (512, 1024, 2048), "L * L", Growth(2.0, 2.0, 2.0),
            {"latency": Growth(1.3, low, high)},
        )  # fmt: skip
        (chart,) = growth_charts([line])
        (domain,) = {tuple(each["encoding"]["x"]["scale"]["domain"]) for each in chart.spec["layer"]}
        return list(domain), chart.caption

    inside, said = drawn(1.0, 1.6)
    outside, more = drawn(-9.0, 11.6)
    assert inside == outside == [0.5, 2.5]
    assert "cut off" in more
    assert "cut off" not in said


def test_the_arena_has_its_models_by_speed_with_memory_as_area() -> None:
    cells = (
        ArenaCell("linear", 4096, 4.0, 5.7, 0.1, 0.11),
        ArenaCell("linear", 1024, 1.0, 1.2, 0.5, 0.4),
        ArenaCell("reformer", 4096, None, 0.8, None, 0.24),
    )
    (chart,) = arena_charts([ArenaTable(growth_setting(), "source", cells, 4096, None, ())])
    points = chart.tables["points"]
    assert [list(points[name]) for name in ("name", "x", "y", "area")] == [["linear"], [5.7], [4.0], [0.1]]
    assert arena_charts([ArenaTable(growth_setting(), "source", cells[2:], 4096, None, ())]) == []


def growth_setting() -> Setting:
    return Setting("train", "base", 1, "float32", "cpu", False, "machine")


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
