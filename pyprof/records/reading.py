"""A reading: what one indicator gave for one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyprof.records import validate
from pyprof.records.rounds import ROUNDS, Rounds, without_waits
from pyprof.records.validate import Refused


@dataclass(frozen=True)
class Reading:
    """One indicator's value in the indicator's own unit, its interval and its raw samples.

    `value` is None where the indicator could not be measured; `reason` then says why. `low` and `high` bound the value
    with 95 % confidence and are None where there is no interval (a counted indicator, or fewer than six samples).
    `samples` and `warmup` are raw integers: nanoseconds for a time, bytes for a memory. `detail` holds what belongs to
    the value, as plain JSON: the batch of a throughput, say. `rounds` are those that the samples were taken in, None
    where they were not taken in turn with anything.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    samples: tuple[int, ...] = ()
    warmup: tuple[int, ...] = ()
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    rounds: Rounds | None = None

    @property
    def ran(self) -> tuple[int, ...]:
        """The samples without what was waited in the run queue: what two readings are compared by."""
        return self.samples if self.rounds is None else without_waits(self.samples, self.rounds.waits)

    @property
    def batch(self) -> int:
        """How many examples each sample is of."""
        return int(self.detail.get("batch") or 1)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "samples": list(self.samples),
            "warmup": list(self.warmup),
            "reason": self.reason,
            "detail": dict(self.detail),
            "rounds": None if self.rounds is None else self.rounds.to_json(),
        }


def _detail(value: Any) -> Mapping[str, Any]:
    detail: dict[str, Any] = validate.mapping(validate.plain)(value) if value != {} else value
    if "batch" in detail:
        try:
            _batch(detail["batch"])
        except Refused as refused:
            refused.at("batch")
            raise
    return detail


def _reading(value: Any) -> Reading:
    reading: Reading = _FIELDS(value)
    if reading.low is not None and reading.high is not None and reading.low > reading.high:
        raise Refused(f": low ({reading.low}) is above high ({reading.high})")
    if reading.rounds is not None:
        if 0 in reading.samples:
            raise Refused(": samples must be above 0 where they were taken in rounds")
        reading.rounds.check_lengths(len(reading.samples))
    return reading


_batch = validate.whole(1, validate.LARGE)
_FIELDS = validate.instance(
    Reading,
    value=validate.optional(validate.figure),
    low=validate.optional(validate.figure),
    high=validate.optional(validate.figure),
    samples=validate.wholes(0),
    warmup=validate.wholes(0),
    reason=validate.optional(validate.words),
    detail=_detail,
    rounds=validate.optional(ROUNDS),
)
READING: validate.Check = _reading
