"""Models of a registry's family in other sizes: deeper, wider, with more heads or a wider feedforward part."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyprof import device as devices
from pyprof.errors import UsageError
from pyprof.models.architecture import architecture
from pyprof.models.blueprint import Blueprint, blueprint
from pyprof.models.loaded import LoadedModel
from pyprof.models.registry import Request, entry

FIELDS = {
    "depth": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "ffn": "intermediate_size",
}


def dimensions(model: str, size: str) -> dict[str, int]:
    """The sizes of a registry's model; raises UsageError for one that has other ones (a pyramid, say)."""
    config = blueprint(entry(model), size).config
    found = {name: getattr(config, field, None) for name, field in FIELDS.items()}
    if not all(isinstance(value, int) for value in found.values()):
        raise UsageError(
            f"{model} is not made of equal layers: choose a model that has a depth, a width, heads and ffn"
        )
    return {name: int(value) for name, value in found.items() if value is not None}


def load_resized(model: str, size: str, attention: str, length: int, given: Mapping[str, int]) -> LoadedModel:
    """A registry's model with other sizes, ready for inference at that length on the host.

    A width keeps the width of the heads where the number of these is not given. Raises UsageError where the sizes do
    not fit each other.
    """
    known = entry(model)
    plan = blueprint(known, size)
    if given:
        plan = _with(plan, {**_heads(model, size, given), **given})
    request = Request(
        model, size, attention, "infer", length, "float32", devices.of("cpu").torch_name, False, None, seed=0
    )
    module = plan.build(attention, 0)
    built = architecture(module, plan.config)
    module.eval()
    built.extend(length)
    loaded = LoadedModel(request, known, built, module, attention, known.kinds)
    loaded.fit(length)
    return loaded


def _heads(model: str, size: str, given: Mapping[str, int]) -> dict[str, int]:
    if "width" not in given or "heads" in given:
        return {}
    published = dimensions(model, size)
    return {"heads": max(1, given["width"] * published["heads"] // published["width"])}


def _with(plan: Blueprint, given: Mapping[str, int]) -> Blueprint:
    config: Any = copy.deepcopy(plan.config)
    for name, value in given.items():
        setattr(config, FIELDS[name], value)
    if config.hidden_size % config.num_attention_heads:
        raise UsageError(
            f"a width of {config.hidden_size} cannot be shared by {config.num_attention_heads} heads: choose a multiple"
        )
    window = getattr(config, "attention_window", None)
    if isinstance(window, list):
        config.attention_window = window[:1] * config.num_hidden_layers
    return replace(plan, config=config)
