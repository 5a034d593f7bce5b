"""How far other processes held up what was timed, round by round, and which rounds are left to judge by.

A step of many small parallel regions waits at every barrier for its last thread. Where another process takes one core,
that thread stands in the run queue for a slice of the scheduler in each region, so that the step takes 10 to 200 times
as long, while a large matrix product beside it takes twice as long: no yardstick corrects that. What tells it are the
waits of the process's own threads, which make up nearly all of such a step and next to nothing of one left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyprof.records.noise import Hit, Noise
from pyprof.records.reading import Reading
from pyprof.records.rounds import LEAST_RAN, Rounds

Shares = npt.NDArray[np.float64]

# A round is calm where the threads waited for less than this share of it, and so is a figure.
CALM = 0.02
# Where fewer rounds are calm than an interval needs, those that were held up least are taken.
FEWEST = 6
# Beyond this share of the typical round a time is no more the step's: half of what is usually gated is within it.
MOST_LOST = 0.1
# Where only marks are known: so many marked samples, and so much of the cores used by others, are one busy neighbour.
_MARKED, _OTHERS = 0.75, 0.05


@dataclass(frozen=True)
class Disturbance:
    """What held up one reading's rounds.

    `kept` are the places of the rounds to judge by: the calm ones, or the six that were held up least where these are
    fewer; `calm` is the share of all rounds that were calm. `lost` is the share of a typical one of those that are kept
    that may not be the step's: what the first thread waited is known to have delayed it and is subtracted, while a wait
    of another thread may have delayed it or not. `doubt` says for each of them how far its logarithm may therefore lie
    too high; `yardstick_doubt` is the same of the yardstick. `typical` is the share of a typical one of all rounds in
    which any thread waited: where a figure is of all samples as they are, that may be no part of it.
    """

    kept: npt.NDArray[np.intp]
    calm: float
    lost: float
    doubt: Shares
    yardstick_doubt: Shares
    typical: float

    @property
    def is_too_much(self) -> bool:
        """Whether the times are no more those of the step."""
        return self.lost > MOST_LOST


def disturbance(reading: Reading) -> Disturbance | None:
    """What held up a reading's rounds; None where it has none, or they tell nothing of it."""
    rounds, count = reading.rounds, len(reading.samples)
    if rounds is None or not count or not (rounds.waits or rounds.others_waits or rounds.hits):
        return None
    own, others = _waits(reading.samples, rounds.waits, rounds.others_waits)
    if len(rounds.others_waits) != count:
        # A neighbour that holds up the first thread holds up the others as well.
        others = np.maximum(own, _marked(rounds, count))
    beside, others_beside = np.zeros(count), np.zeros(count)
    if len(rounds.yardstick) == count:
        beside, others_beside = _waits(rounds.yardstick, rounds.yardstick_waits, rounds.yardstick_others_waits)
    withheld = 0.0 if rounds.noise is None else rounds.noise.steal_share or 0.0
    waited = np.maximum(own + others, beside + others_beside) + withheld
    calm = waited <= CALM
    kept = np.sort(np.argsort(waited, kind="stable")[: max(int(calm.sum()), FEWEST)])
    doubtful, doubtful_beside = (_of_the_rest(*each) for each in ((own, others), (beside, others_beside)))
    lost = np.minimum(np.maximum(doubtful, doubtful_beside) + withheld, 1.0)
    return Disturbance(
        kept=kept,
        calm=float(calm.mean()),
        lost=float(np.median(lost[kept])),
        doubt=_doubt(doubtful)[kept],
        yardstick_doubt=_doubt(doubtful_beside)[kept],
        typical=float(np.median(np.minimum(own + others + withheld, 1.0))),
    )


def held_up_share(
    samples: Sequence[int],
    hits: Sequence[int],
    waits: Sequence[int],
    others_waits: Sequence[int | None],
    noise: Noise | None = None,
) -> float | None:
    """The share of a typical sample in which its threads waited for other processes; None where nothing tells.

    `others_waits` hold None where the waits of the other threads aren't told.
    """
    others = tuple(wait for wait in others_waits if wait is not None)
    told = others if len(others) == len(samples) else ()
    rounds = Rounds("", hits=tuple(hits), waits=tuple(waits), others_waits=told, noise=noise)
    found = disturbance(Reading(None, samples=tuple(samples), rounds=rounds))
    if found is None or (not found.typical and not told and (noise is None or noise.waited_seconds is None)):
        return None
    return found.typical


def _waits(samples: Sequence[int], own: Sequence[int], others: Sequence[int]) -> tuple[Shares, Shares]:
    """The share of each sample that the first thread waited, and that the others did together; 0 where untold."""
    whole = np.maximum(np.asarray(samples, dtype=np.float64), 1.0)
    shares = [
        np.asarray(waits) / whole if len(waits) == len(whole) else np.zeros(len(whole)) for waits in (own, others)
    ]
    return shares[0], shares[1]


def _marked(rounds: Rounds, count: int) -> Shares:
    """1 for marked rounds where the marks say that a neighbour was there all the time, else 0.

    They don't say for how long other threads waited, so that it may have been all the time.
    """
    used = None if rounds.noise is None else rounds.noise.others_share
    if len(rounds.hits) != count or used is None or used <= _OTHERS:
        return np.zeros(count)
    marked = np.asarray([float(bool(hit & Hit.PREEMPTED)) for hit in rounds.hits])
    return marked if marked.mean() >= _MARKED else np.zeros(count)


def _of_the_rest(own: Shares, others: Shares) -> Shares:
    """What the others waited, as a share of what is left without the own waits."""
    share: Shares = np.minimum(others / np.maximum(1 - own, LEAST_RAN), 1.0)
    return share


def _doubt(share: Shares) -> Shares:
    """How far a logarithm lies too high if so much of a time was waited."""
    doubt: Shares = -np.log(np.maximum(1 - share, LEAST_RAN))
    return doubt
