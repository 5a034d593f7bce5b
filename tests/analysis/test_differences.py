from __future__ import annotations

from dataclasses import replace

import pytest
import synthetic_run as synthetic

from pyprof.analysis.curves import Curves
from pyprof.analysis.differences import Difference, differences
from pyprof.records.reading import Reading
from pyprof.records.record import Record

INDICATORS = synthetic.RESOLVED.indicators


def at(length: int, factor: float = 1.0, **settings: object) -> Record:
    """A record of BERT whose latency is that of the synthetic run times a factor."""
    record = synthetic.record("bert", "eager", length, "infer")
    latency = record.indicators["latency"]
    times = [None if each is None else factor * each for each in (latency.value, latency.low, latency.high)]
    reading = Reading(times[0], times[1], times[2], tuple(round(factor * each) for each in latency.samples))
    environment = str(settings.pop("environment", record.environment))
    return replace(
        record,
        case=replace(record.case, **settings),  # type: ignore[arg-type]
        environment=environment,
        indicators={**record.indicators, "latency": reading},
    )


def latency_of(before: list[Record], after: list[Record]) -> list[Difference]:
    found = differences(Curves.of(before), Curves.of(after), INDICATORS)
    return [each for each in found if each.metric == "latency"]


def test_a_slowdown_is_the_ratio_at_every_common_length_with_an_interval() -> None:
    before = [at(length) for length in (62, 242, 542)]
    [found] = latency_of(before, [at(length, 1.5, environment="another") for length in (242, 542, 1022)])
    assert [point.length for point in found.points] == [242, 542]
    for point in found.points:
        assert point.ratio == pytest.approx(1.5)
        assert point.low is not None
        assert point.high is not None
        assert point.low < 1.5 < point.high
        assert not point.paired


def test_equal_settings_meet_before_others() -> None:
    before = [at(62), at(62, 2.0, allocator="keep")]
    found = latency_of(before, [at(62, 4.0, allocator="keep"), at(62, 3.0)])
    assert {each.before.allocator: each.points[0].ratio for each in found} == pytest.approx({"default": 3, "keep": 2})


def test_host_and_gpu_meet_where_one_of_each_fits() -> None:
    before = [at(62), at(62, 2.0, allocator="keep")]
    [found] = latency_of(before, [at(62, 0.5, device="cuda")])
    assert (found.before.allocator, found.after.device) == ("default", "cuda")
    assert found.points[0].ratio == pytest.approx(0.5)


def test_what_could_be_one_of_two_meets_nothing() -> None:
    assert latency_of([at(62)], [at(62, device="cuda"), at(62, device="cuda:1")]) == []


def test_a_dtype_may_differ_where_nothing_else_can_be_meant() -> None:
    [found] = latency_of([at(62)], [at(62, 0.5, dtype="bfloat16", device="cuda")])
    assert found.after.dtype == "bfloat16"


def test_what_failed_has_no_difference() -> None:
    failed = replace(at(62), status="error", reason="it broke", indicators={})
    assert latency_of([at(62)], [failed]) == []


def test_an_exact_figure_that_changed_is_known_exactly() -> None:
    record = at(62)
    memory = record.indicators["peak_memory"].value or 0.0
    after = [replace(record, indicators={"peak_memory": Reading(2 * memory)})]
    found = differences(Curves.of([at(62)]), Curves.of(after), INDICATORS)
    [change] = [each for each in found if each.metric == "peak_memory"]
    [point] = change.points
    assert (point.ratio, point.low, point.high) == pytest.approx((2, 2, 2))
