"""Blueprints of the zoo's models, and how they are fed and fitted to a length."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from pyprof.models.architecture import Architecture, Inputs, random_tokens
from pyprof.models.blueprint import Blueprint
from pyprof.models.zoo.config import SHAPES, ZooConfig
from pyprof.models.zoo.encoder import ZooEncoder
from pyprof.models.zoo.mechanisms import mechanism
from pyprof.models.zoo.parts import Part


class Zoo(Architecture):
    """A `ZooEncoder`, whose parts are told how long inputs are."""

    def extend(self, longest: int) -> None:
        if longest <= self.config.max_position_embeddings:
            return
        for part in self._parts():
            part.extend(longest)
        self.config.max_position_embeddings = longest

    def fit(self, length: int) -> None:
        for part in self._parts():
            part.fit(length)

    def inputs(self, length: int, batch: int, generator: torch.Generator) -> Inputs:
        return (), {"input_ids": random_tokens((batch, length), self.config, generator)}

    def _parts(self) -> list[Part]:
        return [module for module in self.module.modules() if isinstance(module, Part)]


def blueprint(name: str, size: str) -> Blueprint:
    """The encoder with the mechanism of that name."""
    options = mechanism(name).options_of(size)
    tiny: dict[str, Any] = {"vocab_size": 128, "max_position_embeddings": 64} if size == "tiny" else {}
    return Blueprint(ZooEncoder, ZooConfig(attention=name, options=options, **SHAPES[size], **tiny))


def __getattr__(name: str) -> Callable[[str], Blueprint]:
    """The function that gives the blueprint of the mechanism of that name, as registry entries ask for it."""
    if name.startswith("_"):
        raise AttributeError(name)
    return partial(blueprint, name)
