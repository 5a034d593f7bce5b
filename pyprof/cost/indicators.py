"""The indicators: what a model can cost. One entry each; importing this loads neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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


@dataclass(frozen=True)
class Reading:
    """One indicator's value in the indicator's own unit, its interval and its raw samples.

    `value` is None where the indicator could not be measured; `reason` then says why. `low` and `high` bound the value
    with 95 % confidence and are None where there is no interval (a counted indicator, or fewer than five samples).
    `samples` and `warmup` are raw integers: nanoseconds for a time, bytes for a memory. `detail` holds what belongs to
    the value, as plain JSON: the batch of a throughput, say. That of a latency has an id of the `rounds` that its
    samples were taken in, one sample in each, which it shares with the cases that were timed together with it; beside
    them, round by round, the `yardstick` (nanoseconds), the `hits` of noise and the `waits` in the run queue
    (nanoseconds, a part of the sample), and the `noise` of the whole time.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    samples: tuple[int, ...] = ()
    warmup: tuple[int, ...] = ()
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


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
            "pyprof.cost.parameters:count",
        ),
    )
}


def indicator(name: str) -> Indicator:
    """The indicator of that name; raises UsageError that lists the known ones."""
    try:
        return INDICATORS[name]
    except KeyError:
        raise UsageError(f"there is no metric {name!r}: choose from {', '.join(INDICATORS)}") from None
