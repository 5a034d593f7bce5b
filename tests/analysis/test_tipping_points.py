from __future__ import annotations

from dataclasses import replace

from pyprof.analysis.curves import Curves
from pyprof.analysis.tipping_points import TippingPoint, tipping_points
from pyprof.indicators.registry import every
from pyprof.records.case import Case
from pyprof.records.comparison import Comparison
from pyprof.records.reading import Reading
from pyprof.records.record import Record

THEN = Comparison("then", "longformer", "eager", "bert", "eager", "text", "token")

INDICATORS = tuple(indicator.facts for indicator in every())


def record(case: Case, latency: float | None, **changes: object) -> Record:
    """A record with a latency and its interval, or one that is out of memory."""
    one = Record(case, "oom", "here", "2026-01-01T00:00:00Z", 1.0, "out of memory")
    if latency is not None:
        reading = Reading(latency, latency * 0.99, latency * 1.01)
        one = replace(one, status="ok", reason=None, indicators={"latency": reading})
    return replace(one, **changes)  # type: ignore[arg-type]


def run(vanilla: float | None = 1.0) -> list[Record]:
    """Two models at three lengths; they cost the same at 400."""
    return [
        *(record(Case("bert", n), None if vanilla is None else vanilla * n * n / 160_000) for n in (200, 300, 800)),
        *(record(Case("longformer", n), n / 400) for n in (800, 200, 300)),
    ]


def tipping(records: list[Record], comparison: Comparison = THEN) -> list[TippingPoint]:
    return list(tipping_points(Curves.of(records), [comparison], INDICATORS))


def test_a_tipping_point_is_found_from_records_in_any_order() -> None:
    (one,) = tipping(run())
    assert (one.comparison, one.metric, one.setting.mode, one.measured) == (THEN, "latency", "infer", (200, 800))
    assert one.tipping.crossing is not None
    assert abs(one.tipping.crossing.length - 400) < 1e-9


def test_the_last_record_of_a_case_counts() -> None:
    stale = [record(Case("bert", n), 1e-9) for n in (200, 300, 800)]
    assert tipping([*stale, *run()]) == tipping(run())


def test_machines_are_never_compared_with_each_other() -> None:
    elsewhere = [replace(one, environment="there") for one in run() if one.case.model == "bert"]
    here = [one for one in run() if one.case.model == "longformer"]
    found = tipping([*elsewhere, *here])
    assert [one.tipping.status for one in found] == ["not measured", "not measured"]
    both = tipping([*run(), *(replace(one, environment="there") for one in run())])
    assert [one.setting.environment for one in both] == ["here", "there"]
    assert all(one.tipping.status == "point" for one in both)


def test_neither_are_modes_sizes_and_data_types() -> None:
    for change in ({"mode": "train"}, {"size": "tiny"}, {"dtype": "bfloat16"}, {"compiled": True}, {"batch": 4}):
        mixed = [
            replace(one, case=replace(one.case, **change)) if one.case.model == "bert" else one  # type: ignore[arg-type]
            for one in run()
        ]
        assert {one.tipping.status for one in tipping(mixed)} == {"not measured"}


def test_the_implementation_that_was_asked_for_decides() -> None:
    assert tipping(run(), replace(THEN, vanilla_attention="sdpa"))[0].tipping.reason == "bert sdpa: no case"
    assert tipping(run(), replace(THEN, variant="nystromformer"))[0].tipping.reason == "nystromformer eager: no case"
    assert tipping(run(), Comparison("then", "a", "eager", "b", "eager", "text", "token")) == []


def test_what_was_not_measured_says_what_became_of_it() -> None:
    (one,) = tipping(run(vanilla=None))
    assert one.tipping.status == "not measured"
    assert one.tipping.reason == "no length was measured for both (longformer eager: 3 ok; bert eager: 3 oom)"
    assert (one.points, one.measured) == ((), None)


def test_loaded_weights_are_compared_each() -> None:
    loaded = [replace(one, case=replace(one.case, weights="a")) for one in run() if one.case.model == "longformer"]
    assert len(tipping([*run(), *loaded])) == 2


def test_parameters_have_no_tipping_point() -> None:
    counted = [replace(one, indicators={**one.indicators, "parameters": Reading(5.0)}) for one in run()]
    metrics = {point.metric for point in tipping(counted)}
    assert "latency" in metrics
    assert "parameters" not in metrics
