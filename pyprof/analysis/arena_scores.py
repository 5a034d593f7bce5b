"""The scores of a run on Long Range Arena's tasks beside the published ones, with speed and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyprof.analysis.curves import Curve, Curves, Setting
from pyprof.records.comparison import Subject
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.statistics.bounded import interval_of_average

# At the inputs of this task the arena compares speeds and memory; where it is not there, at the longest.
_SPEED_TASK = "text"
_TASKS = ("listops", "text", "retrieval", "image", "pathfinder", "pathx")


@dataclass(frozen=True)
class Score:
    """What a model achieves on a task, as shares: a mean over seeds with its 95 % interval, None where there is none.

    `baseline` is the most frequent class, `published` the arena's score of that model; `reason` says why there is no
    value.
    """

    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    published: float | None
    reason: str | None = None


@dataclass(frozen=True)
class ScoreRow:
    """One model: its scores by task, their mean, and what a training step costs.

    `average` is over the tasks that every model of the table has a score of, `published_average` over those of them
    that the arena has. `speed` is in steps a second, `memory` the peak of a step in bytes.
    """

    model: str
    scores: Mapping[str, Score]
    average: float | None
    low: float | None
    high: float | None
    published_average: float | None
    speed: float | None
    memory: float | None


@dataclass(frozen=True)
class ArenaScores:
    """All models in one setting, in the order of the run; speed and memory are those at `length` tokens."""

    setting: Setting
    source: str
    tasks: tuple[str, ...]
    rows: tuple[ScoreRow, ...]
    length: int


def arena_scores(curves: Curves, indicators: Sequence[IndicatorFacts]) -> tuple[ArenaScores, ...]:
    """A table for each setting in which models were trained on the arena's tasks."""
    settings = dict.fromkeys(setting for _, setting in curves.ok if setting.mode == "train")
    return tuple(filter(None, (_table(curves, setting, indicators) for setting in settings)))


def _table(curves: Curves, setting: Setting, indicators: Sequence[IndicatorFacts]) -> ArenaScores | None:
    found: dict[Subject, dict[str, tuple[int, Reading]]] = {}
    own: dict[Subject, Curve] = {}
    for (subject, its), curve in curves.ok.items():
        readings = _readings(curve, indicators) if its == setting else {}
        if readings:
            found[subject], own[subject] = readings, curve
    if not found:
        return None
    tasks = tuple(task for task in _TASKS if any(task in readings for readings in found.values()))
    common = [task for task in tasks if all(_value(readings, task) is not None for readings in found.values())]
    lengths = [{task: length for task, (length, _) in readings.items()} for readings in found.values()]
    length = next(
        (each[_SPEED_TASK] for each in lengths if _SPEED_TASK in each), max(max(each.values()) for each in lengths)
    )
    source = next((str(_detail(readings, "source")) for readings in found.values() if _detail(readings, "source")), "")
    rows = tuple(
        _row(str(subject.model), readings, common, own[subject], length) for subject, readings in found.items()
    )
    return ArenaScores(setting, source, tasks, rows, length)


def _readings(curve: Curve, indicators: Sequence[IndicatorFacts]) -> dict[str, tuple[int, Reading]]:
    """The length and the reading of each of the arena's tasks."""
    found = {}
    for length, record in curve.items():
        for indicator in indicators:
            reading = record.indicators.get(indicator.name)
            task = None if reading is None else reading.detail.get("task")
            if reading is not None and task in _TASKS:
                found[str(task)] = length, reading
    return found


def _row(
    model: str, readings: Mapping[str, tuple[int, Reading]], common: Sequence[str], curve: Curve, length: int
) -> ScoreRow:
    scores = {task: _score(model, reading) for task, (_, reading) in readings.items()}
    means = [scores[task] for task in common]
    values = [each.value for each in means if each.value is not None]
    average = sum(values) / len(values) if values else None
    low, high = _bounds(means)
    published = [each.published for each in means if each.published is not None]
    record = curve.get(length)
    seconds, memory = (
        None if record is None or (reading := record.indicators.get(name)) is None else reading.value
        for name in ("latency", "peak_memory")
    )
    return ScoreRow(
        model=model,
        scores=scores,
        average=average,
        low=low,
        high=high,
        published_average=sum(published) / len(published) if published else None,
        speed=None if not seconds else 1 / seconds,
        memory=memory,
    )


def _score(model: str, reading: Reading) -> Score:
    published = reading.detail.get("published")
    theirs = published.get(model) if isinstance(published, Mapping) else None
    return Score(
        reading.value,
        reading.low,
        reading.high,
        _number(reading.detail.get("baseline")),
        _number(theirs),
        reading.reason,
    )


def _bounds(scores: Sequence[Score]) -> tuple[float, float] | tuple[None, None]:
    """Of the average of independent scores; None where one has no interval."""
    known = [
        (each.value, each.low, each.high)
        for each in scores
        if each.value is not None and each.low is not None and each.high is not None
    ]
    return interval_of_average(known) if known and len(known) == len(scores) else (None, None)


def _value(readings: Mapping[str, tuple[int, Reading]], task: str) -> float | None:
    return readings[task][1].value if task in readings else None


def _detail(readings: Mapping[str, tuple[int, Reading]], name: str) -> Any:
    return next((reading.detail.get(name) for _, reading in readings.values()), None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
