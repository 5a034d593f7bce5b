"""Configurations of one family that match a target in one indicator, so that all else can be compared.

A comparison at equal parameters can be unfair in everything else; at equal FLOPs or at equal latency another one can be
(Dehghani et al., "The Efficiency Misnomer", ICLR 2022, section 4). So there is one match for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyprof.errors import UsageError
from pyprof.statistics.estimate import Estimate

# How far a matched figure may lie from its target.
TOLERANCE = 0.01
# What a measured figure was chosen for may be its noise: so often is a configuration measured anew and the search
# taken up again.
_MOST_ATTEMPTS = 4
_MOST_STEPS = 12
_WIDEST = 64


@dataclass(frozen=True)
class Dimension:
    """One free dimension of a family: its name, the value to begin with, and the step between values."""

    name: str
    start: int
    step: int = 1


@dataclass(frozen=True)
class Match:
    """The configuration that was found: its dimensions, its figure and how many configurations were looked at.

    A measured figure has the `interval` of a measurement that it was not chosen by, None where there were too few
    samples for one.
    """

    dimensions: Mapping[str, int]
    figure: float
    target: float
    tried: int
    interval: tuple[float, float] | None = None

    @property
    def off(self) -> float:
        """How far the figure lies from its target, relative to that."""
        return self.figure / self.target - 1

    def shown(self, tolerance: float = TOLERANCE) -> bool:
        """Whether the whole interval of a measured figure lies within the tolerance."""
        if self.interval is None:
            return False
        low, high = self.interval
        return self.target * (1 - tolerance) <= low and high <= self.target * (1 + tolerance)


def match(
    measure: Callable[[Mapping[str, int]], float],
    free: Sequence[Dimension],
    target: float,
    tolerance: float = TOLERANCE,
) -> Match:
    """Find values of the free dimensions with which `measure` gives the target within the tolerance.

    The first dimension comes as near as its steps allow, and each further one closes what is left; `measure` has to
    grow with each of them. Raises UsageError with the nearest configuration where none is near enough.
    """
    search = _begin(measure, free, target)
    _go_on(search, free, tolerance, tolerance / 4)
    if abs(search.off) > tolerance:
        nearest = ", ".join(f"{name} {value:,}" for name, value in search.best.items())
        raise UsageError(
            f"no configuration is within {tolerance:.0%} of the target: the nearest one ({nearest}) is "
            f"{100 * search.off:+.1f} % off, so free a finer dimension, such as ffn"
        )
    return Match(dict(search.best), search.figure, target, len(search.seen))


def match_measured(
    measure: Callable[[Mapping[str, int]], float],
    anew: Callable[[Mapping[str, int]], Estimate],
    free: Sequence[Dimension],
    target: float,
    tolerance: float = TOLERANCE,
) -> Match:
    """The configuration whose measured figure is nearest to the target, as far as its noise lets that be told.

    Of noisy figures the one that was chosen is nearer to its target than it deserves. So what `measure` finds is
    measured `anew`, more carefully, and where that lies beyond the tolerance the search goes on with what is known by
    then. The match has the figure and the interval of the last such measurement, and may lie beyond the tolerance.
    """
    search = _begin(measure, free, target)
    better: dict[tuple[int, ...], Estimate] = {}
    for attempt in range(_MOST_ATTEMPTS):
        _go_on(search, free[-1:] if attempt else free, tolerance, tolerance / 2)
        key = tuple(search.best.values())
        if key in better:
            break
        better[key] = anew(search.best)
        search.correct(search.best, better[key].value)
        if abs(search.seen[key] / target - 1) <= tolerance:
            break
    chosen = min(better, key=lambda key: abs(better[key].value / target - 1))
    dimensions = dict(zip(search.best, chosen, strict=True))
    return Match(dimensions, better[chosen].value, target, len(search.seen), better[chosen].interval)


def _begin(measure: Callable[[Mapping[str, int]], float], free: Sequence[Dimension], target: float) -> _Search:
    if not free or target <= 0:
        raise UsageError("nothing can be matched without a free dimension and a target above 0")
    search = _Search(measure, target, {each.name: each.start for each in free})
    search.look(search.best)
    return search


def _go_on(search: _Search, free: Sequence[Dimension], tolerance: float, near: float) -> None:
    for dimension in free:
        if abs(search.off) <= tolerance:
            return
        _approach(search, dimension, near)


@dataclass
class _Search:
    measure: Callable[[Mapping[str, int]], float]
    target: float
    best: dict[str, int]

    def __post_init__(self) -> None:
        self.seen: dict[tuple[int, ...], float] = {}

    def look(self, dimensions: Mapping[str, int]) -> float:
        """The figure of a configuration, which becomes the best one where it is nearer to the target."""
        key = tuple(dimensions.values())
        if key not in self.seen:
            self.seen[key] = self.measure(dimensions)
            if abs(self.seen[key] / self.target - 1) < abs(self.off):
                self.best = dict(dimensions)
        return self.seen[key]

    def correct(self, dimensions: Mapping[str, int], figure: float) -> None:
        """A better figure of a configuration; the best one is chosen again."""
        self.seen[tuple(dimensions.values())] = figure
        nearest = min(self.seen, key=lambda key: abs(self.seen[key] / self.target - 1))
        self.best = dict(zip(self.best, nearest, strict=True))

    @property
    def figure(self) -> float:
        return self.seen.get(tuple(self.best.values()), float("inf"))

    @property
    def off(self) -> float:
        return self.figure / self.target - 1


def _approach(search: _Search, dimension: Dimension, near: float) -> None:
    """Move one dimension towards the target by secants, from where the search stands."""
    name, step = dimension.name, dimension.step
    fixed = dict(search.best)

    def rounded(value: float) -> int:
        return max(step, min(round(value / step) * step, dimension.start * _WIDEST))

    def at(value: int) -> float:
        return search.look({**fixed, name: value})

    old, new = fixed[name], rounded(fixed[name] * (2 if search.off < 0 else 0.5))
    for _ in range(_MOST_STEPS):
        if new == old or abs(search.off) <= near:
            return
        before, after = at(old), at(new)
        slope = (after - before) / (new - old)
        if slope > 0:
            following = rounded(new + (search.target - after) / slope)
        else:  # noise, or nothing that depends on it: a step towards the target from the best one so far
            following = rounded(search.best[name] * (1.25 if search.off < 0 else 0.8))
        if following == new:
            # The neighbours may be nearer, as the figure need not be straight.
            for neighbour in (new - step, new + step):
                if neighbour >= step:
                    at(neighbour)
            return
        old, new = new, following
