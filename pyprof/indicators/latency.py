"""Latency: how long one example takes."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator

INDICATOR = Indicator(
    name="latency",
    title="Latency",
    unit="s",
    format="time",
    better="lower",
    scope="of one example",
    meaning="time to process one example of a given length",
    source="Diwan, Choi, Harwath, ACL 2023",
    headline=True,
    place=10,
    how="timed",
)
