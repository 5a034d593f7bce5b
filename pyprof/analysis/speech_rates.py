"""The word error rates of a run beside the published ones, and what hearing one utterance costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyprof.analysis.curves import Curve, Curves, Setting
from pyprof.records.comparison import Subject
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.statistics.bootstrap import ratio_of_sums
from pyprof.statistics.estimate import Estimate

# The tasks by what of the model learns, in the order of the published table.
LEARNS: Mapping[str, str] = {"speech_frozen": "frozen", "speech": "fine-tuned"}


@dataclass(frozen=True)
class Rate:
    """A word error rate as a share of the words, its 95 % interval, and the published one of that model.

    The interval is that of the mean over seeds where there are five or more, else of the only or first seed over the
    speakers of the test; `over` says which. `reason` says why there is no value. `above` is how much higher the rate is
    than that of the table's first model, utterance by utterance, None where they were not judged on the same ones.
    """

    value: float | None
    low: float | None
    high: float | None
    over: str | None
    published: float | None
    reason: str | None = None
    above: Estimate | None = None


@dataclass(frozen=True)
class SpeechRow:
    """One model: its rates by task, and what it costs to hear an utterance of `seconds` (see `quality.asr.cost`)."""

    model: str
    rates: Mapping[str, Rate]
    seconds: float | None
    latency: float | None
    real_time_factor: float | None
    peak_memory: float | None


@dataclass(frozen=True)
class SpeechRates:
    """All models in one setting, in the order of the run."""

    setting: Setting
    source: str
    tasks: tuple[str, ...]
    rows: tuple[SpeechRow, ...]


def speech_rates(curves: Curves, indicators: Sequence[IndicatorFacts]) -> tuple[SpeechRates, ...]:
    """A table for each setting in which models were trained to hear."""
    tables: dict[Setting, list[tuple[Subject, dict[str, Reading]]]] = {}
    for (subject, setting), curve in curves.ok.items():
        readings = dict(_readings(curve, indicators))
        if readings:
            tables.setdefault(setting, []).append((subject, readings))
    return tuple(_table(setting, rows) for setting, rows in tables.items())


def _readings(curve: Curve, indicators: Sequence[IndicatorFacts]) -> Iterator[tuple[str, Reading]]:
    for record in curve.values():
        for indicator in indicators:
            reading = record.indicators.get(indicator.name)
            task = None if reading is None else reading.detail.get("task")
            if reading is not None and task in LEARNS:
                yield str(task), reading


def _table(setting: Setting, found: Sequence[tuple[Subject, Mapping[str, Reading]]]) -> SpeechRates:
    tasks = tuple(task for task in LEARNS if any(task in readings for _, readings in found))
    sources = (str(reading.detail.get("source") or "") for _, readings in found for reading in readings.values())
    first = found[0][1]
    rows = tuple(_row(str(subject.model), each, {} if each is first else first) for subject, each in found)
    return SpeechRates(setting, next(sources), tasks, rows)


def _row(model: str, readings: Mapping[str, Reading], first: Mapping[str, Reading]) -> SpeechRow:
    costs = (_first(reading).get("cost") for reading in readings.values())
    cost = next((each for each in costs if isinstance(each, Mapping)), {})
    return SpeechRow(
        model=model,
        rates={task: _rate(model, reading, first.get(task)) for task, reading in readings.items()},
        seconds=cost.get("seconds"),
        latency=cost.get("latency"),
        real_time_factor=cost.get("real_time_factor"),
        peak_memory=cost.get("peak_memory"),
    )


def _rate(model: str, reading: Reading, first: Reading | None) -> Rate:
    published = reading.detail.get("published")
    theirs = published.get(model) if isinstance(published, Mapping) else None
    above = None if first is None else _above(_first(reading).get("by_cluster"), _first(first).get("by_cluster"))
    if reading.low is not None:
        return Rate(reading.value, reading.low, reading.high, "seeds", theirs, reading.reason, above)
    own = _first(reading).get("word_error_rate") or {}
    over = own.get("resampled")
    return Rate(reading.value, own.get("low"), own.get("high"), over, theirs, reading.reason, above)


def _above(own: Mapping[str, Any] | None, first: Mapping[str, Any] | None) -> Estimate | None:
    """The difference of two rates with its paired interval: both see the same draws of speakers."""
    if not own or not first or own["words"] != first["words"]:
        return None
    more = [errors - before for errors, before in zip(own["errors"], first["errors"], strict=True)]
    return ratio_of_sums(more, own["words"]).estimate


def _first(reading: Reading) -> Mapping[str, Any]:
    """The detail of the first training."""
    seeds = reading.detail.get("seeds") or [{}]
    return seeds[0].get("detail") or {}
