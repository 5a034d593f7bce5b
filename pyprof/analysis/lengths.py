"""A distribution of input lengths, and what batches and buckets make of it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from pyprof.errors import UsageError

# A distribution that is given by its mean and deviation is taken at so many equally likely lengths.
STEPS = 200


@dataclass(frozen=True)
class Lengths:
    """Lengths, ascending, with their shares, which sum to 1; `source` is where they come from, in words."""

    values: tuple[int, ...]
    shares: tuple[float, ...]
    source: str

    @classmethod
    def counted(cls, lengths: Iterable[int], source: str) -> Lengths:
        """The lengths of examples; raises UsageError for none, or one below 1."""
        counts = Counter(lengths)
        if not counts:
            raise UsageError(f"{source} has no lengths: give at least one")
        if min(counts) < 1:
            raise UsageError(f"{source} has the length {min(counts)}: lengths begin at 1")
        whole = sum(counts.values())
        values = tuple(sorted(counts))
        return cls(values, tuple(counts[value] / whole for value in values), source)

    @classmethod
    def lognormal(cls, mean: float, deviation: float) -> Lengths:
        """Lengths of that mean and standard deviation, skewed as lengths are; no deviation: all of one length.

        Raises UsageError for a mean below 1 or a deviation below 0.
        """
        if not (math.isfinite(mean) and mean >= 1 and math.isfinite(deviation) and deviation >= 0):
            raise UsageError(
                f"lengths have a mean of at least 1 and a deviation of at least 0, not {mean:g},{deviation:g}"
            )
        source = f"mean {mean:g}, deviation {deviation:g}"
        if deviation == 0:
            return cls.counted([round(mean)], source)
        variance = math.log1p((deviation / mean) ** 2)
        normal = NormalDist(math.log(mean) - variance / 2, math.sqrt(variance))
        drawn = (math.exp(normal.inv_cdf((step + 0.5) / STEPS)) for step in range(STEPS))
        return cls.counted([max(1, round(value)) for value in drawn], source)

    @property
    def mean(self) -> float:
        return sum(value * share for value, share in zip(self.values, self.shares, strict=True))

    def quantile(self, share: float) -> int:
        """The shortest length that at least that share of the examples does not exceed."""
        below = 0.0
        for value, own in zip(self.values, self.shares, strict=True):
            below += own
            if below >= share - 1e-12:
                return value
        return self.values[-1]

    def scaled(self, factor: float) -> Lengths:
        """All lengths longer by a factor."""
        return self._mapped([max(1, round(value * factor)) for value in self.values])

    def in_buckets(self, buckets: Sequence[int]) -> Lengths:
        """Every example padded to the next of these lengths; raises UsageError for one that is longer than all."""
        bounds = sorted(buckets)
        if self.values[-1] > bounds[-1]:
            raise UsageError(
                f"the longest input has {self.values[-1]:,} and the largest bucket {bounds[-1]:,}: add a larger one"
            )
        return self._mapped([bounds[bisect_left(bounds, value)] for value in self.values])

    def in_multiples(self, multiple: int) -> Lengths:
        """Every example padded to a multiple."""
        return self._mapped([-(-value // multiple) * multiple for value in self.values])

    def in_batches(self, size: int) -> Lengths:
        """What an example is padded to in a batch of `size` drawn at random: the longest of so many."""
        below, shares, before = 0.0, [], 0.0
        for own in self.shares:
            below = min(1.0, below + own)
            shares.append(below**size - before)
            before = below**size
        whole = sum(shares)
        return Lengths(self.values, tuple(share / whole for share in shares), self.source)

    def _mapped(self, values: Sequence[int]) -> Lengths:
        joined: dict[int, float] = {}
        for value, share in zip(values, self.shares, strict=True):
            joined[value] = joined.get(value, 0.0) + share
        ordered = sorted(joined)
        return Lengths(tuple(ordered), tuple(joined[value] for value in ordered), self.source)
