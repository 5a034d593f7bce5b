"""Models of the user's own: any importable function that returns a module, with its input maker where nothing tells
what the module takes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from pyprof.errors import UsageError
from pyprof.failures import blamed
from pyprof.models.architecture import Architecture, Inputs
from pyprof.models.blueprint import preserved_random
from pyprof.models.made_inputs import maker_for
from pyprof.names import imported

# The modules that factories have returned: one may return the same module every time.
_HANDED_OUT: WeakSet[nn.Module] = WeakSet()


_RETURN = (
    "return (module, make_inputs), where make_inputs(length, batch) gives a dict or a tuple of arguments, such as "
    "lambda length, batch: (torch.randn(batch, length, 64),); a transformers model can come alone"
)


class Foreign(Architecture):
    """The module of a factory; its input maker takes (length, batch) and returns a dict or a tuple of arguments."""

    unit = "unit"

    def __init__(self, module: nn.Module, make_inputs: Callable[[int, int], Any], name: str) -> None:
        super().__init__(module, getattr(module, "config", None))
        self._make_inputs = make_inputs
        self._name = name

    def inputs(self, length: int, batch: int, generator: torch.Generator) -> Inputs:
        """What the input maker gives.

        Raises ModelError where it fails, and UsageError where it gives anything but a dict or a tuple.
        """
        what = f"the input maker of {self._name} failed for length {length} and batch {batch}"
        with preserved_random(generator.initial_seed()), blamed(what, memory_too=False):
            made = self._make_inputs(length, batch)
        if isinstance(made, dict):
            return (), made
        if isinstance(made, tuple):
            return made, {}
        raise UsageError(
            f"the input maker of {self._name} returned {type(made).__name__}: "
            "return a dict of keyword arguments or a tuple of positional ones"
        )


def load_factory(name: str, seed: int) -> Foreign:
    """Import ``package.module:function`` (from the current directory too), call it, and check what it returns.

    A transformers model may come alone: its inputs are made as its configuration says. Raises ModelError where the
    factory fails, and UsageError where there is none or where it returns something else; both name it and the cause.
    """
    function = imported(name, "the factory")
    with preserved_random(seed), blamed(f"the factory {name} failed", memory_too=False):
        made = function()
    if isinstance(made, nn.Module):
        told = maker_for(made)
        if told is None:
            raise UsageError(
                f"the factory {name} returned {type(made).__name__} alone, and nothing tells what it takes: {_RETURN}"
            )
        foreign = Foreign(_unshared(made), told[1], name)
        foreign.unit = told[0]
        return foreign
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module) and callable(made[1])):
        raise UsageError(f"the factory {name} returned {type(made).__name__}: {_RETURN}")
    return Foreign(_unshared(made[0]), made[1], name)


def _unshared(module: nn.Module) -> nn.Module:
    """A copy of a module that was handed out before: two cases would change each other's modes and weights."""
    if module in _HANDED_OUT:
        return copy.deepcopy(module)
    _HANDED_OUT.add(module)
    return module
