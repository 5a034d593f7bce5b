"""The grammar of charts: colours that can be told apart, tables that fit their specifications, pictures for paper."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import synthetic_run as synthetic

from pyprof.errors import UsageError
from pyprof.report.build import About, build_view
from pyprof.report.charts import render, theme
from pyprof.report.charts.chart import Chart, Group, rows
from pyprof.report.charts.curves import LOGARITHMIC, curve_groups
from pyprof.report.charts.least import least_charts
from pyprof.report.charts.names import Lines, chart_name
from pyprof.report.charts.shares import ABSOLUTE, RELATIVE, share_group
from pyprof.report.charts.theme import contrast
from pyprof.report.charts.tipping import tipping_charts
from pyprof.report.charts.tree import LEAF, depth, tree_chart
from pyprof.report.view import Column, ModalityView, View

TEXT, MARK = 4.5, 3.0


@pytest.fixture(scope="module")
def view() -> View:
    return build_view(synthetic.quick(), synthetic.RESOLVED, About("quick", "a machine"))


@pytest.fixture(scope="module")
def text(view: View) -> ModalityView:
    return next(part for part in view.modalities if part.name == "text")


def every_chart(view: View) -> Iterator[Chart]:
    for part in view.modalities:
        shares = share_group([("", part)])
        groups: list[Group] = [*([shares] if shares else []), *curve_groups([("", part)])]
        yield from (chart for group in groups for chart in group.charts)
        yield from tipping_charts([("", part)])
        yield from least_charts("", part)


def fields(spec: Any) -> Iterator[str]:
    if isinstance(spec, Mapping):
        if isinstance(spec.get("field"), str):
            yield spec["field"]
        for each in spec.values():
            yield from fields(each)
    elif isinstance(spec, list | tuple):
        for each in spec:
            yield from fields(each)


def colours(spec: Any) -> set[str]:
    return set(re.findall(r"var\(--([^)]+)\)", repr(spec)))


@pytest.mark.parametrize("scheme", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_text_and_marks_have_contrast(scheme: Mapping[str, str]) -> None:
    for ground in ("ground", "panel"):
        for ink in ("ink", "faint", "link", "good", "bad", "care"):
            assert contrast(scheme[ink], scheme[ground]) >= TEXT, (ink, ground)
    for name, colour in scheme.items():
        if name.startswith(("series-", "kind-", "line")):
            assert contrast(colour, scheme["ground"]) >= MARK, name


@pytest.mark.parametrize("scheme", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_names_of_layers_can_be_read_on_every_kind(scheme: Mapping[str, str]) -> None:
    def over(colour: str, opacity: float) -> str:
        pairs = ((int(colour[at : at + 2], 16), int(scheme["ground"][at : at + 2], 16)) for at in (1, 3, 5))
        return "#" + "".join(f"{round(opacity * front + (1 - opacity) * back):02x}" for front, back in pairs)

    for name, colour in scheme.items():
        if name.startswith("kind-"):
            assert contrast(scheme["ink"], over(colour, LEAF)) >= TEXT, name


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_every_field_is_a_column_and_every_column_as_long_as_the_others(view: View) -> None:
    charts = list(every_chart(view))
    assert len(charts) > 30
    for chart in charts:
        for columns in chart.tables.values():
            assert len({len(column) for column in columns.values()}) == 1
        for spec in chart.specs.values():
            for layer in spec["layer"]:
                columns = chart.tables[layer["data"]["name"]]
                assert set(fields(layer)) - {"nothing"} <= set(columns), chart.name
                assert any(map(len, columns.values())), "a layer without data would have no scale"


def test_names_and_choices_are_unique_and_complete(view: View) -> None:
    charts = list(every_chart(view))
    names = [chart.name for chart in charts]
    assert len(set(names)) == len(names)
    for chart in charts:
        expected = 1
        for choice in chart.choices:
            expected *= len(choice.options)
        assert len(chart.specs) == expected
        assert chart.spec is next(iter(chart.specs.values()))
        assert chart.description.endswith(".")
        assert colours(chart.specs) <= set(theme.LIGHT)


def test_shares_are_relative_and_absolute_in_both_directions(text: ModalityView) -> None:
    group = share_group([("", text)])
    assert group is not None
    assert [choice.options for choice in group.charts[0].choices] == [
        (RELATIVE, ABSOLUTE),
        ("forward and backward", "forward", "backward"),
    ]
    train = next(chart for chart in group.charts if chart.title == "bert eager, train")
    at = [row for row in rows(train.tables["rows"]) if row["length"] == 62]
    assert sum(row["share"] for row in at) == pytest.approx(1, abs=1e-3)
    inside = [row for row in at if row["kind"] != "outside"]
    assert sum(row["both"] for row in inside) == pytest.approx(
        sum(row["forward"] + row["backward"] for row in inside), rel=1e-3
    )
    chart = text.shares[0]
    assert chart.rows[0].modes["train"].seconds == pytest.approx(
        sum(row["both"] for row in at) * (1e-3 if "(ms)" in repr(train.chosen(ABSOLUTE, "forward")) else 1), rel=1e-2
    )
    stacks = [layer["encoding"]["y"]["stack"] for layer in train.chosen(RELATIVE, "forward")["layer"][:1]]
    assert stacks == ["normalize"]


def test_device_time_is_a_choice_where_there_is_any(text: ModalityView) -> None:
    def with_device(part: ModalityView) -> ModalityView:
        shares = tuple(
            replace(chart, rows=tuple(
                replace(row, modes={mode: replace(own, device=dict.fromkeys(own.shares, 1e-3))
                                    for mode, own in row.modes.items()})
                for row in chart.rows))
            for chart in part.shares
        )  # fmt: skip
        return replace(part, shares=shares)

    group = share_group([("", with_device(text))])
    assert group is not None
    assert group.charts[0].choices[1].options[-1] == "device time"
    assert "device time" in group.caption
    assert set(group.charts[0].tables["rows"]["device"]) == {1e-3}
    assert "time (s)" in repr(group.charts[0].chosen(ABSOLUTE, "device time"))


def test_a_tipping_point_is_marked_in_the_chart_of_its_setting(text: ModalityView) -> None:
    latency = next(group for group in curve_groups([("", text)]) if group.title.startswith("Latency"))
    infer = next(chart for chart in latency.charts if chart.title == "infer")
    lines = [line for line in text.tipping if (line.metric, line.mode) == ("latency", "infer")]
    crossing = [line.tipping.crossing for line in lines if line.tipping.crossing]
    assert crossing
    assert sorted(infer.tables["crossings"]["length"]) == sorted(round(each.length) for each in crossing)
    assert f"{crossing[0].length:,.0f}" in infer.caption
    assert infer.tables["missing"]["status"] == ("oom",)
    kinds = {axis["scale"]["type"] for layer in infer.chosen(LOGARITHMIC)["layer"]
             for name, axis in layer["encoding"].items() if name in ("x", "y") and "scale" in axis}  # fmt: skip
    assert kinds == {"log"}


def test_lines_have_a_colour_a_model_and_dashes_an_implementation() -> None:
    columns = [
        Column("bert", "eager", None, True),
        Column("bert", "sdpa", None, True),
        Column("swin", "eager", None, False),
    ]
    lines = Lines.of(columns)
    assert (lines.colours, lines.dashes) == ((0, 0, 1), (0, 1, 0))
    two = Lines.of(columns[:2], ["host", "gpu"])
    assert two.words == ("bert eager · host", "bert sdpa · host", "bert eager · gpu", "bert sdpa · gpu")
    assert (two.colours, two.dashes) == ((0, 1, 0, 1), (0, 0, 1, 1))


def test_any_words_become_a_name_for_a_file() -> None:
    assert chart_name("shares", "../x <b>", 3) == "shares-x-b-3"
    assert chart_name("←") == "chart"


def layers() -> dict[str, list[Any]]:
    return {
        "id": [0, 1, 2], "parent": [None, 0, 0], "name": ["model", "a", "b"], "path": ["", "a", "b"],
        "type": ["M", "Linear", "Linear"], "kind": ["other", "feedforward", "head"], "calls": [1, 1, 1],
        "parameters": [0, 5, 7], "own": [1.0, 2.0, 3.0], "total": [6.0, 2.0, 3.0], "share": [1.0, 1 / 3, 0.5],
        "memory": ["0 B", "20 B", "28 B"],
    }  # fmt: skip


def test_an_icicle_is_as_wide_as_the_times() -> None:
    chart = tree_chart("tree", "a model", layers(), {"other": "#777777", "feedforward": "#cc7f00", "head": "#d55e00"})
    assert depth([0, 1, 2], [None, 0, 1]) == 3
    svg = render.image(chart, "svg", width=600, height=80).decode()
    widths = [float(match) for match in re.findall(r'd="M[\d.]+,[\d.]+h([\d.]+)v', svg)]
    assert {200.0, 300.0, 600.0} <= set(widths)


def test_a_chart_is_drawn_for_paper_in_light_colours(text: ModalityView) -> None:
    chart = tipping_charts([("", text)])[0]
    svg = render.image(chart, "svg").decode()
    assert svg.startswith("<svg")
    assert "var(--" not in svg
    assert theme.LIGHT["ink"] in svg
    assert chart.title in svg


def test_without_vl_convert_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch, text: ModalityView) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "vl_convert":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match=r"pip install 'pyprof-transformers\[page\]'"):
        render.image(tipping_charts([("", text)])[0], "png")
