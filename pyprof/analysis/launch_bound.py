"""Steps that wait for their launches: the device works for less than half of the time that they take."""

from __future__ import annotations

from pyprof.records.record import Record

# Of a latency; a device that fills less of it is waiting for the host most of the time.
LEAST_FILLED = 0.5


def launch_bound(record: Record) -> bool | None:
    """Whether the latency of a case is the host's rather than the device's; None where the device's is not known."""
    latency, busy = (record.indicators.get(name) for name in ("latency", "device_time"))
    if latency is None or busy is None or not latency.value or busy.value is None:
        return None
    return busy.value < LEAST_FILLED * latency.value
