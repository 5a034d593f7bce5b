"""Steps that no probe looks at, taken in turn with probed ones: how long a step takes, and what looking costs it."""

from __future__ import annotations

from array import array
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pyprof.quantity import format_longer, plural
from pyprof.records.noise import Noise
from pyprof.records.trust import Judgement, of_share
from pyprof.statistics.estimate import CONFIDENCE, Estimate, estimate_median
from pyprof.statistics.ranks import signed_rank
from pyprof.timing.interleave import Interleaved, exponential

# The contestants of a round.
PLAIN, PROBED = "plain", "probed"


@dataclass(frozen=True)
class PlainSteps:
    """Steps without probes, beside those with them.

    `step` is the median time of one, in seconds. `ratio` is how many times as long a step took with the probes: the
    Hodges-Lehmann estimate of the ratios of neighbouring steps, with the interval of the signed-rank test; its bounds
    are None below six pairs, and it is None itself without any. `samples` are the steps' nanoseconds, and `probed`
    those of the probed steps beside them, None where one has no neighbour. `still_changing` says that the level of the
    times was moving up to the end: the intervals cover all of them. `held_up` is the share of a typical plain step in
    which threads of this process waited for other processes, and `throttled` whether a clock was lowered, both None
    where nothing tells.
    """

    step: Estimate
    ratio: Estimate | None
    samples: tuple[int, ...] = field(repr=False)
    probed: tuple[int | None, ...] = field(repr=False)
    confidence: float = CONFIDENCE
    still_changing: bool = False
    held_up: float | None = None
    throttled: bool | None = None

    @classmethod
    def of_rounds(cls, rounds: Interleaved, confidence: float, noise: Noise | None = None) -> PlainSteps:
        """From rounds of `PLAIN` and `PROBED`, those of the warm-up left out; `noise` is what a watch saw meanwhile."""
        rounds.settle()
        plain, probed = (tuple(rounds.samples[name][rounds.begin :]) for name in (PLAIN, PROBED))
        ratio = rounds.ratio(PROBED, PLAIN, confidence)
        held_up, throttled = rounds.waited(PLAIN, noise), None if noise is None else noise.throttled
        step = rounds.seconds(PLAIN, confidence)
        return cls(step, ratio, plain, probed, confidence, rounds.changing, held_up, throttled)

    @property
    def trust(self) -> Judgement | None:
        """Whether to trust the times, and what to do where not; None where nobody looked or the system doesn't tell."""
        return of_share(self.held_up, self.throttled)

    @property
    def pairs(self) -> int:
        """How many probed steps the plain ones are compared with."""
        return len(self.probed) - self.probed.count(None)

    def __str__(self) -> str:
        """What the probes cost: "0.31 % longer with probes (-0.10 to 0.72 %, 60 rounds)"."""
        if self.ratio is None:
            return "no plain step had a probed one beside it"
        bounds = self.ratio.interval
        within = "too few for an interval" if bounds is None else f"{_percent(bounds[0])} to {_percent(bounds[1])} %"
        moving = ", still changing" if self.still_changing else ""
        return f"{format_longer(self.ratio.value)} with probes ({within}, {plural(self.pairs, 'round')}{moving})"

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields; times in seconds, samples in nanoseconds."""
        trust = None if self.trust is None else asdict(self.trust)
        return {**asdict(self), "trust": trust, "pairs": self.pairs}


def _percent(ratio: float) -> str:
    percent = 100 * (ratio - 1)
    return f"{percent:.1f}" if abs(percent) >= 9.995 else f"{percent:.2f}"


class Turns:
    """The times of steps that a user takes: a plain step and a probed one that follow one another are a pair."""

    def __init__(self) -> None:
        self._plain = array("q")
        self._probed: list[int | None] = []
        self._alone: tuple[int, bool] | None = None  # the step before, where it is of no pair

    def add(self, nanoseconds: int, *, probed: bool) -> None:
        """Note a step."""
        before, self._alone = self._alone, (nanoseconds, probed)
        has_neighbour = before is not None and before[1] != probed
        if has_neighbour:
            self._alone = None
        if not probed:
            self._plain.append(nanoseconds)
            self._probed.append(before[0] if before is not None and has_neighbour else None)
        elif has_neighbour:
            self._probed[-1] = nanoseconds

    def plain_steps(self) -> PlainSteps | None:
        """What the steps tell; None where none was plain."""
        if not self._plain:
            return None
        step = estimate_median(np.asarray(self._plain) * 1e-9)
        pairs = [pair for pair in zip(self._plain, self._probed, strict=True) if pair[1] is not None]
        ratio = None
        if pairs:
            plain, probed = np.log(np.maximum(np.asarray(pairs, dtype=np.float64), 1.0)).T
            ratio = exponential(signed_rank(probed - plain))
        return PlainSteps(step, ratio, tuple(self._plain), tuple(self._probed))
