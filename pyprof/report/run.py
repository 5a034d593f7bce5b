"""The view of a run directory: its records, what its study compares, and what the registry knows of its models."""

from __future__ import annotations

from collections.abc import Iterable

from pyprof.models import registry
from pyprof.quantity import format_bytes
from pyprof.records.comparison import ModelFacts
from pyprof.records.environment import Environment
from pyprof.records.run_directory import Run
from pyprof.report.build import About, build_view
from pyprof.report.view import View
from pyprof.study.resolve import comparisons


def view_of(run: Run) -> View:
    """All that a report says about a run. Raises UsageError where its study names a model that is gone."""
    about = About(
        study=run.study.name,
        machine=machine_line(run.environment),
        facts=facts(run.study.models),
        warnings=run.warnings,
    )
    return build_view(run.records.values(), comparisons(run.study), about)


def facts(models: Iterable[str]) -> dict[str, ModelFacts]:
    """What the registry knows of those of the models that are its own."""
    found = {}
    for model in models:
        entry = registry.find(model)
        if entry is not None:
            found[model] = ModelFacts(
                modality=entry.modality,
                unit=entry.unit,
                vanilla=entry.vanilla,
                family=entry.family,
                attentions=entry.attentions,
                then=entry.then,
                periods={name: entry.cost(name).padding for name in entry.attentions if entry.cost(name).padding > 1},
            )
    return found


def machine_line(environment: Environment) -> str:
    """The machine and its software in one line."""
    cards = ", ".join(gpu.name for gpu in environment.gpus)
    parts = [
        f"{cards} with {environment.cpu}" if cards else environment.cpu,
        f"{environment.threads} of {environment.cores} cores"
        + (f" (pinned to {environment.pinned})" if environment.pinned else ""),
        format_bytes(environment.memory_bytes),
        f"torch {environment.torch}",
        f"transformers {environment.transformers}",
    ]
    return ", ".join(parts)
