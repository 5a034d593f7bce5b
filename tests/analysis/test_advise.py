from __future__ import annotations

import math
import random
from typing import Any

import pytest

from pyprof.analysis.advise import Advice, advise
from pyprof.analysis.curves import Curves, Setting, setting
from pyprof.analysis.lengths import Lengths
from pyprof.errors import UsageError
from pyprof.records.case import Case
from pyprof.records.comparison import Subject
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record

LATENCY = IndicatorFacts(
    name="latency", title="Latency", unit="s", format="time", better="lower", meaning="time", source="test"
)
RATE = IndicatorFacts(name="rate", title="Rate", unit="1/s", better="higher", meaning="rate", source="test")
GRID = (16, 32, 64, 128, 256, 512)
COSTS = {
    "quadratic": lambda n: 1e-3 + 1e-5 * n + 2e-7 * n * n,
    "linear": lambda n: 4e-3 + 4e-5 * n,
    "slow": lambda n: 9e-3 + 9e-5 * n,
}


def run(spread: float = 0.01, lengths: Any = GRID, better: str = "lower") -> tuple[Curves, Setting]:
    """A run of these models, with bounds `spread` to either side; of a rate the inverse of the same."""
    records = []
    for name, cost in COSTS.items():
        for length in lengths:
            value = cost(length) if better == "lower" else 1 / cost(length)
            reading = Reading(value, value / (1 + spread), value * (1 + spread))
            indicator = "latency" if better == "lower" else "rate"
            records.append(Record(Case(name, length), "ok", "here", "2026-01-01", 1.0, indicators={indicator: reading}))
    return Curves.of(records), setting(records[0])


def advised(lengths: Lengths, spread: float = 0.01, grid: Any = GRID, **more: Any) -> Advice:
    return advise(*run(spread, grid), LATENCY, lengths, **more)


def expected(advice: Advice) -> dict[str, float]:
    return {each.subject.model: each.expected for each in advice.candidates}


@pytest.mark.parametrize("seed", range(6))
def test_the_choice_is_that_of_a_sum_over_all_examples(seed: int) -> None:
    """With buckets and with batches that are padded to their longest, example by example."""
    rng = random.Random(seed)
    examples = [rng.randint(1, 500 if seed % 2 else 120) for _ in range(300)]
    lengths = Lengths.counted(examples, "examples")
    advice = advised(lengths, padded=lambda each: each.in_buckets(GRID))
    brute = {
        name: sum(cost(next(bucket for bucket in GRID if bucket >= example)) for example in examples) / len(examples)
        for name, cost in COSTS.items()
    }
    assert expected(advice) == pytest.approx(brute)
    assert advice.choice is not None
    assert advice.choice.model == min(brute, key=brute.__getitem__)
    assert [each.subject.model for each in advice.candidates] == sorted(brute, key=brute.__getitem__)
    for each in advice.candidates:
        if each.ratio is not None:
            assert each.ratio == pytest.approx(brute[each.subject.model] / brute[advice.choice.model])


def test_batches_are_padded_to_the_longest_of_those_that_are_drawn() -> None:
    """Against all pairs and triples of examples, each as likely as any other."""
    examples = [16, 16, 32, 64, 128, 512]
    lengths = Lengths.counted(examples, "examples")
    for size in (2, 3):
        advice = advised(lengths, padded=lambda each, size=size: each.in_batches(size))
        batches: list[tuple[int, ...]] = [()]
        for _ in range(size):
            batches = [(*batch, example) for batch in batches for example in examples]
        brute = {n: sum(cost(max(batch)) for batch in batches) / len(batches) for n, cost in COSTS.items()}
        assert expected(advice) == pytest.approx(brute)
    assert lengths.in_batches(1).shares == pytest.approx(lengths.shares)


def test_a_model_that_pads_by_itself_costs_what_its_multiple_costs() -> None:
    lengths = Lengths.counted([40, 100], "two")
    periods = {Subject("linear", "eager"): 128}
    advice = advised(lengths, periods=periods, grid=(16, 64, 128, 256))
    # 40 and 100 become 128, which was measured; of the steps 64 is one as well, and measured for itself.
    curve = COSTS["linear"]
    assert expected(advice)["linear"] == pytest.approx(curve(128))
    without = expected(advised(lengths, grid=(16, 64, 128, 256)))["linear"]
    assert curve(40) < without < curve(128)


def test_between_measured_lengths_a_cost_is_interpolated_and_beyond_them_goes_on() -> None:
    (one,) = (each for each in advised(Lengths.counted([24], "one")).candidates if each.subject.model == "linear")
    low, high = COSTS["linear"](16), COSTS["linear"](32)
    share = math.log(24 / 16) / math.log(2)
    assert one.expected == pytest.approx(low ** (1 - share) * high**share)
    assert one.beyond == 0
    far = advised(Lengths.counted([24, 1024], "far")).candidates[0]
    assert far.beyond == 0.5


def test_confidence_comes_from_the_intervals() -> None:
    lengths = Lengths.counted([16, 32, 64, 128], "short")
    sure, unsure = advised(lengths, spread=0.01), advised(lengths, spread=1.5)
    assert (sure.choice, unsure.choice) == (Subject("quadratic", "eager"),) * 2
    assert sure.shown
    assert not unsure.shown
    for advice in (sure, unsure):
        for each in advice.candidates[1:]:
            assert each.low is not None
            assert each.high is not None
            assert each.low < each.ratio < each.high


def test_a_budget_holds_for_the_asked_share_of_the_examples() -> None:
    lengths = Lengths.counted([64] * 90 + [512] * 10, "mixed")
    worst = {name: cost(512) for name, cost in COSTS.items()}
    budget = worst["linear"] * 1.2
    advice = advised(lengths, budget=budget, quantile=0.95)
    fits = {each.subject.model: each.fit for each in advice.candidates}
    assert fits == {"quadratic": "does not fit", "linear": "fits", "slow": "does not fit"}
    assert advice.choice == Subject("linear", "eager")
    assert advice.shown
    # Of nine examples in ten the budget is met by all, and the cheapest one is another.
    assert advised(lengths, budget=budget, quantile=0.9).choice == Subject("quadratic", "eager")
    nothing = advised(lengths, budget=worst["linear"] * 0.5)
    assert (nothing.choice, nothing.shown) == (None, False)
    assert nothing.budget_for == pytest.approx(worst["linear"])
    # Where the interval holds the budget it is not sure.
    doubtful = advised(lengths, budget=worst["linear"] * 1.005, spread=0.1)
    assert {each.subject.model: each.fit for each in doubtful.candidates}["linear"] == "may fit"


def test_without_an_interval_nothing_surely_fits() -> None:
    lengths = Lengths.counted([64], "one")
    curves, at = run(spread=1e9)
    budget = COSTS["linear"](64) * 1.2
    bare = Curves({
        key: {
            length: Record(**{**vars(record), "indicators": {"latency": Reading(record.indicators["latency"].value)}})
            for length, record in curve.items()
        }
        for key, curve in curves.all.items()
    })  # fmt: skip
    advice = advise(bare, at, LATENCY, lengths, budget=budget)
    fits = {each.subject.model: each.fit for each in advice.candidates}
    assert fits == {"quadratic": "may fit", "linear": "may fit", "slow": "does not fit"}
    assert advice.choice is None
    assert not advice.shown


def test_what_would_change_the_choice() -> None:
    lengths = Lengths.counted([32, 64], "short")
    advice = advised(lengths)
    (change,) = advice.changes
    assert change.subject == Subject("linear", "eager")
    before, after = (
        min(COSTS, key=lambda name, f=factor: sum(_cost(name, round(n * f)) for n in (32, 64)))
        for factor in (change.factor / 1.06, change.factor)
    )
    assert (before, after) == ("quadratic", "linear")
    assert change.mean == pytest.approx(48 * change.factor, rel=0.02)


def _cost(name: str, length: int) -> float:
    """Interpolated as the advice does."""
    upper = next(each for each in GRID if each >= length)
    lower = max(each for each in GRID if each <= length)
    if upper == lower:
        return COSTS[name](length)
    share = math.log(length / lower) / math.log(upper / lower)
    return COSTS[name](lower) ** (1 - share) * COSTS[name](upper) ** share


def test_a_rate_is_averaged_by_the_time_that_examples_take() -> None:
    lengths = Lengths.counted([16, 512], "two")
    advice = advise(*run(better="higher"), RATE, lengths)
    together = {name: 2 / (cost(16) + cost(512)) for name, cost in COSTS.items()}
    assert expected(advice) == pytest.approx(together)
    assert advice.choice is not None
    assert advice.choice.model == max(together, key=together.__getitem__)


def test_lengths_by_mean_and_deviation_have_them() -> None:
    lengths = Lengths.lognormal(300, 120)
    assert lengths.mean == pytest.approx(300, rel=0.01)
    square = sum(s * (v - lengths.mean) ** 2 for v, s in zip(lengths.values, lengths.shares, strict=True))
    assert math.sqrt(square) == pytest.approx(120, rel=0.03)
    assert Lengths.lognormal(64, 0).values == (64,)
    assert sum(lengths.shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Lengths.counted([], "nothing"), "nothing has no lengths"),
        (lambda: Lengths.counted([4, 0], "odd"), "odd has the length 0"),
        (lambda: Lengths.lognormal(0, 1), "a mean of at least 1"),
        (lambda: Lengths.counted([400], "long").in_buckets([128, 256]), "the largest bucket 256: add a larger one"),
    ],
)
def test_wrong_lengths_are_one_sentence(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()
