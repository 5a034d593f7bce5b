"""Loaded models of a study, kept for the next case."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from math import inf

from pyprof import device as devices
from pyprof.device.memory import resident_bytes
from pyprof.failures import Failure, attempt
from pyprof.models import registry
from pyprof.models.loaded import LoadedModel
from pyprof.models.own_kinds import own_kinds
from pyprof.records.case import Case
from pyprof.records.study import Study
from pyprof.worker.step import free

# Loaded models may occupy this share of the memory budget while others are measured.
CACHED_SHARE = 0.25


class ModelCache:
    """Loaded models, so that the next length of a model needs no building; those used least recently go first.

    The models of the cases that are measured together stay, however large: whether they fit is for the measurement to
    find out.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._device = devices.of(study.device)
        self._models: OrderedDict[Case, LoadedModel] = OrderedDict()

    def get(self, case: Case, beside: Sequence[Case] = ()) -> LoadedModel:
        """The model of a case, able to take the longest length that the study has for it.

        Those of the cases that it is measured `beside` are kept.
        """
        kind = _kind(case)
        if kind in self._models:
            self._models.move_to_end(kind)
            return self._models[kind]
        self._make_room({_kind(each) for each in beside})
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
        rules = own_kinds(self._study.kinds.get(case.model, ()), f"the kinds of {case.model}")
        self._models[kind] = replace(model, kinds=(*rules, *model.kinds))
        return self._models[kind]

    def __len__(self) -> int:
        return len(self._models)

    def keep_only(self, cases: Sequence[Case]) -> bool:
        """Drop all models but those of some cases; tells whether there were any others."""
        kinds = {_kind(case) for case in cases}
        others = [each for each in self._models if each not in kinds]
        for each in others:
            del self._models[each]
        free(self._device)
        return bool(others)

    def _make_room(self, held: Collection[Case]) -> None:
        """Drop models that are not held until those kept leave the measurement most of the budget."""
        allowed = (self._study.memory_budget or 0) * CACHED_SHARE
        sizes = {kind: _size(model) for kind, model in self._models.items()}
        dropped = False
        for kind in [kind for kind in sizes if kind not in held]:
            if sum(sizes.values()) <= allowed:
                break
            del self._models[kind], sizes[kind]
            dropped = True
        if dropped:
            free(self._device)


def _size(model: LoadedModel) -> float:
    """The bytes that a model occupies; where they cannot be told, more than there are: it is the first to go.

    That is for its own cases to report. Here it is the next model's turn, which must not fail for it.
    """
    size = attempt(partial(resident_bytes, model.step))
    return inf if isinstance(size, Failure) else size


def _kind(case: Case) -> Case:
    """What cases share that one loaded model serves."""
    return replace(case, length=1, batch=1)
