"""What is compared with what: a variant with its vanilla model, each with one attention implementation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pyprof.records.record import Record


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
    """

    name: str
    variant: str
    variant_attention: str
    vanilla: str
    vanilla_attention: str
    modality: str
    unit: str
    period: int | None = None


def default_comparisons(records: Iterable[Record], facts: Mapping[str, ModelFacts]) -> tuple[Comparison, ...]:
    """The comparisons that the records allow, for a run whose study names none.

    Every measured variant whose vanilla model was measured too is compared twice: "then" with the implementations that
    are comparable with 2023, "now" with the best measured ones. A pair that would be compared twice is compared once.
    """
    measured: dict[str, set[str]] = {}
    for record in records:
        measured.setdefault(record.case.model, set()).add(record.case.attention)
    found: dict[tuple[str, str, str, str], Comparison] = {}
    for variant in sorted(measured):
        fact = facts.get(variant, ModelFacts())
        vanilla = fact.vanilla
        if vanilla is None or vanilla not in measured:
            continue
        for name in ("then", "now"):
            ours = _implementation(name, fact, measured[variant])
            theirs = _implementation(name, facts.get(vanilla, ModelFacts()), measured[vanilla])
            if ours is not None and theirs is not None:
                comparison = Comparison(
                    name, variant, ours, vanilla, theirs, fact.modality, fact.unit, fact.periods.get(ours)
                )
                found.setdefault((variant, ours, vanilla, theirs), comparison)
    return tuple(found.values())


def _implementation(name: str, fact: ModelFacts, measured: set[str]) -> str | None:
    if name == "then":
        wanted = fact.then or "eager"
        return wanted if wanted in measured else None
    known = [attention for attention in fact.attentions if attention in measured]
    return known[0] if known else min(measured)
