"""The cases that were timed: which can be judged, the scatter between runs, and what changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pyprof.analysis.curves import setting, subject
from pyprof.analysis.gate.change import LARGEST_DETECTABLE, Change, Obstacle, TimedMetric, Verdict
from pyprof.analysis.gate.shift import (
    FEWEST_NEIGHBOURS,
    LEVEL,
    STATE_DEVIATION,
    STATE_FREE,
    Logs,
    Shift,
    Timings,
    scatter_of,
    shift,
)
from pyprof.records.case import Case
from pyprof.records.disturbance import CALM, Disturbance, disturbance
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.statistics.multiple import holm

# A yardstick that took more than so many times as long in one run as in the other corrects no step: what slows down so
# much is a neighbour on the same cores, which slows down each kind of work by a factor of its own.
MOST_SPEED = 1.6
# Where a machine was disturbed, a regression of this size has to be one that would have been shown.
MOST_DETECTABLE = 0.2
# Without waits, a yardstick that moved so much between the runs is what disturbed them.
_SPEED_THAT_DISTURBS = 1.25
_OVERFLOW = 500.0


@dataclass(frozen=True)
class Timing:
    """A timed indicator of a case in both runs: `curve` is shared by neighbours, `rounds` by cases timed together."""

    case: Case
    indicator: IndicatorFacts
    before: float
    after: float
    shift: Shift | None
    curve: tuple[object, ...]
    rounds: tuple[object, object]
    note: str | None
    held_up: tuple[Disturbance | None, Disturbance | None] = (None, None)

    @classmethod
    def of(cls, record: Record, indicator: IndicatorFacts, before: Reading, after: Reading) -> Timing:
        """Of two readings that have a value each."""
        assert before.value is not None
        assert after.value is not None
        grown = "" if before.batch == after.batch else f"the largest batch went from {before.batch} to {after.batch}"
        held_up = (disturbance(before), disturbance(after))
        return cls(
            case=record.case,
            indicator=indicator,
            before=before.value,
            after=after.value,
            shift=shift(_timings(before, held_up[0]), _timings(after, held_up[1])),
            curve=(indicator.name, subject(record), replace(setting(record), environment="")),
            rounds=(_rounds(before), _rounds(after)),
            note=grown or None,
            held_up=held_up,
        )

    @property
    def corrected(self) -> bool:
        return self.shift is not None and self.shift.corrected

    @property
    def in_turn(self) -> bool:
        return self.shift is not None and self.shift.in_turn

    @property
    def obstacle(self) -> Obstacle | None:
        """What makes it useless to judge, before anything is known of the errors."""
        if any(each is not None and each.is_too_much for each in self.held_up):
            return "waits"
        if self.shift is not None and abs(self.shift.speed) > math.log(MOST_SPEED):
            return "speed"
        return None

    @property
    def is_disturbed(self) -> bool:
        """Whether something on the machine is known to have disturbed one of the runs."""
        if self.shift is not None and (self.shift.state or abs(self.shift.speed) > math.log(_SPEED_THAT_DISTURBS)):
            return True
        return any(each is not None and (each.lost > CALM or each.calm < 0.5) for each in self.held_up)

    @property
    def lost(self) -> tuple[float | None, float | None]:
        before, after = (None if each is None else each.lost for each in self.held_up)
        return before, after

    def apart(self, other: Timing) -> bool:
        """Whether the two were timed at different times, in both runs."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return all(ours is None or ours != theirs for ours, theirs in pairs)


def _timings(reading: Reading, held_up: Disturbance | None) -> Timings:
    """The logarithms of a reading's times, per example, and of the yardstick in the same rounds.

    What a step waited in the run queue is left out, as it is in ratios, and so are rounds that were held up.
    """
    times = _logs(reading.ran) - math.log(reading.batch)
    yardstick = () if reading.rounds is None else reading.rounds.yardstick_ran
    beside = _logs(yardstick) if len(yardstick) == len(times) and min(yardstick, default=0) > 0 else None
    ended = () if reading.rounds is None else reading.rounds.ended
    when = np.asarray(ended, dtype=np.float64) if len(ended) == len(times) else None
    if held_up is None:
        return Timings(times, beside, ended=when)
    kept = held_up.kept
    return Timings(
        times[kept],
        None if beside is None else beside[kept],
        held_up.doubt,
        held_up.yardstick_doubt,
        None if when is None else when[kept],
    )


def with_state(timings: Sequence[Timing]) -> list[Timing]:
    """The same, with what another state of the machine over a whole run makes uncertain where no turns were taken."""
    speeds = {
        timing.rounds: timing.shift.speed
        for timing in timings
        if timing.shift is not None and timing.corrected and timing.obstacle is None
    }
    # A neighbour for some seconds leaves most of the other rounds as they were.
    slower, faster = (np.maximum(sign * np.fromiter(speeds.values(), np.float64), 0.0) for sign in (1, -1))
    moved = max(float(np.quantile(each, 0.25)) for each in (slower, faster)) if speeds else 0.0
    state = STATE_DEVIATION * max(0.0, moved - STATE_FREE)
    return [
        each if each.shift is None or each.in_turn else replace(each, shift=replace(each.shift, state=state))
        for each in timings
    ]


def _rounds(reading: Reading) -> str | None:
    return None if reading.rounds is None else reading.rounds.id


def _logs(nanoseconds: Sequence[int]) -> Logs:
    return np.log(np.maximum(np.asarray(nanoseconds, dtype=np.float64), 1.0))


_Kind = tuple[IndicatorFacts, bool, bool]


def scatters(timings: Sequence[Timing]) -> dict[_Kind, TimedMetric]:
    """The scatter between runs of each metric, apart for what took turns, what a yardstick corrects, and the rest."""
    groups: dict[_Kind, list[Timing]] = {}
    for timing in timings:
        if timing.shift is not None and timing.obstacle is None:
            groups.setdefault(_kind(timing), []).append(timing)
    return {
        kind: TimedMetric(*kind, len(group), scatter_of(_neighbours(group), any(kind[1:])))
        for kind, group in groups.items()
    }


def _kind(timing: Timing) -> _Kind:
    return timing.indicator, timing.corrected, timing.in_turn


def _neighbours(group: Sequence[Timing]) -> list[tuple[Shift, Shift]]:
    """Pairs at neighbouring lengths of a curve; where these are too few, two that follow each other, if it helps."""

    def pairs(near: Callable[[Timing, Timing], bool]) -> list[tuple[Shift, Shift]]:
        shifts = [(a.shift, b.shift) for a, b in pairwise(ordered) if near(a, b) and a.apart(b)]
        return [(a, b) for a, b in shifts if a is not None and b is not None]

    ordered = sorted(group, key=lambda timing: (str(timing.curve), timing.case.length))
    within = pairs(lambda a, b: a.curve == b.curve)
    every = within if len(within) >= FEWEST_NEIGHBOURS else pairs(lambda a, b: True)
    return every if len(every) >= FEWEST_NEIGHBOURS else within


def timed_changes(timings: Sequence[Timing], known: Mapping[_Kind, TimedMetric], margin: float) -> Iterator[Change]:
    """The changes of what was timed; the p values of both directions are adjusted over all of it, each by itself."""
    tested = [
        (timing, timing.shift, known[_kind(timing)].scatter.value)
        for timing in timings
        if timing.shift and timing.obstacle is None
    ]
    edge = math.log1p(margin)
    slower = holm([moved.exceeds(edge, scatter) for _, moved, scatter in tested])
    faster = holm([moved.falls_below(-edge, scatter) for _, moved, scatter in tested])
    for (timing, moved, scatter), worse, better in zip(tested, slower, faster, strict=True):
        low, high = moved.interval(scatter)
        detectable = edge + moved.detectable(scatter, LEVEL / len(tested))
        verdict: Verdict = "unchanged" if -edge <= low and high <= edge else "open"
        if worse < LEVEL:
            verdict = "regression"
        elif better < LEVEL:
            verdict = "improvement"
        elif verdict == "open" and timing.is_disturbed and detectable > edge + math.log1p(MOST_DETECTABLE):
            verdict = "too disturbed"
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
            detectable=_detectable(detectable),
            note=timing.note,
            held_up=timing.lost,
            obstacle="scatter" if verdict == "too disturbed" else None,
        )
    for timing in timings:
        if timing.shift is None or timing.obstacle is not None:
            yield _not_judged(timing)


def _not_judged(timing: Timing) -> Change:
    """A case of too few samples, or one that was too disturbed: its ratio is told, and nothing is concluded from it."""
    if timing.shift is not None:
        ratio = math.exp(timing.shift.value)
    else:
        higher = timing.indicator.better == "higher"
        ratio = timing.before / timing.after if higher else timing.after / timing.before
    return Change(
        case=timing.case,
        indicator=timing.indicator,
        baseline=timing.before,
        head=timing.after,
        ratio=ratio,
        low=None,
        high=None,
        verdict="too few samples" if timing.obstacle is None else "too disturbed",
        note=timing.note,
        held_up=timing.lost,
        obstacle=timing.obstacle,
    )


def _detectable(logarithm: float) -> float | None:
    return math.expm1(logarithm) if logarithm < math.log(LARGEST_DETECTABLE) else None
