"""Probes beside torch.compile: what is compiled stays compiled, or is refused.

The compiler looks at a module's forward while it traces a call. A probe there would break the graph in pieces; and
since nothing tells the compiler when the probe has gone, the pieces would be used from then on, without a word. So what
is compiled inside of a module is left alone and timed from outside, and tracing a probe is an error: it is raised
before anything is compiled anew, and what was compiled before serves again as soon as the probes have gone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from pyprof.errors import UsageError

_REFUSED = (
    "a module with probes is called inside of a function that torch.compile compiles, where probes would break its "
    "graph in pieces: instrument the compiled module, torch.compile(module) or one after module.compile(), which is "
    "timed from outside, or time the function by pyprof.measure"
)

# The types of probes that the compiler has not been told of yet.
_REFUSING: dict[type, Callable[[Any], bool]] = {}


def has_compiled(module: nn.Module) -> bool:
    """Whether the module's forward, or a function among the instance's attributes, was made by torch.compile."""
    # TorchScript looks its attributes up by itself, and compiles in its own way.
    if isinstance(module, torch.jit.ScriptModule):
        return False
    return any(map(_is_compiled, (getattr(module, "forward", None), *vars(module).values())))


def _is_compiled(value: Any) -> bool:
    if not callable(value) or isinstance(value, (nn.Module, torch.Tensor, type)):
        return False
    # torch.compiler.disable leaves the first mark as well.
    marks = "_torchdynamo_orig_callable", "_torchdynamo_disable"
    made, disabled = (getattr(value, mark, None) for mark in marks)
    return made is not None and not disabled


def refuse_to_be_compiled(probe_type: type, is_attached: Callable[[Any], bool]) -> None:
    """Have the compiler raise UsageError where it meets a probe of this type that is attached.

    One that only calls on, since something else was put around it, is compiled as the forward that it stands in for.
    """
    _REFUSING[probe_type] = is_attached
    refuse_if_loaded()


def refuse_if_loaded() -> None:
    """Tell the compiler where it is loaded by now: it takes 70 MB, so it is not loaded for this."""
    if _REFUSING and "torch._dynamo" in sys.modules:
        while _REFUSING:
            _refuse(*_REFUSING.popitem())


def _refuse(probe_type: type, is_attached: Callable[[Any], bool]) -> None:
    from torch._dynamo.variables.builder import VariableBuilder

    # The compiler's own table of how values of a type are taken into a graph; no released interface reaches as far.
    if hasattr(VariableBuilder, "_type_dispatch"):
        VariableBuilder._type_dispatch()[probe_type] = lambda builder, probe: _taken(builder, probe, is_attached)


def _taken(builder: Any, probe: Any, is_attached: Callable[[Any], bool]) -> Any:
    from torch._dynamo.source import AttrSource

    if is_attached(probe):
        raise _refusal()(_REFUSED)
    return type(builder)(builder.tx, AttrSource(builder.source, "__wrapped__"))(probe.__wrapped__)


@cache
def _refusal() -> type[UsageError]:
    """An error that the compiler passes on as it is, instead of as an internal error of its own."""
    from torch._dynamo.exc import ShortenTraceback

    class CompiledAroundError(ShortenTraceback, UsageError):
        def __init__(self, message: str) -> None:
            super().__init__(message, first_useful_frame=None)
            self._message = message

        def __str__(self) -> str:
            return self._message  # without the lines that the compiler adds to the arguments

    return CompiledAroundError
