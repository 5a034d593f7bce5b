"""Device time: how long a device works for one example, whatever the host takes to launch that work."""

from __future__ import annotations

from statistics import median

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading

# Kernel times hardly vary: five readings show how much, at the price of a few steps.
_READINGS = 5


def read(step: Step) -> Reading:
    """The median busy time of some steps in seconds, from the lowest to the highest; None on a device without one."""
    if not step.device.has_own_time:
        return Reading(None, reason=f"{step.device.name} does its work in the call itself: latency is its time")
    step()  # what a step does only once, after a pause
    samples = tuple(_busy_ns(step) for _ in range(_READINGS))
    seconds = [nanoseconds * 1e-9 for nanoseconds in samples]
    return Reading(median(seconds), min(seconds), max(seconds), samples)


def _busy_ns(step: Step) -> int:
    step.renew()
    return step.device.busy_ns(step)


INDICATOR = Indicator(
    name="device_time",
    title="Device time",
    unit="s",
    format="time",
    better="lower",
    scope="of one example",
    meaning="time in which the device works for one example: the union of its kernels, copies and memsets",
    source="CUPTI activity records",
    place=15,
    read=read,
)
