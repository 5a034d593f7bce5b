"""Where a series changes its level, and whether it moves on and on. By ranks, so that outliers decide nothing.

Loads numpy only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyprof.statistics.estimate import Samples

Floats = npt.NDArray[np.float64]

# Fewer samples than these on one side are outliers and no level.
FEWEST = 3
# Standard deviations of the rank sum; in noise alone the clearest of all splits gets here in one of twelve series, and
# whoever asks for a step of some size too is hardly ever wrong.
_CLEAR = 3.0
# Of all pairs of a sample before and one after, so many more lie the one way round than the other: a level to which
# the series comes back leaves less.
_APART = 0.8
# Standard deviations of Kendall's score, which noise exceeds in one of twenty series.
_TREND = 2.0
# A trend is sought in the medians of at most this many blocks.
_BLOCKS = 60


@dataclass(frozen=True)
class Change:
    """The split of a series at `index`: the samples from there on lie `step` above those before, median to median."""

    index: int
    step: float


def change_point(values: Samples) -> Change | None:
    """Where the level of a series changes for good, at its clearest; None where it stays or comes back.

    Of all splits it is the one with the greatest standardised rank sum (Pettitt, Applied Statistics 28, 1979, with the
    variance of each split, so that an early one is seen as well as one in the middle). There are at least three samples
    on either side, the rank sum is three standard deviations from its mean, and the two sides hardly overlap.
    """
    return next(change_points(values), None)


def change_points(values: Samples) -> Iterator[Change]:
    """The same, then the clearest split of what lies before it, and so on: a short early level is found too.

    Each of them is one that the whole series does not come back over.
    """
    series = np.asarray(values, dtype=np.float64)
    _, apart = _splits(series)
    end = len(series)
    while end >= 2 * FEWEST:
        scores, apart_before = _splits(series[:end])
        scores[np.minimum(apart_before, apart[: len(scores)]) < _APART] = 0
        if scores.max() < _CLEAR:
            return
        end = FEWEST + int(np.argmax(scores))
        yield Change(end, step_at(series, end))


def _splits(series: Floats) -> tuple[Floats, Floats]:
    """For each split with enough samples on both sides its score, in standard deviations, and how far it is apart.

    The latter is 1 where all samples on one side lie above all on the other, and 0 where neither side lies above.
    """
    count = len(series)
    before = np.arange(FEWEST, count - FEWEST + 1, dtype=np.float64)
    ranks, ties = _ranks(series)
    if len(before) == 0 or ties == 0:
        return np.zeros(len(before)), np.zeros(len(before))
    excess = np.abs(np.cumsum(ranks)[FEWEST - 1 : count - FEWEST] - before * (count + 1) / 2)
    scores: Floats = excess / np.sqrt(before * (count - before) * (count + 1) / 12 * ties)
    return scores, 2 * excess / (before * (count - before))


def step_at(values: Samples, index: int) -> float:
    """How far the median of the samples from the index on lies above that of the samples before."""
    series = np.asarray(values, dtype=np.float64)
    return float(np.median(series[index:]) - np.median(series[:index]))


def trend(values: Samples) -> int:
    """1 where a series rises, -1 where it falls, 0 where neither is shown: Kendall's score in standard deviations."""
    score = _kendall(values)
    return 0 if abs(score) < _TREND else 1 if score > 0 else -1


def _ranks(values: Floats) -> tuple[Floats, float]:
    """The ranks from 1, ties sharing their mean, and the factor by which ties lessen a rank sum's variance."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    count = float(len(values))
    tied = counts.astype(np.float64)
    return ranks, 1 - float(np.sum(tied**3 - tied)) / max(count**3 - count, 1.0)


def _kendall(values: Samples) -> float:
    """Kendall's score of the order of a series, or of the medians of its blocks, in standard deviations."""
    if len(values) < FEWEST:
        return 0.0
    series = np.asarray(values, dtype=np.float64)
    if len(series) > _BLOCKS:
        series = np.asarray([np.median(block) for block in np.array_split(series, _BLOCKS)])
    count = len(series)
    score = float(np.sum(np.triu(np.sign(series[None, :] - series[:, None]), 1)))
    return score / float(np.sqrt(count * (count - 1) * (2 * count + 5) / 18))
