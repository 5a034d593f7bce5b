"""Several runs in one report: what each is called, and how their figures differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from pathlib import Path

from pyprof.analysis.curves import Curves, Setting
from pyprof.analysis.differences import Difference, differences
from pyprof.records.comparison import ModelFacts
from pyprof.records.environment import differences as environments_differ
from pyprof.records.run_directory import Run
from pyprof.report.run import view_of
from pyprof.report.view import Column, DifferenceLine, ModalityView, View


@dataclass(frozen=True)
class Pair:
    """In what the environments of two runs differ, a phrase each."""

    before: str
    after: str
    different: tuple[str, ...]


@dataclass(frozen=True)
class Several:
    """The views of some runs under their names, the first one being what the others are held against."""

    names: tuple[str, ...]
    views: tuple[View, ...]
    pairs: tuple[Pair, ...] = ()
    differences: tuple[DifferenceLine, ...] = ()

    def by_modality(self) -> Iterator[list[tuple[str, ModalityView]]]:
        """The parts of all runs that are about the same inputs, each with its run's name; one run has an empty one."""
        parts: dict[tuple[str, str], list[tuple[str, ModalityView]]] = {}
        for name, view in zip(self.names, self.views, strict=True):
            for part in view.modalities:
                parts.setdefault((part.name, part.unit), []).append((name if len(self.views) > 1 else "", part))
        yield from parts.values()


def several(runs: Sequence[Run]) -> Several:
    """The views of runs, and every later run against the first."""
    names = run_names([run.directory for run in runs])
    before, *others = zip(names, runs, strict=True)
    curves = {name: Curves.of(run.records.values()) for name, run in zip(names, runs, strict=True)} if others else {}
    return Several(
        names=names,
        views=_told_apart(tuple(map(view_of, runs))),
        pairs=tuple(
            Pair(before[0], name, tuple(environments_differ(before[1].environment, run.environment)))
            for name, run in others
        ),
        differences=tuple(line for name, run in others for line in _lines((before[0], before[1]), (name, run), curves)),
    )


def _told_apart(views: tuple[View, ...]) -> tuple[View, ...]:
    """The views, where a modality counts its lengths in several units with the unit in its name."""
    units: dict[str, set[str]] = {}
    for view in views:
        for part in view.modalities:
            units.setdefault(part.name, set()).add(part.unit)
    if all(len(own) == 1 for own in units.values()):
        return views
    return tuple(
        replace(
            view,
            modalities=tuple(
                replace(part, name=f"{part.name} in {part.unit}s") if len(units[part.name]) > 1 else part
                for part in view.modalities
            ),
        )
        for view in views
    )


def run_names(directories: Sequence[Path]) -> tuple[str, ...]:
    """The shortest ends of paths that tell the runs apart; one that is given twice is numbered."""
    parts = [path.absolute().parts for path in directories]
    longest = max(map(len, parts))
    for length in range(1, longest + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            break
    if any(first == second for first, second in combinations(names, 2)):
        names = [f"{name} ({number + 1})" for number, name in enumerate(names)]
    return tuple(names)


def _lines(before: tuple[str, Run], after: tuple[str, Run], curves: dict[str, Curves]) -> Iterable[DifferenceLine]:
    resolved = before[1].resolved
    known = {each.name: each for each in (*resolved.indicators, *after[1].resolved.indicators)}
    order = {name: number for number, name in enumerate(known)}
    found = differences(curves[before[0]], curves[after[0]], list(known.values()))
    for each in sorted(found, key=lambda one: (order[one.metric], one.before.mode)):
        yield _line(before[0], after[0], each, resolved.models.get(each.subject.model, ModelFacts()))


def _line(before: str, after: str, each: Difference, fact: ModelFacts) -> DifferenceLine:
    return DifferenceLine(
        before=before,
        after=after,
        column=Column.of(each.subject, fact.vanilla is None),
        modality=fact.modality,
        unit=fact.unit,
        indicator=each.indicator,
        mode=each.before.mode,
        settings=_settings(each.before, each.after),
        points=each.points,
    )


def _settings(before: Setting, after: Setting) -> tuple[str, str]:
    """What differs between the settings, the machines apart, in both."""
    names = [each.name for each in fields(Setting) if each.name != "environment"]
    differing = [name for name in names if getattr(before, name) != getattr(after, name)]
    first, second = (", ".join(f"{name} {getattr(one, name)}" for name in differing) for one in (before, after))
    return first, second
