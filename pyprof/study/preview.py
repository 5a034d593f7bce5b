"""What a study would measure, and how long that would take: a run with predicted costs in place of measurements."""

from __future__ import annotations

from dataclasses import dataclass

from pyprof import device as devices
from pyprof.indicators.latency import INDICATOR as LATENCY
from pyprof.indicators.throughput import INDICATOR as THROUGHPUT
from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.study import Study
from pyprof.study.plan import Plan
from pyprof.study.prediction import Prediction, most_samples
from pyprof.study.resolve import resolve

# Loading torch and transformers in the measuring process.
START_SECONDS = 8.0


@dataclass(frozen=True)
class Forecast:
    """One case with its predicted seconds; `fits` is false where the time budget would leave it out."""

    case: Case
    seconds: float
    fits: bool


@dataclass(frozen=True)
class Preview:
    """The cases in the order in which they would be measured."""

    forecasts: tuple[Forecast, ...]

    @property
    def seconds(self) -> float:
        """The predicted time of all that fits, the start included."""
        return START_SECONDS + sum(forecast.seconds for forecast in self.forecasts if forecast.fits)


def preview(study: Study, threads: int = 1, rate: float | None = None) -> Preview:
    """Predict a run of the study; `rate` is the machine's, in floating-point operations per second, None for a guess.

    With automatic lengths the crossings are looked for in the predicted costs, so that a run may choose other lengths.
    Raises UsageError as ``resolve`` does.
    """
    # Which device auto stands for is known only once torch is loaded.
    device = "cpu" if study.device == devices.AUTO else study.device
    plan = Plan(study, resolve(study), device)
    prediction = Prediction(study, study.threads or threads, device, rate)
    remaining = float("inf") if study.time_budget is None else study.time_budget - START_SECONDS
    records: dict[str, Record] = {}
    settled: set[str] = set()
    forecasts = []
    for group in plan.groups(records, settled, prediction):
        fitting = group.fitting(prediction, remaining)
        costs = {case: prediction.seconds(case) for case in group.cases} | dict(prediction.together(fitting))
        for case in group.cases:
            settled.add(case.key)
            forecasts.append(Forecast(case, costs[case], case in fitting))
            if case in fitting:
                remaining -= costs[case]
                records[case.key] = _simulated(case, costs[case], prediction)
                prediction.observe(records[case.key])
    return Preview(tuple(forecasts))


def _simulated(case: Case, seconds: float, prediction: Prediction) -> Record:
    step = prediction.step_seconds(case)
    indicator = LATENCY if case.batch == 1 else THROUGHPUT
    value = step if case.batch == 1 else 1 / step
    samples = (round(step * 1e9),) * most_samples(step, prediction.study.care)
    reading = Reading(value=value, low=value * 0.99, high=value * 1.01, samples=samples)
    return Record(case, "ok", "predicted", "", seconds, indicators={indicator.name: reading})
