from __future__ import annotations

from dataclasses import replace

import pytest

from pyprof.analysis.curves import Curves
from pyprof.analysis.shares import mean_over_length, share_curves, share_row, share_summaries
from pyprof.records.case import Case
from pyprof.records.comparison import Comparison
from pyprof.records.published import diwan2023 as published
from pyprof.records.reading import Reading
from pyprof.records.record import KindCost, Record


def record(model: str, length: int, attention: float, rest: float, backward: float | None = None) -> Record:
    """A record whose kinds took so many seconds, and 1 s outside of all layers."""
    kinds = {
        "feedforward": KindCost(rest, None if backward is None else backward, 10),
        "self-attention": KindCost(attention, None if backward is None else backward, 10),
    }
    indicators = {"latency": Reading(1.0)}
    mode = "infer" if backward is None else "train"
    step = attention + rest + 1.0 + 2 * (backward or 0.0)
    return Record(Case(model, length, mode), "ok", "e", "t", 1.0, None, indicators, kinds, step, 1.0)


def test_shares_are_of_forward_and_backward_and_sum_to_one() -> None:
    row = share_row(record("bert", 62, 2.0, 3.0, backward=7.0))
    assert row is not None
    assert row.seconds == 20.0
    assert row.shares == {"self-attention": 9 / 20, "feedforward": 10 / 20, "outside": 1 / 20}
    assert list(row.shares) == ["self-attention", "feedforward", "outside"]
    assert row.non_attention == pytest.approx(11 / 20)


def test_a_record_without_layers_has_no_shares() -> None:
    one = record("bert", 62, 2.0, 3.0)
    assert share_row(replace(one, kinds={}, outside_seconds=None)) is None
    assert share_row(replace(one, kinds={"other": KindCost(0.0, None, 0)}, outside_seconds=0.0)) is None


def test_kinds_of_a_user_stand_before_what_is_outside() -> None:
    one = record("bert", 62, 2.0, 3.0)
    row = share_row(replace(one, kinds={"router": KindCost(1.0, None, 0), **one.kinds}))
    assert row is not None
    assert list(row.shares)[-2:] == ["router", "outside"]


def test_a_densely_measured_stretch_counts_no_more() -> None:
    assert mean_over_length([(0, 1.0), (100, 0.0)]) == 0.5
    assert mean_over_length([(0, 1.0), (98, 0.02), (99, 0.01), (100, 0.0)]) == pytest.approx(0.5)
    assert mean_over_length([(512, 0.3)]) == 0.3


def test_the_summary_is_the_mean_of_models_below_the_published_bound() -> None:
    then = Comparison("then", "longformer", "eager", "bert", "eager", "text", "token")
    records = [
        record("bert", 100, 4.0, 5.0),
        record("bert", 900, 6.0, 3.0),
        record("bert", 1000, 9.0, 0.0),
        record("longformer", 100, 5.0, 4.0),
        record("mine", 100, 0.0, 9.0),
    ]
    (summary,) = share_summaries(share_curves(Curves.of(records)), [then], published().shares)
    assert summary.share == pytest.approx(((0.6 + 0.4) / 2 + 0.5) / 2)
    assert (summary.below, summary.unit, summary.published) == (1000, "token", 0.35)
    assert (summary.models, summary.covered) == (("bert eager", "longformer eager"), (100, 900))


def test_there_is_no_summary_without_a_length_below_the_bound_or_a_finding() -> None:
    then = Comparison("then", "longformer", "eager", "bert", "eager", "text", "token")
    long = share_curves(Curves.of([record("bert", 2000, 1.0, 1.0), record("longformer", 2000, 1.0, 1.0)]))
    assert share_summaries(long, [then], published().shares) == ()
    short = share_curves(Curves.of([record("bert", 62, 1.0, 1.0)]))
    assert share_summaries(short, [replace(then, modality="other")], published().shares) == ()
