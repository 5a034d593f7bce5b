"""The coordinator of a run: it plans, has groups measured by whatever workers there are, and keeps what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from pyprof.failures import NOT_NEEDED, TIME_IS_UP
from pyprof.quantity import format_seconds
from pyprof.records.case import Case
from pyprof.records.environment import differences
from pyprof.records.executor import Advance, Began, Executor, Lost, Measured, Outcome, Ready, Report, Task
from pyprof.records.lock import GRACE_SECONDS
from pyprof.records.place import Place
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.records.store import Store
from pyprof.study.event import Event
from pyprof.study.flights import Flight, Flights
from pyprof.study.foregone import why_foregone
from pyprof.study.groups import Group, Spot
from pyprof.study.ledger import Ledger, now
from pyprof.study.news import News
from pyprof.study.outlook import Outlook
from pyprof.study.plan import Plan
from pyprof.study.prediction import Prediction
from pyprof.worker.turns import Turns

# How long the coordinator sleeps at most before it says that it is still there.
BEAT_SECONDS = 20.0
# What a worker may take beside the cases of a group: starting a measuring process, loading models.
_AROUND_SECONDS = 600.0
# Clocks that differ by more than this are told of; what lies between is the way of a message.
_CLOCK_SECONDS = 5.0


@dataclass
class Coordinator:
    """The loop of a run and its state; `executor` has been started, and `ready` is what it said.

    Groups go out as workers become free, so that the plan always knows what was measured last, and come back whole.
    What is lost with its worker goes out again.
    """

    ready: Ready
    resolved: Resolved
    store: Store
    executor: Executor
    news: News
    progress: Callable[[Event], None] | None
    clock: Callable[[], float]
    begin: float
    # Why a case was left out when its turn came, for its record; it may be tried again before the run ends.
    _left_out: dict[Case, str] = field(default_factory=dict)
    _flights: Flights = field(default_factory=Flights)
    # The environment that each curve is measured in, once that is known.
    _bound: dict[Spot, str] = field(default_factory=dict)
    _done: int = 0

    def __post_init__(self) -> None:
        study = self.ready.study
        self._plan = Plan(study, self.resolved, study.device)
        self._prediction = Prediction(study, study.threads or 1, study.device)
        self._outlook = Outlook(self._plan, self._prediction)
        self.ledger = Ledger(self.store)
        for record in self.ledger.records.values():
            self._prediction.observe(record)

    def go(self) -> None:
        """Measure until the plan wants nothing more, or nothing that fits; then note what was left out."""
        self._adopt()
        while True:
            done = self._done
            self._measure_all()
            if done == self._done:
                break
            # What seemed too long may fit by now, as each measurement corrects the predictions.
            self.ledger.reopen(tuple(self._left_out))
            self._left_out.clear()
        decided = f"{NOT_NEEDED}: what it would be compared for is decided without it"
        for case, reason in self._left_out.items():
            self._skip(case, decided if self._plan.decided(case, self.ledger.records) else reason)

    def _adopt(self) -> None:
        """Take back what an earlier coordinator gave out; what it had read already comes to nothing."""
        for task in self.executor.found():
            cases = [case for case in task.cases if case.key not in self.ledger.settled]
            if cases:
                self._launched(Flight(task, dict(self._prediction.together(cases)), found=True))

    def _measure_all(self) -> None:
        """Until the plan wants nothing more and nothing is under way."""
        groups = self._plan.groups(self.ledger.records, self.ledger.settled, self._prediction)
        while True:
            exhausted = self._fill(groups)
            if not self._flights.under_way:
                if exhausted and not self._flights.waiting:
                    return
                if self._flights.waiting and self.executor.free():
                    self._unbind()
                    continue
            self.store.promise(self._promise())
            for report in self.executor.wait(BEAT_SECONDS):
                self._take_in(report)
            self._write_down()
            if exhausted:
                groups = self._plan.groups(self.ledger.records, self.ledger.settled, self._prediction)

    def _fill(self, groups: Iterator[Group]) -> bool:
        """Give every free worker a group; true where the plan has no more for now."""
        while free := list(self.executor.free()):
            sent = next((each for each in self._flights.waiting if self._send(each, free)), None)
            if sent is not None:
                continue
            # A few may wait for a kind of device that is busy, while others go on.
            if len(self._flights.waiting) > len(self.executor.workers()):
                return False
            group = next(groups, None)
            if group is None:
                return True
            self._choose(group)
        return False

    def _choose(self, group: Group) -> None:
        """Let what fits of a group wait for a worker; where nothing does, leave it out. The rest comes again."""
        fitting = group.fitting(self._prediction, self._remaining())
        for case in group.cases if not fitting else ():
            self.ledger.settle((case,))
            self._left_out[case] = self._why_left_out(self._prediction.seconds(case))
        worthwhile = []
        for case in fitting:
            reason = why_foregone(case, self.ledger.failed)
            if reason is None:
                worthwhile.append(case)
            else:
                self.ledger.settle((case,))
                self._skip(case, reason)
        # A search for the largest batch needs all the memory, so such cases are not measured together.
        alone = any(case.batch == "largest" for case in worthwhile)
        for cases in [(case,) for case in worthwhile] if alone else [tuple(worthwhile)] if worthwhile else []:
            self.ledger.settle(cases)
            self._flights.waiting.append(self._flight(cases, group.curve))

    def _flight(self, cases: tuple[Case, ...], curve: Spot | None) -> Flight:
        if curve is not None and curve not in self._bound and self.store.previous is not None:
            done = (each for each in self.ledger.records.values() if each.status == "ok")
            before = {_conditions(each.case): each.environment for each in done}
            begun = [before[key] for key in map(_conditions, cases) if key in before]
            self._bound |= {curve: begun[0]} if begun else {}
        predicted = dict(self._prediction.together(cases))
        # Where the run takes turns with another one, a group may take longer, and as long as that nothing is heard.
        allowed = Turns.patience() * self.ready.study.care.timeout * len(cases) + _AROUND_SECONDS
        return Flight(Task.of(cases, sum(predicted.values()), allowed), predicted, curve)

    def _send(self, flight: Flight, free: Sequence[str]) -> bool:
        """Give a group that waits to a worker; true where it no longer waits."""
        wanted = self._wanted(flight)
        environment = next((each for each in free if wanted is None or each in ("", wanted)), None)
        if environment is None:
            return False
        self._flights.waiting.remove(flight)
        flight.ahead = dict(self._prediction.together(flight.task.cases))
        if sum(flight.ahead.values()) > self._remaining():
            # The plan proposes it again, or leaves it out with a reason.
            self.ledger.reopen(flight.task.cases)
            return True
        if environment and flight.curve is not None and not flight.task.last:
            wanted = self._bound.setdefault(flight.curve, environment)
        flight.task = replace(
            flight.task, seconds=sum(flight.ahead.values()), environment=None if flight.task.last else wanted
        )
        self._launched(flight)
        self.executor.submit(flight.task)
        return True

    def _wanted(self, flight: Flight) -> str | None:
        """Where a group belongs: a curve stays with the kind of device that began it, but for a last attempt."""
        return None if flight.curve is None or flight.task.last else self._bound.get(flight.curve)

    def _launched(self, flight: Flight) -> None:
        self.ledger.settle(flight.task.cases)
        self._flights.under_way[flight.task.id] = flight

    def _unbind(self) -> None:
        """Groups wait for a kind of device that is no longer there: let them go elsewhere, in curves of their own."""
        for flight in self._flights.waiting:
            if flight.curve is not None and self._bound.pop(flight.curve, None) is not None:
                self.news.tell(
                    "a comparison goes on with another kind of device, as none is left of that which began it: its "
                    "figures are kept apart"
                )

    def _take_in(self, report: Report) -> None:
        if isinstance(report, Began):
            self._began(report)
        elif isinstance(report, Advance):
            self._advanced(report)
        elif isinstance(report, Measured):
            self._measured(report)
        elif isinstance(report, Lost):
            self._lost(report)
        else:
            self.news.tell(report.sentence)

    def _began(self, report: Began) -> None:
        flight = self._flights.under_way.get(report.task)
        if flight is None:
            return
        since = datetime.now(UTC)
        flight.place, flight.since = report.place, since.isoformat(timespec="seconds")
        if not flight.found:  # what is read late was said long ago
            self.news.compare_clocks(report.place.machine, report.clock, since, _CLOCK_SECONDS)
        for case, predicted in flight.ahead.items():
            self._tell("started", case, predicted, place=self._shown(report.place))
        # Nothing more may be heard for as long as the group takes.
        self._write_down(at_once=True)

    def _advanced(self, report: Advance) -> None:
        for flight in self._flights.under_way.values():
            if report.case in flight.ahead:
                flight.ahead[report.case], flight.what = report.left, report.what
                self._tell("advanced", report.case, report.left, place=self._shown(flight.place), what=report.what)

    def _measured(self, report: Measured) -> None:
        flight = self._flights.under_way.get(report.task)
        if flight is None:
            return
        if self.store.meet(report.environment):
            ours = self.ready.environment
            what = "; ".join(differences(ours, report.environment))
            self.news.tell(f"workers differ ({what}): their figures are kept apart, and no ratio is taken across them")
        fingerprint = report.environment.fingerprint
        if flight.curve is not None:
            self._bound.setdefault(flight.curve, fingerprint)
        note = self._flights.note(flight.task)
        # What a coordinator before this one had read already is not written twice.
        outcomes = [_noted(each, note) for each in report.outcomes if each.record.case in flight.ahead]
        self.ledger.keep(outcomes)
        for outcome in outcomes:
            case, record = outcome.record.case, outcome.record
            self._prediction.observe(record)
            self._done += 1
            predicted = flight.ahead.pop(case)
            self._tell("finished", case, predicted, record, self._shown(flight.place))
        if report.last:
            del self._flights.under_way[report.task]

    def _lost(self, report: Lost) -> None:
        flight = self._flights.under_way.pop(report.task, None)
        if flight is None:
            return
        again = self._flights.lost(flight, report)
        self.news.tell(
            f"{flight.task.cases[0]}{' and its group' if len(flight.task.cases) > 1 else ''} lost its worker"
            f"{'' if report.place is None else f' on {report.place}'}: {report.reason}"
        )
        for case, predicted in flight.ahead.items():
            self._tell("lost", case, predicted, place=report.place, reason=report.reason)
        if again is not None:
            self._flights.waiting.insert(0, again)
            return
        reason, place = self._flights.why_lost(flight.task), report.place
        fingerprint = self.ready.environment.fingerprint
        records = [Record(case, "error", fingerprint, now(), 0.0, reason, place=place) for case in flight.ahead]
        self.ledger.keep([Outcome(record) for record in records])
        for record in records:
            self._done += 1
            self._tell("finished", record.case, flight.ahead.pop(record.case), record, place)

    def _skip(self, case: Case, reason: str) -> None:
        record = Record(case, "skipped", self.ready.environment.fingerprint, now(), 0.0, reason)
        self.ledger.keep([Outcome(record)])
        self._tell("left out", case, 0.0, record)

    def _remaining(self) -> float:
        budget = self.ready.study.time_budget
        return float("inf") if budget is None else budget - (self.clock() - self.begin)

    def _promise(self) -> float:
        """Within how many seconds the coordinator is heard of again: one that has one worker is busy while that is."""
        if len(self.executor.workers()) > 1:
            return GRACE_SECONDS
        return max((flight.task.allowed for flight in self._flights.under_way.values()), default=GRACE_SECONDS)

    def _why_left_out(self, predicted: float) -> str:
        remaining = max(0.0, self._remaining())
        budget = format_seconds(self.ready.study.time_budget or 0.0)
        together = "" if predicted > remaining else " and more with what it is compared with"
        left = f"{format_seconds(remaining)} {TIME_IS_UP} {budget}"
        return f"predicted {format_seconds(predicted)}{together}, {left}"

    def _shown(self, place: Place | None) -> Place | None:
        """The worker, where there are several."""
        return place if len(self.executor.workers()) > 1 else None

    def _tell(
        self,
        kind: Literal["started", "advanced", "finished", "left out", "lost"],
        case: Case,
        predicted: float,
        record: Record | None = None,
        place: Place | None = None,
        reason: str | None = None,
        what: str = "",
    ) -> None:
        if self.progress is not None:
            total, left = self._ahead()
            elapsed = self.clock() - self.begin
            self.progress(Event(kind, case, predicted, self._done, total, elapsed, left, record, place, reason, what))

    def _ahead(self) -> tuple[int, float]:
        """How many cases there are, as far as they are known, and the seconds until the last of them."""
        cases, seconds = self._outlook.ahead(self.ledger.records, self.ledger.settled)
        left = (seconds + self._flights.ahead) / max(1, len(self.executor.workers()))
        return self._done + cases + self._flights.cases, min(left, max(0.0, self._remaining()))

    def _write_down(self, *, at_once: bool = False) -> None:
        """Tell others what the run is doing, unless that was a moment ago."""
        if at_once or self.news.is_due():
            flying, workers = self._flights.under_way.values(), self.executor.workers()
            self.news.write(self._done, *self._ahead(), self.ledger.counts, flying, workers)


def _noted(outcome: Outcome, note: str | None) -> Outcome:
    record = outcome.record
    return outcome if note is None else replace(outcome, record=replace(record, notes=(*record.notes, note)))


def _conditions(case: Case) -> Case:
    """A case apart from its length."""
    return replace(case, length=1)
