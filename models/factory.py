"""Models of the user's own: any importable function that returns a module, with its input maker where nothing tells
what the module takes.
"""

from __future__ import annotations

import copy
import inspect
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
    "lambda length, batch: (torch.randn(batch, length, 64),); a transformers model can come alone, and so can any "
    "module beside --inputs package.module:function (profile, compare, overhead)"
)


class Foreign(Architecture):
    """The module of a factory; its input maker takes (length, batch) and returns a dict or a tuple of arguments.

    `maker` is what the input maker is called in a message.
    """

    def __init__(
        self, module: nn.Module, make_inputs: Callable[[int, int], Any], maker: str, unit: str = "unit"
    ) -> None:
        super().__init__(module, getattr(module, "config", None))
        self.unit = unit
        self._make_inputs = make_inputs
        self._maker = maker

    def inputs(self, length: int, batch: int, generator: torch.Generator) -> Inputs:
        """What the input maker gives.

        Raises ModelError where it fails, and UsageError where it gives anything but a dict or a tuple.
        """
        what = f"{self._maker} failed for length {length} and batch {batch}"
        with preserved_random(generator.initial_seed()), blamed(what, memory_too=False):
            made = self._make_inputs(length, batch)
        if isinstance(made, dict):
            return (), made
        if isinstance(made, tuple):
            return made, {}
        raise UsageError(
            f"{self._maker} returned {type(made).__name__}: "
            "return a dict of keyword arguments or a tuple of positional ones"
        )


def load_factory(name: str, seed: int, inputs: str | None = None) -> Foreign:
    """Import ``package.module:function`` (from the current directory too), call it, and check what it returns.

    A transformers model may come alone: its inputs are made as its configuration says. `inputs` names the input maker
    in the same way; any module may then come alone, and what a factory says of its inputs does not count. Raises
    ModelError where the factory fails, and UsageError where either is not there, or is something else.
    """
    function = imported(name, "the factory")
    make_inputs = None if inputs is None else _maker(inputs)
    with preserved_random(seed), blamed(f"the factory {name} failed", memory_too=False):
        made = function()
    module, own_maker = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module) or (module is not made and not callable(own_maker)):
        raise UsageError(f"the factory {name} returned {type(made).__name__}: {_RETURN}")
    maker, told = f"the input maker of {name}", maker_for(module)
    if make_inputs is not None:
        maker = f"the input maker {inputs}"
    elif own_maker is not None:
        make_inputs, told = own_maker, None
    elif told is not None:
        make_inputs = told[1]
    else:
        raise UsageError(
            f"the factory {name} returned {type(module).__name__} alone, and nothing tells what it takes: {_RETURN}"
        )
    return Foreign(_unshared(module), make_inputs, maker, unit="unit" if told is None else told[0])


def _maker(inputs: str) -> Callable[[int, int], Any]:
    function = imported(inputs, "the input maker")
    try:
        inspect.signature(function).bind(1, 1)
    except TypeError as error:
        raise UsageError(f"{inputs} cannot be called as function(length, batch): {error}") from error
    except ValueError:  # a builtin that does not say what it takes
        pass
    return function


def _unshared(module: nn.Module) -> nn.Module:
    """A copy of a module that was handed out before: two cases would change each other's modes and weights."""
    if module in _HANDED_OUT:
        return copy.deepcopy(module)
    _HANDED_OUT.add(module)
    return module
