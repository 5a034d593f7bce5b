"""What a cost consists of: peak memory by component, in a terminal, on the page and for paper."""

from __future__ import annotations

import io
from dataclasses import replace

import made_up
import pytest
import synthetic_run as synthetic
from rich.console import Console
from test_charts import fields
from test_page import HOSTILE, Page

from pyprof.records.case import Mode
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.report.build import About, build_view
from pyprof.report.charts.parts import part_groups
from pyprof.report.charts.stacked import ABSOLUTE, RELATIVE
from pyprof.report.page.report import report_page
from pyprof.report.style import ASCII
from pyprof.report.terminal import render
from pyprof.report.view import ModalityView, View

NAMES = ("parameters", "buffers", "inputs", "optimizer_state", "gradients", "activations", "workspace")


def with_components(model: str, length: int, mode: Mode, whole: float = 1000.0) -> Record:
    """A tenth of the memory is of inputs; the rest grows with the length from parameters to what is made of them."""
    made = {**dict.fromkeys(NAMES, 0), "inputs": 100, "parameters": 800 - length, "workspace": 100 + length}
    record = synthetic.record(model, "eager", length, mode)
    readings = {**record.indicators, "memory_components": Reading(whole, detail=made)}
    return replace(record, indicators=readings)


def view_of(*records: Record) -> View:
    return build_view(records, synthetic.RESOLVED, About("costs", "a machine"))


@pytest.fixture
def part() -> ModalityView:
    records = [with_components(model, length, "infer") for model in ("bert", "longformer") for length in (62, 242, 542)]
    return view_of(*records).modalities[0]


def test_a_chart_stacks_the_parts_of_each_model_over_length(part: ModalityView) -> None:
    (group,) = part_groups([("", part)])
    assert [chart.title for chart in group.charts] == ["bert eager, infer", "longformer eager, infer"]
    assert [key.words for key in group.keys] == ["parameters", "inputs", "workspace"]
    chart = group.charts[0]
    rows = chart.tables["rows"]
    assert list(zip(rows["length"], rows["part"], rows["share"], strict=True))[-3:] == [
        (542, "parameters", 0.258), (542, "inputs", 0.1), (542, "workspace", 0.642),
    ]  # fmt: skip
    assert set(fields(chart.specs)) <= set(rows)
    stacks = {kind: chart.chosen(kind)["layer"][0]["encoding"]["y"]["stack"] for kind in (ABSOLUTE, RELATIVE)}
    assert stacks == {ABSOLUTE: "zero", RELATIVE: "normalize"}
    assert "workspace 64 %, parameters 26 %, inputs 10 %" in chart.description


def test_the_terminal_has_a_bar_at_both_ends() -> None:
    console = Console(file=io.StringIO(), width=80)
    records = [with_components("bert", length, "infer") for length in (62, 242, 542)]
    console.print(render(view_of(*records), 80, ASCII))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    begin = next(number for number, line in enumerate(lines) if "what it consists of" in line)
    title, legend, first, last = lines[begin : begin + 4]
    assert title == "Peak memory by component, infer: what it consists of"
    assert legend.split() == ["pp", "parameters", "ii", "inputs", "ww", "workspace"]
    assert first.split()[:5] == ["bert", "eager", "62", "1000", "B"]
    assert last.split()[:3] == ["542", "1000", "B"]
    drawn = last.split()[-1]
    assert len(last) <= 80
    assert drawn.count("w") / len(drawn) == pytest.approx(0.64, abs=0.03)


@pytest.mark.parametrize(
    "reading", [Reading(1000.0), Reading(900.0, detail={"parameters": 1000}), Reading(1.0, detail={"parameters": "a"})]
)
def test_figures_whose_parts_do_not_sum_to_them_have_none(reading: Reading) -> None:
    record = synthetic.record("bert", "eager", 62, "infer")
    changed = replace(record, indicators={**record.indicators, "memory_components": reading})
    assert part_groups([("", view_of(changed).modalities[0])]) == []


def test_the_page_has_them_among_what_it_costs() -> None:
    records = [with_components("bert", length, "infer") for length in (62, 242, 542)]
    shown = Page(report_page([made_up.run_of(records, HOSTILE)]))
    assert shown.data["charts"]["parts-text-memory-components-0"]["tables"]["rows"]["part"][0] == "parameters"
    assert "Peak memory by component" in shown.text
