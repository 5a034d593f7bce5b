"""What is compared with what: a variant with its vanilla model, each with one attention implementation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyprof.records import validate
from pyprof.records.case import ALLOCATORS


@dataclass(frozen=True)
class Subject:
    """What has a curve: a model with one attention implementation and, where it has any, loaded weights."""

    model: str
    attention: str
    weights: str | None = None

    def __str__(self) -> str:
        return f"{self.model} {self.attention}" + (f" ({self.weights})" if self.weights else "")


@dataclass(frozen=True)
class ModelFacts:
    """What the analysis has to know of a model.

    `attentions` are its implementations, best first; `then` is the one that is comparable with 2023. `periods` is the
    number of units to whose multiples the model pads its input with an implementation, which makes its cost a
    staircase; implementations that do not pad are not in it.
    """

    modality: str = "other"
    unit: str = "unit"
    vanilla: str | None = None
    family: str | None = None
    attentions: tuple[str, ...] = ()
    then: str | None = None
    periods: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """A variant against its vanilla model.

    `name` says in which sense they are compared: "then" is eager against eager, as in 2023, "now" best against best.
    `allocator` hands out the host's memory to both.
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


@dataclass(frozen=True)
class Pairing:
    """A vanilla model and one variant as a study measures them; the variant is None where a model stands by itself.

    `block` is the number of the comparison in the study file, which holds the lengths, and `name` its sense, as in
    ``Comparison``. `period` is the multiple to which the variant pads its input, None where it does not pad.
    """

    block: int
    name: str
    vanilla: Subject
    variant: Subject | None = None
    period: int | None = None
    allocator: str = "default"

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return (self.vanilla,) if self.variant is None else (self.vanilla, self.variant)


_words, _maybe = validate.optional(validate.words), validate.optional(validate.text)
SUBJECT = validate.instance(Subject, model=validate.text, attention=validate.text, weights=_maybe)
MODEL_FACTS = validate.instance(
    ModelFacts,
    modality=validate.text,
    unit=validate.text,
    vanilla=_maybe,
    family=_words,
    attentions=validate.listing(validate.text),
    then=_maybe,
    periods=validate.mapping(validate.whole(1, validate.LARGE)),
)
PAIRING = validate.instance(
    Pairing,
    block=validate.whole(0, validate.LARGE),
    name=validate.text,
    vanilla=SUBJECT,
    variant=validate.optional(SUBJECT),
    period=validate.optional(validate.whole(1, validate.LARGE)),
    allocator=validate.one_of(ALLOCATORS, "allocator"),
)
