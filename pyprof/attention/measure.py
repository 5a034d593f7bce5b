"""Interleaved timing: in every round one call of each contestant, in random order, so that drift hits all alike."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from pyprof.attention.attempt import Failure, attempt
from pyprof.errors import UsageError
from pyprof.measure.clock import Call, HostStopwatch, Stopwatch, time_calls
from pyprof.measure.statistics import Estimate, estimate_median
from pyprof.measure.stopping import SampleLimit, Series, TimeBudget
from pyprof.measure.warmup import Warmup, warm_up

# The fewest samples that give a 95 % interval.
_FEWEST_ROUNDS = 6


@dataclass(frozen=True)
class Care:
    """How carefully to time: rounds for about `seconds`, at most `most_rounds` of them.

    Six rounds are taken even if they need twice the time, as fewer give no interval; beyond that there are fewer.
    Each contestant warms up before the first round, for up to a tenth of the time.
    """

    seconds: float = 2.0
    most_rounds: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.most_rounds < 1:
            raise UsageError("a comparison needs a positive time and at least one round")


@dataclass
class Rounds:
    """The time of each contestant's call in each round, in nanoseconds, and why some dropped out."""

    samples: dict[str, list[int]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    def seconds(self, name: str) -> Estimate:
        """The median time of a call."""
        return estimate_median([nanoseconds / 1e9 for nanoseconds in self.samples[name]])

    def ratio(self, name: str, other: str) -> Estimate:
        """How many times as long as the other one's a call takes: the median over rounds, as they pair the two."""
        pairs = zip(self.samples[name], self.samples[other], strict=True)
        return estimate_median([first / second for first, second in pairs])


def interleave(calls: Mapping[str, Call], care: Care, stopwatch: Stopwatch | None = None) -> Rounds:
    """Time the calls in rounds. One that fails drops out with its samples, and the others go on."""
    stopwatch = HostStopwatch() if stopwatch is None else stopwatch
    taken = Rounds()
    for name, call in calls.items():
        warmed = attempt(partial(warm_up, call, stopwatch, Warmup(max_seconds=care.seconds / 10), 0.0))
        if isinstance(warmed, Failure):
            taken.failures[name] = warmed
        else:
            taken.samples[name] = []
    order = random.Random(care.seed)
    whole = Series(1)
    rules = (SampleLimit(care.most_rounds), TimeBudget(care.seconds, _FEWEST_ROUNDS))
    begin = stopwatch.clock.now_ns()
    while taken.samples:
        before = stopwatch.clock.now_ns()
        for name in order.sample(list(taken.samples), len(taken.samples)):
            nanoseconds = attempt(partial(time_calls, stopwatch, calls[name]))
            if isinstance(nanoseconds, Failure):
                taken.failures[name] = nanoseconds
                del taken.samples[name]
            else:
                taken.samples[name].append(max(nanoseconds, 1))  # a coarse clock may stand still
        now = stopwatch.clock.now_ns()
        whole.add(now - before, now - begin)
        if any(rule.reached(whole) for rule in rules):
            break
    return taken
