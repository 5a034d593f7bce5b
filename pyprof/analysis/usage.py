"""What a model costs in all: what training it takes, and what answering all queries takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyprof.analysis.curves import Curves, Setting
from pyprof.records.comparison import Subject
from pyprof.records.costs import DERIVED, Costs
from pyprof.records.indicator import IndicatorFacts, OfIndicator
from pyprof.records.reading import Reading


@dataclass(frozen=True)
class Usage(OfIndicator):
    """One model at one length: `training` all examples and `queries`, and both together.

    `total` is None where one of them is not known, `low` and `high` bound it where both have an interval.
    """

    subject: Subject
    setting: Setting
    length: int
    indicator: IndicatorFacts
    training: float | None
    queries: float | None
    total: float | None
    low: float | None
    high: float | None


def usage(curves: Curves, indicators: Sequence[IndicatorFacts], costs: Costs) -> tuple[Usage, ...]:
    """What carbon and money all models take in all, where they were measured in training and in inference.

    Empty unless the costs say how many examples or queries there are.
    """
    if costs.queries == costs.examples == 1:
        return ()
    lines = []
    for indicator in indicators:
        for (subject, setting), curve in curves.ok.items():
            trained = curves.ok.get((subject, replace(setting, mode="train")))
            if indicator.name not in DERIVED or setting.mode != "infer" or trained is None:
                continue
            for length, record in curve.items():
                asked = record.indicators.get(indicator.name)
                training = trained[length].indicators.get(indicator.name) if length in trained else None
                if asked is not None and training is not None:
                    lines.append(_usage(subject, setting, length, indicator, training, asked))
    return tuple(lines)


def _usage(
    subject: Subject, setting: Setting, length: int, indicator: IndicatorFacts, training: Reading, asked: Reading
) -> Usage:
    return Usage(
        subject=subject,
        setting=setting,
        length=length,
        indicator=indicator,
        training=training.value,
        queries=asked.value,
        total=_sum(training.value, asked.value),
        low=_sum(training.low, asked.low),
        high=_sum(training.high, asked.high),
    )


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second
