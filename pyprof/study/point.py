"""Measure one case: load, warm up, sample, look at the layers; whatever goes wrong becomes a status with its reason."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pyprof.cost.indicators import INDICATORS, Reading
from pyprof.errors import InvariantError, PyprofError
from pyprof.layers.instrument import instrument
from pyprof.layers.profile import Profile
from pyprof.measure.memory import is_out_of_memory
from pyprof.models.loaded import LoadedModel
from pyprof.study.cache import ModelCache
from pyprof.study.case import Case
from pyprof.study.file import Study
from pyprof.study.largest import CONFIRMED, NothingFitsError, Search
from pyprof.study.outcome import Columns, Outcome
from pyprof.study.record import KindCost, Record, Status
from pyprof.study.step import Step, free, latency_reading, memory_reading, sample

# Steps that are looked at, as many as fit a second: one where steps are long.
MOST_LOOKS = 5
LOOKING_SECONDS = 1.0


@dataclass
class _Findings:
    """What has been found out about a case so far; it survives an exception."""

    indicators: dict[str, Reading] = field(default_factory=dict)
    profile: Profile | None = None
    attention: str | None = None
    notes: list[str] = field(default_factory=list)


class Bench:
    """Measures the cases of one study, one after the other, in this process.

    `study` has the machine's choices filled in; `fingerprint` is that of the environment. `confirm` measures a case
    with a fixed batch for a throughput, in a fresh process where there can be one; by default this process does it.
    """

    def __init__(self, study: Study, fingerprint: str, confirm: Callable[[Case], Record] | None = None) -> None:
        self.study = study
        self.models = ModelCache(study)
        self._fingerprint = fingerprint
        self._confirm = self._confirm_here if confirm is None else confirm

    def measure(self, case: Case) -> Outcome:
        """Measure a case. Every exception becomes a status of the record, with its reason in one sentence."""
        begin, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
        status, reason, found = self._attempt(case)
        if status == "oom" and self.models.keep_only(case):
            # Models of other cases took memory that belongs to this one.
            status, reason, found = self._attempt(case)
        if status != "ok":
            free()
        profile = found.profile
        record = Record(
            case=case,
            status=status,
            environment=self._fingerprint,
            started=started,
            seconds=round(time.perf_counter() - begin, 6),
            reason=reason,
            indicators=found.indicators if status == "ok" else {},
            kinds={} if profile is None else {kind: KindCost(*cost) for kind, cost in profile.kinds().items()},
            step_seconds=None if profile is None else profile.step_seconds,
            outside_seconds=None if profile is None else profile.outside_seconds,
            attention=found.attention,
            notes=tuple(found.notes),
        )
        return Outcome(record, None if profile is None else _columns(profile))

    def _attempt(self, case: Case) -> tuple[Status, str | None, _Findings]:
        found = _Findings()
        try:
            self._measure(case, found)
        except NothingFitsError as error:
            return "oom", str(error), found
        except PyprofError as error:
            return "error", str(error), found
        except Exception as error:
            what = _sentence(error)
            return ("oom", f"out of memory: {what}", found) if is_out_of_memory(error) else ("error", what, found)
        return "ok", None, found

    def _measure(self, case: Case, found: _Findings) -> None:
        model = self.models.get(case)
        found.attention = model.attention
        found.notes += model.notes(case.length)
        if case.batch == "largest":
            # The fresh process that confirms a batch needs the memory that other models hold here.
            self.models.keep_only(case)
            found.indicators["throughput"] = Search(model, case, self.study, self._confirm).throughput()
            return
        step = Step(model, case, self.study.optimizer, case.batch)
        try:
            self._time_and_look(step, found)
        finally:
            step.close()
        for name in self.study.metrics:
            counter = INDICATORS[name].counter
            if counter is not None:
                found.indicators[name] = _count(counter, model)

    def _confirm_here(self, case: Case) -> Record:
        bench = Bench(replace(self.study, metrics=CONFIRMED), self._fingerprint)
        bench.models = self.models
        return bench.measure(case).record

    def _time_and_look(self, step: Step, found: _Findings) -> None:
        """Latency first, with nothing attached; then steps that are looked at, the first of them for memory as well."""
        if "latency" in self.study.metrics:
            measurement = sample(step, self.study.care)
            found.indicators["latency"] = latency_reading(measurement)
            self._look(step, found, max(1, min(MOST_LOOKS, int(LOOKING_SECONDS / max(measurement.median, 1e-9)))))
        elif "peak_memory" in self.study.metrics:
            found.indicators["peak_memory"] = memory_reading(step)

    def _look(self, step: Step, found: _Findings, looks: int) -> None:
        with instrument(step.model.step, backward=step.case.mode == "train", rules=step.model.kinds) as probes:

            def marked() -> None:
                with probes.step():
                    step()

            if "peak_memory" in self.study.metrics:
                found.indicators["peak_memory"] = memory_reading(step, marked)
                looks -= 1
            for _ in range(looks):
                marked()
        try:
            found.profile = probes.profile()
        except InvariantError as error:
            # The latency was taken before and without the probes, so it stands.
            found.notes.append(f"the layers' times are left out: {error}")
            return
        if found.profile.overflowed:
            found.notes.append(f"{found.profile.overflowed} layer calls found no room in the recorder")


def _count(counter: str, model: LoadedModel) -> Reading:
    package, function = counter.split(":")
    reading: Reading = getattr(importlib.import_module(package), function)(model)
    return reading


def _columns(profile: Profile) -> Columns:
    """The layers' columns without the running number, times to the nanosecond."""
    columns: dict[str, list[Any]] = profile.to_json()["layers"]
    return {
        name: [round(value, 9) if isinstance(value, float) else value for value in column]
        for name, column in columns.items()
        if name != "index"
    }


def _sentence(error: BaseException) -> str:
    """An exception in one line: what libraries raise may go on for many."""
    text = ""
    with suppress(IndexError):
        text = str(error).strip().splitlines()[0]
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
