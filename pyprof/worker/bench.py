"""Measure cases: load, warm up, time together, look at the layers of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from statistics import median

from pyprof import device as devices
from pyprof.errors import InvariantError, UsageError
from pyprof.indicators import registry
from pyprof.indicators.indicator import How, Indicator
from pyprof.layers.captured import captured_notes
from pyprof.layers.faults import faults_by_kind
from pyprof.layers.instrument import instrument
from pyprof.layers.profile import Profile
from pyprof.machine import allocator
from pyprof.records.case import Case
from pyprof.records.executor import Outcome, by_itself
from pyprof.records.reading import Reading
from pyprof.records.record import PARAMETERS, Record
from pyprof.records.study import Study
from pyprof.timing.yardstick import Yardstick
from pyprof.worker.cache import ModelCache
from pyprof.worker.captured_step import eager_profile, weighing
from pyprof.worker.case_in_progress import CaseInProgress
from pyprof.worker.largest_batch import CONFIRMED, Search
from pyprof.worker.rounds import Tell, time_together
from pyprof.worker.sharded import ShardedModels, ShardedStep
from pyprof.worker.step import Step, TellHowFar, free, tell_nobody
from pyprof.worker.turns import Turns

# Rounds of a step with the probes on and one without, as many as fit a second, up to the fewest that give an interval.
# Where steps are long there is a probed one alone.
MOST_PROBED_ROUNDS = 6
PROBED_SECONDS = 1.0
# From so many page faults a step on it is worth a step to know which layers they are of.
MANY_FAULTS = 10_000
# In float32 the product of larger matrices takes longer than many a step beside which it is read.
_LARGEST_YARDSTICK = 4096
_NOT_OF_RANKS = "it is not counted for a model that is sharded over ranks"


class Bench:
    """Measures the cases of one study in this process, those of a group together.

    `study` has the machine's choices filled in; `fingerprint` is that of the environment. `confirm` measures a case
    with a fixed batch for a throughput, in a fresh process where there can be one; by default this process does it.
    `turns` are offered after each round. `tell_how_far` is told of a training, in words and with the seconds left.
    Without `layers` the steps are timed and counted only.
    """

    def __init__(
        self,
        study: Study,
        fingerprint: str,
        confirm: Callable[[Case], Record] | None = None,
        turns: Turns | None = None,
        tell_how_far: TellHowFar = tell_nobody,
        layers: bool = True,
    ) -> None:
        self.study = study
        self._tell_how_far = tell_how_far
        self.models = ModelCache(study)
        self._indicators = registry.chosen(study.metrics)
        self._device = devices.of(study.device)
        self._fingerprint = fingerprint
        self._confirm = self._confirm_here if confirm is None else confirm
        self._yardstick: Yardstick | None = None
        self._turns = turns
        self._layers = layers
        self._sharded = ShardedModels(study, fingerprint)

    def close(self) -> None:
        """Drop the loaded models, and end the ranks of those that are sharded."""
        self.models.keep_only(())
        self._sharded.close()

    def measure(self, case: Case) -> Outcome:
        """Measure a case by itself."""
        (outcome,) = self.measure_together((case,))
        return outcome

    def measure_together(self, cases: Sequence[Case], tell: Tell = lambda case: None) -> Iterator[Outcome]:
        """Measure cases in the same rounds, then the layers of each; their outcomes come as they are known.

        Whatever goes wrong with one becomes a status of its record, and the others go on. One for which the memory does
        not suffice beside the others comes last, by itself. `tell` is told which case is being worked on, and None
        where it is all of them. A search for the largest batch is a case by itself.
        """
        group = self._timed(cases, tell)
        if any(case.status == "oom" for case in group) and self.models.keep_only(cases):
            # Models of other cases took memory that belongs to these.
            group = self._anew(group, tell)
        crowded_out = []
        for case in group:
            tell(case.case)
            self._finish(case)
            if case.status == "oom":
                crowded_out.append(case)
            else:
                yield self._outcome(case)
        for case in crowded_out:
            if not self.models.keep_only((case.case,)):
                yield self._outcome(case)
                continue
            (alone,) = self._anew([case], tell)
            self._finish(alone)
            if len(cases) > 1 and alone.status == "ok":
                alone.notes.append(by_itself("beside it the memory did not suffice"))
            yield self._outcome(alone)

    def _anew(self, group: Sequence[CaseInProgress], tell: Tell) -> list[CaseInProgress]:
        """Once more, with what was spent on the first attempt; all that it holds is freed before."""
        for case in group:
            case.step = None
        free(self._device)
        again = self._timed([case.case for case in group], tell)
        for before, case in zip(group, again, strict=True):
            case.seconds += before.seconds
        return again

    def _outcome(self, case: CaseInProgress) -> Outcome:
        if case.status != "ok":
            free(self._device)
        return case.outcome(self._fingerprint)

    def _timed(self, cases: Sequence[Case], tell: Tell) -> list[CaseInProgress]:
        """The cases with their models loaded and timed, as far as that is asked for."""
        group = []
        for case in cases:
            tell(case)
            loaded = CaseInProgress(case, started=datetime.now(UTC).isoformat(timespec="seconds"))
            loaded.attempt(partial(self.load if case.ranks == 1 else self._shard, beside=cases))
            group.append(loaded)
        steps = [case.step for case in group if case.step is not None]
        if any(self._asked("timed", step.case) for step in steps):
            self._time(group, steps, tell)
        return group

    def _shard(self, case: CaseInProgress, beside: Sequence[Case]) -> None:
        _check_allocator(case.case)
        case.step = self._sharded.step(case.case, [each for each in beside if each.ranks > 1])
        case.attention = case.step.attention
        case.notes += case.step.notes

    def load(self, case: CaseInProgress, beside: Sequence[Case]) -> None:
        """Load a case in this process, ready to be timed; models of the cases that it is measured `beside` are kept."""
        wanted = case.case
        _check_allocator(wanted)
        model = self.models.get(wanted, beside)
        case.attention = model.attention
        model.fit(wanted.length)
        case.notes += model.notes(wanted.length)
        if wanted.batch != "largest":
            study = self.study
            case.step = Step(
                model, wanted, study.optimizer, wanted.batch, study.training, study.loader, self._tell_how_far
            )
            case.notes += case.step.notes
            if wanted.launch == "graph":
                case.step.capture()
            return
        # The fresh process that confirms a batch needs the memory that other models hold here.
        self.models.keep_only((wanted,))
        search = Search(model, wanted, self.study, self._confirm, self._confirm_here)
        for indicator in self._asked("searched", wanted):
            case.read(indicator, search)

    def _time(self, group: Sequence[CaseInProgress], steps: Sequence[Step | ShardedStep], tell: Tell) -> None:
        if self._yardstick is None:
            self._yardstick = Yardstick(
                self._device.torch_name, size=min(self._device.filling_size, _LARGEST_YARDSTICK)
            )
        timed = time_together(steps, self.study.care, self.study.seed, self._yardstick, tell, self._turns)
        for case in group:
            case.seconds += timed.seconds.get(case.case, 0.0)
            failure = timed.failures.get(case.case)
            if failure is not None:
                case.fail("oom" if failure.status == "oom" else "error", failure.reason)
            elif case.case in timed.readings:
                case.timed = timed.readings[case.case]
                if case.timed.detail.get("still_changing"):
                    case.notes.append(
                        "the step's time was still changing when the rounds ended: its interval covers all"
                    )
                for indicator in self._asked("timed", case.case):
                    case.indicators[indicator.name] = case.timed

    def _finish(self, case: CaseInProgress) -> None:
        """All that is not timed, with the time of the layers where the step's time was asked for; then let go of it."""
        case.attempt(self.probe_and_count)
        case.step = None
        if case.status == "ok":
            for indicator in self._asked("derived", case.case):
                case.read(indicator, case.case, case.indicators, self.study.costs)

    def probe_and_count(self, case: CaseInProgress) -> None:
        """Probe some steps, the first of them weighed as well; the step was timed before, with nothing attached."""
        step = case.step
        if step is None:
            return
        if isinstance(step, ShardedStep):
            step.finish(case)
            return
        weighed = self._asked("weighed", case.case)
        try:
            if self._layers and case.timed is not None and case.timed.value is not None:
                self._probe(step, case, weighed, case.timed.value)
            else:
                for indicator in weighed:
                    case.read(indicator, step, weighing(step))
            for indicator in self._asked("counted", case.case):
                if case.case.ranks > 1 and indicator.name != PARAMETERS:
                    case.indicators[indicator.name] = Reading(None, reason=_NOT_OF_RANKS)
                else:
                    case.count(indicator, step)
        finally:
            step.close()
        for indicator in self._asked("trained", case.case) if case.case.ranks == 1 else ():
            if (
                indicator.length is not None
                and indicator.length(self.study.training, case.case.size) == case.case.length
            ):
                case.count(indicator, step)

    def _probe(self, step: Step, case: CaseInProgress, weighed: Sequence[Indicator], seconds: float) -> None:
        rounds = min(MOST_PROBED_ROUNDS, int(PROBED_SECONDS / max(2 * seconds, 1e-9)))
        probed = partial(instrument, step.model.step, backward=step.case.mode == "train", rules=step.model.kinds)
        captured = step.is_captured
        eager: Profile | None = None

        try:
            if captured:
                step.uncapture()
                eager = eager_profile(probed, step.renew, step)
            probes = probed()

            def marked() -> None:
                step.renew()
                probes.run_marked(step)
                probes.hand_over()

            def before() -> None:
                step()
                step.renew()

            with probes:
                for indicator in weighed:
                    case.read(indicator, step, weighing(step, probes) if captured else marked)
                if captured and not step.is_captured:
                    step.capture(probes.capture)
                if not rounds and (captured or not weighed):
                    marked()
                for number in range(rounds):
                    # The order changes from round to round, so that what a step leaves behind hits both alike.
                    for turn in (probes.step, probes.plain_step)[:: -1 if number % 2 else 1]:
                        step.renew()
                        with turn(before=before if probes.records_device else None):
                            step()
            case.profile = probes.profile()
            if eager is not None:
                case.notes += captured_notes(eager, case.profile)
        except (InvariantError, UsageError) as error:
            # The step was timed before and without the probes, so its time stands: they contradict one another, say, or
            # are refused inside of what the model compiles by itself.
            case.notes.append(f"the layers' times are left out: {error}")
            for indicator in weighed:
                if indicator.name not in case.indicators:
                    case.read(indicator, step, weighing(step))
            if captured and not step.is_captured:
                step.capture()
            return
        if self._device.limits_host_memory and case.timed is not None and _faults_much(case.timed):
            # Not within the probed steps, whose times the hooks that count would disturb.
            case.faults = faults_by_kind(step.model.step, step, step.model.kinds)
        case.notes += case.profile.omissions()

    def _asked(self, how: How, case: Case) -> list[Indicator]:
        """The study's indicators of one way of measuring that this case gives."""
        batch = "largest" if case.batch == "largest" else 1
        return [
            indicator
            for indicator in self._indicators
            if indicator.how == how and indicator.batch == batch and case.mode in indicator.modes
        ]

    def _confirm_here(self, case: Case) -> Record:
        bench = Bench(replace(self.study, metrics=CONFIRMED), self._fingerprint, layers=False)
        bench.models, bench._yardstick = self.models, self._yardstick
        return bench.measure(case).record


def _check_allocator(case: Case) -> None:
    if case.allocator != allocator.current():
        raise UsageError(
            f"the case is to run with the allocator {case.allocator}, and that of a process is fixed when it "
            f"starts: this one has {allocator.current()}, so measure in a process of its own"
        )


def _faults_much(timed: Reading) -> bool:
    return timed.rounds is not None and bool(timed.rounds.faults) and median(timed.rounds.faults) >= MANY_FAULTS
