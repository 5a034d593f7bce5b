"""Sample efficiency: how many examples a model is trained on before it reaches the quality that the user names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pyprof.indicators.indicator import Indicator
from pyprof.records.case import Case
from pyprof.records.costs import Costs
from pyprof.records.reading import Reading
from pyprof.statistics.estimate import CONFIDENCE, FEWEST_SAMPLES
from pyprof.statistics.student import student_half_width

_NOT_TRAINED = "no model was trained here: name a quality such as listops_accuracy among the metrics"
_NO_TARGET = "nobody has said which quality is to be reached: give --target 0.8"
_NO_LOOKS = "the trainings took no looks at validation examples: set check_every under [training]"


@dataclass(frozen=True)
class _Reached:
    """The examples seen by the first look that found the quality, and by the look before; None where none found it."""

    seed: int
    examples: int | None
    before: int
    seen: int
    best: float | None


def read(case: Case, readings: Mapping[str, Reading], costs: Costs) -> Reading:
    """Examples seen by the first look at validation examples that finds the quality of `costs.target`, mean over seeds.

    The interval is Student's, from five seeds on; its lower end is that of the looks before, since the quality came
    between two looks. There is no value where a seed does not reach the quality: the mean of the others flatters.
    """
    trained = {name: each for name, each in readings.items() if "plan" in each.detail and "seeds" in each.detail}
    if not trained:
        return Reading(None, reason=_NOT_TRAINED)
    if not costs.target:
        return Reading(None, reason=_NO_TARGET)
    named = {name: level for name in trained if (level := costs.target.get(name)) is not None}
    if not named and "" in costs.target:
        named = dict.fromkeys(trained, costs.target[""])
    if len(named) != 1:
        known = " and ".join(trained)
        return Reading(None, reason=f"the target has to name one of the qualities {known}: give --target NAME=0.8")
    ((name, level),) = named.items()
    return _of(name, level, trained[name].detail)


def _of(name: str, level: float, detail: Mapping[str, Any]) -> Reading:
    higher = detail["metric"]["better"] == "higher"
    found = list(_reached(detail["seeds"], detail["plan"]["batch"], level, higher=higher))
    if not any(each["curve"] for each in detail["seeds"]):
        return Reading(None, reason=_NO_LOOKS)
    told = {
        "quality": name,
        "target": level,
        "check_every": detail["plan"]["check_every"] * detail["plan"]["batch"],
        "seeds": [
            {"seed": each.seed, "examples": each.examples, "seen": each.seen, "best": each.best} for each in found
        ],
    }
    missed = [each for each in found if each.examples is None]
    if missed:
        came = [each.best for each in missed if each.best is not None]
        reason = (
            f"{len(missed)} of {len(found)} trainings did not reach {level:g} within "
            f"{max(each.seen for each in missed):,} examples"
            + (f": they came to {(max if higher else min)(came):.3g} at best" if came else "")
        )
        return Reading(None, reason=reason, detail=told)
    firsts = [float(each.examples or 0) for each in found]
    low, high = _interval(firsts, [float(each.before) for each in found])
    return Reading(fmean(firsts), low, high, detail=told)


def _reached(seeds: Sequence[Mapping[str, Any]], batch: int, level: float, *, higher: bool) -> Iterator[_Reached]:
    for each in seeds:
        curve = [(step * batch, quality) for step, quality in each["curve"]]
        reaching = (quality >= level if higher else quality <= level for _, quality in curve)
        first = next((number for number, there in enumerate(reaching) if there), None)
        qualities = [quality for _, quality in curve if math.isfinite(quality)]
        yield _Reached(
            seed=each["seed"],
            examples=None if first is None else curve[first][0],
            before=curve[first - 1][0] if first else 0,
            seen=each["examples"],
            best=(max if higher else min)(qualities, default=None),
        )


def _interval(firsts: Sequence[float], befores: Sequence[float]) -> tuple[float | None, float | None]:
    """Student's bounds of the mean, the lower one of the looks before: the quality came somewhere between the two."""
    if len(firsts) < FEWEST_SAMPLES:
        return None, None
    low = fmean(befores) - student_half_width(befores, CONFIDENCE)
    return max(0.0, low), fmean(firsts) + student_half_width(firsts, CONFIDENCE)


INDICATOR = Indicator(
    name="sample_efficiency",
    title="Sample efficiency",
    unit="1",
    short_unit="examples",
    format="count",
    better="lower",
    scope="examples seen, trained from several seeds",
    meaning="examples that a model is trained on until a look at validation examples first finds the quality that the "
    "user names, repeated ones counted, a mean over seeds",
    source="Dehghani et al., The Efficiency Misnomer, ICLR 2022",
    varies_with_length=False,
    modes=("train",),
    usual=False,
    place=210,
    how="derived",
    read=read,
)
