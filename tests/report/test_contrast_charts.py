"""Charts of several indicators at once, with made-up findings."""

from __future__ import annotations

import re

import pytest
import synthetic_run as synthetic

from pyprof.report.charts.chart import Chart, rows
from pyprof.report.charts.contrasts import Figure, Spot, front_chart, matrix_chart, slope_chart
from pyprof.report.charts.render import image

INDICATORS = {each.name: each for each in synthetic.RESOLVED.indicators}
LATENCY, THROUGHPUT, MEMORY = (INDICATORS[name] for name in ("latency", "throughput", "peak_memory"))
SPOTS = [
    Spot("bert", Figure(0.010, 0.009, 0.012), Figure(50, 48, 53), 3e8, front=True),
    Spot("<b>", Figure(0.020, 0.018, 0.023), Figure(70, 65, 72), 9e8, front=True),
    Spot("swin", Figure(0.025), Figure(40, 36, 43), 5e8),
]


def words(chart: Chart) -> list[str]:
    """All that is written in the picture of a chart."""
    svg = image(chart, "svg", height=chart.height).decode()
    return re.findall(r">([^<>]+)</text>", svg)


def test_a_matrix_has_a_number_for_every_pair_that_is_known() -> None:
    values = {("a", "a"): 1.0, ("a", "b"): 0.25, ("b", "a"): 0.25}
    chart = matrix_chart("Agreement", ["a", "b"], values, "the rank correlation")
    assert [(row["row"], row["column"], row["value"]) for row in rows(chart.tables["cells"])] == [
        ("a", "a", 1.0),
        ("a", "b", 0.25),
        ("b", "a", 0.25),
    ]
    assert "Least: a and b, 0.25." in chart.description
    written = words(chart)
    assert [written.count(number) for number in ("1.00", "0.25")] == [1, 2]


def test_a_slope_graph_has_every_place_and_names_both_ends() -> None:
    chart = slope_chart("Order", {"latency": ["bert", "swin"], "memory": ["swin", "bert"]})
    places = {(row["by"], row["model"]): row["place"] for row in rows(chart.tables["places"])}
    assert places == {("latency", "bert"): 1, ("latency", "swin"): 2, ("memory", "swin"): 1, ("memory", "bert"): 2}
    written = words(chart)
    assert [written.count(word) for word in ("bert", "swin", "latency", "memory")] == [2, 2, 1, 1]


def test_a_front_has_intervals_one_unit_an_axis_and_areas() -> None:
    chart = front_chart("Speed and size", LATENCY, THROUGHPUT, SPOTS, MEMORY)
    first = rows(chart.tables["spots"])[0]
    assert (first["x"], first["x_low"], first["x_high"], first["area"]) == (10, 9, 12, 3e8)
    assert rows(chart.tables["spots"])[2]["x_low"] is None
    assert "bert, <b> on the front" in chart.description
    assert "latency is better lower and throughput is better higher" in chart.description
    written = words(chart)
    assert "latency (ms)" in written
    assert "&lt;b&gt;" in written


@pytest.mark.parametrize("front", [True, False])
def test_where_no_front_is_known_none_is_drawn(front: bool) -> None:
    spots = [Spot("bert", Figure(0.01), Figure(1e9), front=front), Spot("swin", Figure(0.02), Figure(2e9))]
    chart = front_chart("Speed and memory", LATENCY, MEMORY, spots)
    marks = [layer["mark"]["type"] for layer in chart.spec["layer"]]
    assert marks == (["line"] if front else []) + ["point", "text"]
    assert "no front is known" in chart.description or front
