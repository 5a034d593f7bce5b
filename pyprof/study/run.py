"""Run a study: plan, measure, keep, until nothing is left or the time is up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pyprof.errors import ExitCode, PyprofError, UsageError
from pyprof.failures import NOT_NEEDED, TIME_IS_UP, Status
from pyprof.quantity import format_seconds
from pyprof.records import environment, run_directory
from pyprof.records.case import Case
from pyprof.records.executor import Executor, Outcome, Ready
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.records.store import Store
from pyprof.records.study import Study
from pyprof.study.foregone import why_foregone
from pyprof.study.groups import Group
from pyprof.study.plan import Plan
from pyprof.study.prediction import Prediction
from pyprof.study.resolve import resolve
from pyprof.worker.executors import WorkerExecutor

# Outcomes that measuring again would only repeat. What was skipped may fit another time, and an error may be mended.
SETTLED: tuple[Status, ...] = ("ok", "oom", "timeout")


class StudyInterrupted(PyprofError):
    """The user stopped the run; what was measured is kept."""

    exit_code = ExitCode.INTERRUPTED


@dataclass(frozen=True)
class Event:
    """What a run is doing, for a display of its progress; times in seconds, predicted where they lie ahead.

    Cases that are measured together have all started before the first of them is finished. `done` and `total` count
    cases, as far as they are known by now; `predicted` is that of the case.
    """

    kind: Literal["started", "finished", "left out"]
    case: Case
    predicted: float
    done: int
    total: int
    elapsed: float
    left: float
    record: Record | None = None


@dataclass(frozen=True)
class RunResult:
    """A run when it has ended: all its records by key, those of earlier runs that it resumed included."""

    directory: Path
    study: Study
    records: Mapping[str, Record]
    warnings: tuple[str, ...] = ()

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many records have each status."""
        return Counter(record.status for record in self.records.values())


def run_study(
    study: Study | None,
    directory: Path,
    *,
    resume: bool = False,
    executor: Executor | None = None,
    progress: Callable[[Event], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> RunResult:
    """Measure a study into a run directory; each case is on disk before the next starts.

    With `resume` a run goes on where it ended: what is measured already is not repeated, while errors and what was
    left out are tried again, with a time budget that starts anew; `study` may be None then, for the one in the
    directory. `executor` is a process of its own by default. `clock` tells seconds.

    Raises UsageError for a study that cannot be measured, or a directory that holds another run, or one of another
    machine; StudyInterrupted on Ctrl-C; IncompleteError where the disk is full. Failing cases raise nothing.
    """
    begin = clock()
    if study is None and not resume:
        raise UsageError("there is no study to run: name one, or go on with an earlier run by --resume")
    resolved = None if study is None else resolve(study)
    with Store(directory, resume) as store:
        given = _given(study, store)
        if store.previous is not None:
            # What the run stood for when it began, whatever its names mean today.
            resolved = store.previous.resolved
        assert resolved is not None
        executor = WorkerExecutor() if executor is None else executor
        try:
            ready = executor.start(given)
            _check_machine(store, ready)
            if store.previous is None:
                resolved = resolve(ready.study)
            store.begin(ready.study, resolved, ready.environment)
            run = _Run(ready, resolved, store, executor, progress, clock, begin)
            run.go()
        except KeyboardInterrupt:
            raise StudyInterrupted(
                f"interrupted: what was measured is kept in {directory}, so go on with --resume"
            ) from None
        finally:
            executor.close()
        warnings = () if store.previous is None else store.previous.warnings
        return RunResult(directory, ready.study, run.records, warnings)


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
    if store.previous is None:
        return
    differences = environment.differences(store.previous.environment, ready.environment)
    if differences:
        raise UsageError(
            f"{store.directory} was measured on another machine or with other software ({'; '.join(differences)}): "
            "choose another -o, since their figures must not mix"
        )


@dataclass
class _Run:
    """The loop and its state."""

    ready: Ready
    resolved: Resolved
    store: Store
    executor: Executor
    progress: Callable[[Event], None] | None
    clock: Callable[[], float]
    begin: float
    records: dict[str, Record] = field(default_factory=dict)
    # Why a case was left out when its turn came, for its record; it may be tried again before the run ends.
    _left_out: dict[Case, str] = field(default_factory=dict)
    # The predicted seconds of what is being measured.
    _ahead: dict[Case, float] = field(default_factory=dict)
    _done: int = 0

    def __post_init__(self) -> None:
        study = self.ready.study
        self._plan = Plan(study, self.resolved, study.device)
        self._prediction = Prediction(study, study.threads or 1, study.device)
        if self.store.previous is not None:
            self.records |= self.store.previous.records
        for record in self.records.values():
            self._prediction.observe(record)
        self._settled = {key for key, record in self.records.items() if record.status in SETTLED}

    def go(self) -> None:
        """Measure until the plan wants nothing more, or nothing that fits; then note what was left out."""
        while True:
            done = self._done
            for group in self._plan.groups(self.records, self._settled, self._prediction):
                self._take(group)
            if done == self._done:
                break
            # What seemed too long may fit by now, as each measurement corrects the predictions.
            self._settled -= {case.key for case in self._left_out}
            self._left_out.clear()
        decided = f"{NOT_NEEDED}: what it would be compared for is decided without it"
        for case, reason in self._left_out.items():
            self._skip(case, decided if self._plan.decided(case, self.records) else reason)

    def _take(self, group: Group) -> None:
        """Measure what fits of a group; where nothing does, leave it out. The rest comes again."""
        fitting = group.fitting(self._prediction, self._remaining())
        for case in group.cases if not fitting else ():
            self._settled.add(case.key)
            self._left_out[case] = self._why_left_out(self._prediction.seconds(case))
        worthwhile = []
        for case in fitting:
            reason = why_foregone(case, self.records)
            if reason is None:
                worthwhile.append(case)
            else:
                self._settled.add(case.key)
                self._skip(case, reason)
        # A search for the largest batch needs all the memory, so such cases are not measured together.
        alone = any(case.batch == "largest" for case in worthwhile)
        for cases in [(case,) for case in worthwhile] if alone else [tuple(worthwhile)] if worthwhile else []:
            predicted = self._prediction.together(cases)
            if sum(predicted.values()) <= self._remaining():
                self._settled |= {case.key for case in cases}
                self._measure(cases, predicted)

    def _measure(self, cases: tuple[Case, ...], predicted: Mapping[Case, float]) -> None:
        self._ahead = dict(predicted)
        for case in cases:
            self._tell("started", case, predicted[case])
        for outcome in self.executor.measure_together(cases):
            case = outcome.record.case
            self._keep(outcome)
            self._prediction.observe(outcome.record)
            self._done += 1
            del self._ahead[case]
            self._tell("finished", case, predicted[case], outcome.record)

    def _skip(self, case: Case, reason: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = Record(case, "skipped", self.ready.environment.fingerprint, now, 0.0, reason)
        self._keep(Outcome(record))
        self._tell("left out", case, 0.0, record)

    def _keep(self, outcome: Outcome) -> None:
        """Write a record, unless it would only repeat that a case was skipped."""
        record = outcome.record
        before = self.records.get(record.case.key)
        if before is not None and (before.status, before.reason) == ("skipped", record.reason):
            return
        self.store.append(record, outcome.layers)
        self.records[record.case.key] = record

    def _remaining(self) -> float:
        budget = self.ready.study.time_budget
        return float("inf") if budget is None else budget - (self.clock() - self.begin)

    def _why_left_out(self, predicted: float) -> str:
        remaining = max(0.0, self._remaining())
        budget = format_seconds(self.ready.study.time_budget or 0.0)
        together = "" if predicted > remaining else " and more with what it is compared with"
        left = f"{format_seconds(remaining)} {TIME_IS_UP} {budget}"
        return f"predicted {format_seconds(predicted)}{together}, {left}"

    def _tell(
        self,
        kind: Literal["started", "finished", "left out"],
        case: Case,
        predicted: float,
        record: Record | None = None,
    ) -> None:
        if self.progress is None:
            return
        ahead = self._plan.outstanding(self.records, self._settled, self._prediction)
        left = sum(self._prediction.seconds(each) for each in ahead) + sum(self._ahead.values())
        total = self._done + len(ahead) + len(self._ahead)
        elapsed = self.clock() - self.begin
        left = min(left, max(0.0, self._remaining()))
        self.progress(Event(kind, case, predicted, self._done, total, elapsed, left, record))
