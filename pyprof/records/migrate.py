"""Readers of older schemas: each makes of older data what the present schema holds; nothing on disk is rewritten.

Schema 1 (pyprof 0.1) kept the rounds of a latency as loose entries of its detail, and nothing of what the study had
resolved. ``schema1.json`` holds what that pyprof knew of its models and indicators; of a user's own model the records
tell which implementations were measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from functools import cache
from importlib.resources import files
from typing import Any

from pyprof.records.case import Case
from pyprof.records.comparison import MODEL_FACTS, ModelFacts
from pyprof.records.indicator import INDICATOR, IndicatorFacts
from pyprof.records.published import diwan2023
from pyprof.records.resolved import Resolved, pair, relatives
from pyprof.records.study import Study

_OF_ROUNDS = ("stopped_by", "yardstick", "hits", "waits")


def record_from_1(data: Mapping[str, Any]) -> dict[str, Any]:
    """A record of schema 1 in schema 2; what is damaged stays as it is, for the checks of schema 2 to find."""
    key = Case.from_json(data.get("case", {})).key
    indicators = data.get("indicators")
    if not isinstance(indicators, Mapping):
        return {**data, "schema": 2}
    migrated = {name: _reading_from_1(reading, key) for name, reading in indicators.items()}
    return {**data, "schema": 2, "indicators": migrated}


def _reading_from_1(reading: Any, key: str) -> Any:
    if not (isinstance(reading, Mapping) and isinstance(reading.get("detail"), Mapping)):
        return reading
    detail = dict(reading["detail"])
    taken = {name: detail.pop(name) for name in ("rounds", "noise", *_OF_ROUNDS) if name in detail}
    if not taken:
        return {**reading, "rounds": None}
    rounds = {
        # Before cases were timed together a case had its rounds for itself.
        "id": taken.get("rounds", key),
        "stopped_by": taken.get("stopped_by", ""),
        **{name: taken.get(name, []) for name in _OF_ROUNDS[1:]},
        **dict.fromkeys(("faults", "system", "processor", "page_faults"), ()),
        "noise": taken.get("noise"),
        "confidence": 0.95,
    }
    return {**reading, "detail": detail, "rounds": rounds}


@cache
def _known() -> tuple[dict[str, ModelFacts], tuple[IndicatorFacts, ...]]:
    data = json.loads(files("pyprof.records").joinpath("schema1.json").read_text(encoding="utf-8"))
    return {name: MODEL_FACTS(facts) for name, facts in data["models"].items()}, tuple(
        map(INDICATOR, data["indicators"])
    )


def resolved_from_1(study: Study, cases: Iterable[Case]) -> Resolved:
    """What a study of schema 1 had resolved, from its file and the cases that were measured."""
    known, indicators = _known()
    measured: dict[str, set[str]] = {}
    for case in cases:
        measured.setdefault(case.model, set()).add(case.attention)
    facts: dict[str, ModelFacts] = {}
    for block in study.blocks:
        for model in block.models:
            if model in known:
                facts[model] = known[model]
            elif model not in facts:
                relative = next((known[each] for each in relatives(model, block) if each in known), ModelFacts())
                vanilla = None if model == block.vanilla else block.vanilla
                facts[model] = ModelFacts(relative.modality, relative.unit, vanilla)

    def attention(model: str, alias: str) -> str:
        best, then = _implementations(known.get(model), measured.get(model, set()))
        return {"best": best, "then": then}.get(alias, alias)

    return Resolved(pair(study, facts, attention), facts, indicators, diwan2023())


def _implementations(known: ModelFacts | None, measured: Set[str]) -> tuple[str, str]:
    """The best implementation of a model and the one of 2023; of a user's own model by what was measured."""
    if known is not None:
        return known.attentions[0], known.then or known.attentions[0]
    best = "sdpa" if "sdpa" in measured else min(measured, default="own")
    return best, "eager" if "eager" in measured else best
