"""Compare how long two calls take: interleaved, paired, and for no longer than it needs to be sure.

Each round times both in random order, and the logarithm of the two times' ratio is one observation. Where the two are
alike the order alone decides its sign, so the signs are independent fair coins whatever the machine does: drifts,
pauses and changing speeds cannot feign a difference. That makes the signed-rank test exact (a randomisation test), and
its Hodges-Lehmann estimate loses little to the mean on clean data and nothing to a few wild rounds, unlike the mean;
against the median of the ratios it needs a third fewer rounds on noise that is normal.

Looking while sampling goes on raises the chance of a false alarm, unless every look pays for itself: see
`pyprof.statistics.sequential.AlphaSpending`. Looks come from 1/64 of the time on, each half as late again, so a large
difference is seen soon and each look has a third of the error rate that may have been spent by then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

from pyprof.errors import ExitCode, PyprofError, UsageError
from pyprof.printing import ShownInNotebook
from pyprof.quantity import check_seconds
from pyprof.records.noise import Noise
from pyprof.records.trust import Judgement, of_share, with_trust
from pyprof.statistics.estimate import CONFIDENCE, Estimate
from pyprof.statistics.ranks import detectable
from pyprof.statistics.sequential import AlphaSpending
from pyprof.timing.clock import Call, HostStopwatch, Stopwatch, shortest_reading_ns
from pyprof.timing.interleave import Interleaved, RoundLimits, exponential, interleave
from pyprof.timing.ratio_looks import RatioLooks
from pyprof.timing.watch import AnyWatch, Watch

Difference = Literal["faster", "slower", "no difference shown"]

# The first look comes at this share of the time.
_FIRST_LOOK = 1 / 64
_MOST_ROUNDS = 20_000
# No round ends after this share of the time.
_LAST_ROUND = 0.995
_POWER = 0.8
_A, _B = "a", "b"


class ComparisonError(PyprofError):
    """One of the two calls failed, so there is nothing to compare: `call` ("a" or "b"), for this `reason`."""

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, call: str, reason: str) -> None:
        super().__init__(f"{call} failed, so there is nothing to compare: {reason}")
        self.call, self.reason = call, reason


@dataclass(frozen=True)
class PairedComparison(ShownInNotebook):
    """How `b` compares with `a`.

    `ratio` is the time of a call of `b` over that of `a` with its interval (bounds None where there were too few
    rounds); `verdict` says whether `b` is faster or slower, where the interval does not hold 1. `detectable` is the
    smallest relative difference that as much data would have shown in four of five cases, None where no data could.
    `seconds_a` and `seconds_b` are the median times of a call. `samples_a` and `samples_b` are nanoseconds of
    `repeats_a` and `repeats_b` calls, one for each round; `hits_a` and `hits_b` mark those that noise has hit (see
    `pyprof.records.noise.Hit`). `held_up` is the share of a typical call of each that may have been waits of the
    process's other threads for a processor, None where that isn't told: they aren't subtracted, and where they are much
    the ratio is that of the two calls' barriers. `stopped_by` is precision, samples or time. Rounds in which one of the
    two was still warming up are left out; where one was `still_changing` its level in the end, the intervals cover all
    rounds.
    """

    ratio: Estimate
    verdict: Difference
    detectable: float | None
    seconds_a: Estimate
    seconds_b: Estimate
    confidence: float
    stopped_by: str
    looks: int
    elapsed_seconds: float
    samples_a: tuple[int, ...] = field(repr=False)
    samples_b: tuple[int, ...] = field(repr=False)
    repeats_a: int = 1
    repeats_b: int = 1
    hits_a: tuple[int, ...] = field(default=(), repr=False)
    hits_b: tuple[int, ...] = field(default=(), repr=False)
    noise: Noise | None = None
    still_changing: bool = False
    held_up: tuple[float | None, float | None] = (None, None)

    @property
    def trust(self) -> Judgement | None:
        """Whether to trust the ratio, and what to do where not; None where the system doesn't tell."""
        told = [share for share in self.held_up if share is not None]
        return of_share(max(told, default=None), self.noise.throttled if self.noise else None, "this ratio")

    @property
    def pairs(self) -> int:
        return len(self.samples_a)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The time of a call of `b` over that of `a`, round by round, with all that they waited."""
        scale = self.repeats_a / self.repeats_b
        return tuple(scale * b / a for a, b in zip(self.samples_a, self.samples_b, strict=True))

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields; times in seconds, samples in nanoseconds."""
        noise = None if self.noise is None else self.noise.to_json()
        trust = None if self.trust is None else asdict(self.trust)
        return {**asdict(self), "noise": noise, "trust": trust, "pairs": self.pairs}

    def __str__(self) -> str:
        return with_trust(self._said(), self.trust)

    def _said(self) -> str:
        change = f"{abs(self.ratio.value - 1):.2%} {'slower' if self.ratio.value > 1 else 'faster'}"
        if self.ratio.interval is None:
            return f"no difference shown: {self.pairs} rounds are too few"
        low, high = (f"{bound - 1:+.2%}" for bound in self.ratio.interval)
        bounds = f"{self.confidence:.0%} interval {low} to {high}, {self.pairs} rounds"
        bounds += "; still changing when the rounds ended" if self.still_changing else ""
        if self.verdict == "no difference shown":
            least = math.inf if self.detectable is None else self.detectable
            return f"no difference shown ({bounds}; one of {least:.2%} would have been)"
        return f"{change} ({bounds})"


class _Deadline:
    """The end of the time, the warm-up included, with a little left for the last look; a rule that ends the rounds."""

    name = "time"

    def __init__(self, stopwatch: Stopwatch, seconds: float, fewest_rounds: int) -> None:
        self._now = stopwatch.clock.now_ns
        self._end = self._now() + _LAST_ROUND * seconds * 1e9
        self._fewest = fewest_rounds

    def reached(self, rounds: Interleaved) -> bool:
        return rounds.count >= self._fewest and self._now() + rounds.elapsed_ns / rounds.count > self._end


def compare(
    a: Call,
    b: Call,
    *,
    precision: float = 0.005,
    max_seconds: float = 30.0,
    confidence: float = CONFIDENCE,
    prepare_a: Call | None = None,
    prepare_b: Call | None = None,
    warmup_seconds: float | None = None,
    stopwatch: Stopwatch | None = None,
    watch: AnyWatch | None = None,
    seed: int | None = None,
    progress: Callable[[Interleaved], None] | None = None,
) -> PairedComparison:
    """Compare how long calls of `a` and `b` take; `b` is judged against `a`.

    Rounds of both in random order go on until half of the ratio's interval is at most `precision`, or half of the
    difference seen, and still is after a longer look (see `measure`), and for at most `max_seconds`; six rounds are
    taken even where they need up to twice the time.
    All looks on the way together err with a probability of at most 1 - `confidence`. `prepare_a` and `prepare_b` are
    called before each call, outside of what is timed. What a call waited in the run queue is no part of the ratio,
    though `samples_a` and `samples_b` hold it. `watch` looks at the machine during each call, by default at
    what the operating system counts. Raises ComparisonError where one of the two fails, and UsageError for senseless
    limits.
    """
    _check(precision, max_seconds, confidence)
    stopwatch = HostStopwatch() if stopwatch is None else stopwatch
    watch = Watch() if watch is None else watch
    shortest_ns = shortest_reading_ns(stopwatch, precision)
    limits = RoundLimits(max_seconds, _MOST_ROUNDS, seed, warmup_seconds=warmup_seconds, shortest_ns=shortest_ns)
    spending = AlphaSpending(confidence, _FIRST_LOOK)
    looks = RatioLooks("precision", _B, _A, limits, spending, partial(_precise, precision=precision))
    deadline = _Deadline(stopwatch, max_seconds, limits.fewest_rounds)
    prepare = {name: call for name, call in ((_A, prepare_a), (_B, prepare_b)) if call is not None}
    rounds = interleave(
        {_A: a, _B: b}, limits, stopwatch, prepare=prepare, watch=watch, rules=(looks, deadline), progress=progress
    )
    for name, failure in rounds.failures.items():
        raise ComparisonError(name, failure.reason)
    logarithm = looks.final(rounds)
    shown = logarithm.low is not None and logarithm.high is not None and not logarithm.low <= 0 <= logarithm.high
    verdict: Difference = "no difference shown"
    if shown:
        verdict = "slower" if logarithm.value > 0 else "faster"
    least = detectable(rounds.log_ratios(_B, _A), confidence, _POWER)
    return PairedComparison(
        ratio=exponential(logarithm),
        verdict=verdict,
        detectable=math.expm1(least) if math.isfinite(least) else None,
        seconds_a=rounds.seconds(_A),
        seconds_b=rounds.seconds(_B),
        confidence=confidence,
        stopped_by=rounds.stopped_by,
        looks=spending.looks,
        elapsed_seconds=rounds.elapsed_ns * 1e-9,
        samples_a=tuple(rounds.samples[_A]),
        samples_b=tuple(rounds.samples[_B]),
        repeats_a=rounds.repeats[_A],
        repeats_b=rounds.repeats[_B],
        hits_a=tuple(rounds.hits[_A]),
        hits_b=tuple(rounds.hits[_B]),
        noise=watch.noise(),
        still_changing=rounds.changing,
        held_up=(rounds.held_up(_A), rounds.held_up(_B)),
    )


def _precise(logarithm: Estimate, precision: float) -> bool:
    """Whether half of the interval is within the precision, or within half of the difference that is seen."""
    if logarithm.low is None or logarithm.high is None:
        return False
    return (logarithm.high - logarithm.low) / 2 <= max(precision, abs(logarithm.value) / 2)


def _check(precision: float, max_seconds: float, confidence: float) -> None:
    if not 0 < precision < 1:
        raise UsageError(f"the precision has to lie between 0 and 1, not at {precision}: write 0.01 for 1 %")
    check_seconds(max_seconds, "the time to compare")
    if not 0.5 <= confidence < 1:
        raise UsageError(f"the confidence has to lie between 0.5 and 1, not at {confidence}: write 0.95 for 95 %")
