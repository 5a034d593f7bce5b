"""What is compared with what: a variant with its vanilla model, each with one attention implementation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyprof.records import validate
from pyprof.records.case import ALLOCATORS, DTYPES, LAUNCHES, OPTIMIZERS, run_as


@dataclass(frozen=True)
class Subject:
    """What has a curve: a model with one attention implementation, launch and optimizer, maybe loaded weights."""

    model: str
    attention: str
    weights: str | None = None
    launch: str = "eager"
    optimizer: str = "none"

    def __str__(self) -> str:
        return f"{self.model} {self.how}" + (f" ({self.weights})" if self.weights else "")

    @property
    def how(self) -> str:
        """How the model is run: "sdpa", or "sdpa, graph"."""
        return run_as(self.attention, self.launch, self.optimizer)


@dataclass(frozen=True)
class ModelFacts:
    """What the analysis has to know of a model.

    `attentions` are its implementations, best first; `then` is the one that is comparable with 2023. `periods` is the
    number of units to whose multiples the model pads its input with an implementation, which makes its cost a
    staircase; implementations that do not pad are not in it. `complexity` is the growth that the model's source claims,
    an expression in the length, and `claims` its values at the study's lengths.
    """

    modality: str = "other"
    unit: str = "unit"
    vanilla: str | None = None
    family: str | None = None
    attentions: tuple[str, ...] = ()
    then: str | None = None
    periods: Mapping[str, int] = field(default_factory=dict)
    complexity: str | None = None
    claims: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """A variant against its vanilla model.

    `name` says in which sense they are compared: "then" is eager against eager, as in 2023, "now" best against best.
    `allocator` hands out the host's memory to both, and both are of one `dtype`. A model whose steps are captured in a
    graph is a variant of the same model without that, and one that another optimizer trains is a variant of itself.
    """

    name: str
    variant: str
    variant_attention: str
    vanilla: str
    vanilla_attention: str
    modality: str
    unit: str
    period: int | None = None
    allocator: str = "default"
    dtype: str = "float32"
    variant_launch: str = "eager"
    vanilla_launch: str = "eager"
    variant_optimizer: str = "none"
    vanilla_optimizer: str = "none"

    @property
    def variant_how(self) -> str:
        """How the variant is run: "sdpa", or "sdpa, graph"."""
        return run_as(self.variant_attention, *self._variant_way)

    @property
    def vanilla_how(self) -> str:
        """How the vanilla model is run."""
        return run_as(self.vanilla_attention, *self._vanilla_way)

    @property
    def sense(self) -> str:
        """The name, with how both are launched where one of them is in a graph, and what trains them."""
        ways = list(zip(self._variant_way, self._vanilla_way, strict=True))
        if self._variant_way == self._vanilla_way:
            return run_as(self.name, *self._variant_way)
        ours, theirs = (" ".join(pair[side] for pair in ways if pair[0] != pair[1]) for side in (0, 1))
        return f"{self.name}, {ours} against {theirs}"

    @property
    def _variant_way(self) -> tuple[str, str]:
        return self.variant_launch, self.variant_optimizer

    @property
    def _vanilla_way(self) -> tuple[str, str]:
        return self.vanilla_launch, self.vanilla_optimizer

    @property
    def of_one_model(self) -> bool:
        """Whether a model is compared with itself."""
        return self.variant == self.vanilla

    @property
    def conditions(self) -> tuple[str, str]:
        """What both have in common: the allocator and the dtype."""
        return self.allocator, self.dtype

    def has_variant(self, subject: Subject) -> bool:
        """Whether the subject is the variant, whatever its weights."""
        return place_of(subject) == self.variant_place

    def has_vanilla(self, subject: Subject) -> bool:
        """Whether the subject is the vanilla model, whatever its weights."""
        return place_of(subject) == (self.vanilla, self.vanilla_attention, *self._vanilla_way)

    @property
    def variant_place(self) -> tuple[str, str, str, str]:
        """The variant as `place_of` has it."""
        return (self.variant, self.variant_attention, *self._variant_way)


def place_of(subject: Subject) -> tuple[str, str, str, str]:
    """A subject whatever its weights: the model, the implementation, the launch and the optimizer."""
    return subject.model, subject.attention, subject.launch, subject.optimizer


@dataclass(frozen=True)
class Pairing:
    """A vanilla model and one variant as a study measures them; the variant is None where a model stands by itself.

    `block` is the number of the comparison in the study file, which holds the lengths, and `name` its sense, as in
    ``Comparison``. `period` is the multiple to which the variant pads its input, None where it does not pad. `dtype`
    is that of both, "usual" until it is known which device that is of, and None in older runs: that of the study.
    """

    block: int
    name: str
    vanilla: Subject
    variant: Subject | None = None
    period: int | None = None
    allocator: str = "default"
    dtype: str | None = None

    @property
    def conditions(self) -> tuple[str, str | None]:
        """What all subjects have in common: the allocator and the dtype."""
        return self.allocator, self.dtype

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return (self.vanilla,) if self.variant is None else (self.vanilla, self.variant)


_words, _maybe = validate.optional(validate.words), validate.optional(validate.text)
SUBJECT = validate.instance(
    Subject,
    absent=("launch", "optimizer"),
    model=validate.text,
    attention=validate.text,
    weights=_maybe,
    launch=validate.one_of(LAUNCHES, "launch"),
    optimizer=validate.one_of(OPTIMIZERS, "optimizer"),
)
MODEL_FACTS = validate.instance(
    ModelFacts,
    modality=validate.text,
    unit=validate.text,
    vanilla=_maybe,
    family=_words,
    attentions=validate.listing(validate.text),
    then=_maybe,
    periods=validate.mapping(validate.whole(1, validate.LARGE)),
    complexity=_words,
    claims=validate.mapping(validate.figure),
    absent=("complexity", "claims"),
)
PAIRING = validate.instance(
    Pairing,
    absent=("dtype",),
    block=validate.whole(0, validate.LARGE),
    name=validate.text,
    vanilla=SUBJECT,
    variant=validate.optional(SUBJECT),
    period=validate.optional(validate.whole(1, validate.LARGE)),
    allocator=validate.one_of(ALLOCATORS, "allocator"),
    dtype=validate.optional(validate.one_of(DTYPES, "dtype")),
)
