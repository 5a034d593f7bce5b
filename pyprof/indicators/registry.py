"""The indicators: what a model can cost. One entry each; importing this loads neither torch nor transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyprof.errors import UsageError


@dataclass(frozen=True)
class Indicator:
    """One cost indicator.

    `counter` names the function that counts it, as ``package.module:function``, where it is counted rather than timed;
    it is called with a ``pyprof.models.registry.LoadedModel`` and returns a ``Reading``.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"]
    description: str
    source: str
    counter: str | None = None


_DIWAN = "Diwan, Choi, Harwath, ACL 2023"

INDICATORS: dict[str, Indicator] = {
    entry.name: entry
    for entry in (
        Indicator("latency", "s", "lower", "time to process one example of a given length", _DIWAN),
        Indicator(
            "throughput",
            "examples/s",
            "higher",
            "examples of a given length per second, at the largest batch that fits the memory budget",
            _DIWAN,
        ),
        Indicator(
            "peak_memory",
            "B",
            "lower",
            "most bytes allocated at once while one example is processed, parameters and inputs included",
            _DIWAN,
        ),
        Indicator(
            "parameters",
            "1",
            "lower",
            "number of model parameters, tied ones once",
            _DIWAN,
            "pyprof.indicators.parameters:count",
        ),
    )
}


def indicator(name: str) -> Indicator:
    """The indicator of that name; raises UsageError that lists the known ones."""
    try:
        return INDICATORS[name]
    except KeyError:
        raise UsageError(f"there is no metric {name!r}: choose from {', '.join(INDICATORS)}") from None
