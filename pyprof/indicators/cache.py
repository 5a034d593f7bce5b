"""The cache of a decoder: what it keeps of the tokens that it has read, so that it need not read them again."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading


def count(step: Step) -> Reading:
    """Bytes of the cache with which one more token is made, each storage once; the detail has those of a token."""
    from pyprof.device.memory import cache_in, resident_bytes

    step.renew()
    held = resident_bytes(None, cache_in(step.inputs[1]))
    return Reading(float(held), detail={"per_token": held / (step.batch * step.length)})


INDICATOR = Indicator(
    name="cache",
    title="Cache",
    unit="B",
    format="bytes",
    better="lower",
    scope="of one example",
    meaning="bytes of keys and values (or states) that a decoder keeps of the tokens before the next one",
    source="Pope et al., Efficiently Scaling Transformer Inference, MLSys 2023",
    exact=True,
    modes=("generate",),
    place=32,
    read=count,
)
