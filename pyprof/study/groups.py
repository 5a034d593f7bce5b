"""Groups: cases that are measured together, why, and which of them come first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from pyprof.records.case import Batch, Case, Mode
from pyprof.records.comparison import Pairing
from pyprof.study.prediction import Prediction


class Stage(IntEnum):
    """Why a group is measured, in the order in which groups are taken where there is a time budget.

    A budget can end a run at any group, so the order is that of what a reader would miss most. The shortest length
    costs least and gives every model a figure, from which all later costs are predicted. The tipping point is what a
    study is made for, so its bracket in inference is next; where none is predicted, only the longest length can prove
    that wrong. Then training gets the few lengths that answer it at all, since its steps take several times as long. To
    narrow a crossing is worth the time once every one has an answer, and the rest fills in the curves.
    """

    SHORTEST = 0
    BRACKET = 1
    LONGEST = 2
    ANSWER = 3
    CROSSING = 4
    REST = 5


@dataclass(frozen=True)
class Spot:
    """Where a group stands: in one block, mode, kind of batch, kind of process and dtype, at one length."""

    block: int
    mode: Mode
    batch: Batch
    length: int
    allocator: str
    dtype: str


@dataclass(frozen=True)
class Group:
    """Cases to be measured together; `pairs` are those of each pairing that are still to be measured.

    `needs` holds, for each pair, the seconds of all lengths that its answer takes: half an answer is none. `curve` is
    shared by the groups that make the same curves over length.
    """

    stage: Stage
    pairs: tuple[tuple[Case, ...], ...]
    needs: tuple[float, ...] = ()
    curve: Spot | None = None

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        return tuple(dict.fromkeys(case for pair in self.pairs for case in pair))

    def fitting(self, prediction: Prediction, seconds: float) -> tuple[Case, ...]:
        """The cases that can be measured within some seconds: pair by pair, because half a pair compares nothing."""
        chosen: tuple[Case, ...] = ()
        for pair, need in zip(self.pairs, self.needs or (0.0,) * len(self.pairs), strict=True):
            more = tuple(dict.fromkeys((*chosen, *pair)))
            if max(need, sum(prediction.together(more).values())) <= seconds:
                chosen = more
        return chosen


# The pairs that are wanted at each spot, and why.
Groups = dict[tuple[Spot, Stage], list[tuple[Case, ...]]]
# The stages whose groups say little one by one, so that they are ranked by what they cost together.
_WHOLE = (Stage.BRACKET, Stage.ANSWER)


def ranks(groups: Groups, prediction: Prediction) -> Mapping[tuple[Spot, Stage], tuple[Stage, float, int, int]]:
    """What comes first: by stage, then by the mean cost of a case.

    The brackets of a block are ranked by what they cost together. One end of a bracket does not show that the latencies
    cross; ranked by its own cost, the cheap end of every bracket would come before the dear end of any, and a time
    budget that ends in between would leave no crossing bracketed at all.
    """
    costs, brackets = {}, defaultdict[tuple[Stage, int, str, str], float](float)
    for (spot, stage), pairs in groups.items():
        seconds = prediction.together(tuple(dict.fromkeys(case for pair in pairs for case in pair)))
        costs[spot, stage] = sum(seconds.values()) / len(seconds)
        if stage in _WHOLE:
            brackets[_whole(spot, stage)] += sum(seconds.values())
    return {
        (spot, stage): (
            stage,
            brackets[_whole(spot, stage)] if stage in _WHOLE else cost,
            spot.block,
            spot.length,
        )
        for (spot, stage), cost in costs.items()
    }


def _whole(spot: Spot, stage: Stage) -> tuple[Stage, int, str, str]:
    """What the groups belong to that are ranked together; training is answered process by process, dtype by dtype."""
    return stage, spot.block, *((spot.allocator, spot.dtype) if stage == Stage.ANSWER else ("", ""))


def families(pairings: Sequence[Pairing]) -> Mapping[int, int]:
    """For each block the first one that it shares a model with, directly or through others, or itself."""
    family = {pairing.block: pairing.block for pairing in pairings}
    first: dict[object, int] = {}
    for pairing in pairings:
        for subject in pairing.subjects:
            other = family[first.setdefault(subject, pairing.block)]
            joined = {other, family[pairing.block]}
            family = {block: min(joined) if root in joined else root for block, root in family.items()}
    return family
