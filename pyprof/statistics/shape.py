"""What a series of samples looks like beyond its median: several speeds, a drift, a memory. Loads numpy only.

Both findings are reported only where they are shown: chance alone produces either in one of a hundred series, and a
drift in up to four where neighbouring samples are nearly the same, so that a series wanders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError
from pyprof.quantity import format_seconds
from pyprof.statistics.dependence import dependence
from pyprof.statistics.dip import is_multimodal
from pyprof.statistics.estimate import Samples

Floats = npt.NDArray[np.float64]

# A mode holds at least this share of the samples; fewer are slow samples, which have no say in what is typical.
LEAST_SHARE = 0.1
# The dip is taken of at most this many samples, each n-th of longer series: enough to see what matters.
_MOST = 2000
# A trend is sought in the medians of at most this many blocks, whose pairs are few enough to be compared all.
_BLOCKS = 200
_FEWEST_BLOCKS = 20
# Standard deviations that a normal variable exceeds in one of a thousand cases, not of a hundred: the dependence of
# the blocks, by which these are reckoned, is only an estimate.
_SHOWN = 3.29
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}


@dataclass(frozen=True)
class Mode:
    """One of the speeds of a series: the median of its samples, in their unit, and their share of all."""

    value: float
    share: float


@dataclass(frozen=True)
class Shape:
    """What is shown of a series of samples in seconds.

    `modes` ascend; there is one where no more are shown. `drift` is the relative change of a steady trend from the
    first sample to the last (0.05 for 5 % slower at the end), None where none is shown. `dependence` is the factor by
    which the samples count for less than independent ones, see `pyprof.statistics.dependence`.
    """

    modes: tuple[Mode, ...]
    drift: float | None
    dependence: float

    def to_json(self) -> dict[str, Any]:
        modes = [{"value": mode.value, "share": mode.share} for mode in self.modes]
        return {"modes": modes, "drift": self.drift, "dependence": self.dependence}

    def __str__(self) -> str:
        """What is shown, such as "two speeds: 1.62 ms (40 %) and 2.38 ms (60 %)"; nothing where nothing is."""
        said = []
        if len(self.modes) > 1:
            *first, last = [f"{format_seconds(mode.value)} ({mode.share * 100:.0f} %)" for mode in self.modes]
            count = _NUMBERS.get(len(self.modes), str(len(self.modes)))
            said.append(f"{count} speeds: {', '.join(first)} and {last}")
        if self.drift is not None:
            said.append(f"{abs(self.drift) * 100:.2g} % {'slower' if self.drift > 0 else 'faster'} from begin to end")
        return "; ".join(said)


def describe(samples: Samples) -> Shape:
    """The shape of samples in seconds, in the order in which they were taken; raises UsageError for none or below 0."""
    values = np.asarray(samples, dtype=np.float64)
    if len(values) == 0 or not (np.isfinite(values).all() and values.min() > 0):
        raise UsageError("a shape needs samples, each a time above zero: measure at least once")
    logs = np.log(values)
    return Shape(
        tuple(_modes(values, _bounds(logs, math.ceil(LEAST_SHARE * len(logs))))), _drift(logs), dependence(logs)
    )


def _modes(values: Floats, bounds: list[float]) -> list[Mode]:
    which = np.searchsorted(bounds, np.log(values))
    parts = [values[which == i] for i in range(len(bounds) + 1)]
    return [Mode(float(np.median(part)), len(part) / len(values)) for part in parts]


def _bounds(logs: Floats, fewest: int) -> list[float]:
    """The values that part the modes, ascending; a mode has at least the fewest samples.

    Parts the samples in two where these are shown to be two, then each part likewise. A part with fewer is left out.

    Samples that depend on each other count for less. What matters there is the dependence that the two parts do not
    explain: a machine that stays at either speed for long visits both all the same, while a wandering one visits
    every value in between.
    """
    thinned = logs[:: math.ceil(len(logs) / _MOST)]
    ordered = _spread(np.sort(thinned))
    if len(logs) < 2 * fewest or not is_multimodal(ordered):
        return []
    bound = _best_bound(ordered)
    lower, upper = logs[logs <= bound], logs[logs > bound]
    smaller, larger = sorted([lower, upper], key=len)
    if len(smaller) < fewest:
        return _bounds(larger, fewest) if len(smaller) > 0 else []
    above = thinned > bound
    centres = np.where(above, np.median(thinned[above]), np.median(thinned[~above]))
    if not is_multimodal(ordered, len(thinned) / dependence(thinned - centres)):
        return []
    return [*_bounds(lower, fewest), bound, *_bounds(upper, fewest)]


def _spread(ordered: Floats) -> Floats:
    """Ascending values with ties spread evenly over the clock's step, so that steps do not pass for modes.

    The step is taken for the distance that nine of ten neighbouring values do not exceed: modes lie further apart.
    """
    values, counts = np.unique(ordered, return_counts=True)
    if len(values) == len(ordered):
        return ordered
    gaps = np.diff(values)
    step = float(np.quantile(gaps, 0.9, method="lower")) if len(gaps) > 0 else 1.0
    reach = np.minimum(gaps, step) / 2
    left = np.repeat(values - np.concatenate([[step / 2], reach]), counts)
    right = np.repeat(values + np.concatenate([reach, [step / 2]]), counts)
    place = np.arange(len(ordered)) - np.repeat(np.cumsum(counts) - counts, counts)
    apart: Floats = left + (right - left) * (place + 0.5) / np.repeat(counts, counts)
    return apart


def _best_bound(ordered: Floats) -> float:
    """The value that parts ascending values best in two: such that they are nearest to their parts' medians."""
    count = len(ordered)
    sums = np.concatenate([[0.0], np.cumsum(ordered - ordered[0])])
    cuts = np.arange(1, count)

    def distances(begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> Floats:
        """The sums of the distances from the median of the values from begin up to but without end."""
        upper, lower = (begin + end + 1) // 2, (begin + end) // 2
        apart: Floats = (sums[end] - sums[upper]) - (sums[lower] - sums[begin])
        return apart

    total = distances(np.zeros_like(cuts), cuts) + distances(cuts, np.full_like(cuts, count))
    cut = int(cuts[np.argmin(total)])
    return float(ordered[cut - 1] + ordered[cut]) / 2


def _drift(logs: Floats) -> float | None:
    """The relative change of a steady trend from begin to end; None where none is shown.

    The slope is the median of those between all pairs of blocks (Theil and Sen). It is shown where, by Kendall's test,
    more pairs of blocks rise than fall, or fewer. The blocks are as long as the memory of what the slope leaves over,
    and the variance of the test grows by what dependence remains between them (Hamed and Rao, Journal of Hydrology 204,
    1998). A series of fewer than 20 such blocks may rise by chance, whatever it looks like.
    """
    if len(logs) < _FEWEST_BLOCKS:
        return None
    slope, _ = _trend(_block_medians(logs, _BLOCKS))
    line = slope * min(1.0, _BLOCKS / len(logs)) * np.arange(len(logs))
    independent = int(len(logs) / dependence(logs - line))
    if independent < _FEWEST_BLOCKS:
        return None
    blocks = _block_medians(logs, min(independent, _BLOCKS))
    slope, rising = _trend(blocks)
    _, ties = np.unique(blocks, return_counts=True)
    variance = _kendall_variance(np.array([len(blocks)])) - _kendall_variance(ties)
    variance *= dependence(blocks - slope * np.arange(len(blocks)))
    if slope == 0 or abs(rising) - 1 <= _SHOWN * math.sqrt(variance):
        return None
    return math.expm1(slope * (len(blocks) - 1))


def _block_medians(logs: Floats, most: int) -> Floats:
    return np.array([np.median(block) for block in np.array_split(logs, min(len(logs), most))])


def _trend(blocks: Floats) -> tuple[float, float]:
    """The median slope of all pairs of blocks, per block, and how many more of them rise than fall."""
    first, second = np.triu_indices(len(blocks), 1)
    rises = blocks[second] - blocks[first]
    return float(np.median(rises / (second - first))), float(np.sign(rises).sum())


def _kendall_variance(sizes: npt.NDArray[np.int64]) -> float:
    return float(np.sum(sizes * (sizes - 1) * (2 * sizes + 5))) / 18
