"""Throughput: how many examples a second at the largest batch that fits."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator, Search
from pyprof.records.reading import Reading


def read(search: Search) -> Reading:
    """The throughput at the largest batch, with its interval; the detail has the batch and the best one."""
    return search.throughput()


INDICATOR = Indicator(
    name="throughput",
    title="Throughput",
    unit="examples/s",
    short_unit="1/s",
    better="higher",
    scope="at the largest batch that fits",
    meaning="examples of a given length per second, at the largest batch that fits the memory budget",
    source="Diwan, Choi, Harwath, ACL 2023",
    batch="largest",
    place=20,
    how="searched",
    read=read,
)
