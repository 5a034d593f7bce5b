"""Tipping points: from which length a variant costs less than its vanilla model, and how sure that is.

Two questions are kept apart, because they need different evidence.

*Which way does the ratio of the two costs cross 1, and how often?* A length counts as dearer or cheaper only where the
interval of its ratio, widened for the number of lengths looked at (Bonferroni), excludes 1. All other lengths are
undecided, so a wiggle within the noise is no crossing. Two neighbouring decided lengths on different sides bracket one
crossing.

*Where is the crossing?* Over a short stretch costs grow like powers of the length, so that the logarithm of their ratio
is a straight line over the logarithm of the length, and is interpolated so. Within the bracket the measured ratios are
first replaced by the nearest monotone sequence in least squares (isotonic regression, which leaves ratios alone that
are monotone already); the crossing is where the line through these is 1. Its interval trusts neither the line nor the
fit: it begins at the last length before any whose interval touches 1 or lies below, and ends at the first length after
any whose interval touches 1 or lies above. So its ends are measured lengths, it is never narrower than the gap that
holds the crossing, and lengths measured in between narrow it. A length whose ratio has no interval takes part in the
fit and bounds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

from pyprof.analysis.ratio import RatioPoint, widening

_HAIR = 1e-12

TippingStatus = Literal["point", "everywhere", "nowhere", "several", "undetermined", "not measured"]

# Those that say where the variant costs less, over the measured range.
ANSWERED: tuple[TippingStatus, ...] = ("point", "everywhere", "nowhere", "several")


@dataclass(frozen=True)
class Crossing:
    """A length where the variant begins to cost less (`gains`) or to cost more.

    `low` is None where no shorter measured length shows the other side, `high` where no longer one does: the interval
    is open there.
    """

    length: float
    low: int | None
    high: int | None
    gains: bool = True


@dataclass(frozen=True)
class Tipping:
    """Where a variant costs less than its vanilla model, over the measured range.

    point: it costs less from `crossing` on, to the end of the range. everywhere, nowhere: at every measured length, or
    at none from which on it stays so. several: it crosses more than once; `crossings` lists all, and `crossing` is the
    last one where it costs less from there to the end. undetermined, not measured: `reason` says why. `reason` also
    says what limits the other statuses: an interval that is open, say.
    """

    status: TippingStatus
    crossing: Crossing | None = None
    crossings: tuple[Crossing, ...] = ()
    reason: str | None = None


def find_tipping(points: Sequence[RatioPoint]) -> Tipping:
    """The tipping point of ratios at lengths in increasing order; see the module for the definition."""
    if not points:
        return Tipping("not measured", reason="no length was measured for both")
    if len(points) == 1:
        return Tipping("undetermined", reason=f"only length {points[0].length:,} was measured for both")
    band = _Band.of(points)
    crossings = _crossings(band)
    runs = band.runs()
    if not runs and not crossings:
        return Tipping("undetermined", reason=_undecided(points, band))
    limits = _limits(points, band, crossings)
    if not crossings:
        return Tipping("everywhere" if runs[-1].sign < 0 else "nowhere", reason=limits)
    last = crossings[-1] if crossings[-1].gains else None
    if len(crossings) > 1:
        return Tipping("several", last, crossings, limits)
    if last is None:
        return Tipping("nowhere", None, crossings, "it costs less at short lengths only")
    return Tipping("point", last, crossings, limits)


@dataclass(frozen=True)
class _Run:
    """Neighbouring decided lengths on one side of 1: the sign of the log ratio and the first and last index."""

    sign: int
    first: int
    last: int


@dataclass(frozen=True)
class _Band:
    """The lengths with logarithms of them, of the ratios and of their bounds (infinite where there is none); and which
    side is decided: 1 dearer, -1 cheaper, 0 undecided.
    """

    lengths: tuple[int, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    signs: tuple[int, ...]

    @classmethod
    def of(cls, points: Sequence[RatioPoint]) -> _Band:
        y, low, high = zip(*map(_logs, points), strict=True)
        wider = widening(sum(point.low is not None for point in points))
        signs = tuple(
            1 if mid - wider * (mid - below) > 0 else -1 if mid + wider * (above - mid) < 0 else 0
            for mid, below, above in zip(y, low, high, strict=True)
        )
        lengths = tuple(point.length for point in points)
        return cls(lengths, tuple(math.log(length) for length in lengths), y, low, high, signs)

    def runs(self) -> tuple[_Run, ...]:
        decided = [(sign, index) for index, sign in enumerate(self.signs) if sign]
        groups = ((sign, [index for _, index in group]) for sign, group in groupby(decided, key=lambda pair: pair[0]))
        return tuple(_Run(sign, indices[0], indices[-1]) for sign, indices in groups)

    def part(self, first: int, last: int, *, mirrored: bool = False) -> _Band:
        """The band from one index to another; mirrored, dearer and cheaper are exchanged."""
        cut = slice(first, last + 1)
        y, low, high, signs = self.y[cut], self.low[cut], self.high[cut], self.signs[cut]
        if mirrored:
            y, low, high = (tuple(-value for value in values) for values in (y, high, low))
            signs = tuple(-sign for sign in signs)
        return _Band(self.lengths[cut], self.x[cut], y, low, high, signs)


def _logs(point: RatioPoint) -> tuple[float, float, float]:
    """The logarithms of the ratio and its bounds; an exactly equal cost is not less, so it is dearer by a hair."""
    if point.low is None or point.high is None:
        return math.log(point.ratio), -math.inf, math.inf
    if point.low == point.high == 1:
        return _HAIR, _HAIR, _HAIR
    return math.log(point.ratio), math.log(point.low), math.log(point.high)


def _crossings(band: _Band) -> tuple[Crossing, ...]:
    """All crossings, shortest first: those between decided runs or, where there is one run at most, an open one.

    Beyond the last decided length an undecided stretch can hold the crossing to cheaper, open above; before the first
    one likewise, open below. A crossing to dearer is never read out of undecided lengths.
    """
    runs = band.runs()
    if not runs:
        crossings = [_crossing(band, left=False, right=False)]
    elif len(runs) > 1:
        brackets = [(band.part(a.last, b.first, mirrored=b.sign > 0), b.sign < 0) for a, b in pairwise(runs)]
        crossings = [_crossing(part, gains=gains) for part, gains in brackets]
    elif runs[0].sign < 0:
        crossings = [_crossing(band.part(0, runs[0].first), left=False)]
    else:
        crossings = [_crossing(band.part(runs[0].last, len(band.x) - 1), right=False)]
    return tuple(crossing for crossing in crossings if crossing is not None)


def _crossing(band: _Band, *, left: bool = True, right: bool = True, gains: bool = True) -> Crossing | None:
    """The crossing from dearer to cheaper within a bracket; `left` and `right` say which of its ends are decided.

    None where an end is undecided and the fitted ratio does not cross.
    """
    fit = _decreasing(band.y)
    if not fit[0] > 0 > fit[-1]:
        return None
    at = max(index for index, value in enumerate(fit) if value >= 0)
    middle = band.x[at] + (band.x[at + 1] - band.x[at]) * fit[at] / (fit[at] - fit[at + 1])
    low = min(index for index, value in enumerate(band.low) if value <= 0) - 1 if left else None
    high = max(index for index, value in enumerate(band.high) if value >= 0) + 1 if right else None
    return Crossing(
        math.exp(middle),
        None if low is None else band.lengths[min(low, at)],
        None if high is None else band.lengths[max(high, at + 1)],
        gains,
    )


def _decreasing(values: Sequence[float]) -> list[float]:
    """The non-increasing sequence nearest in least squares (pool adjacent violators, Barlow et al. 1972)."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        total, count = value, 1
        while blocks and blocks[-1][0] / blocks[-1][1] <= total / count:
            before, size = blocks.pop()
            total, count = total + before, count + size
        blocks.append((total, count))
    return [total / count for total, count in blocks for _ in range(count)]


def _undecided(points: Sequence[RatioPoint], band: _Band) -> str:
    if all(point.low is None for point in points):
        side = "less" if max(band.y) < 0 else "more" if min(band.y) > 0 else None
        said = f"; by the medians alone it costs {side} at every measured length" if side else ""
        return f"no length has samples enough for an interval{said}"
    return "no difference is shown at any measured length"


def _limits(points: Sequence[RatioPoint], band: _Band, crossings: Sequence[Crossing]) -> str | None:
    """What a status does not say by itself, in one phrase: open intervals and undecided ends of the range."""
    said = []
    if crossings and crossings[0].low is None:
        said.append("no shorter length is shown to cost more")
    if crossings and crossings[-1].high is None:
        said.append("no longer length is shown to cost less")
    undecided = [point.length for point, sign in zip(points, band.signs, strict=True) if not sign]
    if not crossings and undecided:
        lengths = ", ".join(f"{length:,}" for length in undecided[:3]) + (", ..." if len(undecided) > 3 else "")
        said.append(f"no difference is shown at {lengths}")
    equal = [f"{point.length:,}" for point in points if point.low == point.high == 1]
    if equal:
        said.append(f"it costs exactly the same at {', '.join(equal[:3])}{', ...' if len(equal) > 3 else ''}")
    if crossings and crossings[-1].gains and crossings[-1].high is not None and not band.signs[-1]:
        said.append(f"no difference is shown at {points[-1].length:,}")
    return "; ".join(said) or None
