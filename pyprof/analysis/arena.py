"""Long Range Arena's table of speed and memory beside a run: ratios to the vanilla Transformer, and their order."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations
from typing import Any

from pyprof.analysis.curves import Curve, Curves, Setting

PREFIX = "lra-"
VANILLA = "transformer"


@dataclass(frozen=True)
class ArenaCell:
    """One model at one length, as ratios to the vanilla Transformer there; ours are None where it was not measured.

    Speeds are steps a second, memory is the peak of a step.
    """

    model: str
    length: int
    speed: float | None
    published_speed: float
    memory: float | None
    published_memory: float


@dataclass(frozen=True)
class ArenaTable:
    """All models in one setting, and how their order by speed at the longest length relates to the published one.

    `correlation` is Spearman's, of the models that were measured there, None for fewer than three. `differing` holds
    the pairs whose order is another one here: (faster here, faster there).
    """

    setting: Setting
    source: str
    cells: tuple[ArenaCell, ...]
    longest: int | None
    correlation: float | None
    differing: tuple[tuple[str, str], ...]


def arena_tables(curves: Curves) -> tuple[ArenaTable, ...]:
    """A table for each setting in which the arena's vanilla Transformer was trained."""
    settings = [
        setting
        for subject, setting in curves.ok
        if subject.model == PREFIX + VANILLA and setting.mode == "train" and setting.batch != "largest"
    ]
    return tuple(filter(None, (_table(curves, setting) for setting in dict.fromkeys(settings))))


def _table(curves: Curves, setting: Setting) -> ArenaTable | None:
    published = _published()
    own: dict[str, Curve] = {
        subject.model.removeprefix(PREFIX): curve
        for (subject, its), curve in curves.ok.items()
        if its == setting and subject.model.startswith(PREFIX)
    }
    lengths: Sequence[int] = [length for length in published["lengths"] if length in own[VANILLA]]
    if len(own) < 2 or not lengths:
        return None
    cells = []
    for model, speeds in published["steps_per_second"].items():
        for length in lengths:
            at = published["lengths"].index(length)
            memory = published["peak_memory_gb"]
            seconds, taken = (_ratio(own, model, length, name) for name in ("latency", "peak_memory"))
            cells.append(
                ArenaCell(
                    model=model,
                    length=length,
                    speed=None if seconds is None else 1 / seconds,
                    published_speed=speeds[at] / published["steps_per_second"][VANILLA][at],
                    memory=taken,
                    published_memory=memory[model][at] / memory[VANILLA][at],
                )
            )
    longest = lengths[-1]
    there = [cell for cell in cells if cell.length == longest]
    ours = {cell.model: cell.speed for cell in there if cell.speed is not None}
    theirs = {cell.model: cell.published_speed for cell in there if cell.speed is not None}
    return ArenaTable(
        setting, published["source"], tuple(cells), longest, rank_correlation(ours, theirs), differing(ours, theirs)
    )


def _ratio(own: Mapping[str, Curve], model: str, length: int, indicator: str) -> float | None:
    values = []
    for name in (model, VANILLA):
        record = own.get(name, {}).get(length)
        reading = None if record is None else record.indicators.get(indicator)
        value = None if reading is None else reading.value
        if not value:
            return None
        values.append(value)
    return values[0] / values[1]


def rank_correlation(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float | None:
    """Spearman's correlation of two figures of the same names, equal ones at their mean rank.

    None for fewer than three names, and where all figures of one are equal.
    """
    if len(ours) < 3:
        return None
    first, second = ([_rank(values, name) for name in ours] for values in (ours, theirs))
    middle = (len(ours) + 1) / 2
    spreads = [sum((rank - middle) ** 2 for rank in ranks) for ranks in (first, second)]
    if not all(spreads):
        return None
    together = sum((a - middle) * (b - middle) for a, b in zip(first, second, strict=True))
    return together / math.sqrt(spreads[0] * spreads[1])


def _rank(values: Mapping[str, float], name: str) -> float:
    less = sum(value < values[name] for value in values.values())
    equal = sum(value == values[name] for value in values.values())
    return less + (equal + 1) / 2


def differing(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    """The pairs of names whose order is not that of the other figures: (higher in ours, higher in theirs)."""
    pairs = []
    for a, b in combinations(ours, 2):
        if (ours[a] - ours[b]) * (theirs[a] - theirs[b]) < 0:
            pairs.append((a, b) if ours[a] > ours[b] else (b, a))
    return tuple(pairs)


@cache
def _published() -> Mapping[str, Any]:
    data = tomllib.loads(files("pyprof.reference").joinpath("lra.toml").read_text(encoding="utf-8"))
    return {"source": data["source"], **data["efficiency"]}
