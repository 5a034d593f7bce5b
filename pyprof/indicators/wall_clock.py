"""Wall-clock time: a fixed set of examples from the user's own DataLoader to the last result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from pyprof.indicators.indicator import Indicator, Step
from pyprof.names import imported
from pyprof.records.reading import Reading

# A set that takes longer is gone through once.
_REPEATED_SECONDS = 5.0
_READINGS = 3
_MISSING = "no examples are named: give --loader package.module:function, whose function(length) returns a DataLoader"


def read(step: Step) -> Reading:
    """Seconds from asking for the first batch to the result of the last; the detail says what was waited for batches.

    The set is gone through three times where that takes seconds; the value is the median, from the lowest to the
    highest.
    """
    if step.loader is None:
        return Reading(None, reason=_MISSING)
    loader = imported(step.loader, "the loader")(step.length)
    step()  # what a step does only once
    passes = [_pass(step, loader)]
    while len(passes) < _READINGS and passes[0]["seconds"] < _REPEATED_SECONDS:
        passes.append(_pass(step, loader))
    seconds = [each["seconds"] for each in passes]
    if not passes[0]["batches"]:
        return Reading(None, reason=f"{step.loader} gave no batch")
    detail = {**passes[0], "waiting": median(each["waiting"] for each in passes), "passes": len(passes)}
    samples = tuple(round(each * 1e9) for each in seconds)
    return Reading(median(seconds), min(seconds), max(seconds), samples, detail=detail)


def _pass(step: Step, loader: Any) -> dict[str, Any]:
    examples = batches = 0
    waiting = 0.0
    begin = asked = time.perf_counter()
    for batch in _batches(loader):
        waiting += time.perf_counter() - asked
        step.on(*batch)
        batches += 1
        examples += _examples(batch)
        asked = time.perf_counter()
    step.device.synchronize()
    end = time.perf_counter()
    return {"seconds": end - begin, "waiting": waiting, "examples": examples, "batches": batches}


def _batches(loader: Any) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Each batch as arguments: a mapping by name, a tuple or a list by position, and a tensor alone."""
    for batch in loader:
        if isinstance(batch, Mapping):
            yield (), dict(batch)
        else:
            yield (tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)), {}


def _examples(batch: tuple[tuple[Any, ...], dict[str, Any]]) -> int:
    first = next(iter((*batch[0], *batch[1].values())), ())
    return len(first)


INDICATOR = Indicator(
    name="wall_clock",
    title="Wall-clock time",
    unit="s",
    format="time",
    better="lower",
    scope="of a set of examples",
    meaning="time for a fixed set of examples from the user's DataLoader, the waiting for its batches included",
    source="Dehghani et al., The Efficiency Misnomer, ICLR 2022",
    modes=("infer", "train"),
    usual=False,
    place=18,
    read=read,
)
