"""Resolve a study: which model with which implementation is measured beside which, and what is known of each."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pyprof import device as devices
from pyprof.errors import UsageError
from pyprof.indicators import registry as indicators
from pyprof.indicators.indicator import stated
from pyprof.machine import allocator as allocators
from pyprof.models import registry as models
from pyprof.models.own_kinds import own_kinds
from pyprof.names import is_reference
from pyprof.plain import shown
from pyprof.records.comparison import ModelFacts
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.published import PUBLICATIONS
from pyprof.records.resolved import Resolved, pair, relatives
from pyprof.records.study import Study
from pyprof.records.study_parts import Block
from pyprof.study import trained


def resolve(study: Study) -> Resolved:
    """What the study stands for on this machine, each pair of models and implementations once.

    A device that is yet to be chosen is taken for the host.

    Raises UsageError for a device, an allocator, a metric, a model, weights or a kind that do not exist, or a model
    that cannot do what is asked: an implementation it lacks, a length below its shortest or beyond its longest.
    """
    device = devices.of("cpu" if study.device == devices.AUTO else study.device)
    for launch in study.launches if study.device != devices.AUTO else ():
        device.check_launch(launch)
    for implementation in {each for block in study.blocks for each in block.implementations}:
        allocators.variables(study.allocator_of(implementation))
    for model, path in study.weights.items():
        if not Path(path).exists():
            raise UsageError(f"the weights of {model} are not there: check the path {shown(path)}")
    for model, rules in study.kinds.items():
        own_kinds(rules, f"the kinds of {model}")
    for model in study.ranks:
        check_ranks(model)
    chosen = facts_of(study)
    trained.check(study)
    facts: dict[str, ModelFacts] = {}
    for block in study.blocks:
        _check_lengths(study, block)
        facts |= {model: _facts(model, block, study) for model in block.models if model not in facts}
    resolved = Resolved(
        pairings=pair(study, facts, models.resolve),
        models=facts,
        indicators=chosen,
        published=PUBLICATIONS[study.reference](),
    )
    usual_dtype = partial(models.usual_dtype, usual=device.usual_dtype)
    return resolved.settled(usual_dtype, own_memory=not device.limits_host_memory)


def facts_of(study: Study) -> tuple[IndicatorFacts, ...]:
    """What is known of the study's indicators, where it names none of those that its modes have.

    Raises UsageError for one that does not exist.
    """
    chosen = indicators.chosen(study.metrics, f"{study.name}: metrics")
    if not study.metrics:
        chosen = tuple(indicator for indicator in chosen if set(indicator.modes) & set(study.modes))
    return tuple(stated(indicator, study.costs) for indicator in chosen)


def check_ranks(model: str) -> None:
    """Raise UsageError for a model that cannot be sharded already when it is loaded."""
    if not is_reference(model):
        raise UsageError(
            f"{model} runs in one process: ranks are for a factory package.module:function that returns a sharded model"
        )


def _facts(model: str, block: Block, study: Study) -> ModelFacts:
    """What the registry knows of a model; a user's own is of the modality of what it is compared with."""
    entry, family = models.find(model), study.families.get(model)
    if entry is None:
        known = next(filter(None, map(models.find, relatives(model, block))), None)
        return ModelFacts(
            modality="other" if known is None else known.modality,
            unit="unit" if known is None else known.unit,
            vanilla=None if model == block.vanilla else block.vanilla,
            family=family,
        )
    return ModelFacts(
        modality=entry.modality,
        unit=entry.unit,
        vanilla=entry.vanilla,
        family=family or entry.family,
        attentions=entry.attentions,
        then=entry.then,
        periods={name: entry.cost(name).padding for name in entry.attentions if entry.cost(name).padding > 1},
        complexity=entry.complexity,
        claims={}
        if entry.claim is None
        else {str(each): entry.claim(each, study.size) for each in block.lengths.values},
    )


def _check_lengths(study: Study, block: Block) -> None:
    for model in block.models:
        entry = models.find(model)
        if entry is None:
            continue
        for length in block.lengths.values:
            try:
                entry.check_length(length)
            except UsageError as error:
                raise UsageError(f"the study {study.name} cannot be measured: {error}") from error
