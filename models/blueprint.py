"""A blueprint: the class and the configuration that a registry model is built from."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pyprof.device.weights import WeightCount
from pyprof.models.weights import deferred_random, fill

if TYPE_CHECKING:
    from pyprof.models.registry import Entry


@dataclass(frozen=True)
class Blueprint:
    """A transformers model class and a configuration of its own, which no other model shares.

    transformers looks an attention implementation up in the configuration object while the model runs, so two models
    with one configuration would change each other's.
    """

    model: type[nn.Module]
    config: Any

    def build(self, attention: str, seed: int) -> nn.Module:
        """The model on the CPU with random weights that `seed` fixes, dispatching to `attention`."""
        self.config._attn_implementation = attention
        with preserved_random(seed):
            with deferred_random() as pending:
                module = self.model(self.config)
            fill(module, pending, seed)
        return module


def blueprint(entry: Entry, size: str) -> Blueprint:
    """A fresh blueprint of a registry model, ``base`` (the published configuration) or ``tiny``."""
    package, function = entry.loader.split(":")
    built: Blueprint = getattr(importlib.import_module(package), function)(size)
    return built


def meta_parameters(plan: Blueprint) -> int:
    """Number of parameters of a blueprint, shared ones once, without allocating any."""
    with torch.device("meta"):
        return WeightCount().add_all(plan.model(plan.config))


@contextmanager
def preserved_random(seed: int) -> Iterator[None]:
    """Seed PyTorch's global generator of the CPU for a block and put its state back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
