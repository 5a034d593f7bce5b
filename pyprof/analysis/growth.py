"""How a cost grows with the length: the exponent of the power that fits it, with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyprof.analysis.curves import Curve, Curves, Setting
from pyprof.records.comparison import ModelFacts, Subject
from pyprof.records.record import Record
from pyprof.statistics.student import student_quantile

CONFIDENCE = 0.95
FEWEST = 3


@dataclass(frozen=True)
class Growth:
    """A cost that grows like length ** `exponent` from the shortest length to the longest.

    `low` and `high` bound the exponent with 95 % where the logarithm of the cost scatters around a straight line over
    that of the length. A cost that bends has a wide interval: it is no power.
    """

    exponent: float
    low: float
    high: float


@dataclass(frozen=True)
class GrowthLine:
    """The growth of one model's costs in one setting, beside what its source claims.

    `complexity` is the claim on what the mechanism does, without the projections that every model has, and `claimed`
    its growth over the lengths measured here. `costs` are the growths of the step's costs by name (indicators, and
    "attention" for the own time of self-attention), those left out for which fewer than three lengths have a figure.
    """

    subject: Subject
    setting: Setting
    lengths: tuple[int, ...]
    complexity: str
    claimed: Growth
    costs: Mapping[str, Growth]


def fit_growth(points: Iterable[tuple[float, float]]) -> Growth | None:
    """The power of least squares through (length, cost) in logarithms; None for fewer than three lengths.

    Costs that are not above zero have no logarithm and are left out.
    """
    logs = [(math.log(length), math.log(cost)) for length, cost in points if cost > 0]
    if len({x for x, _ in logs}) < FEWEST:
        return None
    count = len(logs)
    middle_x, middle_y = (sum(values) / count for values in zip(*logs, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in logs)
    exponent = sum((x - middle_x) * (y - middle_y) for x, y in logs) / spread
    left = sum((y - middle_y - exponent * (x - middle_x)) ** 2 for x, y in logs)
    half = student_quantile((1 + CONFIDENCE) / 2, count - 2) * math.sqrt(left / (count - 2) / spread)
    return Growth(exponent, exponent - half, exponent + half)


def growth_lines(curves: Curves, models: Mapping[str, ModelFacts], indicators: Sequence[str]) -> tuple[GrowthLine, ...]:
    """The growths of every model whose source claims one, where at least three lengths were measured."""
    lines = []
    for (subject, setting), curve in curves.ok.items():
        facts = models.get(subject.model, ModelFacts())
        claims = {int(length): pairs for length, pairs in facts.claims.items()}
        claimed = fit_growth((length, claims[length]) for length in curve if length in claims)
        costs = _costs(curve, indicators)
        if facts.complexity is None or claimed is None or not costs:
            continue
        lines.append(GrowthLine(subject, setting, tuple(curve), facts.complexity, claimed, costs))
    return tuple(lines)


def _costs(curve: Curve, indicators: Sequence[str]) -> dict[str, Growth]:
    figures: dict[str, Callable[[Record], float | None]] = {name: _figure(name) for name in indicators}
    figures["attention"] = _attention
    grown = {}
    for name, figure in figures.items():
        values = [(length, value) for length, record in curve.items() if (value := figure(record)) is not None]
        growth = fit_growth(values)
        if growth is not None:
            grown[name] = growth
    return grown


def _figure(indicator: str) -> Callable[[Record], float | None]:
    def figure(record: Record) -> float | None:
        reading = record.indicators.get(indicator)
        return None if reading is None else reading.value

    return figure


def _attention(record: Record) -> float | None:
    """The own time of self-attention in a step."""
    cost = record.kinds.get("self-attention")
    return None if cost is None else cost.forward_seconds + (cost.backward_seconds or 0.0)
