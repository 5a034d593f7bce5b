"""The contests of a study: which model with which implementation is measured beside which, and at what lengths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pyprof.analysis.curves import Subject
from pyprof.errors import UsageError
from pyprof.models import registry
from pyprof.records.comparison import Comparison
from pyprof.records.study import Block, Lengths, Study

ALIASES = {"then": "then", "now": "best"}


@dataclass(frozen=True)
class Contest:
    """A vanilla model and one variant (None where a model is measured by itself), with the lengths to compare them at.

    `block` is the number of the comparison in the study file.
    """

    block: int
    name: str
    vanilla: Subject
    variant: Subject | None
    lengths: Lengths

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return (self.vanilla,) if self.variant is None else (self.vanilla, self.variant)

    @cached_property
    def period(self) -> int | None:
        """The multiple to which the variant pads its input, None where it does not pad."""
        entry = None if self.variant is None else registry.find(self.variant.model)
        if self.variant is None or entry is None:
            return None
        padding = entry.cost(self.variant.attention).padding
        return padding if padding > 1 else None


def contests(study: Study) -> tuple[Contest, ...]:
    """The contests of a study, each pair of models and implementations once.

    Raises UsageError for a model that does not exist, or one that cannot do what is asked: an implementation it
    lacks, a length below its shortest or beyond its longest.
    """
    found: dict[tuple[int, Subject, Subject | None], Contest] = {}
    for number, block in enumerate(study.blocks):
        _check_lengths(study, block)
        for implementation in block.implementations:
            name, ours, theirs = _aliases(implementation)
            vanilla = _subject(study, block.vanilla, ours)
            variants: list[Subject | None] = [_subject(study, variant, theirs) for variant in block.variants]
            for variant in variants or [None]:
                contest = Contest(number, name, vanilla, variant, block.lengths)
                found.setdefault((number, vanilla, variant), contest)
    return tuple(found.values())


def comparisons(study: Study) -> tuple[Comparison, ...]:
    """What the analysis compares: every contest that has a variant."""
    found = []
    for contest in contests(study):
        if contest.variant is None:
            continue
        entry = registry.find(contest.variant.model) or registry.find(contest.vanilla.model)
        found.append(
            Comparison(
                name=contest.name,
                variant=contest.variant.model,
                variant_attention=contest.variant.attention,
                vanilla=contest.vanilla.model,
                vanilla_attention=contest.vanilla.attention,
                modality="other" if entry is None else entry.modality,
                unit="unit" if entry is None else entry.unit,
                period=contest.period,
            )
        )
    return tuple(found)


def _aliases(implementation: str) -> tuple[str, str, str]:
    """The name of a comparison, and what its vanilla model and its variants are asked for."""
    ours, slash, theirs = implementation.partition("/")
    if not slash:
        theirs = ours
    return implementation, ALIASES.get(ours, ours), ALIASES.get(theirs, theirs)


def _subject(study: Study, model: str, alias: str) -> Subject:
    return Subject(model, registry.resolve(model, alias), study.weights.get(model))


def _check_lengths(study: Study, block: Block) -> None:
    for model in block.models:
        entry = registry.find(model)
        if entry is None:
            continue
        for length in block.lengths.values:
            try:
                entry.check_length(length)
            except UsageError as error:
                raise UsageError(f"the study {study.name} cannot be measured: {error}") from error
