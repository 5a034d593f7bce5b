"""Throughput at the largest batch that fits: searched in this process, confirmed and timed in a fresh one.

Where the search's limit ends it long before the memory would, nothing is in doubt that a fresh process could tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from pyprof import device as devices
from pyprof.errors import IncompleteError
from pyprof.failures import is_out_of_memory
from pyprof.indicators.latency import INDICATOR as LATENCY
from pyprof.indicators.peak_memory import INDICATOR as PEAK_MEMORY
from pyprof.models.loaded import LoadedModel
from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.study import Study
from pyprof.timing.sampling import measure
from pyprof.timing.warmup import Warmup
from pyprof.worker.batch_search import BATCH_LIMIT, ROOMY_SHARE, LargestBatch, MemoryModel, find_largest_batch
from pyprof.worker.best_batch import BestThroughput, best_throughput
from pyprof.worker.step import Step, free

# What a confirmation has to measure.
CONFIRMED = (LATENCY.name, PEAK_MEMORY.name)
# Sizes that are compared for the best throughput differ by more than the noise, so that few samples suffice.
SEARCH_SAMPLES = 3
# Other batches have warmed the model up; a new one has kernels to choose and memory to be given.
SEARCH_WARMUP = Warmup(max_readings=3)

Result = TypeVar("Result")


class NothingFitsError(MemoryError):
    """Not even one example fits the memory budget."""


@dataclass
class Search:
    """The search for one case.

    `confirm` measures a case with a fixed batch, best in a fresh process; `measure` does it in this one.
    """

    model: LoadedModel
    case: Case
    study: Study
    confirm: Callable[[Case], Record]
    measure: Callable[[Case], Record]
    _peaks: dict[int, int] = field(default_factory=dict)
    _found: Reading | None = None

    def throughput(self) -> Reading:
        """Examples per second at the largest batch that fits the memory budget.

        `detail` holds that batch, its peak in bytes, and the best throughput over the batch sizes with its batch. It is
        searched once, however many indicators ask. Raises NothingFitsError where not even one example fits, and
        IncompleteError where a confirmation fails for another reason than memory.
        """
        if self._found is None:
            self._found = self._search()
        return self._found

    def _search(self) -> Reading:
        budget, limit = self.study.memory_budget, self.study.batch_limit or BATCH_LIMIT
        assert budget is not None
        confirmed: dict[int, Record] = {}
        largest = find_largest_batch(self._peak, lambda batch: self._confirmed(batch, confirmed), budget, limit=limit)
        if largest.batch is None:
            raise NothingFitsError(largest.reason)
        best = best_throughput(
            partial(self._seconds, confirmed), largest.batch, max_seconds=self.study.care.max_seconds
        )
        return _reading(largest, confirmed[largest.batch], best)

    def _peak(self, batch: int) -> int | None:
        peak = self._unless_out_of_memory(batch, lambda step: step.peak_memory().samples[0])
        if peak is not None:
            self._peaks[batch] = peak
        return peak

    def _seconds(self, confirmed: Mapping[int, Record], batch: int) -> float | None:
        """The time of a step; that of a batch that was confirmed is known."""
        if batch in confirmed:
            return confirmed[batch].indicators[LATENCY.name].value
        care = self.study.care

        def timed(step: Step) -> float:
            if self.case.launch == "graph":
                step.capture()
            return measure(
                step.timed,
                precision=care.precision,
                min_samples=1,
                max_samples=SEARCH_SAMPLES,
                warmup=SEARCH_WARMUP,
                max_seconds=care.max_seconds,
                stopwatch=step.device.stopwatch(),
            ).median

        return self._unless_out_of_memory(batch, timed)

    def _unless_out_of_memory(self, batch: int, call: Callable[[Step], Result]) -> Result | None:
        """What a call gives for a step, None where memory runs out; all is freed out of the exception's reach."""
        try:
            return call(Step(self.model, self.case, self.study.optimizer, batch))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        finally:
            self.model.step.zero_grad(set_to_none=True)
        free(devices.of(self.case.device))
        return None

    def _confirmed(self, batch: int, confirmed: dict[int, Record]) -> bool | int:
        confirm = self.measure if self._is_roomy(batch) else self.confirm
        record = confirm(replace(self.case, batch=batch))
        if record.status == "oom":
            return False
        if record.status != "ok":
            raise IncompleteError(f"batch {batch} could not be confirmed: {record.reason}")
        confirmed[batch] = record
        return record.indicators[PEAK_MEMORY.name].samples[0]

    def _is_roomy(self, batch: int) -> bool:
        """Whether the batch is the limit of the search and takes a small share of the budget, by the peaks so far."""
        budget = self.study.memory_budget
        if batch != (self.study.batch_limit or BATCH_LIMIT) or budget is None:
            return False
        if batch not in self._peaks and len(self._peaks) < 2:
            return False
        peak = self._peaks.get(batch) or MemoryModel.fit(self._peaks, budget).peak(batch)
        return peak <= ROOMY_SHARE * budget


def _reading(largest: LargestBatch, record: Record, best: BestThroughput | None) -> Reading:
    latency, batch = record.indicators[LATENCY.name], record.case.batch
    assert isinstance(batch, int)
    assert latency.value is not None
    detail: dict[str, float | int | str] = {"batch": batch, "peak": record.indicators[PEAK_MEMORY.name].samples[0]}
    at_largest = batch / latency.value
    if best is not None and best.best.examples_per_second > at_largest:
        detail |= {"best": best.best.examples_per_second, "best_batch": best.best.batch}
    else:
        detail |= {"best": at_largest, "best_batch": batch}
    if largest.capped:
        detail["limited_by"] = "batch_limit"
    return Reading(
        value=at_largest,
        low=None if latency.high is None else batch / latency.high,
        high=None if latency.low is None else batch / latency.low,
        samples=latency.samples,
        warmup=latency.warmup,
        reason=largest.reason,
        detail=detail,
        rounds=latency.rounds,
    )
