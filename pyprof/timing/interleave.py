"""Interleaved timing: in every round one call of each contestant, in random order, so that drift hits all alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError
from pyprof.failures import Failure, attempt
from pyprof.quantity import check_seconds
from pyprof.records.disturbance import held_up_share
from pyprof.records.noise import Noise, SystemTime
from pyprof.records.rounds import LEAST_RAN
from pyprof.statistics.estimate import CONFIDENCE, Estimate, estimate_median
from pyprof.statistics.ranks import signed_rank
from pyprof.timing.clock import Call, HostStopwatch, Stopwatch, time_calls
from pyprof.timing.settling import reason_to_end, settled, spanning
from pyprof.timing.stopping import SampleLimit, Series, TimeBudget
from pyprof.timing.warmup import Warmup, warm_up
from pyprof.timing.watch import AnyWatch, NoWatch

# The fewest samples that give a 95 % interval.
_FEWEST_ROUNDS = 6
_WARMUP_SHARE = 0.1


@dataclass(frozen=True)
class RoundLimits:
    """How carefully to time: rounds for about `seconds`, at most `most_rounds` of them.

    `fewest_rounds` are taken even if they need twice the time, as fewer than six give no interval; beyond that there
    are fewer. Each contestant warms up before the first round, for up to `warmup_seconds`, a tenth of the time where
    that is None. Calls shorter than `shortest_ns` are repeated within a reading until it is as long. `seed` decides the
    orders; None takes another one every time.
    """

    seconds: float = 2.0
    most_rounds: int = 200
    seed: int | None = 0
    fewest_rounds: int = _FEWEST_ROUNDS
    warmup_seconds: float | None = None
    shortest_ns: float = 0.0

    def __post_init__(self) -> None:
        check_seconds(self.seconds, "the time for the rounds")
        if not self.fewest_rounds >= 1 or self.most_rounds < 1:
            raise UsageError("a comparison needs at least one round")

    @property
    def warmup(self) -> Warmup:
        return Warmup(max_seconds=self.seconds * _WARMUP_SHARE if self.warmup_seconds is None else self.warmup_seconds)


@dataclass
class Interleaved:
    """One reading of each contestant in each round, and why some dropped out.

    `samples` are nanoseconds of one reading, which is one call unless `repeats` says more; `hits` has the noise that
    was seen during each of them, as flags of `pyprof.records.noise.Hit`, `waits` the nanoseconds in which the calling
    thread stood in the run queue, `others_waits` those of the other threads of this process together (None where that
    isn't told), and `system` what the system did for this process. All that are left have as many
    samples, and the index is the round. `stopped_by` names the rule that ended the rounds. `elapsed_ns` is the host's
    time.

    A round in which one of them was still warming up tells nothing of any pair: all figures are of the rounds from
    `begin` on, as of the last `settle`. In the end the rounds before are among the `warmups`, in nanoseconds per call,
    and `begin` is 0 again. `still_changing` has those whose level was still moving: their intervals cover all rounds.
    """

    samples: dict[str, list[int]] = field(default_factory=dict)
    hits: dict[str, list[int]] = field(default_factory=dict)
    waits: dict[str, list[int]] = field(default_factory=dict)
    others_waits: dict[str, list[int | None]] = field(default_factory=dict)
    system: dict[str, list[SystemTime]] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    warmups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    count: int = 0
    elapsed_ns: int = 0
    stopped_by: str = ""
    begin: int = 0
    still_changing: tuple[str, ...] = ()

    def enter(self, name: str, repeats: int = 1, warmups: tuple[int, ...] = ()) -> None:
        """A contestant of the rounds that are to come."""
        self.repeats[name], self.warmups[name] = repeats, warmups
        self.samples[name], self.hits[name], self.system[name] = [], [], []
        self.waits[name], self.others_waits[name] = [], []

    def add(self, name: str, nanoseconds: int, hits: int, watch: AnyWatch) -> None:
        """A reading of a contestant, during which the watch has looked."""
        self.samples[name].append(max(nanoseconds, 1))  # a coarse clock may stand still
        self.hits[name].append(hits)
        self.waits[name].append(watch.waited_ns)
        self.others_waits[name].append(watch.others_waited_ns)
        self.system[name].append(watch.system)

    @property
    def count_settled(self) -> int:
        """How many rounds are no warm-up."""
        return self.count - self.begin

    @property
    def changing(self) -> bool:
        return bool(self.still_changing)

    def settle(self) -> None:
        """Find out which rounds are warm-up: for each contestant its level is judged beside those of the others."""
        ran = {name: self._ran_from(name, 0) for name in self.samples}
        levels = {name: settled(ran[name], [ran[other] for other in ran if other != name]) for name in ran}
        self.begin = max((level.begin for level in levels.values()), default=0)
        self.still_changing = tuple(name for name, level in levels.items() if level.changing)

    def seconds(self, name: str, confidence: float = CONFIDENCE) -> Estimate:
        """The median time of a call."""
        repeats = self.repeats[name]
        seconds = [nanoseconds / repeats / 1e9 for nanoseconds in self.samples[name][self.begin :]]
        return spanning(seconds) if name in self.still_changing else estimate_median(seconds, confidence)

    def log_ratios(self, name: str, other: str) -> npt.NDArray[np.float64]:
        """The logarithm of how many times as long as the other one's a call took, round by round.

        What a call waited in the run queue is no part of its time: it depends on other processes alone, and on a busy
        machine it would hide a difference that a quarter of the rounds shows without it.
        """
        difference: npt.NDArray[np.float64] = self._logarithms(name) - self._logarithms(other)
        return difference

    def ran(self, name: str) -> npt.NDArray[np.float64]:
        """Nanoseconds of each reading without what it waited in the run queue."""
        return self._ran_from(name, self.begin)

    def held_up(self, name: str) -> float | None:
        """The share of a typical reading, its own waits left out, that may have been waits of other threads."""
        others = [wait for wait in self.others_waits[name][self.begin :] if wait is not None]
        ran = self.ran(name)
        return min(1.0, float(np.median(np.asarray(others) / ran))) if 0 < len(others) == len(ran) else None

    def waited(self, name: str, noise: Noise | None = None) -> float | None:
        """The share of a typical reading, as it is, in which any thread waited; None where nothing tells."""
        left = slice(self.begin, None)
        hits, waits, others = self.hits[name][left], self.waits[name][left], self.others_waits[name][left]
        return held_up_share(self.samples[name][left], hits, waits, others, noise)

    def _ran_from(self, name: str, begin: int) -> npt.NDArray[np.float64]:
        samples = np.asarray(self.samples[name][begin:], dtype=np.float64)
        waits = np.asarray(self.waits[name][begin:])
        left: npt.NDArray[np.float64] = np.maximum(samples - waits, LEAST_RAN * samples)
        return left

    def _logarithms(self, name: str) -> npt.NDArray[np.float64]:
        logarithms: npt.NDArray[np.float64] = np.log(self.ran(name) / self.repeats[name])
        return logarithms

    def ratio(self, name: str, other: str, confidence: float = CONFIDENCE) -> Estimate:
        """How many times as long as the other one's a call takes, paired by round.

        It is the Hodges-Lehmann estimate of the logarithms' difference with the interval of the signed-rank test.
        """
        return exponential(self.log_ratio(name, other, confidence))

    def log_ratio(self, name: str, other: str, confidence: float = CONFIDENCE) -> Estimate:
        """The logarithm of `ratio`."""
        logarithms = self.log_ratios(name, other)
        estimate = signed_rank(logarithms, confidence)
        if not {name, other}.intersection(self.still_changing):
            return estimate
        return replace(spanning(logarithms), value=estimate.value)

    def _leave_warm_up(self) -> None:
        """Move the rounds that turned out to be warm-up to where the readings of the warm-up are."""
        self.settle()
        begin, self.begin = self.begin, 0
        for name, samples in self.samples.items():
            left = (round(nanoseconds / self.repeats[name]) for nanoseconds in samples[:begin])
            self.warmups[name] = (*self.warmups[name], *left)
            for readings in (samples, self.hits[name], self.waits[name], self.others_waits[name], self.system[name]):
                del readings[:begin]
        self.count -= begin

    def _drop(self, name: str, failure: Failure) -> None:
        self.failures[name] = failure
        self.samples.pop(name, None)
        self.hits.pop(name, None)
        self.waits.pop(name, None)
        self.others_waits.pop(name, None)
        self.system.pop(name, None)


class Rule(Protocol):
    """A reason to end the rounds that stands beside their `RoundLimits`."""

    @property
    def name(self) -> str: ...

    def reached(self, rounds: Interleaved) -> bool: ...


def exponential(logarithm: Estimate) -> Estimate:
    """The estimate whose logarithm is given."""
    bounds = [None if bound is None else float(np.exp(bound)) for bound in (logarithm.low, logarithm.high)]
    return Estimate(float(np.exp(logarithm.value)), *bounds)


def interleave(
    calls: Mapping[str, Call],
    limits: RoundLimits,
    stopwatch: Stopwatch | None = None,
    *,
    prepare: Mapping[str, Call] | None = None,
    watch: AnyWatch | None = None,
    rules: Sequence[Rule] = (),
    progress: Callable[[Interleaved], None] | None = None,
    pause: Call | None = None,
) -> Interleaved:
    """Time the calls in rounds. One that fails drops out with its samples, and the others go on.

    `prepare` has what to call before a contestant, outside of what is timed: to attach something to a model, say. It
    is called once before the warm-up too. `watch` looks at the machine during each reading; `progress` is called after
    each round. `pause` is called before each round but the first, and what it takes is no part of the time.
    """
    stopwatch = HostStopwatch() if stopwatch is None else stopwatch
    watch = NoWatch() if watch is None else watch
    prepare = {} if prepare is None else prepare
    taken = Interleaved()
    for name, call in calls.items():
        _warm(taken, name, partial(_warmed, call, prepare.get(name), stopwatch, limits))
    order = random.Random(limits.seed)
    whole = Series(1)
    ends = (SampleLimit(limits.most_rounds), TimeBudget(limits.seconds, limits.fewest_rounds))
    begin = stopwatch.clock.now_ns()
    while taken.samples:
        before = stopwatch.clock.now_ns()
        for name in order.sample(list(taken.samples), len(taken.samples)):
            _read(taken, name, calls[name], prepare.get(name), stopwatch, watch)
        now = stopwatch.clock.now_ns()
        whole.add(now - before, now - begin)
        taken.count, taken.elapsed_ns = whole.count, whole.elapsed_ns
        if progress is not None:
            progress(taken)
        limits_reached = [end.name for end in ends if end.reached(whole)]
        taken.stopped_by = reason_to_end(rules, limits_reached, taken)
        if taken.stopped_by:
            break
        if pause is not None:
            left = stopwatch.clock.now_ns()
            pause()
            begin += stopwatch.clock.now_ns() - left
    taken._leave_warm_up()
    return taken


def _warmed(call: Call, prepare: Call | None, stopwatch: Stopwatch, limits: RoundLimits) -> tuple[int, tuple[int, ...]]:
    if prepare is not None:
        prepare()
    warmed = warm_up(call, stopwatch, limits.warmup, limits.shortest_ns)
    return warmed.repeats, warmed.readings


def _warm(taken: Interleaved, name: str, warm: Callable[[], tuple[int, tuple[int, ...]]]) -> None:
    warmed = attempt(warm)
    if isinstance(warmed, Failure):
        taken.failures[name] = warmed
        return
    taken.enter(name, *warmed)


def _read(
    taken: Interleaved, name: str, call: Call, prepare: Call | None, stopwatch: Stopwatch, watch: AnyWatch
) -> None:
    def reading() -> tuple[int, int]:
        if prepare is not None:
            prepare()
        watch.begin()
        nanoseconds = time_calls(stopwatch, call, taken.repeats[name])
        return nanoseconds, watch.end()

    read = attempt(reading)
    if isinstance(read, Failure):
        taken._drop(name, read)
        return
    taken.add(name, *read, watch)
