"""What a study resolved on the machine that measured it, kept in the run so that a report needs nothing else.

Names that change their meaning over time (``now``, a registry's best implementation, an indicator's title) are settled
here once: the report of a run is the same after the registry has changed, after a checkpoint has moved, and where torch
is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

from pyprof.errors import UsageError
from pyprof.plain import shown
from pyprof.records import validate
from pyprof.records.comparison import MODEL_FACTS, PAIRING, Comparison, ModelFacts, Pairing, Subject
from pyprof.records.indicator import INDICATOR, IndicatorFacts
from pyprof.records.published import PUBLISHED, Published
from pyprof.records.record import SCHEMA
from pyprof.records.study import USUAL, Study, senses
from pyprof.records.study_parts import Block


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
                dtype=pairing.dtype or "float32",
                variant_launch=pairing.variant.launch,
                vanilla_launch=pairing.vanilla.launch,
                variant_optimizer=pairing.variant.optimizer,
                vanilla_optimizer=pairing.vanilla.optimizer,
            )
            for pairing in self.pairings
            if pairing.variant is not None
        )

    def settled(self, usual_dtype: Callable[[Sequence[str]], str], *, own_memory: bool) -> Resolved:
        """The same on a device: `usual_dtype` tells what is meant by "usual" there for models that are compared.

        With memory of its own nothing is handed out by an allocator of the host.
        """
        pairings: dict[Pairing, Pairing] = {}
        for pairing in self.pairings:
            models = [subject.model for subject in pairing.subjects]
            dtype = usual_dtype(models) if pairing.dtype == USUAL else pairing.dtype
            settled = replace(pairing, dtype=dtype, allocator="default" if own_memory else pairing.allocator)
            # Two senses may be the same by now, and the first one tells enough.
            pairings.setdefault(replace(settled, name="", period=None), settled)
        return replace(self, pairings=tuple(pairings.values()))

    def of_dtype(self, dtype: str) -> Resolved:
        """The same with a dtype for the pairings of an older run, which had one for all of them."""
        return replace(
            self, pairings=tuple(replace(pairing, dtype=pairing.dtype or dtype) for pairing in self.pairings)
        )

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

    `attention` tells the implementation that a model runs where "then", "best" or a name is asked for. Where work is
    launched in several ways, or several optimizers train, models are compared within each, and every model with itself
    between them.
    """

    def subject(model: str, alias: str, way: tuple[str, str]) -> Subject:
        return Subject(model, attention(model, alias), study.weights.get(model), *way)

    ways = list(product(study.launches, study.optimizers or ("none",)))

    pairings: dict[tuple[int, Subject, Subject | None, str, str], Pairing] = {}
    for number, block in enumerate(study.blocks):
        for implementation in block.implementations:
            ours, theirs = senses(implementation)
            allocator, dtype = study.allocator_of(implementation), study.dtype_of(implementation)
            pairs: list[tuple[Subject, Subject | None]] = []
            for way in ways:
                vanilla = subject(block.vanilla, ours, way)
                pairs += [(vanilla, subject(variant, theirs, way)) for variant in block.variants]
                if not block.variants:
                    pairs.append((vanilla, None))
            first, *others = ways
            sides = [(block.vanilla, ours), *((variant, theirs) for variant in block.variants)]
            pairs += [(subject(*side, first), subject(*side, other)) for side in sides for other in others]
            for vanilla, variant in pairs:
                period = None if variant is None else models[variant.model].periods.get(variant.attention)
                pairing = Pairing(number, implementation, vanilla, variant, period, allocator, dtype)
                pairings.setdefault((number, vanilla, variant, allocator, dtype), pairing)
    return tuple(pairings.values())


def relatives(model: str, block: Block) -> tuple[str, ...]:
    """The models of a comparison that tell the modality and the unit of a user's own model in it."""
    return block.variants if model == block.vanilla else (block.vanilla,)
