"""Intervals of ratios of sums by the bootstrap, such as an error rate over utterances. Loads numpy only.

What is drawn again is whatever is independent: where readings come in clusters (the utterances of a speaker), whole
clusters are drawn, since the readings of one depend on each other (Bisani and Ney, "Bootstrap estimates for confidence
intervals in ASR performance evaluation", ICASSP 2004; Davison and Hinkley, Bootstrap Methods, section 3.8).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError
from pyprof.statistics.estimate import CONFIDENCE, FEWEST_SAMPLES, Estimate, check_confidence

RESAMPLES = 10_000
# How many numbers are drawn at once, so that memory stays small whatever the number of readings.
_AT_ONCE = 1 << 21

Numbers = Sequence[float] | npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Resampled:
    """An estimate with its bootstrap interval; `drawn` says whether clusters or readings were drawn, and how many.

    Without an interval (fewer than five to draw from, or no two that differ) `drawn` is None.
    """

    estimate: Estimate
    drawn: str | None = None
    count: int = 0


def ratio_of_sums(
    numerators: Numbers,
    denominators: Numbers,
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """The sum of the numerators by that of the denominators, with a percentile interval.

    Differences as numerators give the difference of two ratios over the same denominators, with its paired interval.
    Whole `clusters` are drawn where there are five or more, else single readings, which makes the interval too narrow
    where the readings of one cluster are alike. The same seed gives the same interval. Raises UsageError for sequences
    of different lengths, an empty one, and denominators that sum to nothing or are negative.
    """
    check_confidence(confidence)
    above, below = _checked(numerators, denominators)
    value, drawn = float(above.sum() / below.sum()), "reading"
    if clusters is not None:
        if len(clusters) != len(below):
            raise UsageError(f"there are {len(clusters)} clusters for {len(below)} readings: give one for each")
        numbers = {cluster: index for index, cluster in enumerate(dict.fromkeys(clusters))}
        if len(numbers) >= FEWEST_SAMPLES:
            drawn = "cluster"
            which = np.array([numbers[cluster] for cluster in clusters])
            above, below = (np.bincount(which, each).astype(np.float64) for each in (above, below))
    # Where every ratio is the same (no error at all, say) each draw repeats it, which is no sign of certainty.
    alike = bool((above * below.sum() == below * above.sum()).all())
    if len(below) < FEWEST_SAMPLES or alike:
        return Resampled(Estimate(value))
    values = np.concatenate(list(_draws(above, below, resamples, seed)))
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Resampled(Estimate(value, float(low), float(high)), drawn, len(below))


def _checked(numerators: Numbers, denominators: Numbers) -> tuple[Floats, Floats]:
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if len(above) != len(below):
        raise UsageError(f"there are {len(above)} numerators and {len(below)} denominators: give as many of both")
    if not len(above):
        raise UsageError("there are no readings to take a ratio of: give at least one")
    if (below < 0).any() or below.sum() <= 0:
        raise UsageError("the denominators of a ratio have to be 0 or more and to sum to more than 0")
    return above, below


def _draws(above: Floats, below: Floats, resamples: int, seed: int) -> Iterator[Floats]:
    generator, count = np.random.default_rng(seed), len(below)
    at_once = max(1, _AT_ONCE // count)
    for begin in range(0, resamples, at_once):
        chosen = generator.integers(0, count, size=(min(at_once, resamples - begin), count))
        bottom = below[chosen].sum(axis=1)
        # A draw of nothing but empty readings has no ratio.
        kept = bottom > 0
        yield above[chosen].sum(axis=1)[kept] / bottom[kept]
