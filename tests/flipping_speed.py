"""A machine whose speed flips between two values, as a neighbour on the same core makes it: one model for two tests.

`flipping_executor` measures the cases of a study on it step by step, `flipping_runs` makes the records of whole runs.
"""

from __future__ import annotations

import numpy as np

# How long a state lasts, in seconds: as measured on two shared processors.
STATES = (2.0, 30.0)
_COUNT = 400


class FlippingSpeed:
    """A speed that is slow or fast for a random while each; moments are seconds, `slower` is the factor of a slow one.

    Four hundred states are drawn, which is more than an hour and a half.
    """

    def __init__(self, random: np.random.Generator, slower: float) -> None:
        self.slower = slower
        self._flips = np.cumsum(random.uniform(*STATES, _COUNT))
        self._slow_first = bool(random.integers(2))

    def is_slow(self, moments: np.ndarray) -> np.ndarray:
        """Whether the machine is slow at each of these moments."""
        return (np.searchsorted(self._flips, moments, side="right") % 2 == 1) != self._slow_first

    def next_flip(self, moment: float) -> float:
        """When the speed changes for the next time after a moment."""
        return float(self._flips[np.searchsorted(self._flips, moment, side="right")])
