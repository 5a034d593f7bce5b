"""A sharded model in a study: what its ranks do, and the one step that the process that measures sees of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyprof import device as devices
from pyprof.device import Device
from pyprof.errors import UsageError
from pyprof.indicators.peak_memory import INDICATOR as PEAK_MEMORY
from pyprof.layers.communication import CommunicationClock
from pyprof.layers.kinds import COMMUNICATION
from pyprof.layers.profile import Profile
from pyprof.records.case import Case
from pyprof.records.ranks import Rank, waiting
from pyprof.records.reading import Reading
from pyprof.records.record import PARAMETERS
from pyprof.records.study import Study
from pyprof.timing.clock import Call, SelfTimed, time_calls
from pyprof.worker.ranks import RankProcesses

if TYPE_CHECKING:
    from pyprof.worker.bench import Bench
    from pyprof.worker.case_in_progress import CaseInProgress
    from pyprof.worker.rank import Place

# Steps that are taken to see how long each rank works and waits: within about this time, at most and at least.
LOOK_SECONDS, MOST_LOOKS, FEWEST_LOOKS = 2.0, 25, 6
# Fewer than give an interval, where those would take longer than this.
_LONG_SECONDS = 30.0
# What is left of a case's time for its end to be told.
_SHARE_OF_TIMEOUT = 0.8


@dataclass(frozen=True)
class Looked:
    """Steps of one rank, in nanoseconds, and the part of each in communication."""

    steps: tuple[int, ...] = ()
    communication: tuple[int, ...] = ()


@dataclass(frozen=True)
class Finished:
    """What one rank tells of a case, beside times."""

    profile: Profile | None
    indicators: Mapping[str, Reading]
    notes: tuple[str, ...]


class StudyRank:
    """What one rank does of a study. Made in the process that asks, and joined in its own."""

    def __init__(self, study: Study, fingerprint: str) -> None:
        self._study = study
        self._fingerprint = fingerprint

    def join(self, place: Place) -> None:
        """Get ready as one of the ranks, each with its part of the memory."""
        from pyprof.worker.bench import Bench
        from pyprof.worker.limits import limit_memory

        member = place.membership
        budget = self._study.memory_budget
        if budget is not None and devices.of(place.device).limits_host_memory:
            budget //= member.count
        study = replace(self._study, device=place.device, threads=member.threads, memory_budget=budget)
        limit_memory(study)
        self._place = place
        self._bench: Bench = Bench(study, self._fingerprint)
        self._cases: dict[str, CaseInProgress] = {}

    def load(self, case: Case, kept: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
        """Load a case; the implementation that runs, and notes. Of others only those of the `kept` keys stay."""
        from pyprof.worker.case_in_progress import CaseInProgress

        self._cases = {key: loaded for key, loaded in self._cases.items() if key in kept}
        loaded = CaseInProgress(replace(case, device=self._place.device))
        self._bench.load(loaded, beside=[each.case for each in self._cases.values()])
        self._cases[case.key] = loaded
        return loaded.attention, tuple(loaded.notes)

    def time(self, key: str, repeats: int) -> int:
        """Nanoseconds of so many steps, which all ranks begin together."""
        step = self._cases[key].step
        assert step is not None
        step.renew()
        self._place.begin()
        return time_calls(step.device.stopwatch(), step.timed, repeats)

    def look(self, key: str, count: int) -> Looked:
        """Steps with the communication in them, all of which the ranks begin together."""
        step = self._cases[key].step
        assert step is not None
        return look(step.device, step.renew, step.timed, self._place, count)

    def finish(self, key: str, seconds: float | None) -> Finished:
        """The layers, and what is weighed and counted; `seconds` is the time of a step, None where none was timed."""
        case = self._cases.pop(key)
        case.notes.clear()
        case.timed = None if seconds is None else Reading(seconds)
        self._bench.probe_and_count(case)
        return Finished(case.profile, case.indicators, tuple(case.notes))


def look(device: Device, renew: Call, step: Call, place: Place, count: int) -> Looked:
    """Steps of this rank with the communication in them; none where a device works beside the host, whose log tells."""
    if device.has_own_time:
        return Looked()
    stopwatch, steps, communication = device.stopwatch(), [], []
    for _ in range(count):
        renew()
        place.begin()
        with CommunicationClock() as clock:
            steps.append(time_calls(stopwatch, step))
        communication.append(clock.nanoseconds)
    return Looked(tuple(steps), tuple(communication))


def looks(seconds: float) -> int:
    """How many steps of so many seconds to look at."""
    count = min(MOST_LOOKS, int(LOOK_SECONDS / max(seconds, 1e-9)))
    return max(count, FEWEST_LOOKS if FEWEST_LOOKS * seconds <= _LONG_SECONDS else 1)


def rank_of(device: str, looked: Looked, profile: Profile | None, **more: Any) -> Rank:
    """What is kept of a rank; where a device has a time of its own, that of its kernels."""
    if not looked.steps and profile is not None and profile.device_time is not None:
        busy, kinds = profile.device_time.busy_seconds, profile.device_kinds()
        looked = Looked((round(busy * 1e9),), (round(kinds.get(COMMUNICATION, 0.0) * 1e9),))
    return Rank(device, steps=looked.steps, communication=looked.communication, **more)


class ShardedStep:
    """The step of a case as the process that measures sees it: all ranks take it, and it is as long as the slowest's.

    Raises what loading it raises, and MemoryError or ModelError where a rank fails.
    """

    # The ranks see to all of that themselves.
    is_captured = False

    def __init__(self, processes: RankProcesses, case: Case, kept: Sequence[Case]) -> None:
        self.case = case
        self.device: Device = devices.of(case.device)
        self._processes = processes
        self._readings: list[tuple[float, ...]] = []
        answers = processes.ask("load", case, [each.key for each in kept])
        self.attention: str | None = answers[0][0]
        self.notes: tuple[str, ...] = answers[0][1]

    @property
    def helpers(self) -> tuple[int, ...]:
        """The processes of the ranks."""
        return self._processes.processes

    @property
    def timed(self) -> Call:
        """The step as it is to be timed: the ranks do that, each by its own stopwatch."""
        return SelfTimed(self._take)

    def _take(self, repeats: int) -> int:
        taken = self._processes.ask("time", self.case.key, repeats)
        self._readings.append(tuple(nanoseconds / repeats for nanoseconds in taken))
        return int(max(taken))

    def renew(self) -> None:
        """Nothing here."""

    def close(self) -> None:
        """Nothing here."""

    def finish(self, case: CaseInProgress) -> None:
        """All that is not timed; the layers of a case are those of the rank that the others wait for."""
        key, seconds = self.case.key, None if case.timed is None else case.timed.value
        looked: list[Looked] = [Looked()] * self.case.ranks
        if seconds is not None:
            looked = self._processes.ask("look", key, looks(seconds))
        finished: list[Finished] = self._processes.ask("finish", key, seconds)
        # The rounds are the last readings; what came before them was the warm-up.
        rounds = len(case.timed.samples) if case.timed is not None else 0
        samples = list(zip(*self._readings[len(self._readings) - rounds :], strict=True)) or [()] * self.case.ranks
        case.ranks = tuple(
            rank_of(
                device,
                seen,
                told.profile,
                samples=tuple(map(round, own)),
                peak_memory=_bytes(told.indicators.get(PEAK_MEMORY.name)),
            )
            for device, seen, told, own in zip(self._processes.devices, looked, finished, samples, strict=True)
        )
        told = waiting(case.ranks)
        slowest = finished[0 if told is None else told.slowest]
        case.profile = slowest.profile
        case.notes += list(dict.fromkeys(note for each in finished for note in each.notes))
        case.indicators |= slowest.indicators
        case.indicators |= _together([each.indicators for each in finished])


class ShardedModels:
    """The ranks of the sharded models that are measured, kept for their next case as long as others need no room."""

    def __init__(self, study: Study, fingerprint: str) -> None:
        self._study = study
        self._fingerprint = fingerprint
        self._processes: dict[tuple[str, int], RankProcesses] = {}

    def step(self, case: Case, beside: Sequence[Case]) -> ShardedStep:
        """The step of a case; those of the cases that it is measured `beside` are kept."""
        if case.batch == "largest":
            raise UsageError("the largest batch of a model that is sharded over ranks is not searched for: fix a batch")
        if case.launch != "eager":
            raise UsageError("a model that is sharded over ranks is launched eagerly: leave the graph out")
        held = {(each.model, each.ranks) for each in beside}
        for key in [key for key, each in self._processes.items() if key not in held or not each.alive]:
            self._processes.pop(key).close()
        kind = case.model, case.ranks
        if kind not in self._processes:
            seconds = self._study.care.timeout * _SHARE_OF_TIMEOUT
            work = StudyRank(self._study, self._fingerprint)
            threads = self._study.threads or 1
            self._processes[kind] = RankProcesses(work, case.ranks, case.device, threads, seconds)
        return ShardedStep(self._processes[kind], case, beside)

    def close(self) -> None:
        """End all ranks."""
        while self._processes:
            self._processes.popitem()[1].close()


def _bytes(reading: Reading | None) -> int | None:
    return None if reading is None or reading.value is None else round(reading.value)


def _together(told: Sequence[Mapping[str, Reading]]) -> dict[str, Reading]:
    """The most memory that any rank needs, and how many parameters the model has where all ranks hold the whole."""
    joined = {}
    peaks = [
        reading for each in told if (reading := each.get(PEAK_MEMORY.name)) is not None and reading.value is not None
    ]
    if len(peaks) == len(told):
        joined[PEAK_MEMORY.name] = max(peaks, key=lambda reading: reading.value or 0.0)
    counts = {reading.value for each in told if (reading := each.get(PARAMETERS)) is not None}
    if len(counts) > 1:
        joined[PARAMETERS] = Reading(None, reason="its ranks hold different parts of the model")
    return joined
