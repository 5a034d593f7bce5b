from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from pyprof.analysis.curves import Curves
from pyprof.analysis.disagreement import Disagreement, disagreements
from pyprof.analysis.pareto import front
from pyprof.records.case import Case
from pyprof.records.comparison import Pairing, Subject
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.report.build_disagreement import sentence


def facts(name: str, *, exact: bool, better: Any = "lower", **more: Any) -> IndicatorFacts:
    return IndicatorFacts(
        name=name, title=name.capitalize(), unit="1", better=better, meaning=name, source="test", exact=exact, **more
    )


LATENCY, PARAMETERS = facts("latency", exact=False, headline=True), facts("parameters", exact=True)
FLOPS, MACS, RATE = facts("flops", exact=True), facts("macs", exact=True), facts("rate", exact=False, better="higher")
LENGTH = 128


def reading(value: float, spread: float | None) -> Reading:
    """A value with bounds that lie `spread` times it to either side; None: counted."""
    return Reading(value) if spread is None else Reading(value, value / (1 + spread), value * (1 + spread))


def found(
    models: dict[str, dict[str, tuple[float, float | None]]],
    *indicators: IndicatorFacts,
    families: dict[str, str] | None = None,
) -> Disagreement:
    records = [
        Record(
            Case(name, LENGTH, batch="largest" if metric == "rate" else 1),
            "ok",
            "here",
            "2026-01-01",
            1.0,
            indicators={metric: reading(*value)},
        )
        for name, values in models.items()
        for metric, value in values.items()
    ]
    # A case has all of its indicators in one record, but for those of the largest batch.
    joined: dict[Any, Record] = {}
    for record in records:
        before = joined.get(record.case)
        joined[record.case] = (
            record
            if before is None
            else Record(**{**vars(before), "indicators": {**before.indicators, **record.indicators}})
        )
    first, *others = (Subject(name, "eager") for name in models)
    pairings = [Pairing(0, "then", first, other) for other in others]
    (one,) = disagreements(Curves.of(joined.values()), pairings, indicators, families or {})
    return one


def test_a_reversal_is_claimed_where_both_orders_are_shown() -> None:
    one = found(
        {
            "a": {"parameters": (100, None), "latency": (1.6, 0.05)},
            "b": {"parameters": (210, None), "latency": (1.0, 0.05)},
        },
        PARAMETERS,
        LATENCY,
    )
    (contrast,) = one.reversals
    assert (str(contrast.first), [each.indicator.name for each in contrast.cheaper]) == ("a eager", ["parameters"])
    assert [each.indicator.name for each in contrast.dearer] == ["latency"]
    assert sentence(contrast) == "by parameters (2.1x) a is cheaper than b, by latency (1.6x) it is dearer"
    (pair,) = one.concordances
    assert (pair.tau, pair.low, pair.high, pair.reversals, pair.undecided) == (-1, -1, -1, 1, 0)


def test_and_not_where_noise_could_have_made_one() -> None:
    models = {
        "a": {"parameters": (100.0, None), "latency": (1.05, 0.2)},
        "b": {"parameters": (210.0, None), "latency": (1.0, 0.2)},
    }
    one = found(models, PARAMETERS, LATENCY)
    assert one.reversals == ()
    (pair,) = one.concordances
    assert (pair.tau, pair.low, pair.high, pair.reversals, pair.undecided) == (-1, -1, 1, 0, 1)


def test_intervals_are_widened_for_the_number_of_pairs() -> None:
    """Bounds that just exclude 1 for one pair do not for six."""
    two = {
        "a": {"parameters": (1.0, None), "latency": (1.16, 0.1)},
        "b": {"parameters": (2.0, None), "latency": (1.0, 0.1)},
    }
    more = {name: {"parameters": (value, None), "latency": (value, 0.1)} for name, value in (("c", 50.0), ("d", 90.0))}
    assert len(found(two, PARAMETERS, LATENCY).reversals) == 1
    assert found(two | more, PARAMETERS, LATENCY).reversals == ()


@pytest.mark.parametrize("seed", range(20))
def test_kendalls_tau_is_scipys_and_lies_within_its_bounds(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = random.Random(seed)
    values = {name: (rng.choice([1, 2, 3, 4]), rng.choice([1, 2, 3, 5, 7])) for name in "abcdefg"}
    models = {name: {"parameters": (p, None), "latency": (q, 0.3)} for name, (p, q) in values.items()}
    (pair,) = found(models, PARAMETERS, LATENCY).concordances
    expected = stats.kendalltau(*zip(*values.values(), strict=True)).statistic
    assert pair.tau == pytest.approx(expected)
    assert pair.low <= pair.tau <= pair.high
    inverted = found(
        {name: {"parameters": (p, None), "rate": (1 / q, 0.3)} for name, (p, q) in values.items()}, PARAMETERS, RATE
    )
    assert inverted.concordances[0].tau == pytest.approx(expected)


def test_the_bounds_hold_every_order_that_the_noise_allows() -> None:
    """Each latency drawn anew within its interval: tau never leaves the bounds."""
    rng = random.Random(1)
    base = {name: (index + 1.0, 1 + 0.12 * index) for index, name in enumerate("abcde")}
    (pair,) = found(
        {n: {"parameters": (p, None), "latency": (q, 0.1)} for n, (p, q) in base.items()}, PARAMETERS, LATENCY
    ).concordances
    assert pair.low < 1 == pair.high
    for _ in range(200):
        drawn = {
            n: {"parameters": (p, None), "latency": (q * rng.uniform(1 / 1.1, 1.1), None)} for n, (p, q) in base.items()
        }
        (other,) = found(drawn, PARAMETERS, facts("latency", exact=True)).concordances
        assert pair.low - 1e-9 <= other.tau <= pair.high + 1e-9


def test_the_same_in_other_units_is_said_once_and_equal_figures_are_no_order() -> None:
    models = {
        "a": {"flops": (10.0, None), "macs": (5.0, None), "parameters": (7.0, None)},
        "b": {"flops": (20.0, None), "macs": (10.0, None), "parameters": (7.0, None)},
    }
    one = found(models, FLOPS, MACS, PARAMETERS)
    assert [each.name for each in one.indicators] == ["flops", "parameters"]
    (pair,) = one.concordances
    assert (pair.tau, pair.reversals) == (None, 0)
    assert sentence(one.contrasts[0]) == "by flops (2.0x) a is cheaper than b"


def test_what_is_not_known_of_all_models_is_left_out() -> None:
    models = {
        "a": {"flops": (1.0, None), "parameters": (2.0, None)},
        "b": {"flops": (2.0, None), "parameters": (1.0, None), "latency": (1.0, 0.1)},
    }
    assert [each.name for each in found(models, LATENCY, FLOPS, PARAMETERS).indicators] == ["flops", "parameters"]


def standings(models: dict[str, tuple[float, float]], spread: float | None) -> dict[str, tuple[str, list[str], bool]]:
    latency = LATENCY if spread is not None else facts("latency", exact=True)
    one = found(
        {n: {"parameters": (p, None), "latency": (q, spread)} for n, (p, q) in models.items()}, PARAMETERS, latency
    )
    drawn = front(one, latency, PARAMETERS)
    return {each.subject.model: (each.standing, [by.model for by in each.by], each.shown) for each in drawn.places}


def test_a_front_of_exact_figures_is_the_brute_force_one() -> None:
    rng = random.Random(3)
    for _ in range(20):
        models = {name: (float(rng.randint(1, 6)), float(rng.randint(1, 6))) for name in "abcdefg"}
        for name, (standing, by, shown) in standings(models, None).items():
            own = models[name]
            better = [
                other
                for other, values in models.items()
                if other != name and all(a <= b for a, b in zip(values, own, strict=True)) and values != own
            ]
            assert (standing, by, shown) == (("dominated", better, True) if better else ("member", [], True))


def test_noise_makes_near_members() -> None:
    places = standings({"small": (1, 1.0), "near": (2, 1.02), "far": (3, 4.0), "fast": (4, 0.5)}, 0.05)
    assert places["near"] == ("near", ["small"], False)
    assert places["far"] == ("dominated", ["small", "near"], True)
    assert places["small"] == ("member", [], True)
    assert places["fast"] == ("member", [], True)
    # Of two that noise may order either way, the larger one may be beaten, and the smaller one never.
    ties = standings({"small": (1, 1.0), "large": (2, 0.99)}, 0.05)
    assert ties == {"small": ("member", [], True), "large": ("member", [], False)}


def test_every_pair_of_indicators_and_of_models_is_there() -> None:
    names = [facts(name, exact=True) for name in ("x", "y", "z")]
    models = {m: {"x": (i + 1.0, None), "y": (5.0 - i, None), "z": (i * i + 1.0, None)} for i, m in enumerate("abcd")}
    one = found(models, *names)
    assert len(one.contrasts) == 6
    assert [(each.one.name, each.other.name) for each in one.concordances] == list(itertools.combinations("xyz", 2))
    assert [each.tau for each in one.concordances] == [-1, 1, -1]
    assert len(one.reversals) == 6
    extents = [contrast.extent for contrast in one.reversals]
    assert extents == sorted(extents, reverse=True)


def test_agreement_within_families_is_told_apart_from_that_between_them() -> None:
    # In each family the larger model is the faster one; a family of more parameters takes more time.
    costs = {"a1": (10, 2.0), "a2": (11, 1.9), "b1": (20, 4.0), "b2": (21, 3.9), "c1": (30, 6.0), "own": (40, 1.0)}
    models = {name: {"parameters": (size, None), "latency": (time, 0.001)} for name, (size, time) in costs.items()}
    families = {name: name[0] for name in costs if name != "own"}
    one = found(models, PARAMETERS, LATENCY, families=families)
    (within,), (between,) = one.within, one.between
    assert (within.tau, within.pairs, within.reversals) == (-1, 2, 2)
    assert (between.tau, between.pairs, between.reversals) == (1, 8, 0)
    assert one.concordances[0].pairs == 15
    alone = found(models, PARAMETERS, LATENCY, families={"a1": "a", "a2": "a", "b1": "b"})
    assert (alone.within, alone.between) == ((), ())
