"""Two judgements of the same examples, example by example. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pyprof.quality.task import Rows
from pyprof.statistics.dependence import dependence
from pyprof.statistics.estimate import Estimate
from pyprof.statistics.mean import estimate_mean, paired_shares

# What an example's own figure is: a share of right answers, or bits a token.
Figure = Literal["accuracy", "bits"]


@dataclass(frozen=True)
class Paired:
    """How the examples' own figures change from one judgement to the other.

    `before` and `after` are the means of the figures: shares of right answers, or bits a token, of which fewer are
    better. `change` is the mean of the differences, after less before, with its interval; `changed` is how many of the
    `examples` have another figure.
    """

    figure: Figure
    before: float
    after: float
    change: Estimate
    changed: int
    examples: int

    @property
    def loss(self) -> Estimate:
        """The same change as a loss of quality: positive where the later judgement is worse."""
        if self.figure == "bits":
            return self.change
        low, high = self.change.interval or (None, None)
        return Estimate(-self.change.value, None if high is None else -high, None if low is None else -low)


def compared(before: Rows, after: Rows, *, per_token: bool, rounding: float = 0.0) -> Paired:
    """The change from one judgement's rows to another's, (examples, 2) each: a sum, and what it is divided by.

    `per_token`: the sums are nats of tokens, one example of a text beside the next, so that those that are alike count
    for less; otherwise right answers. Differences below `rounding`, a share of the larger figure or of one, count as
    none.
    """
    scale = np.log(2) if per_token else 1.0
    first, second = (rows[:, 0] / rows[:, 1] / scale for rows in (before, after))
    differences = second - first
    largest = np.maximum(np.maximum(np.abs(first), np.abs(second)), 1.0)
    differences = np.where(np.abs(differences) < rounding * largest, 0.0, differences)
    if per_token:
        change = estimate_mean(differences, dependence=dependence(differences))
    elif _are_answers(first) and _are_answers(second):
        change = paired_shares(first, second)
    else:
        change = estimate_mean(differences)
    return Paired(
        "bits" if per_token else "accuracy",
        float(first.mean()),
        float(second.mean()),
        change,
        int(np.count_nonzero(differences)),
        len(differences),
    )


def _are_answers(shares: npt.NDArray[np.float64]) -> bool:
    return bool(np.isin(shares, (0.0, 1.0)).all())
