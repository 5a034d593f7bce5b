"""Run a study: plan, measure, keep, until nothing is left or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pyprof.errors import ExitCode, PyprofError, UsageError
from pyprof.executors import local
from pyprof.executors.kind import Asked
from pyprof.executors.local import OneWorker
from pyprof.records import environment, run_directory
from pyprof.records import progress as progress_file
from pyprof.records.executor import Executor, Ready, Worker
from pyprof.records.store import Store
from pyprof.records.study import Study
from pyprof.study.coordinator import Coordinator
from pyprof.study.event import Event, RunResult
from pyprof.study.ledger import SETTLED
from pyprof.study.news import News
from pyprof.study.resolve import resolve

__all__ = ["SETTLED", "Event", "RunResult", "StudyInterrupted", "run_study"]


class StudyInterrupted(PyprofError):
    """The user stopped the run; what was measured is kept."""

    exit_code = ExitCode.INTERRUPTED


def run_study(
    study: Study | None,
    directory: Path,
    *,
    resume: bool = False,
    executor: Executor | Worker | None = None,
    progress: Callable[[Event], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] | None = None,
) -> RunResult:
    """Measure a study into a run directory; each group is on disk before the next starts.

    With `resume` a run goes on where it ended: what is measured already is not repeated, while errors and what was
    left out are tried again, with a time budget that starts anew; `study` may be None then, for the one in the
    directory. `executor` is one process of its own by default; a worker is given one group after the other. `clock`
    tells seconds, and `say` gets each sentence about what went wrong with workers, locks or clocks.

    Raises UsageError for a study that cannot be measured, or a directory that holds another run, or one of another
    machine; StudyInterrupted on Ctrl-C; IncompleteError where the disk is full, or where no worker is left. Failing
    cases raise nothing.
    """
    begin = clock()
    if study is None and not resume:
        raise UsageError("there is no study to run: name one, or go on with an earlier run by --resume")
    resolved = None if study is None else resolve(study)
    several = _executor(executor, directory)
    with Store(directory, resume, several.keeps) as store:
        given = _given(study, store)
        if store.previous is not None:
            # What the run stood for when it began, whatever its names mean today.
            resolved = store.previous.resolved
        assert resolved is not None
        news = News(directory, given.name, several.name, say)
        run: Coordinator | None = None
        ended: progress_file.State = "failed"
        try:
            if store.taken_over is not None:
                news.tell(store.taken_over)
            ready = several.start(given)
            _check_machine(store, ready)
            if store.previous is None:
                resolved = resolve(ready.study)
            store.begin(ready.study, resolved, ready.environment)
            run = Coordinator(ready, resolved, store, several, news, progress, clock, begin + ready.waited)
            run.go()
            ended = "done"
        except KeyboardInterrupt:
            ended = "interrupted"
            raise StudyInterrupted(
                f"interrupted: what was measured is kept in {directory}, so go on with --resume"
            ) from None
        finally:
            several.close()
            if run is not None:
                news.end(ended, run.ledger.counts)
        warnings = () if store.previous is None else store.previous.warnings
        return RunResult(directory, ready.study, run.ledger.records, (*warnings, *news.told))


def _executor(given: Executor | Worker | None, directory: Path) -> Executor:
    """What takes groups: a worker takes one after the other."""
    if given is None:
        return local.EXECUTOR.create(Asked(directory))
    return OneWorker(given) if isinstance(given, Worker) else given


def _given(study: Study | None, store: Store) -> Study:
    """The study to run; of a resumed one, with what the machine had settled before."""
    if store.previous is None:
        assert study is not None
        return study
    stored = store.previous.study
    if study is None:
        return stored
    names = run_directory.differences(stored, study)
    if names:
        raise UsageError(
            f"{store.directory} was made by a study that differs in {', '.join(names)}: "
            "go on with that one, or choose another -o"
        )
    return replace(stored, time_budget=study.time_budget)


def _check_machine(store: Store, ready: Ready) -> None:
    """A run goes on where it was measured; one of several kinds of device on any of them."""
    if store.previous is None or ready.environment.fingerprint in store.previous.environments:
        return
    differences = environment.differences(store.previous.environment, ready.environment)
    raise UsageError(
        f"{store.directory} was measured on another machine or with other software ({'; '.join(differences)}): "
        "choose another -o, since their figures must not mix"
    )
