"""How far samples depend on each other: a machine that drifts or changes its speed repeats itself. Loads numpy only.

Of n samples that follow one another no more than n / tau count, tau being the integrated autocorrelation time. For a
median it is the one of the signs of (sample - median), since the median's error is that of their mean; signs also keep
a few slow samples from deciding.
"""

from __future__ import annotations

import numpy as np

from pyprof.statistics.estimate import Samples

# Below this many samples chance alone makes any sequence look dependent.
FEWEST = 20
# Each round of correcting the autocorrelations for the subtracted mean moves tau less; after three it stays.
_ROUNDS = 3


def dependence(samples: Samples) -> float:
    """The factor, at least 1, by which the variance of the share of samples below the median exceeds independent ones'.

    Sums the autocorrelations of the signs in pairs of lags, made non-increasing, up to the first pair that is not
    positive (Geyer, Statistical Science 7, 1992, section 3.3). Subtracting the median lowers each of them by tau / n on
    average, which is added back. One below 20 samples, and where the first autocorrelation is less than one standard
    error above zero, so that independent samples mostly stay what they are. Never more than a third of the samples: of
    a machine that changed its speed once in a series, it cannot be told how often it does.
    """
    count = len(samples)
    if count < FEWEST:
        return 1.0
    values = np.asarray(samples, dtype=np.float64)
    signs = np.sign(values - np.median(values))
    signs -= signs.mean()
    correlations = _autocorrelations(signs)
    if correlations is None or correlations[1] + 1 / count <= 1 / np.sqrt(count):
        return 1.0
    even = count - count % 2
    pairs = correlations[0:even:2] + correlations[1:even:2]
    tau = 1.0
    for _ in range(_ROUNDS):
        corrected = np.minimum.accumulate(pairs + 2 * tau / count)
        tau = min(max(2 * float(corrected[corrected > 0].sum()) - 1, 1.0), count / 3)
    return tau


def _autocorrelations(centred: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray | None:
    """Those of all lags from 0, by the Fourier transform; None for a constant."""
    count = len(centred)
    size = 1 << (2 * count - 1).bit_length()
    products = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2, size)[:count]
    return products / products[0] if products[0] > 0 else None
