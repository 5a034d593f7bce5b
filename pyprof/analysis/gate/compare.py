"""The gate: which cases of a run cost more than in the run before, with the false alarms of all of them under control.

Times are compared as `pyprof.analysis.gate.shift` says; what is counted (bytes, parameters) is exact, so that any
growth beyond the margin is certain. Everything is told in terms of cost: of a throughput, the time per example.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from pyprof.analysis.curves import setting, subject
from pyprof.analysis.gate.shift import FEWEST_NEIGHBOURS, LEVEL, Logs, Scatter, Shift, Timings, scatter_of, shift
from pyprof.analysis.gate.unpaired import Unpaired, unpaired
from pyprof.records.case import Case
from pyprof.records.indicator import IndicatorFacts, OfIndicator
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.statistics.multiple import holm

Verdict = Literal["regression", "improvement", "unchanged", "open", "too few samples"]
VERDICTS: tuple[Verdict, ...] = ("regression", "improvement", "unchanged", "open", "too few samples")
# A regression beyond this factor isn't called detectable: nothing that one would look for could have been shown.
LARGEST_DETECTABLE = 10.0
_OVERFLOW = 500.0


@dataclass(frozen=True)
class Change(OfIndicator):
    """How one metric of one case changed from the baseline to the head.

    `baseline` and `head` are in the metric's unit. `ratio` is the head's cost over the baseline's, above 1 where it
    costs more, with its own 95 % interval; for times it is an estimate that takes the machine's speed into account, so
    it isn't the ratio of the two figures beside it. `p` is adjusted for all cases that were compared; None for what is
    counted. `detectable` is the smallest regression that would have been shown in four of five such comparisons, None
    where not even a tenfold one would have been.

    A regression or an improvement is shown beyond the margin, under control of all cases; unchanged is a case whose
    interval lies within the margin; open is one that might be any of these.
    """

    case: Case
    indicator: IndicatorFacts
    baseline: float
    head: float
    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict
    p: float | None = None
    detectable: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class TimedMetric(OfIndicator):
    """How the cases of one indicator were compared: `corrected` by a yardstick or not, and the scatter between runs."""

    indicator: IndicatorFacts
    corrected: bool
    cases: int
    scatter: Scatter


@dataclass(frozen=True)
class Gate:
    """All that changed between two runs. `margin` is the relative growth that is let pass."""

    margin: float
    changes: tuple[Change, ...]
    unpaired: tuple[Unpaired, ...]
    timed: tuple[TimedMetric, ...]

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many changes have each verdict."""
        counts = Counter(change.verdict for change in self.changes)
        return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}

    def having(self, verdict: Verdict) -> tuple[Change, ...]:
        """The changes with a verdict, the largest ratio first, or the smallest first for improvements."""
        changes = (change for change in self.changes if change.verdict == verdict)
        return tuple(sorted(changes, key=lambda change: change.ratio, reverse=verdict != "improvement"))

    @property
    def broken(self) -> tuple[Unpaired, ...]:
        """What the head fails at and the baseline did not."""
        return tuple(outcome for outcome in self.unpaired if outcome.kind == "broken")

    @property
    def failed(self) -> bool:
        """Whether the head is shown to cost more somewhere, or fails where the baseline did not."""
        return bool(self.having("regression") or self.broken)


def compare_records(
    baseline: Mapping[str, Record], head: Mapping[str, Record], margin: float, indicators: Sequence[IndicatorFacts]
) -> Gate:
    """Compare two runs' records, by the key of their case, in the given indicators."""
    pairs = [(baseline[key], head[key]) for key in baseline if key in head]
    measured = [pair for pair in pairs if pair[0].status == pair[1].status == "ok"]
    timings: list[_Timing] = []
    counted: list[Change] = []
    for indicator in indicators:
        for before, after in measured:
            ours, theirs = before.indicators.get(indicator.name), after.indicators.get(indicator.name)
            if ours is None or theirs is None or not ours.value or not theirs.value:
                continue
            if indicator.exact:
                counted.append(_counted(before.case, indicator, ours.value, theirs.value, margin))
            else:
                timings.append(_Timing.of(before, indicator, ours, theirs))
    scatters = _scatters(timings)
    changes = [*_timed(timings, scatters, margin), *counted]
    order = {indicator.name: index for index, indicator in enumerate(indicators)}
    return Gate(
        margin=margin,
        changes=tuple(sorted(changes, key=lambda change: order[change.metric])),
        unpaired=tuple(unpaired(baseline, head, indicators)),
        timed=tuple(scatters.values()),
    )


def _counted(case: Case, indicator: IndicatorFacts, before: float, after: float, margin: float) -> Change:
    baseline, head = _costs(indicator, before, after)
    ratio = head / baseline
    verdict: Verdict = "regression" if head > baseline * (1 + margin) else "unchanged"
    if head * (1 + margin) < baseline:
        verdict = "improvement"
    return Change(case, indicator, before, after, ratio, ratio, ratio, verdict)


def _costs(indicator: IndicatorFacts, before: float, after: float) -> tuple[float, float]:
    """Two values that stand in the ratio of the costs: of what is better the higher it is, the inverse is the cost."""
    return (before, after) if indicator.better == "lower" else (after, before)


@dataclass(frozen=True)
class _Timing:
    """A timed indicator of a case in both runs: `curve` is shared by neighbours, `rounds` by cases timed together."""

    case: Case
    indicator: IndicatorFacts
    before: float
    after: float
    shift: Shift | None
    curve: tuple[object, ...]
    rounds: tuple[object, object]
    note: str | None

    @classmethod
    def of(cls, record: Record, indicator: IndicatorFacts, before: Reading, after: Reading) -> _Timing:
        assert before.value is not None
        assert after.value is not None
        grown = "" if before.batch == after.batch else f"the largest batch went from {before.batch} to {after.batch}"
        return cls(
            case=record.case,
            indicator=indicator,
            before=before.value,
            after=after.value,
            shift=shift(_timings(before), _timings(after)),
            curve=(indicator.name, subject(record), replace(setting(record), environment="")),
            rounds=(_rounds(before), _rounds(after)),
            note=grown or None,
        )

    @property
    def corrected(self) -> bool:
        return self.shift is not None and self.shift.corrected

    def apart(self, other: _Timing) -> bool:
        """Whether the two were timed at different times, in both runs."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return all(ours is None or ours != theirs for ours, theirs in pairs)


def _timings(reading: Reading) -> Timings:
    """The logarithms of a reading's times, per example, and of the yardstick in the same rounds.

    What a step waited in the run queue is left out, as it is in ratios.
    """
    times = _logs(reading.ran) - math.log(reading.batch)
    yardstick = () if reading.rounds is None else reading.rounds.yardstick
    if len(yardstick) != len(times) or min(yardstick, default=0) <= 0:
        return Timings(times)
    return Timings(times, _logs(yardstick))


def _rounds(reading: Reading) -> str | None:
    return None if reading.rounds is None else reading.rounds.id


def _logs(nanoseconds: Sequence[int]) -> Logs:
    return np.log(np.maximum(np.asarray(nanoseconds, dtype=np.float64), 1.0))


_Kind = tuple[IndicatorFacts, bool]


def _scatters(timings: Sequence[_Timing]) -> dict[_Kind, TimedMetric]:
    """The scatter between runs of each metric, apart for what a yardstick corrects and what not."""
    groups: dict[_Kind, list[_Timing]] = {}
    for timing in timings:
        if timing.shift is not None:
            groups.setdefault((timing.indicator, timing.corrected), []).append(timing)
    return {
        kind: TimedMetric(*kind, len(group), scatter_of(_neighbours(group), kind[1])) for kind, group in groups.items()
    }


def _neighbours(group: Sequence[_Timing]) -> list[tuple[Shift, Shift]]:
    """Pairs at neighbouring lengths of a curve; where these are too few, any two that follow each other."""

    def pairs(near: Callable[[_Timing, _Timing], bool]) -> list[tuple[Shift, Shift]]:
        shifts = [(a.shift, b.shift) for a, b in pairwise(ordered) if near(a, b) and a.apart(b)]
        return [(a, b) for a, b in shifts if a is not None and b is not None]

    ordered = sorted(group, key=lambda timing: (str(timing.curve), timing.case.length))
    within = pairs(lambda a, b: a.curve == b.curve)
    return within if len(within) >= FEWEST_NEIGHBOURS else pairs(lambda a, b: True)


def _timed(timings: Sequence[_Timing], scatters: Mapping[_Kind, TimedMetric], margin: float) -> Iterator[Change]:
    """The changes of what was timed; the p values of both directions are adjusted over all of it, each by itself."""
    tested = [
        (timing, timing.shift, scatters[timing.indicator, timing.corrected].scatter.value)
        for timing in timings
        if timing.shift
    ]
    edge = math.log1p(margin)
    slower = holm([moved.exceeds(edge, scatter) for _, moved, scatter in tested])
    faster = holm([moved.falls_below(-edge, scatter) for _, moved, scatter in tested])
    for (timing, moved, scatter), worse, better in zip(tested, slower, faster, strict=True):
        low, high = moved.interval(scatter)
        verdict: Verdict = "unchanged" if -edge <= low and high <= edge else "open"
        if worse < LEVEL:
            verdict = "regression"
        elif better < LEVEL:
            verdict = "improvement"
        yield Change(
            case=timing.case,
            indicator=timing.indicator,
            baseline=timing.before,
            head=timing.after,
            ratio=math.exp(moved.value),
            low=math.exp(low),
            high=math.exp(min(high, _OVERFLOW)),
            verdict=verdict,
            p=better if moved.value < 0 else worse,
            detectable=_detectable(edge + moved.detectable(scatter, LEVEL / len(tested))),
            note=timing.note,
        )
    for timing in timings:
        if timing.shift is None:
            baseline, head = _costs(timing.indicator, timing.before, timing.after)
            ratio = head / baseline
            yield Change(
                case=timing.case,
                indicator=timing.indicator,
                baseline=timing.before,
                head=timing.after,
                ratio=ratio,
                low=None,
                high=None,
                verdict="too few samples",
                note=timing.note,
            )


def _detectable(logarithm: float) -> float | None:
    return math.expm1(logarithm) if logarithm < math.log(LARGEST_DETECTABLE) else None
