"""Study files: which cases, how carefully, and which comparisons, as TOML.

A study is read, checked and held in frozen dataclasses; narrowing it from the command line goes through the same
checks.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from pyprof.errors import UsageError
from pyprof.names import nearest
from pyprof.quantity import parse_duration, parse_size
from pyprof.records import validate
from pyprof.records.case import ALLOCATORS, DTYPES, MODES, Mode

MAX_LENGTHS = 10_000
OPTIMIZERS = ("none", "sgd", "adamw")
SIZES = ("base", "tiny")
# Which names there are is known where a study is planned and settled: others may have registered more.
_DEVICE = re.compile(r"[a-z][a-z0-9_]*(:\d+)?")


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


@dataclass(frozen=True)
class Study:
    """A study as read: see docs and ``pyprof/studies`` for the keys. None stands for a choice left to the machine.

    `metrics` are the names of indicators, or ``package.module:NAME`` of one's own; none stands for all that there are.

    `memory_budget` is in bytes (None: most of the memory that is available), `time_budget` in seconds (None: no end),
    `batch_limit` bounds the search for the largest batch, `weights` maps models to local checkpoint directories.
    `allocator` hands out the host's memory; `allocators` has others for some of the implementations that are compared.
    """

    name: str
    blocks: tuple[Block, ...]
    description: str = ""
    metrics: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = MODES
    care: Care = field(default_factory=Care)
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"
    size: str = "base"
    compiled: bool = False
    optimizer: str = "none"
    threads: int | None = None
    memory_budget: int | None = None
    batch_limit: int | None = None
    time_budget: float | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    allocator: str = "default"
    allocators: Mapping[str, str] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """All models, each once, in the order of the file."""
        return tuple(dict.fromkeys(model for block in self.blocks for model in block.models))

    def allocator_of(self, implementation: str) -> str:
        """The allocator that a comparison with these implementations is measured with."""
        return self.allocators.get(implementation, self.allocator)

    def longest(self, model: str) -> int:
        """The longest length at which the study may measure the model."""
        return max(block.lengths.values[-1] for block in self.blocks if model in block.models)

    def to_table(self) -> dict[str, Any]:
        """The study as a TOML table; ``parse`` gives an equal study back."""
        plain = ("blocks", "care", "weights", "allocators")
        table = {each.name: _plain(getattr(self, each.name)) for each in fields(self) if each.name not in plain}
        table = {key: value for key, value in table.items() if value not in (None, "", [])}
        table["measure"] = asdict(self.care)
        for name in ("weights", "allocators"):
            if getattr(self, name):
                table[name] = dict(getattr(self, name))
        table["comparison"] = [
            {
                "vanilla": block.vanilla,
                "variants": list(block.variants),
                "lengths": block.lengths.to_table(),
                "implementations": list(block.implementations),
            }
            for block in self.blocks
        ]
        return table


def senses(implementation: str) -> tuple[str, str]:
    """What the vanilla model and its variants are asked for in a comparison: "then", "best", or an implementation."""
    ours, slash, theirs = implementation.partition("/")
    return _SENSES.get(ours, ours), _SENSES.get(theirs, theirs) if slash else _SENSES.get(ours, ours)


_SENSES = {"now": "best"}


def built_in() -> tuple[str, ...]:
    """The names of the studies that come with pyprof."""
    return tuple(sorted(Path(each.name).stem for each in _studies().iterdir() if each.name.endswith(".toml")))


def load(name: str) -> Study:
    """Read a built-in study or a TOML file; raises UsageError."""
    if name in built_in():
        return _parse_text((_studies() / f"{name}.toml").read_text(encoding="utf-8"), name)
    if not name.endswith(".toml") and not Path(name).exists():
        raise UsageError(f"there is no study {name!r}: {nearest(name, built_in())}, or give a TOML file")
    return read(Path(name))


def read(path: Path) -> Study:
    """Read a study file; raises UsageError that begins with the file's name."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(f"the study file {path} cannot be read ({reason}): check its name") from error
    return _parse_text(content, str(path))


def parse(table: Mapping[str, Any], where: str) -> Study:
    """Build a study from a TOML table, `where` being what messages begin with; raises UsageError.

    Whether the models and the metrics exist and can do what is asked is checked when it is resolved
    (``pyprof.study.resolve``).
    """
    values = validate.table(table, where, _STUDY, required=("name", "comparison"))
    values["blocks"] = values.pop("comparison")
    if "measure" in values:
        values["care"] = values.pop("measure")
    study = Study(**values)
    for model in study.weights:
        if model not in study.models:
            raise UsageError(
                f"{where}: weights names {model!r}, which the study has not: {nearest(model, study.models)}"
            )
    asked = {implementation for block in study.blocks for implementation in block.implementations}
    for implementation in study.allocators:
        if implementation not in asked:
            raise UsageError(
                f"{where}: allocators names {implementation!r}, which no comparison has: "
                f"{nearest(implementation, asked)}"
            )
    return study


def _parse_text(content: str, where: str) -> Study:
    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not TOML: {error}") from error
    return parse(table, where)


def _studies() -> resources.abc.Traversable:
    return resources.files("pyprof.studies")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _device(value: object, where: str) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise UsageError(f"{where} must be auto, cpu, cuda or cuda:N, not {value!r}")
    return value


def _lengths(value: object, where: str) -> Lengths:
    if not isinstance(value, Mapping):
        return Lengths(tuple(sorted(_LENGTH_LIST(value, where))))
    table = validate.table(value, where, _LENGTHS)
    if "values" in table:
        if {"start", "stop", "step"} & set(table):
            raise UsageError(f"{where} has values and a range: keep one of the two")
        values = tuple(sorted(table["values"]))
    else:
        values = _range(table, where)
    if "tolerance" in table and not table.get("auto"):
        raise UsageError(f"{where} has a tolerance, which only auto = true uses: add that or remove it")
    return Lengths(values, table.get("auto", False), table.get("tolerance", 0))


def _range(table: Mapping[str, Any], where: str) -> tuple[int, ...]:
    for key in ("start", "stop", "step"):
        if key not in table:
            raise UsageError(f"{where} lacks {key}: give start, stop and step, or a list")
    start, stop, step = table["start"], table["stop"], table["step"]
    if stop < start:
        raise UsageError(f"{where}: stop ({stop}) is below start ({start}): swap them")
    lengths = range(start, stop + 1, step)
    if len(lengths) > MAX_LENGTHS:
        raise UsageError(
            f"{where} has {len(lengths)} lengths and at most {MAX_LENGTHS} are possible: use a larger step"
        )
    return tuple(lengths)


def _block(value: object, where: str) -> Block:
    table = validate.table(value, where, _BLOCK, required=("vanilla", "lengths"))
    block = Block(**table)
    if block.vanilla in block.variants:
        raise UsageError(f"{where} compares {block.vanilla!r} with itself: take it out of the variants")
    return block


def _blocks(value: object, where: str) -> tuple[Block, ...]:
    if not isinstance(value, list) or not value:
        raise UsageError(f"{where} must be written as [[comparison]], at least once")
    return tuple(_block(item, f"{where} {number}") for number, item in enumerate(value, start=1))


def _care(value: object, where: str) -> Care:
    care = Care(**validate.table(value, where, _CARE))
    if care.max_samples < care.min_samples:
        raise UsageError(
            f"{where}: max_samples ({care.max_samples}) is below min_samples ({care.min_samples}): raise it"
        )
    return care


def _weights(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a table from models to directories")
    return {model: validate.text(path, f"{where}: {model}") for model, path in value.items()}


def _allocators(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a table from implementations (then, now, ...) to allocators")
    choice = validate.one_of(ALLOCATORS, "allocator")
    return {implementation: choice(name, f"{where}: {implementation}") for implementation, name in value.items()}


def _bytes(value: object, where: str) -> int:
    return int(validate.quantity(parse_size, "2 GiB")(value, where))


_duration = validate.quantity(parse_duration, "8 min")
_LENGTH_LIST = validate.listed(validate.whole(1))
_LENGTHS: Mapping[str, validate.Check] = {
    "start": validate.whole(1),
    "stop": validate.whole(1),
    "step": validate.whole(1),
    "values": _LENGTH_LIST,
    "auto": validate.flag,
    "tolerance": validate.whole(0),
}
_BLOCK: Mapping[str, validate.Check] = {
    "vanilla": validate.text,
    "variants": lambda value, where: () if value == [] else validate.listed(validate.text)(value, where),
    "lengths": _lengths,
    "implementations": validate.listed(validate.text),
}
_CARE: Mapping[str, validate.Check] = {
    "precision": validate.real(0, 1),
    "min_samples": validate.whole(1),
    "max_samples": validate.whole(1),
    "max_seconds": _duration,
    "timeout": _duration,
}
_STUDY: Mapping[str, validate.Check] = {
    "name": validate.text,
    "description": validate.text,
    "metrics": validate.listed(validate.text),
    "modes": validate.listed(validate.one_of(MODES, "mode")),
    "measure": _care,
    "seed": validate.whole(0, 2**63 - 1),
    "dtype": validate.one_of(DTYPES, "dtype"),
    "device": _device,
    "size": validate.one_of(SIZES, "size"),
    "compiled": validate.flag,
    "optimizer": validate.one_of(OPTIMIZERS, "optimizer"),
    "threads": validate.whole(1, 4096),
    "memory_budget": _bytes,
    "batch_limit": validate.whole(1),
    "time_budget": _duration,
    "weights": _weights,
    "allocator": validate.one_of(ALLOCATORS, "allocator"),
    "allocators": _allocators,
    "comparison": _blocks,
}
