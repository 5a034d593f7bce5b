"""What is known of an indicator without measuring it; a run keeps this of each of its own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from pyprof.records import validate
from pyprof.records.case import BATCH, MODES, Batch, Mode

Format = Literal["time", "bytes", "count", "number"]


@dataclass(frozen=True, kw_only=True)
class IndicatorFacts:
    """One cost: its words, and all that a plan, an analysis and a report do differently for it.

    `title` heads a table, `scope` follows it ("of one example"); `meaning` is a description in one phrase and `source`
    where its definition comes from. Values are in `unit`, written as `format` says: a time in seconds, bytes, a count,
    or a plain number; `short_unit` is the unit where a column is narrow.

    `exact`: it is counted, so that it has no interval and any growth is certain. `varies_with_length`: it has a curve
    over the length, and so tables, tipping points and lengths that are worth measuring. `modes` are the modes in which
    it is measured. `batch` is the batch of the cases that give it: one example, or the largest batch that fits.
    `headline`: a report begins with it. `place` orders the indicators, lowest first. `parts` are the names of those
    entries of a reading's detail that sum to its value: what it consists of.
    """

    name: str
    title: str
    unit: str
    better: Literal["lower", "higher"]
    meaning: str
    source: str
    format: Format = "number"
    scope: str = ""
    short_unit: str | None = None
    exact: bool = False
    varies_with_length: bool = True
    modes: tuple[Mode, ...] = MODES
    batch: Batch = 1
    headline: bool = False
    place: int = 100
    parts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object of these fields."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(IndicatorFacts)}


INDICATOR = validate.instance(
    IndicatorFacts,
    absent=("parts",),
    name=validate.text,
    title=validate.text,
    unit=validate.words,
    better=validate.one_of(("lower", "higher"), "direction"),
    meaning=validate.words,
    source=validate.words,
    format=validate.one_of(get_args(Format), "format"),
    scope=validate.words,
    short_unit=validate.optional(validate.words),
    exact=validate.flag,
    varies_with_length=validate.flag,
    modes=validate.listing(validate.one_of(MODES, "mode")),
    batch=BATCH,
    headline=validate.flag,
    place=validate.whole(-validate.MOST),
    parts=validate.listing(validate.text),
)


class OfIndicator:
    """Base of what is about one indicator: `metric` is that indicator's name, as records and documents have it."""

    indicator: IndicatorFacts

    @property
    def metric(self) -> str:
        """The name of the indicator."""
        return self.indicator.name


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
