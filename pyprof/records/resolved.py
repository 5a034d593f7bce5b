"""What a study resolved on the machine that measured it, kept in the run so that a report needs nothing else.

Names that change their meaning over time (``now``, a registry's best implementation, an indicator's title) are settled
here once: the report of a run is the same after the registry has changed, after a checkpoint has moved, and where torch
is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pyprof.errors import UsageError
from pyprof.plain import shown
from pyprof.records import validate
from pyprof.records.comparison import MODEL_FACTS, PAIRING, Comparison, ModelFacts, Pairing, Subject
from pyprof.records.indicator import INDICATOR, IndicatorFacts
from pyprof.records.published import PUBLISHED, Published
from pyprof.records.record import SCHEMA
from pyprof.records.study import Block, Study, senses


@dataclass(frozen=True)
class Resolved:
    """The pairings of a study with their implementations, and what is known of its models, indicators and marks.

    `models` holds every model of the study, `indicators` are in the order of a report, `published` is None where there
    is nothing to be put beside the run.
    """

    pairings: tuple[Pairing, ...]
    models: Mapping[str, ModelFacts] = field(default_factory=dict)
    indicators: tuple[IndicatorFacts, ...] = ()
    published: Published | None = None

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """What the analysis compares: every pairing that has a variant."""
        return tuple(
            Comparison(
                name=pairing.name,
                variant=pairing.variant.model,
                variant_attention=pairing.variant.attention,
                vanilla=pairing.vanilla.model,
                vanilla_attention=pairing.vanilla.attention,
                modality=self.models[pairing.variant.model].modality,
                unit=self.models[pairing.variant.model].unit,
                period=pairing.period,
                allocator=pairing.allocator,
            )
            for pairing in self.pairings
            if pairing.variant is not None
        )

    def on_device(self) -> Resolved:
        """The same where a device has memory of its own, which no allocator of the host hands out."""
        pairings = dict.fromkeys(replace(pairing, allocator="default") for pairing in self.pairings)
        return replace(self, pairings=tuple(pairings))

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields with the schema."""
        return {
            "schema": SCHEMA,
            "pairings": [asdict(pairing) for pairing in self.pairings],
            "models": {name: asdict(facts) for name, facts in self.models.items()},
            "indicators": [indicator.to_json() for indicator in self.indicators],
            "published": None if self.published is None else self.published.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Resolved:
        """Rebuild it; raises UsageError where it has another schema, or a field is missing or damaged."""
        if data.get("schema") != SCHEMA:
            raise UsageError(
                f"the run was resolved with schema {shown(data.get('schema'))} and this pyprof reads schema {SCHEMA}: "
                "use the pyprof that wrote it, or measure anew"
            )
        own = {name: value for name, value in data.items() if name != "schema"}
        resolved: Resolved = validate.checked(RESOLVED, own, "what the run resolved")
        return resolved


def _resolved(value: Any) -> Resolved:
    resolved: Resolved = _FIELDS(value)
    for pairing in resolved.pairings:
        for subject in pairing.subjects:
            if subject.model not in resolved.models:
                raise validate.Refused(f": models lacks {shown(subject.model)}, which a pairing names")
    names = [indicator.name for indicator in resolved.indicators]
    if len(set(names)) < len(names):
        raise validate.Refused(": indicators has one of them twice")
    return resolved


_FIELDS = validate.instance(
    Resolved,
    pairings=validate.listing(PAIRING),
    models=validate.mapping(MODEL_FACTS),
    indicators=validate.listing(INDICATOR),
    published=validate.optional(PUBLISHED),
)
RESOLVED: validate.Check = _resolved


def pair(study: Study, models: Mapping[str, ModelFacts], attention: Callable[[str, str], str]) -> tuple[Pairing, ...]:
    """The pairings of a study, each pair of models and implementations once in a comparison.

    `attention` tells the implementation that a model runs where "then", "best" or a name is asked for.
    """

    def subject(model: str, alias: str) -> Subject:
        return Subject(model, attention(model, alias), study.weights.get(model))

    pairings: dict[tuple[int, Subject, Subject | None, str], Pairing] = {}
    for number, block in enumerate(study.blocks):
        for implementation in block.implementations:
            ours, theirs = senses(implementation)
            allocator = study.allocator_of(implementation)
            vanilla = subject(block.vanilla, ours)
            variants: list[Subject | None] = [subject(variant, theirs) for variant in block.variants]
            for variant in variants or [None]:
                period = None if variant is None else models[variant.model].periods.get(variant.attention)
                pairing = Pairing(number, implementation, vanilla, variant, period, allocator)
                pairings.setdefault((number, vanilla, variant, allocator), pairing)
    return tuple(pairings.values())


def relatives(model: str, block: Block) -> tuple[str, ...]:
    """The models of a comparison that tell the modality and the unit of a user's own model in it."""
    return block.variants if model == block.vanilla else (block.vanilla,)
