"""Narrowing a study from the command line: study in, study out, through the checks of a study file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyprof.errors import UsageError
from pyprof.names import nearest
from pyprof.records.study import BY_IMPLEMENTATION, SIZES, Study, parse
from pyprof.study.trained import lengths


@dataclass(frozen=True)
class Narrowing:
    """What the command line changes in a study; what is empty or None stays as it is.

    `lengths` is "128,512", "128:2048:64" (stop included), "auto" (the study's own lengths, as few as the crossings
    need) or "auto:128:2048:64". `settings` holds other keys of a study file (size, device, time_budget, ...; an empty
    list takes a key away), `measure` and `costs` those of its tables [measure] and [costs], with values as in the file.
    """

    lengths: str | None = None
    models: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    implementations: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    measure: Mapping[str, object] = field(default_factory=dict)
    costs: Mapping[str, object] = field(default_factory=dict)


def narrow(study: Study, narrowing: Narrowing) -> Study:
    """The narrowed study; raises UsageError as a study file with the same values would."""
    where = f"{study.name} as narrowed"
    table = study.to_table()
    table |= narrowing.settings
    table = {key: value for key, value in table.items() if value != []}
    table["measure"] = {**table["measure"], **narrowing.measure}
    if narrowing.costs:
        table["costs"] = {**table.get("costs", {}), **narrowing.costs}
    if narrowing.modes:
        table["modes"] = list(narrowing.modes)
    if narrowing.metrics:
        table["metrics"] = list(narrowing.metrics)
    if narrowing.models:
        table["comparison"] = _of_models(study, table["comparison"], narrowing.models)
        for key in ("weights", "kinds", "families", "ranks"):
            if key in table:
                table[key] = {model: given for model, given in table[key].items() if model in narrowing.models}
    following = _lengths_of_tasks(study, table)
    for comparison, block in zip(table["comparison"], study.blocks, strict=False):
        if following and block.lengths.values == following[0]:
            comparison["lengths"] = {"values": list(following[1])}
    for comparison in table["comparison"]:
        if narrowing.lengths is not None:
            comparison["lengths"] = _lengths(narrowing.lengths, comparison["lengths"], where)
        if narrowing.implementations:
            comparison["implementations"] = list(narrowing.implementations)
    asked = {each for comparison in table["comparison"] for each in comparison["implementations"]}
    for key, for_all in BY_IMPLEMENTATION.items():
        kept = {name: value for name, value in table.pop(key, {}).items() if name in asked}
        if kept and for_all not in narrowing.settings:
            table[key] = kept
    return parse(table, where)


def _lengths_of_tasks(study: Study, table: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The lengths of the tasks that the study trains on, before and after it is narrowed; None where they stay."""
    metrics, size = tuple(table.get("metrics", ())), table["size"]
    if size not in SIZES or (size == study.size and metrics == study.metrics):
        return None
    before, after = lengths(study.metrics, study.training, study.size), lengths(metrics, study.training, size)
    return (before, after) if before and after else None


def _of_models(study: Study, comparisons: list[dict[str, Any]], models: tuple[str, ...]) -> list[dict[str, Any]]:
    """The comparisons among some models; a variant whose vanilla model is left out stands alone."""
    for model in models:
        if model not in study.models:
            raise UsageError(f"the study {study.name} has no model {model!r}: {nearest(model, study.models)}")
    kept = []
    for comparison in comparisons:
        variants = [variant for variant in comparison["variants"] if variant in models]
        if comparison["vanilla"] in models:
            kept.append({**comparison, "variants": variants})
        else:
            kept += [{**comparison, "vanilla": variant, "variants": []} for variant in variants]
    return kept


def _lengths(text: str, table: dict[str, Any], where: str) -> dict[str, Any]:
    head, _, rest = text.partition(":") if text.startswith("auto") else ("", "", text)
    auto = {"auto": True} if head == "auto" else {}
    if auto and not rest:
        return {**table, **auto}
    try:
        if ":" in rest:
            start, stop, step = (int(part) for part in rest.split(":"))
            return {"start": start, "stop": stop, "step": step, **auto}
        return {"values": [int(part) for part in rest.split(",")], **auto}
    except ValueError:
        raise UsageError(
            f"{where}: lengths are written 128,512 or 128:2048:64 (start:stop:step) or auto, not {text!r}"
        ) from None
