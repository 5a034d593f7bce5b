"""Joining runs of one study: each case once, and what was measured together stays together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from pyprof.errors import UsageError
from pyprof.failures import STATUSES
from pyprof.records import environment
from pyprof.records.executor import Outcome
from pyprof.records.progress import is_running
from pyprof.records.record import Record
from pyprof.records.run_directory import Run, layers_of
from pyprof.records.store import Store

# What a machine settles for itself: its threads are part of its fingerprint, its memory shifts from day to day.
_SETTLED = ("description", "time_budget", "threads", "memory_budget")
# Which outcome of a case is worth more.
_WORTH = {status: len(STATUSES) - number for number, status in enumerate(STATUSES)}


@dataclass(frozen=True)
class Merged:
    """What came of joining runs: how many cases were taken from each, and how many stood in several.

    `unlike` says in what the environments of later runs differ from the first one's, a phrase each: their figures stand
    in tables of their own, and no ratio is taken across them.
    """

    directory: Path
    taken: Mapping[str, int]
    duplicates: int
    unlike: tuple[str, ...]


def merge(runs: Sequence[Run], directory: Path) -> Merged:
    """Write a run that holds the cases of all.

    Where a case stands in several, that record is taken whose group (what was measured in the same rounds) has more
    cases that are ok; of equal groups that of the run which is named first. So two cases that were compared come from
    the same run. A case without a figure is taken where no run has one: out of memory before a timeout, that before an
    error, and skipped last.

    Raises UsageError where the runs are not of one study, where one is still being measured, or where the directory
    holds something already.
    """
    first = runs[0]
    for run in runs:
        _check(first, run)
    chosen = _chosen(runs)
    with Store(directory) as store:
        for number, run in enumerate(runs):
            keys = {key for key, at in chosen.items() if at == number}
            for key, layers in layers_of(run.directory, keys):
                store.append_layers(key, layers)
            records = [run.records[key] for key in run.records if key in keys]
            if records:
                store.append_all([Outcome(record) for record in records])
        # A directory is a run only when this is written.
        store.begin(first.study, first.resolved, first.environment)
        for other in runs:
            for each in other.environments.values():
                store.meet(each)
    taken = Counter(chosen.values())
    unlike = dict.fromkeys(
        phrase
        for run in runs
        for each in run.environments.values()
        for phrase in environment.differences(first.environment, each)
    )
    return Merged(
        directory,
        {str(run.directory): taken[number] for number, run in enumerate(runs)},
        sum(len(run.records) for run in runs) - len(chosen),
        tuple(unlike),
    )


def _check(first: Run, run: Run) -> None:
    if is_running(run.directory):
        raise UsageError(f"{run.directory} is still being measured: wait for its end, then merge")
    ours, theirs = (_shared(each) for each in (first, run))
    names = [name for name in ours if ours[name] != theirs[name]]
    if names:
        raise UsageError(
            f"{run.directory} is of another study than {first.directory}, as they differ in {', '.join(names)}: "
            "pyprof report takes both, side by side"
        )


def _shared(run: Run) -> Mapping[str, object]:
    """What runs of one study have in common, by the words for it."""
    spoken = {"blocks": "comparison", "care": "measure"}
    names = [each.name for each in fields(run.study) if each.name not in _SETTLED]
    settings = {spoken.get(name, name): getattr(run.study, name) for name in names}
    return settings | {"what their names stand for": run.resolved}


def _chosen(runs: Sequence[Run]) -> dict[str, int]:
    """The number of the run from which each case is taken."""
    chosen: dict[str, int] = {}
    groups = [(number, group) for number, run in enumerate(runs) for group in _groups(run)]
    for number, group in sorted(groups, key=lambda each: (-_ok(each[1]), each[0])):
        for record in group:
            if record.status == "ok":
                chosen.setdefault(record.case.key, number)
    for number, run in enumerate(runs):
        for key, record in run.records.items():
            if key not in chosen or _worth(runs[chosen[key]], key) < _WORTH[record.status]:
                chosen[key] = number
    return chosen


def _groups(run: Run) -> Iterator[list[Record]]:
    """The records of a run by what was measured in the same rounds."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for key, record in run.records.items():
        rounds = next((each.rounds.id for each in record.indicators.values() if each.rounds is not None), None)
        groups.setdefault(("case", key) if rounds is None else ("rounds", rounds), []).append(record)
    yield from groups.values()


def _ok(group: Sequence[Record]) -> int:
    return sum(record.status == "ok" for record in group)


def _worth(run: Run, key: str) -> int:
    return _WORTH[run.records[key].status]
