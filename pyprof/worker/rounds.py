"""Time the steps of a group together: in each round one call of each, in random order, and one of a yardstick."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np

from pyprof.failures import Failure
from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.rounds import Rounds
from pyprof.records.study_parts import Care
from pyprof.statistics.estimate import Estimate
from pyprof.statistics.sequential import PrecisionLooks
from pyprof.timing.clock import Call, shortest_reading_ns, time_calls
from pyprof.timing.interleave import Interleaved, RoundLimits, interleave
from pyprof.timing.page_faults import PageFaults
from pyprof.timing.settling import StillPrecise
from pyprof.timing.warmup import Warmup
from pyprof.timing.watch import Watch
from pyprof.timing.yardstick import NAME, Yardstick
from pyprof.worker.sharded import ShardedStep
from pyprof.worker.step import Step
from pyprof.worker.turns import Turns

_MOST_ON_DEVICE = 300
_AFTER_OTHERS_NS = 15_000_000
# Told which case is being worked on, None where it is all of them.
Tell = Callable[[Case | None], None]


@dataclass(frozen=True)
class Timed:
    """What came of the steps, by case: the time of one or a failure, and how many seconds were spent on each."""

    readings: Mapping[Case, Reading]
    failures: Mapping[Case, Failure]
    seconds: Mapping[Case, float]


def time_together(
    steps: Sequence[Step | ShardedStep],
    care: Care,
    seed: int,
    yardstick: Yardstick,
    tell: Tell,
    turns: Turns | None = None,
) -> Timed:
    """Time some steps in the same rounds, all of them as carefully as the study says.

    There are rounds until every median and every ratio of two is precise enough, until there are as many as there may
    be, or until the time is up, which is that of all cases together. A step that fails drops out. After each round the
    turn is offered to who measures beside.
    """
    cases = [step.case for step in steps]
    device = steps[0].device
    stopwatch = device.stopwatch()
    begin = stopwatch.clock.now_ns()
    calls: dict[str, Call] = {step.case.key: step.timed for step in steps}
    # A launch-bound step is short, and its time the host's: as many rounds as its noise needs, within the time.
    most = max(care.max_samples, _MOST_ON_DEVICE) if device.has_own_time else care.max_samples
    precise = AllPrecise(care.precision, care.min_samples, most)
    touch, page_faults, ended = PageFaults(), list[int](), list[int]()

    def price_pages(_: Interleaved) -> None:
        if turns is not None:
            ended.append(time.monotonic_ns())
        # After the round, as it is no contestant: a change of its price is no reason to leave rounds out.
        if device.limits_host_memory:
            page_faults.append(time_calls(stopwatch, touch))

    def let_others() -> None:
        assert turns is not None
        with watch.away():
            turns.offer()
            back = stopwatch.clock.now_ns()
            # Threads of the others look for more work for some milliseconds before they sleep.
            while stopwatch.clock.now_ns() - back < _AFTER_OTHERS_NS:
                time_calls(stopwatch, yardstick)

    with Watch(device.throttled, helpers=[helper for step in steps for helper in step.helpers]) as watch:
        taken = interleave(
            # The yardstick comes last, so that the end of the warm-up is told with it.
            {**calls, NAME: yardstick},
            RoundLimits(
                seconds=care.max_seconds * len(steps),
                most_rounds=most,
                fewest_rounds=care.min_samples,
                seed=seed ^ int(cases[0].key, 16),
                warmup_seconds=Warmup.max_seconds,
                shortest_ns=shortest_reading_ns(stopwatch, care.precision),
            ),
            stopwatch,
            prepare=_preparations(steps, tell),
            watch=watch,
            rules=(StillPrecise(precise),),
            progress=price_pages,
            pause=None if turns is None else let_others,
        )
        noise = watch.noise()
    for step in steps:
        # The gradients would take memory from the case that is looked at.
        step.close()
    shared = Rounds(
        secrets.token_hex(8),
        taken.stopped_by,
        yardstick=tuple(_each(taken, NAME)) if NAME in taken.samples else (),
        yardstick_waits=_share(taken, NAME, taken.waits[NAME]) if NAME in taken.samples else (),
        yardstick_others_waits=_others_waits(taken, NAME) if NAME in taken.samples else (),
        page_faults=tuple(page_faults[-taken.count :]),
        ended=tuple(ended[-taken.count :]),
        noise=noise,
        confidence=precise.confidence,
    )
    return _timed(cases, taken, shared, stopwatch.clock.now_ns() - begin)


class AllPrecise:
    """Stop when half of the interval of every median, and of every ratio of two, is at most `precision` of its value.

    The yardstick does not count, and alone it is nothing to go on for. See `PrecisionLooks` for when it looks, and for
    `confidence`, the level of the intervals.
    """

    name = "precision"

    def __init__(self, precision: float, fewest: int, most: int | None = None) -> None:
        self._looks = PrecisionLooks(precision, fewest, most)
        self._fewest = fewest
        self.confidence = self._looks.confidence

    def reached(self, rounds: Interleaved) -> bool:
        """Whether the rounds so far suffice, at those counts that are looked at."""
        if not _steps(rounds):
            return True
        return self._looks.is_due(rounds.count) and self.holds(rounds)

    def holds(self, rounds: Interleaved) -> bool:
        """Whether those rounds suffice that are no warm-up."""
        rounds.settle()
        precise = self._looks.look(rounds.count, self._estimates(rounds, _steps(rounds)))
        return precise and rounds.count_settled >= self._fewest

    def _estimates(self, rounds: Interleaved, names: Sequence[str]) -> Iterator[Estimate]:
        """The medians and, where all of these suffice, the ratios."""
        yield from (rounds.seconds(name, self.confidence) for name in names)
        yield from (rounds.ratio(*pair, self.confidence) for pair in combinations(names, 2))


def _steps(rounds: Interleaved) -> list[str]:
    """The contestants that are steps and are left."""
    return [name for name in rounds.samples if name != NAME]


def _preparations(steps: Sequence[Step | ShardedStep], tell: Tell) -> Mapping[str, Call]:
    """What is called before each reading: the first one of a contestant is its warm-up, and only that is told."""
    announced: set[Case | None] = set()

    def announce(case: Case | None) -> None:
        if case not in announced:
            announced.add(case)
            tell(case)

    def prepare(step: Step | ShardedStep) -> None:
        announce(step.case)
        step.renew()

    return {step.case.key: partial(prepare, step) for step in steps} | {NAME: lambda: announce(None)}


def _timed(cases: Sequence[Case], taken: Interleaved, shared: Rounds, elapsed_ns: int) -> Timed:
    spent, readings, failures = {}, {}, {}
    for case in cases:
        if case.key in taken.failures:
            failures[case] = taken.failures[case.key]
        else:
            readings[case] = _reading(case.key, taken, shared)
        spent[case] = sum(taken.warmups.get(case.key, ())) + sum(taken.samples.get(case.key, ()))
    # What was spent on the yardstick, and on a step that failed, is everyone's.
    rest = (elapsed_ns - sum(spent.values())) / len(cases)
    return Timed(readings, failures, {case: (own + rest) * 1e-9 for case, own in spent.items()})


def _reading(name: str, taken: Interleaved, shared: Rounds) -> Reading:
    """A latency in seconds with the raw samples, in nanoseconds of one step."""
    median, samples = taken.seconds(name, shared.confidence), _each(taken, name)
    waits = (np.asarray(taken.samples[name]) - taken.ran(name)) / taken.repeats[name]
    return Reading(
        value=median.value,
        low=median.low,
        high=median.high,
        samples=tuple(samples),
        warmup=taken.warmups[name],
        detail={"still_changing": True} if name in taken.still_changing else {},
        rounds=replace(
            shared,
            hits=tuple(taken.hits[name]),
            waits=tuple(round(wait) for wait in waits.tolist()),
            others_waits=_others_waits(taken, name),
            faults=_share(taken, name, [each.faults for each in taken.system[name]]),
            system=_share(taken, name, [each.system_ns for each in taken.system[name]]),
            processor=_share(taken, name, [each.processor_ns for each in taken.system[name]]),
        ),
    )


def _share(taken: Interleaved, name: str, readings: Sequence[int]) -> tuple[int, ...]:
    """What one call of a reading had of it."""
    return tuple(round(reading / taken.repeats[name]) for reading in readings)


def _others_waits(taken: Interleaved, name: str) -> tuple[int, ...]:
    """What the other threads waited during each reading, in nanoseconds of one call; empty where it isn't told."""
    waits = [wait for wait in taken.others_waits[name] if wait is not None]
    return _share(taken, name, waits) if len(waits) == taken.count else ()


def _each(taken: Interleaved, name: str) -> list[int]:
    return [round(sample / taken.repeats[name]) for sample in taken.samples[name]]
