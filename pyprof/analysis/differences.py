"""How the cases of two runs differ: the ratio of their costs over length, with an interval.

A case of one run meets that of the other that asks for the same model, implementation, length, mode, batch and size;
where only one setting of each run does, everything else may differ (device, dtype, allocator, machine), since that is
what such runs are put beside each other for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

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


def _pairs(before: Iterable[Key], after: Iterable[Key]) -> Iterable[tuple[Key, Key]]:
    """The curves that belong together: by equal settings (but for the machine) or else the only ones of their kind."""
    old, new = _by_kind(before), _by_kind(after)
    for kind, ours in old.items():
        theirs = new.get(kind, [])
        alike = {_without_machine(setting): setting for _, setting in theirs}
        equal = [(key, (key[0], alike[like])) for key in ours if (like := _without_machine(key[1])) in alike]
        if equal:
            yield from equal
        elif len(ours) == len(theirs) == 1:
            yield ours[0], theirs[0]


def _by_kind(keys: Iterable[Key]) -> Mapping[tuple[object, ...], list[Key]]:
    kinds: dict[tuple[object, ...], list[Key]] = {}
    for subject, setting in keys:
        kinds.setdefault((subject, setting.mode, setting.batch, setting.size), []).append((subject, setting))
    return kinds


def _without_machine(setting: Setting) -> Setting:
    return replace(setting, environment="")
