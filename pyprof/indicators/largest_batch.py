"""The largest batch: how many examples of a given length fit into the memory budget at once."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator, Search
from pyprof.records.reading import Reading


def read(search: Search) -> Reading:
    """The batch of the throughput; the detail has its peak, and what ended the search where memory did not."""
    found = search.throughput()
    batch = int(found.detail["batch"])
    kept = {name: found.detail[name] for name in ("peak", "limited_by") if name in found.detail}
    return Reading(float(batch), samples=(batch,), reason=found.reason, detail=kept)


INDICATOR = Indicator(
    name="largest_batch",
    title="Largest batch",
    unit="examples",
    better="higher",
    scope="that fits the memory budget",
    meaning="how many examples of a given length fit the memory budget at once, confirmed in a fresh process",
    source="You, Sun, Iyyer, ACL 2020",
    exact=True,
    batch="largest",
    place=21,
    how="searched",
    usual=False,
    read=read,
)
