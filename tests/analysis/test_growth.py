from __future__ import annotations

import math
import random

import pytest

from pyprof.analysis.curves import Curves
from pyprof.analysis.growth import fit_growth, growth_lines
from pyprof.records.case import Case
from pyprof.records.comparison import ModelFacts
from pyprof.records.reading import Reading
from pyprof.records.record import KindCost, Record

LENGTHS = [256, 512, 1024, 2048, 4096]


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5, 2.0])
def test_a_power_has_its_exponent_and_no_doubt(exponent: float) -> None:
    growth = fit_growth((length, 3.7 * length**exponent) for length in LENGTHS)
    assert growth is not None
    assert growth.exponent == pytest.approx(exponent)
    assert growth.high - growth.low < 1e-6


def test_two_terms_lie_between_their_powers_and_the_interval_tells_the_bend() -> None:
    bent = fit_growth((length, length + length**2 / 1000) for length in LENGTHS)
    assert bent is not None
    assert 1 < bent.low < bent.exponent < bent.high < 2
    assert bent.high - bent.low > 0.1


def test_the_interval_holds_the_exponent_as_often_as_it_says() -> None:
    draw = random.Random(1)
    inside = 0
    for _ in range(2000):
        growth = fit_growth((length, length**1.3 * math.exp(draw.gauss(0, 0.1))) for length in LENGTHS)
        assert growth is not None
        inside += growth.low <= 1.3 <= growth.high
    assert 0.93 < inside / 2000 < 0.97


def test_fewer_than_three_lengths_tell_nothing() -> None:
    assert fit_growth([(1, 1.0), (2, 2.0)]) is None
    assert fit_growth([(1, 1.0), (2, 2.0), (4, 0.0)]) is None
    assert fit_growth([(2, 1.0), (2, 2.0), (2, 3.0)]) is None


def record(model: str, length: int, seconds: float, attention: float) -> Record:
    return Record(
        case=Case(model, length),
        status="ok",
        environment="machine",
        started="2026-01-01T00:00:00Z",
        seconds=1.0,
        indicators={"latency": Reading(seconds), "flops": Reading(None, reason="not counted")},
        kinds={"self-attention": KindCost(attention, None, 0)},
    )


def test_a_model_has_a_line_where_its_source_claims_a_growth_and_three_lengths_were_measured() -> None:
    claims = {str(length): float(length**2) for length in LENGTHS}
    models = {name: ModelFacts(complexity="L * L", claims=claims) for name in ("a", "short")} | {"b": ModelFacts()}
    records = [record(name, length, length**1.2, length**1.8) for name in ("a", "b") for length in LENGTHS]
    records += [record("short", length, 1.0, 1.0) for length in LENGTHS[:2]]
    (line,) = growth_lines(Curves.of(records), models, ["latency", "flops"])
    assert (line.subject.model, line.complexity, line.lengths) == ("a", "L * L", tuple(LENGTHS))
    assert line.claimed.exponent == pytest.approx(2)
    assert {name: round(growth.exponent, 6) for name, growth in line.costs.items()} == {
        "latency": 1.2,
        "attention": 1.8,
    }
