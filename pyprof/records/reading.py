"""A reading: what one indicator gave for one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reading:
    """One indicator's value in the indicator's own unit, its interval and its raw samples.

    `value` is None where the indicator could not be measured; `reason` then says why. `low` and `high` bound the value
    with 95 % confidence and are None where there is no interval (a counted indicator, or fewer than five samples).
    `samples` and `warmup` are raw integers: nanoseconds for a time, bytes for a memory. `detail` holds what belongs to
    the value, as plain JSON: the batch of a throughput, say. That of a latency has an id of the `rounds` that its
    samples were taken in, one sample in each, which it shares with the cases that were timed together with it; beside
    them, round by round, the `yardstick` (nanoseconds), the `hits` of noise and the `waits` in the run queue
    (nanoseconds, a part of the sample), the `noise` of the whole time, and the `confidence` that intervals were asked
    for where these were looked at on the way, so that what is told keeps 95 %.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    samples: tuple[int, ...] = ()
    warmup: tuple[int, ...] = ()
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
