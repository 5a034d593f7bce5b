"""Which of several models costs least, how sure that is, and what would make it so."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

import pytest

from pyprof.analysis.curves import Curves
from pyprof.analysis.ranking import Ranking, rankings, reigns
from pyprof.indicators.registry import every
from pyprof.records.case import Case
from pyprof.records.comparison import Pairing, Subject
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds
from pyprof.statistics.estimate import estimate_median

INDICATORS = tuple(indicator.facts for indicator in every())
BERT, LONG, NYSTROM = (Subject(name, "eager") for name in ("bert", "longformer", "nystromformer"))
PAIRINGS = tuple(Pairing(0, "then", BERT, variant) for variant in (LONG, NYSTROM))


def timed(model: str, length: int, samples: list[float], rounds: str | None = "same", seconds: float = 10.0) -> Record:
    """A case with the given seconds of its steps."""
    median = estimate_median(samples)
    taken = tuple(round(sample * 1e9) for sample in samples)
    shared = None if rounds is None else Rounds(rounds, "samples", hits=(0,) * len(taken), waits=(0,) * len(taken))
    reading = Reading(median.value, median.low, median.high, taken, rounds=shared)
    case = Case(model, length, attention="eager")
    return Record(case, "ok", "here", "2026-01-01T00:00:00Z", seconds, indicators={"latency": reading})


def noisy(means: Mapping[str, float], noise: float, count: int = 6, seed: int = 1) -> list[Record]:
    """Models at one length in the same rounds."""
    state = random.Random(seed)
    samples = {model: [mean * math.exp(state.gauss(0, noise)) for _ in range(count)] for model, mean in means.items()}
    return [timed(model, 1300, own) for model, own in samples.items()]


def latency(records: list[Record], pairings: tuple[Pairing, ...] = PAIRINGS) -> list[Ranking]:
    return [each for each in rankings(Curves.of(records), pairings, INDICATORS) if each.metric == "latency"]


def names(ranking: Ranking) -> list[str]:
    return [place.subject.model for place in ranking.places]


def test_the_least_comes_first_and_every_ratio_is_to_it() -> None:
    (one,) = latency(noisy({"bert": 1.2, "longformer": 2.0, "nystromformer": 1.0}, 0.005))
    assert names(one) == ["nystromformer", "bert", "longformer"]
    assert one.decided
    assert one.leaders == (NYSTROM,)
    assert one.longer is None
    first, second, third = one.places
    assert first.ratio is None
    assert second.ratio is not None
    assert third.ratio is not None
    assert second.ratio.paired
    assert (second.ratio.ratio, third.ratio.ratio) == (pytest.approx(1.2, rel=0.01), pytest.approx(2.0, rel=0.01))


def test_a_difference_within_the_noise_names_both_and_what_would_tell() -> None:
    (one,) = latency(noisy({"bert": 1.01, "longformer": 2.0, "nystromformer": 1.0}, 0.05))
    assert not one.decided
    assert set(one.leaders) == {BERT, NYSTROM}
    assert one.longer is not None
    assert one.longer.samples > 6
    # Each of the three took 10 s for 6 samples.
    assert one.longer.seconds == pytest.approx(3 * 10 / 6 * one.longer.samples)
    assert one.longer.case_seconds == pytest.approx(one.longer.seconds / 3)


def test_so_many_samples_as_are_asked_for_show_the_difference_as_a_rule() -> None:
    told = []
    for seed in range(40):
        means = {"bert": 1.02, "longformer": 2.0, "nystromformer": 1.0}
        (one,) = latency(noisy(means, 0.03, 12, seed))
        if one.longer is not None and one.longer.samples < 5000:
            (again,) = latency(noisy(means, 0.03, one.longer.samples, seed + 1000))
            told.append(again.decided)
    assert len(told) > 10
    assert sum(told) / len(told) > 0.6


def test_the_wrong_model_is_named_no_oftener_than_promised() -> None:
    wrong = 0
    for seed in range(400):
        (one,) = latency(noisy({"bert": 1.0, "longformer": 1.0, "nystromformer": 1.0}, 0.05, 12, seed))
        wrong += one.decided
    assert wrong / 400 <= 0.05


def test_equal_costs_ask_for_no_more_samples() -> None:
    same = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0]
    (one,) = latency([timed("bert", 1300, same), timed("nystromformer", 1300, same)])
    assert not one.decided
    assert one.longer is None


def test_too_few_samples_ask_for_enough_for_an_interval() -> None:
    (one,) = latency([timed("bert", 1300, [1.0, 1.1]), timed("nystromformer", 1300, [2.0, 2.1])])
    assert not one.decided
    assert one.longer is not None
    assert one.longer.samples == 6


def test_counted_figures_that_are_equal_share_the_first_place() -> None:
    records = [
        Record(Case(model, 64, attention="eager"), "ok", "here", "now", 1.0, indicators={"peak_memory": Reading(value)})
        for model, value in (("bert", 5.0), ("longformer", 7.0), ("nystromformer", 5.0))
    ]
    (one,) = rankings(Curves.of(records), PAIRINGS, INDICATORS)
    assert (one.metric, one.decided, set(one.leaders)) == ("peak_memory", True, {BERT, NYSTROM})
    assert one.longer is None


def test_what_was_not_measured_is_named_and_no_longer_reigns() -> None:
    records = noisy({"bert": 1.0, "nystromformer": 2.0}, 0.001)
    gone = Record(Case("longformer", 1300, attention="eager"), "oom", "here", "now", 0.0, "out of memory")
    (one,) = latency([*records, gone])
    assert one.missing == ((LONG, "oom"),)
    assert [reign.leaders for reign in reigns([one])] == [(BERT,)]
    left = Record(Case("longformer", 1300, attention="eager"), "skipped", "here", "now", 0.0, "no time")
    (one,) = latency([*records, left])
    assert reigns([one]) == ()


def test_models_without_their_vanilla_model_are_ranked_too() -> None:
    alone = (Pairing(0, "then", LONG), Pairing(1, "then", NYSTROM))
    records = [timed("longformer", 64, [2.0] * 6, "one"), timed("nystromformer", 64, [1.0] * 6, "other")]
    (one,) = latency(records, alone)
    assert names(one) == ["nystromformer", "longformer"]
    assert one.places[1].ratio is not None
    assert not one.places[1].ratio.paired


def test_a_median_that_contradicts_the_rounds_yields_to_them() -> None:
    # Round by round nystromformer is faster, but one more slow spell hit its half of the samples.
    bert, nystrom = [1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 1.0], [0.9, 0.9, 2.9, 2.9, 2.9, 2.9, 0.9]
    records = [timed("bert", 64, bert), timed("nystromformer", 64, nystrom)]
    (one,) = latency(records)
    assert records[0].indicators["latency"].value < records[1].indicators["latency"].value
    assert one.places[1].ratio is not None
    assert one.places[1].ratio.ratio >= 1


def test_higher_is_better_ranks_the_highest_first() -> None:
    records = [
        Record(
            Case(model, 64, attention="eager", batch="largest"),
            "ok",
            "here",
            "now",
            1.0,
            indicators={"throughput": Reading(value, value * 0.99, value * 1.01)},
        )
        for model, value in (("bert", 5.0), ("nystromformer", 8.0))
    ]
    (one,) = rankings(Curves.of(records), PAIRINGS, INDICATORS)
    assert names(one) == ["nystromformer", "bert"]
    assert one.places[0].value == pytest.approx(8.0)
    assert one.places[1].ratio is not None
    assert one.places[1].ratio.ratio == pytest.approx(1.6)
