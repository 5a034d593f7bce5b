"""Has the level stayed? What `measure`, `compare` and the rounds of a study ask before they believe a precise figure.

Compilation, caches and autotuning make a call fast after a dozen calls that were all equally slow, and no interval of
those dozen tells. So whoever has sampled precisely enough looks on for a while, of a bounded cost (`LongerLook`), and a
level that was left for good is warm-up (`settled`).

A machine of which a neighbour takes a part changes its level too. It comes back, if one waits for long enough; until
then it is told by its size, as two that share a core leave each other at least half of it, by its suddenness, and where
something was timed beside, by that too: what slows both alike is the machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from pyprof.statistics.change import Change, change_point, change_points, step_at, trend
from pyprof.statistics.estimate import Estimate, Samples, median

Floats = npt.NDArray[np.float64]
Taken = TypeVar("Taken", bound="Levels", contravariant=True)

# The look beyond a precise figure takes this share of the time spent on sampling, and no more than so many samples,
# since what warms up does it by the call. But it takes so long at least: a quarter of six short calls shows nothing.
LOOK_SHARE = 0.25
LOOK_SAMPLES = 100
LOOK_SECONDS = 0.25
# A level of fewer samples than these gives no interval, and might still be a series of outliers.
FEWEST_AT_LEVEL = 6
# How large a step has to be for more than the machine to have changed: of a call alone; of its ratio to what was timed
# beside, as a machine slows some work more than other (memory became dearer by a third while products of matrices kept
# their time); and where the series had been moving there, since a machine changes its speed at once.
_ALONE, _BESIDE, _SLID = math.log(2), math.log(1.5), math.log(1.25)
# How much slower one half of a series is than the other where it keeps moving: it moved by twice as much in all.
_MOVING = math.log(1.15)
# A side of a step that slides to it or on from it does so by this share of the step at least, from half to half.
_SLIDE_SHARE = 1 / 3


class Levels(Protocol):
    """What has been sampled so far: up to `begin` it is warm-up, and whether the level is changing still."""

    @property
    def count(self) -> int: ...

    @property
    def elapsed_ns(self) -> int: ...

    @property
    def begin(self) -> int: ...

    @property
    def changing(self) -> bool: ...


class LongerLook:
    """Holds back a rule that has been reached: for a quarter of the time spent so far or 100 samples, at least 0.25 s.

    If the level was another one in that time, it is looked at for as long; the sampling as a whole has its own limits.
    No look ends before `min_seconds` of sampling.
    """

    def __init__(self, min_seconds: float = 0.0) -> None:
        self._least_ns = min_seconds * 1e9
        self.begun = False
        self._begin = 0
        self._until_count, self._until_ns, self._not_before_ns = 0, 0.0, 0.0

    def reached(self, taken: Levels, suffices: Callable[[], bool], still_suffices: Callable[[], bool]) -> bool:
        """Whether to end: `suffices` is asked until the look begins, `still_suffices`, which settles, at its end."""
        if not self.begun:
            if suffices():
                self._start(taken)
            return False
        if taken.elapsed_ns < self._not_before_ns or (
            taken.elapsed_ns < self._until_ns and taken.count < self._until_count
        ):
            return False
        self.begun = False
        if not still_suffices() or taken.changing:
            return False
        if taken.begin == self._begin:
            return True
        self._start(taken)
        return False

    def _start(self, taken: Levels) -> None:
        self.begun, self._begin = True, taken.begin
        self._until_count = taken.count + LOOK_SAMPLES
        self._until_ns = (1 + LOOK_SHARE) * taken.elapsed_ns
        self._not_before_ns = max(taken.elapsed_ns + LOOK_SECONDS * 1e9, self._least_ns)


class _Rule(Protocol[Taken]):
    @property
    def name(self) -> str: ...

    def reached(self, taken: Taken, /) -> bool: ...


class _Precise(_Rule[Taken], Protocol[Taken]):
    """A rule about how precise something is: `reached` where it is time to look, `holds` at any time."""

    def holds(self, taken: Taken, /) -> bool: ...


class StillPrecise(Generic[Taken]):
    """A rule that is reached where another one is, and still is after a `LongerLook`."""

    def __init__(self, precise: _Precise[Taken], min_seconds: float = 0.0) -> None:
        self.name = precise.name
        self._precise = precise
        self._longer = LongerLook(min_seconds)

    def reached(self, taken: Taken) -> bool:
        return self._longer.reached(taken, lambda: self._precise.reached(taken), lambda: self._precise.holds(taken))

    def stands(self, taken: Taken) -> bool:
        """Where a limit of time or samples ends the look early: whether it is precise nevertheless."""
        return self._longer.begun and self._precise.holds(taken) and not taken.changing


def reason_to_end(rules: Sequence[_Rule[Taken]], limits: Sequence[str], taken: Taken) -> str:
    """The name of the first of the rules that is reached, or else of the limits that are; empty where none is."""
    reached = [*(rule.name for rule in rules if rule.reached(taken)), *limits]
    if not reached:
        return ""
    precise = [rule.name for rule in rules if isinstance(rule, StillPrecise) and rule.stands(taken)]
    return [*precise, *reached][0]


@dataclass(frozen=True)
class Settled:
    """The samples from `begin` on are of one level, unless that is `changing` still."""

    begin: int = 0
    changing: bool = False


def settled(samples: Samples, references: Sequence[Samples] = ()) -> Settled:
    """Since when a call has been at the level that it is at now.

    `samples` are times above zero in the order in which they were taken; each of `references` has the time of something
    else around each of them, such as a yardstick or another call. A level is left for good where the series does not
    come back to it and the step is too large for the machine: by a factor of two, of 1.5 where the references had no
    part in it, of 1.25 where the series had been moving there for a while. What is left of the series is searched
    again, so that there may be several such steps. Changing still is a call that has just made one, and one that keeps
    moving.
    """
    own = np.log(np.asarray(samples, dtype=np.float64))
    beside = own - np.mean(np.log(np.asarray(references, dtype=np.float64)), axis=0) if len(references) else None
    begin = 0
    while True:
        left = None if beside is None else beside[begin:]
        change = _change(own[begin:], left)
        if change is None:
            return Settled(begin, _keeps_moving(own[begin:], left))
        if len(own) - begin - change.index < FEWEST_AT_LEVEL:
            return Settled(begin, changing=True)
        begin += change.index


def spanning(samples: Samples) -> Estimate:
    """The median of samples that are of several levels, with an interval that covers all of these."""
    return Estimate(median(samples), float(np.min(samples)), float(np.max(samples)))


def _change(own: Floats, beside: Floats | None) -> Change | None:
    """A change of the call's level that is too large for the machine to have made it.

    `beside` is its ratio to the references. The change is sought in both, as either may be the noisier one.
    """
    for change in change_points(own):
        # Beside others a rise like this is the machine's, but all of them may warm up at once.
        if change.step <= -_ALONE if beside is not None else _is_large(own, change, _ALONE):
            return change
    if beside is None:
        return None
    for series in (own, beside):
        for change in change_points(series):
            unexplained = Change(change.index, _unexplained(own, beside, change.index))
            if _is_large(series, unexplained, _BESIDE):
                return unexplained
    return None


def _is_large(series: Floats, change: Change, sudden: float) -> bool:
    """Whether a step is one that a machine doesn't make: a `sudden` one, or less at the end of a slide."""
    if abs(change.step) >= sudden:
        return True
    return abs(change.step) >= _SLID and _slides(series[: change.index], change.step)


def _slides(series: Floats, step: float) -> bool:
    """Whether a series moves the way of a step, and not just by little beside it, as a drift beside a flip does."""
    if len(series) < 2 or trend(series) * step <= 0:
        return False
    return step_at(series, len(series) // 2) / step >= _SLIDE_SHARE


def _unexplained(own: Floats, beside: Floats, index: int) -> float:
    """The step at an index in which the references had no part: 0 where the call moved less than half as far."""
    step, relative = step_at(own, index), step_at(beside, index)
    return relative if step * relative > 0 and abs(step) >= abs(relative) / 2 else 0.0


def _keeps_moving(own: Floats, beside: Floats | None) -> bool:
    """Whether the level moves on and on: each of the two parts of the series goes the way of the step between them."""
    for series in (own,) if beside is None else (own, beside):
        change = change_point(series)
        if change is None:
            continue
        step = change.step if beside is None else _unexplained(own, beside, change.index)
        if abs(step) >= _MOVING and _slides(series[: change.index], step) and _slides(series[change.index :], step):
            return True
    return False
