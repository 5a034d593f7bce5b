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
from pyprof.names import is_reference, nearest
from pyprof.plain import printable, shown
from pyprof.quantity import parse_size
from pyprof.records import validate
from pyprof.records.case import ALLOCATORS, DTYPES, LAUNCHES, MODES, OPTIMIZERS, RANKS, USUAL_MODES, Mode
from pyprof.records.costs import Costs, read_costs
from pyprof.records.published import PUBLICATIONS
from pyprof.records.study_parts import Block, Care, Training, duration, read_blocks, read_care, read_training
from pyprof.records.validate import Refused

# The dtype that is in use on the device, whichever that is: bfloat16 on a GPU, float32 on the host.
USUAL = "usual"
SIZES = ("base", "small", "tiny")
# Which names there are is known where a study is planned and settled: others may have registered more.
_DEVICE = re.compile(r"[a-z][a-z0-9_]*(:\d+)?")


@dataclass(frozen=True)
class Study:
    """A study as read: see docs and ``pyprof/studies`` for the keys. None stands for a choice left to the machine.

    `metrics` are the names of indicators, or ``package.module:NAME`` of one's own; "all" stands for all that there are,
    none for the usual ones.

    `memory_budget` is in bytes (None: most of the memory that is available), `time_budget` in seconds (None: no end),
    `batch_limit` bounds the search for the largest batch, `weights` maps models to local checkpoint directories.
    `kinds` maps models to rules for the kinds of their layers, each a regular expression on a path and a kind.
    `families` maps models to the family that they belong to, where the registry's is not meant.
    `allocator` hands out the host's memory; `allocators` has others for some of the implementations that are compared.
    `dtype` and `dtypes` are likewise those of the models, USUAL for what is in use on the device. `launches` are the
    ways in which work gets to the device, eager first: see ``Case``. `optimizer` follows the backward in train mode;
    `optimizers` are those that are compared, the first with each of the others.
    `training` says how carefully the models are trained for the qualities among the metrics.
    `reference` is the publication whose figures stand beside those of the run. `costs` are what the user knows of the
    price and the carbon of the machine's work. `loader` names the function that gives the examples of ``wall_clock``.
    `ranks` maps models whose factory returns one that is sharded already to the number of processes that it is over.
    """

    name: str
    blocks: tuple[Block, ...]
    description: str = ""
    metrics: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = USUAL_MODES
    care: Care = field(default_factory=Care)
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"
    size: str = "base"
    compiled: bool = False
    optimizer: str = "none"
    optimizers: tuple[str, ...] = ()
    threads: int | None = None
    memory_budget: int | None = None
    batch_limit: int | None = None
    time_budget: float | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    families: Mapping[str, str] = field(default_factory=dict)
    allocator: str = "default"
    allocators: Mapping[str, str] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    launches: tuple[str, ...] = ("eager",)
    reference: str = "diwan2023"
    training: Training = field(default_factory=Training)
    costs: Costs = field(default_factory=Costs)
    loader: str | None = None
    ranks: Mapping[str, int] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """All models, each once, in the order of the file."""
        return tuple(dict.fromkeys(model for block in self.blocks for model in block.models))

    def allocator_of(self, implementation: str) -> str:
        """The allocator that a comparison with these implementations is measured with."""
        return self.allocators.get(implementation, self.allocator)

    def dtype_of(self, implementation: str) -> str:
        """The dtype that a comparison with these implementations is measured in."""
        return self.dtypes.get(implementation, self.dtype)

    def ranks_of(self, model: str) -> int:
        """How many processes a model is sharded over."""
        return self.ranks.get(model, 1)

    def longest(self, model: str) -> int:
        """The longest length at which the study may measure the model."""
        return max(block.lengths.values[-1] for block in self.blocks if model in block.models)

    def to_table(self) -> dict[str, Any]:
        """The study as a TOML table; ``parse`` gives an equal study back."""
        plain = ("blocks", "care", "weights", "kinds", "families", "training", "costs", "ranks", *BY_IMPLEMENTATION)
        table = {each.name: _plain(getattr(self, each.name)) for each in fields(self) if each.name not in plain}
        table = {key: value for key, value in table.items() if value not in (None, "", [])}
        table["measure"] = asdict(self.care)
        if self.costs != Costs():
            table["costs"] = self.costs.to_table()
        for name in ("weights", "families", "ranks", *BY_IMPLEMENTATION):
            if getattr(self, name):
                table[name] = dict(getattr(self, name))
        if self.training != Training():
            table["training"] = self.training.to_table()
        if self.kinds:
            table["kinds"] = {model: [list(rule) for rule in rules] for model, rules in self.kinds.items()}
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


# The keys whose tables have values for some of the implementations, by the key that has the value for the others.
BY_IMPLEMENTATION = {"allocators": "allocator", "dtypes": "dtype"}


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
    if not name.endswith(".toml") and not (name.strip() and Path(name).exists()):
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
    study: Study = validate.checked(_study, table, where)
    return study


def _study(value: Any) -> Study:
    values = _TABLE(value)
    values["blocks"] = values.pop("comparison")
    if "measure" in values:
        values["care"] = values.pop("measure")
    study = Study(**values)
    named_models = {name: getattr(study, name) for name in ("weights", "kinds", "families", "ranks")}
    for key, named in named_models.items():
        for model in named:
            if model not in study.models:
                raise Refused(f": {key} names {shown(model)}, which the study has not: {nearest(model, study.models)}")
    if study.optimizers and study.modes != ("train",):
        raise Refused(": optimizers are compared where models are trained: set modes to train alone")
    if study.optimizers and study.optimizer != "none":
        raise Refused(": it has an optimizer for all cases and optimizers that are compared: keep one of the two")
    asked = {implementation for block in study.blocks for implementation in block.implementations}
    for key in BY_IMPLEMENTATION:
        for implementation in getattr(study, key):
            if implementation not in asked:
                raise Refused(
                    f": {key} names {shown(implementation)}, which no comparison has: {nearest(implementation, asked)}"
                )
    return study


def _parse_text(content: str, where: str) -> Study:
    try:
        table = tomllib.loads(content)
    except ValueError as error:  # of a number that is too long it is no TOMLDecodeError
        raise UsageError(f"{where} is not TOML: {printable(str(error))}") from error
    except RecursionError:
        raise UsageError(f"{where} is not a study: its lists and tables are nested too deeply") from None
    return parse(table, where)


def _studies() -> resources.abc.Traversable:
    return resources.files("pyprof.studies")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _device(value: Any) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise Refused(f"must be auto, cpu, cuda or cuda:N, not {shown(value)}")
    return value


def _loader(value: Any) -> str:
    name: str = validate.text(value)
    if not is_reference(name):
        raise Refused(f"is written package.module:function, not {shown(name)}")
    return name


def _launches(value: Any) -> tuple[str, ...]:
    launches: tuple[str, ...] = validate.listed(validate.one_of(LAUNCHES, "launch"))(value)
    return tuple(launch for launch in LAUNCHES if launch in launches)


def _rule(value: Any) -> tuple[str, str]:
    rule: tuple[str, ...] = validate.listing(validate.text)(value)
    if len(rule) != 2:
        raise Refused("has a rule that is no pair: write [REGEX, KIND], such as ['encoder\\.0', 'first block']")
    return rule[0], rule[1]


def _bytes(value: Any) -> int:
    return int(validate.quantity(parse_size, "2 GiB", validate.MOST)(value))


_TABLE = validate.table(
    {
        "name": validate.text,
        "description": validate.words,
        "metrics": validate.listed(validate.text),
        "modes": validate.listed(validate.one_of(MODES, "mode")),
        "measure": read_care,
        "seed": validate.whole(0),
        "dtype": validate.one_of((*DTYPES, USUAL), "dtype"),
        "dtypes": validate.mapping(
            validate.one_of((*DTYPES, USUAL), "dtype"), "a table from implementations (then, now, ...) to dtypes"
        ),
        "launches": _launches,
        "device": _device,
        "size": validate.one_of(SIZES, "size"),
        "compiled": validate.flag,
        "optimizer": validate.one_of(OPTIMIZERS, "optimizer"),
        "optimizers": validate.listed(validate.one_of(OPTIMIZERS, "optimizer")),
        "threads": validate.whole(1, 4096),
        "memory_budget": _bytes,
        "batch_limit": validate.whole(1, validate.LARGE),
        "time_budget": duration,
        "weights": validate.mapping(validate.text, "a table from models to directories"),
        "kinds": validate.mapping(validate.listed(_rule), "a table from models to lists of [REGEX, KIND]"),
        "families": validate.mapping(validate.text, "a table from models to families"),
        "allocator": validate.one_of(ALLOCATORS, "allocator"),
        "allocators": validate.mapping(
            validate.one_of(ALLOCATORS, "allocator"), "a table from implementations (then, now, ...) to allocators"
        ),
        "reference": validate.one_of(tuple(PUBLICATIONS), "reference"),
        "training": read_training,
        "costs": read_costs,
        "loader": _loader,
        "ranks": validate.mapping(RANKS, "a table from models to numbers of processes"),
        "comparison": read_blocks,
    },
    required=("name", "comparison"),
)
