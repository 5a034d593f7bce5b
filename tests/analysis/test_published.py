from __future__ import annotations

import json

import pytest

from pyprof.analysis.published import agreement, side
from pyprof.analysis.tipping import Crossing, Tipping
from pyprof.records.published import PUBLISHED, TippingFinding
from pyprof.records.published import diwan2023 as published

POINT = Tipping("point", Crossing(1676.0, 1562, 1802))
RANGE = TippingFinding(1750, 2000, "token")


def test_findings_are_by_modality() -> None:
    assert published().shares["speech"].share == 0.588
    assert published().tipping_of("text", "latency") == RANGE
    assert published().tipping_of("speech", "peak_memory") == RANGE
    assert published().tipping_of("vision", "latency") == TippingFinding(500, 700, "pixel")
    assert published().tipping_of("text", "throughput") == TippingFinding(None, None, "token")
    assert published().tipping_of("text", "parameters") is None
    assert published().tipping_of("music", "latency") is None
    assert published().tipping_of("text", "of_my_own") is None


def test_the_figures_survive_a_run_directory() -> None:
    assert PUBLISHED(json.loads(json.dumps(published().to_json()))) == published()


def test_data_sets_are_sorted_by_length() -> None:
    speech = published().data_sets["speech"]
    assert [one.length for one in speech] == sorted(one.length for one in speech)
    assert any((one.name, one.length) == ("LibriSpeech", 615) for one in speech)


@pytest.mark.parametrize(
    ("tipping", "expected"),
    [
        (POINT, "agrees"),
        (Tipping("point", Crossing(900.0, 800, 1000)), "earlier"),
        (Tipping("point", Crossing(2500.0, 2400, 2600)), "later"),
        (Tipping("point", Crossing(2500.0, 1900, None)), "agrees"),
        (Tipping("point", Crossing(2500.0, None, None)), "later"),
        (Tipping("several", Crossing(1800.0, 1700, 1900)), "agrees"),
        (Tipping("everywhere"), "earlier"),
        (Tipping("nowhere"), "later"),
        (Tipping("undetermined"), None),
    ],
)
def test_a_tipping_point_is_put_beside_the_published_one(tipping: Tipping, expected: str | None) -> None:
    assert agreement(tipping, RANGE, (62, 3362)) == expected


def test_a_run_that_does_not_reach_the_published_range_cannot_tell() -> None:
    assert agreement(Tipping("nowhere"), RANGE, (62, 1800)) is None
    assert agreement(Tipping("everywhere"), RANGE, (1800, 3362)) is None


def test_where_none_was_found_in_2023_one_is_new() -> None:
    none = TippingFinding(None, None, "token")
    assert agreement(POINT, none, (62, 3362)) == "new"
    assert agreement(Tipping("everywhere"), none, (62, 3362)) == "new"
    assert agreement(Tipping("nowhere"), none, (62, 3362)) == "agrees"
    assert agreement(Tipping("undetermined"), none, (62, 3362)) is None


def test_data_sets_lie_below_within_or_above() -> None:
    assert [side(n, POINT, (62, 3362)) for n in (615, 1562, 1802, 6589)] == ["below", "within", "within", "above"]
    open_above = Tipping("point", Crossing(1676.0, 1562, None))
    assert [side(n, open_above, (62, 3362)) for n in (1500, 1600, 1700)] == ["below", "within", "above"]
    assert [side(n, Tipping("everywhere"), (62, 3362)) for n in (23, 615, 6589)] == [
        "out of range",
        "above",
        "out of range",
    ]
    assert side(615, Tipping("nowhere"), (62, 3362)) == "below"
    assert side(615, Tipping("undetermined"), (62, 3362)) is None
