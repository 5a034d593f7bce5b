"""The parts of a study file: the lengths, the comparisons, and how carefully a case is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pyprof.errors import UsageError
from pyprof.plain import shown
from pyprof.quantity import LONGEST_SECONDS, parse_duration, parse_share
from pyprof.records import validate
from pyprof.records.validate import Refused

MAX_LENGTHS = 10_000
MAX_SAMPLES = 1_000_000


@dataclass(frozen=True)
class Lengths:
    """The lengths at which a comparison may be measured, ascending.

    With `auto` only the ends, a coarse grid and what narrows a crossing are measured, until the gap around the crossing
    is at most `tolerance` wide (0: until it lies between two neighbouring lengths). Otherwise every length is measured.
    """

    values: tuple[int, ...]
    auto: bool = False
    tolerance: int = 0

    def to_table(self) -> dict[str, Any]:
        steps = {second - first for first, second in zip(self.values, self.values[1:], strict=False)}
        table: dict[str, Any] = {"values": list(self.values)}
        if len(steps) == 1 and len(self.values) > 2:
            table = {"start": self.values[0], "stop": self.values[-1], "step": steps.pop()}
        if self.auto:
            table |= {"auto": True, "tolerance": self.tolerance}
        return table


@dataclass(frozen=True)
class Block:
    """One comparison: a vanilla model, its variants, the lengths and the attention implementations to compare.

    An implementation is "then" (the one of the 2023 study, eager against eager), "now" (each model's best), the name of
    one for all models ("sdpa"), or two names ("sdpa/eager": the vanilla model's and the variants').
    """

    vanilla: str
    lengths: Lengths
    variants: tuple[str, ...] = ()
    implementations: tuple[str, ...] = ("then", "now")

    @property
    def models(self) -> tuple[str, ...]:
        return (self.vanilla, *self.variants)


@dataclass(frozen=True)
class Care:
    """How carefully a case is measured: times in seconds, `precision` relative to the median."""

    precision: float = 0.02
    min_samples: int = 6
    max_samples: int = 100
    max_seconds: float = 10.0
    timeout: float = 900.0


# Seconds between two checkpoints of a training, unless something else is asked for.
CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True)
class Training:
    """How carefully a study trains for the qualities among its metrics.

    Each model is trained from `seeds` seeds, which five and more give an interval; `budget` bounds the seconds of a
    training and `steps` its steps, None for the task's own plan. `data` maps tasks to the directories of their data,
    and `control` trains on shuffled labels as well. What a training has learnt is kept every `checkpoint_every`
    seconds. `check_every` are the steps between two looks at validation examples, None for those of the task's plan.
    """

    seeds: int = 5
    budget: float | None = None
    steps: int | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    control: bool = False
    checkpoint_every: float = CHECKPOINT_SECONDS
    check_every: int | None = None

    def to_table(self) -> dict[str, Any]:
        """The TOML table, without what is left to the task."""
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}


def _lengths(value: Any) -> Lengths:
    if not isinstance(value, Mapping):
        return Lengths(tuple(sorted(_LENGTH_LIST(value))))
    table = _LENGTHS(value)
    if "values" in table:
        if {"start", "stop", "step"} & set(table):
            raise Refused("has values and a range: keep one of the two")
        values = tuple(sorted(table["values"]))
    else:
        values = _range(table)
    if "tolerance" in table and not table.get("auto"):
        raise Refused("has a tolerance, which only auto = true uses: add that or remove it")
    return Lengths(values, table.get("auto", False), table.get("tolerance", 0))


def _range(table: Mapping[str, Any]) -> tuple[int, ...]:
    for key in ("start", "stop", "step"):
        if key not in table:
            raise Refused(f"lacks {key}: give start, stop and step, or a list")
    start, stop, step = table["start"], table["stop"], table["step"]
    if stop < start:
        raise Refused(f": stop ({stop}) is below start ({start}): swap them")
    lengths = range(start, stop + 1, step)
    if len(lengths) > MAX_LENGTHS:
        raise Refused(f"has {len(lengths)} lengths and at most {MAX_LENGTHS} are possible: use a larger step")
    return tuple(lengths)


def _length_list(value: Any) -> tuple[int, ...]:
    lengths: tuple[int, ...] = validate.listed(_LENGTH)(value)
    if len(lengths) > MAX_LENGTHS:
        raise Refused(f"has {len(lengths)} lengths and at most {MAX_LENGTHS} are possible: name fewer")
    return lengths


def _block(value: Any) -> Block:
    block = Block(**_BLOCK(value))
    if block.vanilla in block.variants:
        raise Refused(f"compares {shown(block.vanilla)} with itself: take it out of the variants")
    return block


def read_blocks(value: Any) -> tuple[Block, ...]:
    """The comparisons of a study, as read from TOML; raises Refused."""
    if not isinstance(value, list) or not value:
        raise Refused("must be written as [[comparison]], at least once")
    blocks: tuple[Block, ...] = validate.listing(_block)(value)
    return blocks


def read_care(value: Any) -> Care:
    """How carefully to measure, as read from TOML; raises Refused."""
    care = Care(**_CARE(value))
    if care.max_samples < care.min_samples:
        raise Refused(f": max_samples ({care.max_samples}) is below min_samples ({care.min_samples}): raise it")
    return care


def read_training(value: Any) -> Training:
    """How carefully to train, as read from TOML; raises Refused."""
    return Training(**_TRAINING(value))


def _precision(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = parse_share(value)
        except UsageError as error:
            raise Refused(f": {error}") from error
    share: float = validate.real(0, 1)(value)
    return share


duration = validate.quantity(parse_duration, "8 min", LONGEST_SECONDS)
_LENGTH = validate.whole(1, validate.LARGE)
_LENGTH_LIST = _length_list
_LENGTHS = validate.table(
    {
        "start": _LENGTH,
        "stop": _LENGTH,
        "step": _LENGTH,
        "values": _LENGTH_LIST,
        "auto": validate.flag,
        "tolerance": validate.whole(0),
    }
)
_BLOCK = validate.table(
    {
        "vanilla": validate.text,
        "variants": lambda value: () if value == [] else validate.listed(validate.text)(value),
        "lengths": _lengths,
        "implementations": validate.listed(validate.text),
    },
    required=("vanilla", "lengths"),
)
_CARE = validate.table(
    {
        "precision": _precision,
        "min_samples": validate.whole(1, MAX_SAMPLES),
        "max_samples": validate.whole(1, MAX_SAMPLES),
        "max_seconds": duration,
        "timeout": duration,
    }
)
_TRAINING = validate.table(
    {
        "seeds": validate.whole(1, 1000),
        "budget": duration,
        "steps": validate.whole(1, validate.LARGE),
        "data": validate.mapping(validate.text, "a table from tasks to directories"),
        "control": validate.flag,
        "checkpoint_every": duration,
        "check_every": validate.whole(1, validate.LARGE),
    }
)
