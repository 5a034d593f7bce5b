"""A case: one point to be measured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from json.encoder import encode_basestring_ascii
from typing import Any, Literal

from pyprof.records import validate

Mode = Literal["infer", "train", "prefill", "generate"]
# Of a decoder, prefill is a prompt that fills a cache of keys and values, generate one more token that reads it.
MODES: tuple[Mode, ...] = ("infer", "train", "prefill", "generate")
# The modes of a study that names none: those that every model has.
USUAL_MODES: tuple[Mode, ...] = MODES[:2]
DTYPES = ("float32", "bfloat16", "float16", "autocast-bfloat16")
# Who hands out the host's memory; see ``pyprof.machine.allocator``.
ALLOCATORS = ("default", "keep", "jemalloc", "tcmalloc")
# How the work of a step gets to a device: launch by launch, or as one replay of a graph that was captured before.
LAUNCHES = ("eager", "graph")
# What follows the backward in train mode. momentum is SGD with it, sam sharpness-aware minimisation around that.
OPTIMIZERS = ("none", "sgd", "momentum", "adamw", "sam")
Batch = int | Literal["largest"]


@dataclass(frozen=True)
class Case:
    """One point to be measured; its key is a hash of exactly these fields.

    `model` is a registry name, an importable ``package.module:function`` or the directory of a local checkpoint.
    `length` counts the model's own unit (tokens, or pixels of a square image's side); in mode generate as many tokens
    have been read before. `batch` is a number of examples,
    or ``"largest"``: the largest that fits, found by the measurement. `attention` is the concrete implementation that
    is asked for (eager, sdpa, chunks, ...), never an alias such as "best". `dtype` is that of the weights and inputs,
    or autocast-bfloat16: float32 ones, of which torch.autocast has what it may computed in bfloat16. `allocator` hands
    out the host's memory. `launch` is eager, or graph: replays of a step that was captured into the device's graph.
    `optimizer` is one of those that a study compares; none where it has one for all cases, or none at all. `ranks` is
    how many processes the model is sharded over, each with a device of its own.
    """

    model: str
    length: int
    mode: Mode = "infer"
    attention: str = "eager"
    size: str = "base"
    batch: Batch = 1
    dtype: str = "float32"
    device: str = "cpu"
    compiled: bool = False
    weights: str | None = None
    allocator: str = "default"
    launch: str = "eager"
    optimizer: str = "none"
    ranks: int = 1

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits that identify the case in a run."""
        values = self.__dict__
        # Keys of before there was a choice of allocators, launches, optimizers or ranks stay what they were.
        names = _SORTED[self.allocator != "default", self.launch != "eager", self.optimizer != "none", self.ranks != 1]
        canonical = ",".join(f'"{name}":{_json(values[name])}' for name in names)
        return hashlib.sha256(f"{{{canonical}}}".encode()).hexdigest()[:16]

    def __str__(self) -> str:
        batch = "largest batch" if self.batch == "largest" else f"batch {self.batch}"
        parts = [
            self.model,
            self.size,
            f"length {self.length}",
            self.mode,
            self.attention,
            batch,
            self.dtype,
            self.device,
        ]
        if self.compiled:
            parts.append("compiled")
        if self.allocator != "default":
            parts.append(f"allocator {self.allocator}")
        if self.launch != "eager":
            parts.append(f"launch {self.launch}")
        if self.optimizer != "none":
            parts.append(f"optimizer {self.optimizer}")
        if self.ranks > 1:
            parts.append(f"{self.ranks} ranks")
        return " ".join(parts)

    @property
    def how(self) -> str:
        """How the model is run: "sdpa", or "sdpa, graph"."""
        return run_as(self.attention, self.launch, self.optimizer)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Case:
        """Rebuild a case from its JSON object; raises UsageError where a field is missing, unknown or damaged."""
        case: Case = validate.checked(CASE, data, "the case")
        return case


def run_as(attention: str, launch: str, optimizer: str) -> str:
    """An implementation of attention, with the launch where it is a graph and the optimizer where they are compared."""
    return ", ".join((attention, *(each for each in (launch, optimizer) if each not in _LATER.values())))


def _json(value: str | int | bool | None) -> str:
    """A plain value as JSON: a large run needs a key for every case, and an encoder takes several times as long."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    return _WORDS[value] if value is None or isinstance(value, bool) else str(value)


# Fields that came later, with what every case had before.
_LATER: Mapping[str, str | int] = {"allocator": "default", "launch": "eager", "optimizer": "none", "ranks": 1}
_WORDS = {None: "null", True: "true", False: "false"}
_batch = validate.whole(1, validate.LARGE)
# The most processes that a model is sharded over.
MOST_RANKS = 64
RANKS = validate.whole(1, MOST_RANKS)
# What a batch may be: a number of examples, or "largest".
BATCH: validate.Check = lambda value: value if value == "largest" else _batch(value)  # noqa: E731
_SETTINGS: Mapping[str, validate.Check] = {
    "mode": validate.one_of(MODES, "mode"),
    "attention": validate.text,
    "size": validate.text,
    "batch": BATCH,
    "dtype": validate.one_of(DTYPES, "dtype"),
    "device": validate.text,
    "compiled": validate.flag,
    "weights": validate.optional(validate.text),
    "allocator": validate.one_of(ALLOCATORS, "allocator"),
    "launch": validate.one_of(LAUNCHES, "launch"),
    "optimizer": validate.one_of(OPTIMIZERS, "optimizer"),
    "ranks": RANKS,
}
CASE = validate.instance(
    Case, absent=_SETTINGS, model=validate.text, length=validate.whole(1, validate.LARGE), **_SETTINGS
)
_SORTED = {
    chosen: tuple(
        name
        for name in sorted(("model", "length", *_SETTINGS))
        if dict(zip(_LATER, chosen, strict=True)).get(name, True)
    )
    for chosen in product((False, True), repeat=len(_LATER))
}
