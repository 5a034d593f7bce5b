"""A case that is being measured: whatever goes wrong with it becomes a status with its reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pyprof.failures import FOREIGN, Failure, Status, attempt, failure_of
from pyprof.indicators.indicator import Indicator
from pyprof.layers.nvtx import case_range
from pyprof.layers.profile import Profile
from pyprof.records.case import Case
from pyprof.records.executor import Columns, Outcome
from pyprof.records.ranks import Rank
from pyprof.records.reading import Reading
from pyprof.records.record import KindCost, Record
from pyprof.worker.largest_batch import NothingFitsError
from pyprof.worker.sharded import ShardedStep
from pyprof.worker.step import Step


@dataclass
class CaseInProgress:
    """A case on its way, and what has been found out about it so far; that survives an exception."""

    case: Case
    started: str = ""
    seconds: float = 0.0
    status: Status = "ok"
    reason: str | None = None
    indicators: dict[str, Reading] = field(default_factory=dict)
    profile: Profile | None = None
    attention: str | None = None
    notes: list[str] = field(default_factory=list)
    step: Step | ShardedStep | None = None
    # The time of a step, taken in turn with those of other cases.
    timed: Reading | None = None
    # Page faults by kind of layer, counted where a step has many.
    faults: Mapping[str, int] = field(default_factory=dict)
    # What each of the processes took that the model is sharded over.
    ranks: tuple[Rank, ...] = ()

    def attempt(self, work: Callable[[CaseInProgress], None]) -> None:
        """Do a part of the work, where nothing has gone wrong yet. Every exception becomes a status with its reason."""
        if self.status != "ok":
            return
        begin = time.perf_counter()
        try:
            with case_range(str(self.case)):
                work(self)
        except NothingFitsError as error:
            self.fail("oom", str(error))
        except FOREIGN as error:  # a model may raise anything, and the other cases are still to be measured
            failure = failure_of(error)
            self.fail(failure.status, failure.reason)
        finally:
            self.seconds += time.perf_counter() - begin

    def count(self, indicator: Indicator, step: Step) -> None:
        """Note what a counter gives; where it fails, that is the reason for having no figure, and the rest stands."""
        assert indicator.read is not None
        counted = attempt(partial(indicator.read, step))
        reading = Reading(None, reason=counted.reason) if isinstance(counted, Failure) else counted
        self.indicators[indicator.name] = reading

    def read(self, indicator: Indicator, *what: object) -> None:
        """Note what an indicator gives for a step or a search."""
        assert indicator.read is not None
        self.indicators[indicator.name] = indicator.read(*what)

    def _kinds(self, profile: Profile) -> dict[str, KindCost]:
        counted, device = bool(self.faults), profile.device_kinds()
        return {
            kind: KindCost(*cost, faults=self.faults.get(kind, 0) if counted else None, device_seconds=device.get(kind))
            for kind, cost in profile.kinds().items()
        }

    def _where(self) -> Profile | None:
        """The profile that says where the time of a step goes; a replay calls no layer, so there it is the device's."""
        if self.profile is None or self.case.launch != "graph":
            return self.profile
        return self.profile.on_device() if self.profile.device_time else None

    def fail(self, status: Status, reason: str) -> None:
        """Note what went wrong, and let go of what takes memory."""
        self.status, self.reason, self.step = status, reason, None

    def outcome(self, fingerprint: str) -> Outcome:
        """The record and the layers."""
        profile, looked_at = self._where(), self.profile
        record = Record(
            case=self.case,
            status=self.status,
            environment=fingerprint,
            started=self.started,
            seconds=round(self.seconds, 6),
            reason=self.reason,
            indicators=self.indicators if self.status == "ok" else {},
            kinds={} if profile is None else self._kinds(profile),
            step_seconds=None if profile is None else profile.step_seconds,
            outside_seconds=None if profile is None else profile.outside_seconds,
            overhead=None if looked_at is None or looked_at.plain is None else looked_at.plain.ratio,
            attention=self.attention,
            notes=tuple(self.notes),
            ranks=self.ranks if self.status == "ok" else (),
        )
        return Outcome(record, None if profile is None else _columns(profile))


def _columns(profile: Profile) -> Columns:
    """The layers' columns without the running number, times to the nanosecond."""
    columns: dict[str, list[Any]] = profile.to_json()["layers"]
    device = profile.device_seconds()
    if device is not None:
        columns["own_device_seconds"] = list(device)
    return {
        name: [round(value, 9) if isinstance(value, float) else value for value in column]
        for name, column in columns.items()
        if name != "index"
    }
