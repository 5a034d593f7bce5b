"""The plan of a training: how many steps, of what, at which learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyprof.errors import UsageError

SCHEDULES = ("constant", "linear", "cosine", "rsqrt")
OPTIMIZERS = ("adamw", "adafactor", "sgd")
DTYPES = ("float32", "autocast-bfloat16")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a model is trained; raises UsageError where a value makes no sense.

    `learning_rate` is the highest one, reached after `warmup` steps of a linear rise; from there on it stays
    (constant), falls to zero at the last step in a line (linear) or as a cosine, or falls with the square root of the
    steps (rsqrt, as Long Range Arena's text tasks have it). `batch` examples make a step, in `accumulate` parts that
    are computed one after the other. `clip` bounds the norm of the gradient, 0 for no bound. `check_every` are the
    steps between two looks at the validation examples, 0 for none; `save_every` those between two checkpoints, 0 for as
    many as take the seconds that whoever trains asks for.
    """

    steps: int
    batch: int = 32
    learning_rate: float = 1e-3
    warmup: int = 0
    schedule: str = "cosine"
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    dtype: str = "float32"
    accumulate: int = 1
    check_every: int = 0
    save_every: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("batch", 1),
            ("accumulate", 1),
            ("warmup", 0),
            ("check_every", 0),
            ("save_every", 0),
        ):
            if getattr(self, name) < least:
                raise UsageError(f"{name} of a training has to be at least {least}, not {getattr(self, name)}")
        if self.batch % self.accumulate:
            raise UsageError(f"a batch of {self.batch} cannot be split into {self.accumulate} equal parts")
        for name, known in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS), ("dtype", DTYPES)):
            if getattr(self, name) not in known:
                raise UsageError(f"there is no {name} {getattr(self, name)!r}: choose from {', '.join(known)}")

    def but(self, **changes: Any) -> Plan:
        """The same plan with some values changed; those that are None stay."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def rate(self, step: int) -> float:
        """The share of the highest learning rate that step number `step`, from 0, is taken with."""
        from math import cos, pi, sqrt

        if step < self.warmup:
            return (step + 1) / self.warmup
        past = (step - self.warmup) / max(self.steps - self.warmup, 1)
        if self.schedule == "linear":
            return max(0.0, 1 - past)
        if self.schedule == "cosine":
            return max(0.0, (1 + cos(pi * min(past, 1.0))) / 2)
        if self.schedule == "rsqrt":
            return sqrt(max(self.warmup, 1) / max(step + 1, 1))
        return 1.0

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {**asdict(self), "betas": list(self.betas)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Rebuild a plan from its JSON object; raises UsageError for a value that makes no sense."""
        return cls(**{**data, "betas": tuple(data["betas"])})
