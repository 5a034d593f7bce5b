"""Whether figures can be trusted, in one set of words: by the share of the time in which others held them up."""

from __future__ import annotations

from typing import Any

import pytest

from pyprof.attention.comparison import Comparison
from pyprof.attention.problem import Problem
from pyprof.attention.result import ProblemResult
from pyprof.layers.plain_steps import PLAIN, PROBED, PlainSteps
from pyprof.records.disturbance import held_up_share
from pyprof.records.noise import Noise
from pyprof.records.trust import Level, of_share, of_shares, with_trust
from pyprof.timing.compare import compare
from pyprof.timing.interleave import Interleaved
from pyprof.timing.sampling import measure
from pyprof.timing.watch import NoWatch

AGAIN = "Measure again while nothing else runs on the cores (pyprof env --check says what does)"


@pytest.mark.parametrize(
    ("share", "level", "words"),
    [
        (0.0, "trust", "Trust these times: other processes held the threads up for less than 2 % of the time."),
        (0.02, "trust", "less than 2 %"),
        (0.05, "trust with care", "Trust these times with care: other processes held the threads up for 5 % of the"),
        (0.05, "trust with care", f"Up to so much of these times may be due to them. {AGAIN} if it matters."),
        (0.1, "trust with care", "for 10 % of the time"),
        (0.11, "do not trust", "Do not trust these times: other processes held the threads up for 11 % of the time."),
        (0.6, "do not trust", "so these times may be off by a factor of up to 2.5. Measure again"),
        (1.0, "do not trust", f"off by a factor of ten and more. {AGAIN}, or leave the others a core with --pin."),
    ],
)
def test_one_figure_by_its_share(share: float, level: Level, words: str) -> None:
    judged = of_share(share)
    assert judged is not None
    assert judged.level == level
    assert words in str(judged)
    assert with_trust("1 ms", judged) == ("1 ms" if level == "trust" else f"1 ms. {judged}")


def test_what_nothing_tells_is_not_judged() -> None:
    assert of_share(None) is None
    assert of_share(None, throttled=False) is None
    assert with_trust("1 ms", None) == "1 ms"
    lowered = of_share(None, throttled=True)
    assert lowered is not None
    assert lowered.sentence == "Trust these times with care: the clock was lowered for heat or power."
    assert of_shares([], "case") is None


def test_several_figures_name_those_that_were_held_up() -> None:
    calm = [(f"c{index}", 0.0) for index in range(9)]
    judged = of_shares([*calm, ("bad", 0.5)], "problem")
    assert judged is not None
    assert judged.level == "trust with care"
    assert judged.sentence == (
        "Trust these times with care: other processes held up 1 of 10 problems for more than 10 % of the time "
        "(bad: 50 %)."
    )
    assert "off by a factor of up to 2.0, and so may ratios with them; the other problems are sound" in str(judged)
    judged = of_shares(calm, "problem")
    assert judged is not None
    assert str(judged) == "Trust these times: other processes held up none of 9 problems."
    judged = of_shares([("worse", 0.9), *calm[:1]], "problem", throttled=True)
    assert judged is not None
    assert judged.level == "do not trust"
    assert [reason.what for reason in judged.reasons][1:] == ["the clock was lowered for heat or power"]
    judged = of_shares(calm, "problem", throttled=True)
    assert judged is not None
    assert judged.level == "trust with care"


def test_the_share_is_that_of_a_typical_sample_with_the_waits_of_all_threads() -> None:
    samples, hits = [100] * 5, [1] * 5
    told = Noise(1.0, 5, waited_seconds=0.0)
    assert held_up_share(samples, hits, [30] * 5, [20] * 5, told) == pytest.approx(0.5)
    assert held_up_share(samples, hits, [0, 0, 90, 0, 0], [0] * 5, told) == 0
    assert held_up_share(samples, hits, [60] * 5, [60] * 5, told) == 1
    assert held_up_share(samples, hits, [0] * 5, [None] * 5, told) == 0
    assert held_up_share(samples, hits, [0] * 5, [None] * 5, Noise(1.0, 5)) is None
    # Marks on nearly all samples beside a busy process are a neighbour, where the waits aren't told.
    assert held_up_share(samples, hits, [0] * 5, [None] * 5, Noise(1.0, 5, others_share=0.4)) == 1


class HeldUp(NoWatch):
    """A watch that has seen the other threads wait for a share of each sample of `nanoseconds`."""

    def __init__(self, waited: int) -> None:
        self.waited = waited

    def begin(self) -> None:
        self.others_waited_ns = self.waited

    def noise(self) -> Noise:
        return Noise(1.0, 10, waited_seconds=0.0)


@pytest.mark.parametrize(("waited", "level"), [(0, "trust"), (5, "trust with care"), (50, "do not trust")])
def test_a_measurement_and_a_comparison_say_it(work_clock: Any, work_stopwatch: Any, waited: int, level: str) -> None:
    work = work_clock.work("a", 100_000)
    measured = measure(work, stopwatch=work_stopwatch, watch=HeldUp(waited * 1_000), max_samples=20)
    found = compare(
        work, work_clock.work("b", 100_000), stopwatch=work_stopwatch, watch=HeldUp(waited * 1_000), max_seconds=0.01
    )
    for result, what in ((measured, "these times"), (found, "this ratio")):
        assert result.trust is not None
        assert result.trust.level == level
        assert what in result.trust.sentence
        assert result.to_json()["trust"]["sentence"] == result.trust.sentence
        assert (result.trust.sentence in str(result)) == (level != "trust")


def test_nobody_looked(work_clock: Any, work_stopwatch: Any) -> None:
    measured = measure(work_clock.work("a", 100_000), stopwatch=work_stopwatch, watch=NoWatch(), max_samples=20)
    assert measured.trust is None
    assert measured.to_json()["trust"] is None


def rounds(share: float) -> Interleaved:
    taken = Interleaved()
    for name in (PLAIN, PROBED):
        taken.enter(name)
        for _ in range(8):
            watch = NoWatch()
            watch.others_waited_ns = round(share * 1e6)
            taken.add(name, 1_000_000, 0, watch)
    taken.count = 8
    return taken


@pytest.mark.parametrize(("share", "level"), [(0.0, "trust"), (0.3, "do not trust")])
def test_plain_steps_say_it(share: float, level: str) -> None:
    plain = PlainSteps.of_rounds(rounds(share), 0.95, Noise(1.0, 16, waited_seconds=0.0))
    assert plain.trust is not None
    assert plain.trust.level == level
    assert plain.to_json()["trust"]["level"] == level


def test_attention_says_it_of_its_problems() -> None:
    problems = [Problem(length, (2, 2), 1, 1, 8, "float32", "cpu") for length in (16, 32)]
    results = [ProblemResult(problem, "forward", 1, None, 8, (), held_up=0.5) for problem in problems]
    comparison = Comparison(None, None, tuple(results))  # type: ignore[arg-type]
    assert comparison.trust is not None
    assert comparison.trust.level == "do not trust"
    assert "other processes held up 2 of 2 problems" in comparison.trust.sentence
    assert "(forward float32 16, 2+2: 50 %, forward float32 32, 2+2: 50 %)" in comparison.trust.sentence
