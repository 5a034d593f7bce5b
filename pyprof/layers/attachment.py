"""Where probes stand: in the instances' attributes, or beside them as module hooks. Put there and taken off again.

A step that nobody looks at comes between those that are looked at, so probes are taken out and put back many times. A
probe that only called on would still stand in that step's way; and attaching anew just before it would make it slower
(a step of half a millisecond by 8 %, on two cores), since caches go cold meanwhile. So a pause is an exchange of one
attribute for each probe, which shows in no step.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from torch import nn

from pyprof.layers.compiled import refuse_to_be_compiled
from pyprof.layers.recorder import Recorder

_NOTHING: Final = object()


class Attachment(ABC):
    """A part of what looks at a module."""

    @abstractmethod
    def put(self) -> None:
        """Put it in place."""

    @abstractmethod
    def take_off(self) -> None:
        """Take it off for good, also in a pause; what it stood in for is back."""

    def pause(self) -> None:
        """Take it out, to be put back soon."""
        self.take_off()

    def resume(self) -> None:
        """Put it back after a pause."""
        self.put()


class _Stack:
    """The probes that stand in one attribute of an instance, innermost first, and what they stand in for."""

    def __init__(self, attributes: dict[str, Any], name: str, original: Any) -> None:
        self._attributes = attributes
        self._name = name
        self._own = name in attributes  # the attribute is the instance's own, not its class's
        self._original = attributes[name] if self._own else original
        self._probes: list[Any] = []
        self._left: set[int] = set()  # indices of those that were taken off under another one

    @property
    def attached(self) -> list[Any]:
        """The probes that record."""
        return [probe for place, probe in enumerate(self._probes) if place not in self._left]

    def put(self, recorder: Recorder, layer: int) -> tuple[int, Any]:
        """Put a probe around what stands there now; returns its place in the stack, and the probe."""
        probe = recorder.probe(self._attributes.get(self._name, self._original), layer)
        refuse_to_be_compiled(type(probe), _is_attached)
        self._attributes[self._name] = probe
        self._probes.append(probe)
        return len(self._probes) - 1, probe

    def take_off(self, place: int) -> bool:
        """Take a probe off, with those below it that were to go before; tells whether the last one has gone.

        Where something else has been put around a probe since, taking it off would take that off as well: it stays, and
        only calls on.
        """
        self._left.add(place)
        while self._probes and len(self._probes) - 1 in self._left:
            probe = self._probes.pop()
            if self._attributes.get(self._name) is not probe:
                continue
            if self._probes:
                self._attributes[self._name] = self._probes[-1]
            elif self._own:
                self._attributes[self._name] = self._original
            else:
                del self._attributes[self._name]
        self._left = {each for each in self._left if each < len(self._probes)}
        return not self._probes


# By the instance and the attribute, as long as probes are there: instruments may be left in any order.
_STACKS: dict[tuple[int, str], tuple[nn.Module, _Stack]] = {}


def _is_attached(probe: Any) -> bool:
    return any(probe is each for _, stack in _STACKS.values() for each in stack.attached)


class Replacement(Attachment):
    """A probe that stands where an instance looks its call up."""

    def __init__(self, recorder: Recorder, module: nn.Module, name: str, layer: int) -> None:
        self._recorder, self._module, self._name, self._layer = recorder, module, name, layer
        self._key = id(module), name
        self._attributes = module.__dict__

    def put(self) -> None:
        known = _STACKS.get(self._key)
        if known is None:
            stack = _Stack(self._attributes, self._name, getattr(self._module, self._name))
            known = _STACKS[self._key] = self._module, stack
        self._stack = known[1]
        self._inside = self._attributes.get(self._name, _NOTHING)
        self._place, self._probe = self._stack.put(self._recorder, self._layer)

    def take_off(self) -> None:
        self._recorder.silence(self._probe)
        if self._stack.take_off(self._place) and _STACKS.get(self._key, (None, None))[1] is self._stack:
            del _STACKS[self._key]

    def pause(self) -> None:
        if self._attributes.get(self._name) is not self._probe:
            self._recorder.silence(self._probe)  # something was put around it, which calls it
        elif self._inside is _NOTHING:
            del self._attributes[self._name]
        else:
            self._attributes[self._name] = self._inside

    def resume(self) -> None:
        if self._attributes.get(self._name, _NOTHING) is self._inside:
            self._attributes[self._name] = self._probe
        else:
            self.take_off()
            self.put()


class Hooks(Attachment):
    """Module hooks, for a module whose forward an instance attribute cannot replace."""

    def __init__(self, recorder: Recorder, module: nn.Module, layer: int) -> None:
        self._recorder, self._module, self._layer = recorder, module, layer
        self._opened: dict[int, list[Any]] = defaultdict(list)  # by thread

    def put(self) -> None:
        self._hooks = (
            self._module.register_forward_pre_hook(self._begin),
            self._module.register_forward_hook(self._end, always_call=True),
        )

    def take_off(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, *_: Any) -> None:
        self._opened[threading.get_ident()].append(self._recorder.begin(self._layer))

    def _end(self, *_: Any) -> None:
        self._recorder.end(self._opened[threading.get_ident()].pop())


class BackwardWatch(Attachment):
    """The observer of backward nodes."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._stop: Callable[[], None] = lambda: None

    def put(self) -> None:
        self._stop = self._recorder.observe_backward()

    def take_off(self) -> None:
        self._stop()
