from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import synthetic_run as synthetic

from pyprof.analysis.omitted import Note
from pyprof.records.case import Case, Mode
from pyprof.records.comparison import Comparison, ModelFacts
from pyprof.report.build import About, build_view
from pyprof.report.build_tables import brief
from pyprof.report.view import ModalityView, Table, View

ABOUT = About("quick", "a machine")


@pytest.fixture(scope="module")
def view() -> View:
    return build_view(synthetic.quick(), synthetic.RESOLVED, ABOUT)


def part(view: View, name: str) -> ModalityView:
    return next(one for one in view.modalities if one.name == name)


def table(part: ModalityView, metric: str, mode: str) -> Table:
    return next(one for one in part.tables if (one.metric, one.mode) == (metric, mode))


def test_the_header_counts_every_case_once(view: View) -> None:
    records = list(synthetic.quick())
    assert view.counts == dict(Counter(record.status for record in records))
    assert view.seconds == pytest.approx(sum(record.seconds for record in records))
    assert (view.study, view.machine, view.started) == ("quick", "a machine", "2026-05-09T07:35:25Z")


def test_modalities_come_in_their_order_with_their_units(view: View) -> None:
    assert [(one.name, one.unit) for one in view.modalities] == [
        ("text", "token"),
        ("speech", "token"),
        ("vision", "pixel"),
    ]


def test_a_table_has_a_row_for_each_length_and_the_vanilla_model_first(view: View) -> None:
    latency = table(part(view, "text"), "latency", "infer")
    assert [(one.model, one.attention, one.vanilla) for one in latency.columns] == [
        ("bert", "eager", True),
        ("bert", "sdpa", True),
        ("longformer", "eager", False),
        ("nystromformer", "eager", False),
    ]
    assert [row.length for row in latency.rows] == list(synthetic.LENGTHS["text"])
    assert (latency.unit, latency.length_unit, latency.setting, latency.counted) == ("s", "token", "", False)
    assert latency.compared == (0, 0, 2, 2)


def test_cells_hold_the_figure_its_interval_or_the_status(view: View) -> None:
    latency = table(part(view, "text"), "latency", "infer")
    measured = synthetic.record("bert", "eager", 1562, "infer").indicators["latency"]
    cell = next(row for row in latency.rows if row.length == 1562).cells[0]
    assert (cell.value, cell.low, cell.high, cell.status) == (measured.value, measured.low, measured.high, "ok")
    last = latency.rows[-1].cells
    assert (last[0].value, last[0].status) == (None, "oom")


def test_cheaper_cells_name_the_comparisons_that_show_it(view: View) -> None:
    latency = table(part(view, "text"), "latency", "infer")
    longformer = {row.length: row.cells[2].cheaper_in for row in latency.rows}
    assert longformer[1022] == ()
    assert longformer[2042] == ("then",)
    assert longformer[2582] == ("then", "now")


def test_throughput_is_compared_at_the_largest_batch(view: View) -> None:
    throughput = table(part(view, "text"), "throughput", "infer")
    assert throughput.rows[0].cells[0].detail == {"batch": 16}
    assert {line.metric for line in part(view, "text").tipping} == {"latency", "throughput", "peak_memory"}


def test_a_short_print_shows_the_lengths_around_a_tipping_point(view: View) -> None:
    memory = table(part(view, "text"), "peak_memory", "infer")
    lengths = [memory.rows[index].length for index in memory.brief]
    assert {62, 1022, 1562, 3362} <= set(lengths)
    train = table(part(view, "text"), "latency", "train")
    assert max(train.rows[index].length for index in train.brief) == 2042


def test_brief_indices() -> None:
    assert brief([], 5) == ()
    assert brief([3, 4], 5) == (0, 1)
    assert brief(range(1, 101), 3) == (0, 9, 99)
    assert brief(range(1, 101), 3, [50.5]) == (0, 9, 49, 50, 99)
    assert brief(range(1, 101), 3, [1e6]) == (0, 9, 98, 99)


def test_tipping_lines_carry_the_published_point_and_the_data_sets(view: View) -> None:
    line = next(
        one
        for one in part(view, "speech").tipping
        if one.comparison.variant == "l-hubert" and one.comparison.name == "then" and one.metric == "latency"
    )
    assert line.published is not None
    assert (line.published.low, line.published.high, line.agreement) == (1750, 2000, "earlier")
    sides = {one.data_set: one.side for one in line.data_sets}
    assert (sides["LibriSpeech"], sides["Spoken-SQuAD"]) == ("below", "above")
    assert (line.shortest, line.longest, len(line.points)) == (50, 2500, 8)


def test_shares_put_the_modes_of_a_length_together(view: View) -> None:
    chart = part(view, "vision").shares[0]
    assert (chart.column.model, chart.column.attention, chart.setting) == ("vit", "eager", "")
    assert list(chart.rows[0].modes) == ["infer", "train"]
    assert list(chart.rows[-1].modes) == ["infer"]
    assert len(part(view, "vision").share_lines) == 4
    assert part(view, "vision").share_lines[0].published == 0.4375


def test_parameters_and_their_kinds(view: View) -> None:
    line = part(view, "text").models[0]
    assert (line.column.model, line.fewest, line.most) == ("bert", 109_482_240, 109_482_240)
    assert sum(line.shares.values()) == pytest.approx(1)


def test_the_axis_holds_the_measured_and_the_published_range(view: View) -> None:
    axis = part(view, "vision").axis
    assert axis is not None
    assert (axis.low, axis.high) == (32, 1024)
    two = [synthetic.record("bert", "eager", length, "infer") for length in (62, 242)]
    short = build_view(two, synthetic.resolved(()), ABOUT).modalities[0].axis
    assert short is not None
    assert (short.low, short.high) == (62, 2000)


def test_at_one_length_nothing_tips_and_the_models_are_ranked() -> None:
    models = ("bert", "longformer", "nystromformer")
    records = [synthetic.record(model, "eager", 3362, mode) for model in models for mode in ("infer", "train")]
    (text,) = build_view(records, synthetic.RESOLVED, ABOUT).modalities
    assert (text.tipping, text.axis, text.lengths) == ((), None, (3362,))
    latency = [line for line in text.rankings if (line.metric, line.name) == ("latency", "then")]
    assert [(line.name, line.mode) for line in latency] == [("then", "infer"), ("then", "train")]
    assert [place.column.model for place in latency[0].places] == ["nystromformer", "longformer", "bert"]
    assert latency[0].decided
    assert [column.model for column in latency[0].leaders] == ["nystromformer"]
    assert all(point.low < point.ratio < point.high for point in latency[0].places[1:])


def test_over_many_lengths_it_is_told_who_costs_least_where(view: View) -> None:
    line = next(
        line for line in part(view, "text").least if (line.name, line.metric, line.mode) == ("then", "latency", "infer")
    )
    told = [(reign.shortest, reign.longest, [each.model for each in reign.leaders]) for reign in line.reigns]
    assert told == [(62, 242, ["bert"]), (542, 3362, ["nystromformer"])]


def test_environments_stay_apart_and_are_warned_of() -> None:
    here = [synthetic.record(model, "eager", 62, "infer") for model in ("bert", "longformer")]
    there = [replace(one, environment="another") for one in here]
    view = build_view([*here, *there], synthetic.RESOLVED, ABOUT)
    assert any("2 environments" in warning for warning in view.warnings)
    latency = [one for one in view.modalities[0].tables if one.metric == "latency"]
    assert [one.setting for one in latency] == ["machine 5f0c1d2e", "machine another"]


def test_a_model_of_a_user_stands_with_the_vanilla_model_that_the_study_names() -> None:
    mine = "my.package:model"
    comparison = Comparison("now", mine, "eager", "bert", "eager", "text", "token")
    records = [synthetic.record("bert", "eager", n, "infer") for n in (62, 542)]
    own = [replace(one, case=replace(one.case, model=mine)) for one in records]
    facts = {**synthetic.FACTS, mine: ModelFacts("text", "token", "bert")}
    view = build_view([*records, *own], synthetic.resolved([comparison], facts), ABOUT)
    (text,) = view.modalities
    assert [column.model for column in text.tables[0].columns] == ["bert", mine]
    assert [line.tipping.status for line in text.tipping if line.metric == "latency"] == ["undetermined"]


def test_a_model_without_facts_or_comparison_is_shown_by_itself() -> None:
    one = replace(synthetic.record("bert", "eager", 62, "infer"), case=Case("a.b:c", 62))
    (other,) = build_view([one], synthetic.resolved(()), ABOUT).modalities
    assert (other.name, other.unit, other.tipping) == ("other", "unit", ())


def test_a_run_without_records_is_a_view_too() -> None:
    view = build_view([], synthetic.RESOLVED, ABOUT)
    assert (view.counts, view.modalities, view.omitted, view.started, view.seconds) == ({}, (), (), None, 0)


def test_equal_notes_are_counted() -> None:
    one = synthetic.record("bert", "eager", 62, "infer")
    two = replace(one, case=replace(one.case, length=63))
    view = build_view([replace(each, notes=("padded to 512",)) for each in (one, two)], synthetic.resolved(()), ABOUT)
    assert view.notes == (Note("padded to 512", False, 2),)


@pytest.mark.parametrize(("mode", "told"), [("infer", True), ("prefill", False), ("generate", False)])
def test_what_was_published_stands_beside_the_modes_that_it_is_of(mode: Mode, told: bool) -> None:
    records = [
        synthetic.record(model, attention, length, mode)
        for model, attention in (("bert", "eager"), ("bert", "sdpa"), ("longformer", "eager"))
        for length in (62, 242, 1562, 2042)
    ]
    text = part(build_view(records, synthetic.RESOLVED, ABOUT), "text")
    assert text.axis is not None
    assert (text.axis.published is not None) == told
    assert any(line.published is not None for line in text.tipping) == told
    assert bool(text.share_lines) == told
