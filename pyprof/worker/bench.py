"""Measure cases: load, warm up, time together, look at the layers of each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from pyprof import device as devices
from pyprof.errors import InvariantError
from pyprof.indicators.registry import INDICATORS
from pyprof.layers.instrument import instrument
from pyprof.models.loaded import LoadedModel
from pyprof.records.case import Case
from pyprof.records.executor import Outcome, by_itself
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.study import Study
from pyprof.timing.yardstick import Yardstick
from pyprof.worker.cache import ModelCache
from pyprof.worker.case_in_progress import Entrant
from pyprof.worker.largest_batch import CONFIRMED, Search
from pyprof.worker.rounds import Tell, time_together
from pyprof.worker.step import Step, free, memory_reading

# Steps that are looked at, as many as fit a second: one where steps are long.
MOST_LOOKS = 5
LOOKING_SECONDS = 1.0


class Bench:
    """Measures the cases of one study in this process, those of a group together.

    `study` has the machine's choices filled in; `fingerprint` is that of the environment. `confirm` measures a case
    with a fixed batch for a throughput, in a fresh process where there can be one; by default this process does it.
    """

    def __init__(self, study: Study, fingerprint: str, confirm: Callable[[Case], Record] | None = None) -> None:
        self.study = study
        self.models = ModelCache(study)
        self._device = devices.of(study.device)
        self._fingerprint = fingerprint
        self._confirm = self._confirm_here if confirm is None else confirm
        self._yardstick: Yardstick | None = None

    def measure(self, case: Case) -> Outcome:
        """Measure a case by itself."""
        (outcome,) = self.measure_together((case,))
        return outcome

    def measure_together(self, cases: Sequence[Case], tell: Tell = lambda case: None) -> Iterator[Outcome]:
        """Measure cases in the same rounds, then look at each; their outcomes come as they are found.

        Whatever goes wrong with one becomes a status of its record, and the others go on. One for which the memory does
        not suffice beside the others comes last, by itself. `tell` is told which case is being worked on, and None
        where it is all of them. A search for the largest batch is a case by itself.
        """
        entrants = self._timed(cases, tell)
        if any(one.status == "oom" for one in entrants) and self.models.keep_only(cases):
            # Models of other cases took memory that belongs to these.
            entrants = self._anew(entrants, tell)
        crowded_out = []
        for one in entrants:
            tell(one.case)
            one.attempt(self._look_and_count)
            one.step = None
            if one.status == "oom":
                crowded_out.append(one)
            else:
                yield self._finished(one)
        for one in crowded_out:
            if self.models.keep_only((one.case,)):
                (alone,) = self._anew([one], tell)
                alone.attempt(self._look_and_count)
                alone.step = None
                if len(cases) > 1 and alone.status == "ok":
                    alone.notes.append(by_itself("beside it the memory did not suffice"))
                yield self._finished(alone)
            else:
                yield self._finished(one)

    def _anew(self, entrants: Sequence[Entrant], tell: Tell) -> list[Entrant]:
        """Once more, with what was spent on the first attempt; all that it holds is freed before."""
        for one in entrants:
            one.step = None
        free(self._device)
        again = self._timed([one.case for one in entrants], tell)
        for before, one in zip(entrants, again, strict=True):
            one.seconds += before.seconds
        return again

    def _finished(self, one: Entrant) -> Outcome:
        if one.status != "ok":
            free(self._device)
        return one.outcome(self._fingerprint)

    def _timed(self, cases: Sequence[Case], tell: Tell) -> list[Entrant]:
        """The cases with their models loaded and their latencies taken, as far as these are asked for."""
        entrants = []
        for case in cases:
            tell(case)
            one = Entrant(case, started=datetime.now(UTC).isoformat(timespec="seconds"))
            one.attempt(partial(self._load, beside=cases))
            entrants.append(one)
        steps = [one.step for one in entrants if one.step is not None]
        if "latency" in self.study.metrics and steps:
            self._time(entrants, steps, tell)
        return entrants

    def _load(self, one: Entrant, beside: Sequence[Case]) -> None:
        model, case = self.models.get(one.case, beside), one.case
        one.attention = model.attention
        one.notes += model.notes(case.length)
        if case.batch != "largest":
            one.step = Step(model, case, self.study.optimizer, case.batch)
            return
        # The fresh process that confirms a batch needs the memory that other models hold here.
        self.models.keep_only((case,))
        one.indicators["throughput"] = Search(model, case, self.study, self._confirm).throughput()

    def _time(self, entrants: Sequence[Entrant], steps: Sequence[Step], tell: Tell) -> None:
        if self._yardstick is None:
            self._yardstick = Yardstick(self._device.torch_name)
        timed = time_together(steps, self.study.care, self.study.seed, self._yardstick, tell)
        for one in entrants:
            one.seconds += timed.seconds.get(one.case, 0.0)
            failure = timed.failures.get(one.case)
            if failure is not None:
                one.fail("oom" if failure.status == "oom" else "error", failure.reason)
            elif one.case in timed.latencies:
                one.indicators["latency"] = timed.latencies[one.case]

    def _look_and_count(self, one: Entrant) -> None:
        """Look at some steps, the first of them for memory as well; latency was taken before, with nothing attached."""
        if one.step is None:
            return
        latency = one.indicators.get("latency")
        try:
            if latency is not None and latency.value is not None:
                self._look(one.step, one, max(1, min(MOST_LOOKS, int(LOOKING_SECONDS / max(latency.value, 1e-9)))))
            elif "peak_memory" in self.study.metrics:
                one.indicators["peak_memory"] = memory_reading(one.step)
        finally:
            one.step.close()
        for name in self.study.metrics:
            counter = INDICATORS[name].counter
            if counter is not None:
                one.indicators[name] = _count(counter, one.step.model)

    def _look(self, step: Step, found: Entrant, looks: int) -> None:
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

    def _confirm_here(self, case: Case) -> Record:
        bench = Bench(replace(self.study, metrics=CONFIRMED), self._fingerprint)
        bench.models, bench._yardstick = self.models, self._yardstick
        return bench.measure(case).record


def _count(counter: str, model: LoadedModel) -> Reading:
    package, function = counter.split(":")
    reading: Reading = getattr(importlib.import_module(package), function)(model)
    return reading
