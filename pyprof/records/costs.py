"""What a user knows and no counter tells: how much carbon a kWh stands for, what an hour costs, how much is to be done.

From these, and from the energies and times that a run holds, follow the carbon and the money that a model takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pyprof.errors import UsageError
from pyprof.plain import shown
from pyprof.records import validate
from pyprof.records.case import Case, Mode
from pyprof.records.reading import Reading
from pyprof.records.validate import Refused

JOULES_PER_KWH = 3.6e6
_SECONDS_PER_HOUR = 3600.0
_INTENSITY = re.compile(r"\s*(?P<number>\d+\.?\d*|\.\d+)\s*(?:(?P<unit>g|kg)\s*/\s*kWh)?\s*", re.IGNORECASE)
_PRICE = re.compile(r"\s*(?P<number>\d+\.?\d*|\.\d+)\s*(?P<currency>[^\W\d_]+|[€$£¥])?\s*(?:/\s*h)?\s*")
_MOST = 1e12
_TARGET = re.compile(r"\s*(?:(?P<name>[^\W\d]\w*)\s*=)?\s*(?P<number>\d+\.?\d*|\.\d+)\s*(?P<percent>%?)\s*")


@dataclass(frozen=True)
class Price:
    """What an hour of the machine costs."""

    per_hour: float
    currency: str = ""

    def __str__(self) -> str:
        return f"{self.per_hour:g} {self.currency}/h".replace(" /", "/")


@dataclass(frozen=True)
class Costs:
    """`intensity` is in grams of CO2 equivalent for a kWh, `price` that of an hour; None where nobody has said it.

    `queries` are the examples that a model answers once it is trained, `examples` those that it is trained on, each as
    often as it comes. `target` is the quality to be reached in a training, by its name; "" stands for the only one.
    """

    intensity: float | None = None
    price: Price | None = None
    queries: int = 1
    examples: int = 1
    target: Mapping[str, float] = field(default_factory=dict)

    def count(self, mode: Mode) -> int:
        """How many examples there are in a mode."""
        return self.examples if mode == "train" else self.queries

    def with_given(self, given: Mapping[str, Any]) -> Costs:
        """The same with what is given in place of its own."""
        return Costs(**{each.name: given.get(each.name, getattr(self, each.name)) for each in fields(self)})

    def to_table(self) -> dict[str, Any]:
        """As a study file has them."""
        table = {name: value for name, value in asdict(self).items() if value != getattr(_NOTHING, name)}
        if set(self.target) == {""}:
            table["target"] = self.target[""]
        return {**table, **({"price": str(self.price)} if self.price is not None else {})}


_NOTHING = Costs()


def parse_intensity(text: str | float) -> float:
    """Grams of CO2 equivalent for a kWh: "380 g/kWh", "0.38 kg/kWh" or a plain number of grams; raises UsageError."""
    match = _INTENSITY.fullmatch(str(text))
    if match is None:
        raise UsageError(f"{shown(str(text))} is no carbon intensity: write 380 g/kWh")
    return _limited(float(match["number"]) * (1000 if (match["unit"] or "").lower() == "kg" else 1), text)


def parse_price(text: str | float) -> Price:
    """What an hour costs: "2.50 USD/h" or a plain number; raises UsageError."""
    match = _PRICE.fullmatch(str(text))
    if match is None:
        raise UsageError(f"{shown(str(text))} is no price of an hour: write 2.50 USD/h")
    return Price(_limited(float(match["number"]), text), match["currency"] or "")


def parse_target(text: str | float) -> dict[str, float]:
    """The quality to be reached: "0.8", "80%", or "listops_accuracy=0.4, text_accuracy=0.6"; raises UsageError."""
    target: dict[str, float] = {}
    for part in str(text).split(","):
        match = _TARGET.fullmatch(part)
        if match is None or (match["name"] or "") in target or (target and not (match["name"] and "" not in target)):
            raise UsageError(f"{shown(str(text))} is no target: write 0.8 or listops_accuracy=0.8")
        target[match["name"] or ""] = float(match["number"]) / (100 if match["percent"] else 1)
    return target


def _limited(number: float, text: str | float) -> float:
    if number <= 0:
        raise UsageError(f"{shown(str(text))} must be above zero: what costs nothing need not be compared")
    if number > _MOST:
        raise UsageError(f"{shown(str(text))} is beyond all measure: it has to be below {_MOST:g}")
    return number


def carbon(case: Case, readings: Mapping[str, Reading], costs: Costs) -> Reading:
    """Grams of CO2 equivalent: the energy of an example, as often as there are examples, times the intensity."""
    if costs.intensity is None:
        return Reading(None, reason="nobody has said how much carbon a kWh stands for: give --intensity '380 g/kWh'")
    energy = readings.get("energy")
    if energy is None or energy.value is None:
        return Reading(None, reason="the energy was not measured" if energy is None else energy.reason)
    scale = costs.count(case.mode) * costs.intensity / JOULES_PER_KWH
    detail = {"examples": costs.count(case.mode), "intensity": costs.intensity}
    return _scaled(energy, scale, detail)


def monetary(case: Case, readings: Mapping[str, Reading], costs: Costs) -> Reading:
    """The price of the hours that the examples take one after the other, each as long as its latency says."""
    if costs.price is None:
        return Reading(None, reason="nobody has said what an hour costs: give --price '2.50 USD/h'")
    latency = readings.get("latency")
    if latency is None or latency.value is None:
        return Reading(None, reason="the latency was not measured" if latency is None else latency.reason)
    examples = costs.count(case.mode) / (1 if case.batch == "largest" else case.batch)
    detail = {"examples": costs.count(case.mode), "price": str(costs.price)}
    return _scaled(latency, examples * costs.price.per_hour / _SECONDS_PER_HOUR, detail)


# What is worked out from other indicators, by its name.
DERIVED = {"carbon": carbon, "monetary": monetary}


def _scaled(reading: Reading, factor: float, detail: Mapping[str, Any]) -> Reading:
    assert reading.value is not None
    low, high = (None if bound is None else bound * factor for bound in (reading.low, reading.high))
    return Reading(reading.value * factor, low, high, detail=detail)


def _quantity(parse: Any) -> validate.Check:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise Refused(f"must be a number or a text with its unit, not {shown(value)}")
        try:
            return parse(value)
        except UsageError as error:
            raise Refused(f": {error}") from error

    return check


_NAMED = validate.mapping(validate.real(0, _MOST), "a quality, or a table from their names")
_TABLE = validate.table(
    {
        "intensity": _quantity(parse_intensity),
        "price": _quantity(parse_price),
        "queries": validate.whole(1, validate.MOST),
        "examples": validate.whole(1, validate.MOST),
        "target": lambda value: _NAMED(value) if isinstance(value, Mapping) else _quantity(parse_target)(value),
    }
)


def read_costs(value: Any) -> Costs:
    """What a study file says under [costs]; raises Refused."""
    return Costs(**_TABLE(value))
