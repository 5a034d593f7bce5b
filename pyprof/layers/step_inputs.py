"""The arguments of the steps that are taken of a user's module: every step gets what the first one got."""

from __future__ import annotations

import copy
import enum
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from pyprof.timing.clock import Call, Renewing

# What cannot change, or is not a value of the step's own: a module's state is given back by its snapshot.
_UNCHANGING = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    enum.Enum,
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    torch.Generator,
    nn.Module,
)


class StepInputs:
    """The arguments of a step, made anew by `renew` before each one.

    Tensors and objects with a state of their own (a cache of keys and values, say) are copied, so that a step neither
    moves the user's nor finds what the step before left in them. A tensor that is itself computed from something
    (`hidden = first(value)`) is cut off from what is behind it: a backward would otherwise go on into the graph that
    computed it, which is the user's and bears one only. Parameters and modules are the user's own, and so are tensors
    that a copy would lay out in another way. `unchanged` are tensors that no step writes into: every step is given
    these themselves. `note` says which kind of object could not be copied, None where all were.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], unchanged: Sequence[torch.Tensor] = ()) -> None:
        self._given = (args, kwargs)
        self._unchanged = tuple(unchanged)
        self.args, self.kwargs = args, kwargs
        self.note: str | None = None
        self.renew()

    def renew(self) -> None:
        """Make the arguments as they were given; what was given twice stays one thing."""
        made: dict[int, Any] = {id(tensor): tensor for tensor in self._unchanged}

        def fresh(value: Any) -> Any:
            if id(value) not in made:
                made[id(value)] = self._fresh(value, made)
            return made[id(value)]

        with torch.inference_mode(False), torch.enable_grad():
            self.args, self.kwargs = tree_map(fresh, self._given, is_leaf=_has_state)

    def _fresh(self, value: Any, made: dict[int, Any]) -> Any:
        if isinstance(value, torch.Tensor):
            return _copied(value) if value.is_leaf else _cut_off(value)
        if not _has_state(value):
            return value
        try:
            for tensor in _computed_tensors(value, set()):  # which deepcopy refuses
                made.setdefault(id(tensor), _cut_off(tensor))
            return copy.deepcopy(value, made)
        except Exception as error:
            self.note = (
                f"an input of type {type(value).__name__} cannot be copied ({error}): every step was given the same "
                "one, so what a step changes in it is there in the next"
            )
            return value


class SameInputs:
    """The arguments of many steps, the same ones for each.

    Plain tensors are handed out as they are. Where there is anything else that a step may change (`changing`: an object
    with a state of its own, such as a cache, or a list), each step gets what the first one got, as by `StepInputs`:
    `take` sees to it, and `renew` does it beforehand, where it shall be no part of what is timed or weighed.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], unchanged: Sequence[torch.Tensor] = ()) -> None:
        self._current = (args, kwargs)
        self._made = StepInputs(args, kwargs, unchanged) if _may_change(args, kwargs) else None
        if self._made is not None:
            self._current = (self._made.args, self._made.kwargs)
        self._used = False

    @property
    def changing(self) -> bool:
        return self._made is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be copied."""
        return () if self._made is None or self._made.note is None else (self._made.note,)

    @property
    def current(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as they are, for looking at them."""
        return self._current

    def renew(self) -> None:
        """Make the arguments as they were given, unless they still are."""
        if self._made is not None and self._used:
            self._made.renew()
            self._current, self._used = (self._made.args, self._made.kwargs), False

    def take(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments for a step."""
        if self._made is not None:
            self.renew()
            self._used = True
        return self._current

    def timed(self, step: Call) -> Call:
        """A step that takes these arguments, as it is to be timed."""
        return Renewing(step, self.renew) if self.changing else step


def _may_change(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    values = tree_leaves((args, *kwargs.values()), is_leaf=lambda value: not isinstance(value, tuple))
    return not all(isinstance(value, (torch.Tensor, *_UNCHANGING)) for value in values)


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, nn.Parameter) or tensor.layout is not torch.strided or tensor.is_nested:
        return tensor
    copied = tensor.detach().clone()
    return copied.requires_grad_(tensor.requires_grad) if copied.stride() == tensor.stride() else tensor


def _cut_off(tensor: torch.Tensor) -> torch.Tensor:
    # A clone, since a leaf that needs a gradient must not be written to in place, as this one may be.
    return tensor.detach().requires_grad_().clone()


def _computed_tensors(value: object, seen: set[int]) -> Iterator[torch.Tensor]:
    if id(value) in seen or isinstance(value, _UNCHANGING):
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        if not value.is_leaf:
            yield value
        return
    children: Iterable[object] = ()
    if isinstance(value, Mapping):
        children = value.values()
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        children = value
    for child in (*children, *getattr(value, "__dict__", {}).values()):
        yield from _computed_tensors(child, seen)


def _has_state(value: object) -> bool:
    """Whether a value is an object that a step may change, and that nobody else gives back."""
    return not isinstance(value, (torch.Tensor, list, tuple, dict, *_UNCHANGING))
