"""Loaded models of a study, kept for the next case."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from pyprof.measure.memory import resident_bytes
from pyprof.models import registry
from pyprof.models.loaded import LoadedModel
from pyprof.study.case import Case
from pyprof.study.file import Study
from pyprof.study.step import free

# Loaded models may occupy this share of the memory budget while another one is measured.
CACHED_SHARE = 0.25


class ModelCache:
    """Loaded models, so that the next length of a model needs no building; those used least recently go first."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._models: OrderedDict[Case, LoadedModel] = OrderedDict()

    def get(self, case: Case) -> LoadedModel:
        """The model of a case, able to take the longest length that the study has for it."""
        kind = replace(case, length=1, batch=1)
        if kind in self._models:
            self._models.move_to_end(kind)
            return self._models[kind]
        self._make_room()
        model = registry.load(
            case.model,
            size=case.size,
            attention=case.attention,
            mode=case.mode,
            longest=max(case.length, self._study.longest(case.model)),
            dtype=case.dtype,
            device=case.device,
            compiled=case.compiled,
            weights=case.weights,
            seed=self._study.seed,
        )
        self._models[kind] = model
        return model

    def __len__(self) -> int:
        return len(self._models)

    def keep_only(self, case: Case) -> bool:
        """Drop all models but that of a case; tells whether there were any others."""
        kind = replace(case, length=1, batch=1)
        others = [each for each in self._models if each != kind]
        for each in others:
            del self._models[each]
        free()
        return bool(others)

    def _make_room(self) -> None:
        """Drop models until those kept leave the measurement most of the budget."""
        allowed = (self._study.memory_budget or 0) * CACHED_SHARE
        kept = len(self._models)
        while self._models and sum(resident_bytes(model.step) for model in self._models.values()) > allowed:
            self._models.popitem(last=False)
        if len(self._models) < kept:
            free()
