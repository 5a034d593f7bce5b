"""How the cases of two runs differ: the ratio of their costs over length, with an interval.

A case of one run meets that of the other that asks for the same model, implementation, length, mode, batch and size.
The machine may differ, and where no two settings agree otherwise the device too, then the dtype, then the allocator,
since that is what such runs are put beside each other for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from pyprof.analysis.curves import Curves, Key, Setting
from pyprof.analysis.ratio import RatioPoint, costs, ratio_of
from pyprof.records.comparison import Subject
from pyprof.records.indicator import IndicatorFacts, OfIndicator


@dataclass(frozen=True)
class Difference(OfIndicator):
    """What a subject costs in a later run in units of what it cost in an earlier one, over length.

    Times of two runs are never of the same rounds, so that a change of the machine between them is in the ratio.
    """

    subject: Subject
    indicator: IndicatorFacts
    before: Setting
    after: Setting
    points: tuple[RatioPoint, ...]


def differences(before: Curves, after: Curves, indicators: Sequence[IndicatorFacts]) -> tuple[Difference, ...]:
    """The differences of all subjects and indicators that both runs have figures of."""
    found = []
    for (subject, ours), (_, theirs) in _pairs(before.ok, after.ok):
        for indicator in indicators:
            if not indicator.varies_with_length:
                continue
            old, new = costs(before.ok[subject, ours], indicator), costs(after.ok[subject, theirs], indicator)
            # Rounds have an identity in one run only.
            points = tuple(
                ratio_of(length, new[length]._replace(rounds=None), old[length])
                for length in sorted(new)
                if length in old
            )
            if points:
                found.append(Difference(subject, indicator, ours, theirs, points))
    return tuple(found)


# What may differ between the settings of two runs, one after the other, until there is one of each that fits.
_LENIENT = ("environment", "device", "dtype", "allocator")


def _pairs(before: Iterable[Key], after: Iterable[Key]) -> Iterable[tuple[Key, Key]]:
    """The curves that belong together: of equal settings first, then of those that are the only ones left to fit."""
    old, new = _by_kind(before), _by_kind(after)
    for kind, ours in old.items():
        theirs = list(new.get(kind, []))
        left = list(ours)
        for number in range(len(_LENIENT)):
            apart = _LENIENT[: number + 1]
            for key in list(left):
                fitting = [other for other in theirs if _without(other[1], apart) == _without(key[1], apart)]
                rivals = [other for other in left if _without(other[1], apart) == _without(key[1], apart)]
                if len(fitting) == len(rivals) == 1:
                    yield key, fitting[0]
                    left.remove(key)
                    theirs.remove(fitting[0])


def _by_kind(keys: Iterable[Key]) -> Mapping[tuple[object, ...], list[Key]]:
    kinds: dict[tuple[object, ...], list[Key]] = {}
    for subject, setting in keys:
        kinds.setdefault((subject, setting.mode, setting.batch, setting.size), []).append((subject, setting))
    return kinds


def _without(setting: Setting, names: Sequence[str]) -> tuple[object, ...]:
    return tuple(getattr(setting, each.name) for each in fields(Setting) if each.name not in names)
