"""What a renderer may see of indicators that disagree."""

from __future__ import annotations

from dataclasses import dataclass

from pyprof.records.indicator import IndicatorFacts, OfIndicator
from pyprof.report.view_column import Column


@dataclass(frozen=True)
class IndicatorVerdict(OfIndicator):
    """How many times as much the first model costs as the second, with its 95 % interval; `shown`: surely so."""

    indicator: IndicatorFacts
    ratio: float
    low: float | None
    high: float | None
    shown: bool


@dataclass(frozen=True)
class ContrastLine:
    """Two models by all indicators; `reversed`: two of these are shown to order them differently, and the `sentence`
    says so as a reviewer would write it. Empty where nothing is shown.
    """

    first: Column
    second: Column
    reversed: bool
    sentence: str
    verdicts: tuple[IndicatorVerdict, ...]


@dataclass(frozen=True)
class TauCell:
    """Kendall's tau-b of two indicators, by their names; `low` and `high` are what it can be where the noise hides
    orders. None where one of them tells no two models apart. `reversals` are those that are shown.
    """

    one: str
    other: str
    tau: float | None
    low: float | None
    high: float | None
    pairs: int
    reversals: int
    undecided: int


@dataclass(frozen=True)
class FrontPlace:
    """A model at a front: `member`, `near` or `dominated`, and by which models."""

    column: Column
    standing: str
    by: tuple[Column, ...]
    shown: bool


@dataclass(frozen=True)
class FrontLine:
    """The front of two indicators, by their names."""

    one: str
    other: str
    places: tuple[FrontPlace, ...]


@dataclass(frozen=True)
class DisagreementLine:
    """The models of one sense at one length in one mode: pairs, those that change places first; tau of all pairs of
    indicators, over all pairs of models, over those `within` families and over those `between` them (empty where there
    are no families); the fronts of the first headline indicator against each other one.
    """

    name: str
    mode: str
    setting: str
    length: int
    columns: tuple[Column, ...]
    metrics: tuple[str, ...]
    contrasts: tuple[ContrastLine, ...]
    concordances: tuple[TauCell, ...]
    within: tuple[TauCell, ...]
    between: tuple[TauCell, ...]
    fronts: tuple[FrontLine, ...]
