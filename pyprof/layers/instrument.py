"""Attach probes to all layers of a module, and always detach them."""

from __future__ import annotations

import inspect
import sys
import threading
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pyprof import device as devices
from pyprof.device.weights import WeightCount
from pyprof.errors import UsageError
from pyprof.layers.adding_up import Replay
from pyprof.layers.calibrate import calibrate
from pyprof.layers.compiled import has_compiled, refuse_if_loaded, refuse_to_be_compiled
from pyprof.layers.kinds import classify
from pyprof.layers.profile import LayerFacts, ProbeCost, Profile, assemble
from pyprof.layers.recorder import Recorder, RecorderName, make_recorder
from pyprof.layers.sums import Sums
from pyprof.layers.trace import STEP, Trace
from pyprof.layers.uncalled import NO_FORWARD

Rules = Sequence[tuple[str, str]]
# Stamps of at most so many intervals are kept, 64 bytes each, and of so many steps.
_KEPT_INTERVALS = 1 << 16
_KEPT_PARTS = 1 << 10
_CALLED_AS = {"replaced": "forward", "compiled": "_compiled_call_impl"}


def instrument(
    module: nn.Module,
    *,
    backward: bool = False,
    rules: Rules = (),
    recorder: RecorderName = "native",
    capacity: int = 1 << 14,
) -> Probes:
    """Probes on every layer of `module` while the returned context is entered, around any code of yours.

    `backward` also times the layers' backward. `rules` are (regular expression on the path, kind) pairs that come
    before the built-in guesses of a layer's kind. `recorder` is "native" or its twin "python". `capacity` is the
    number of calls that each thread can hold between two marked steps; what finds no room is counted in the profile.

    A module that torch.compile compiled stays compiled, and is one layer; see `pyprof.layers.compiled` for functions
    that are compiled around `module`. What the first forward builds has to be there before: call the module once.

    Raises UsageError where `module` is no nn.Module.
    """
    check_module(module)
    return Probes(module, backward, rules, recorder, capacity)


def check_module(module: object) -> None:
    """Raise UsageError where it is no nn.Module."""
    if not isinstance(module, nn.Module):
        raise UsageError(f"only an nn.Module can be instrumented, not {type(module).__name__}: pass the module itself")


class Probes:
    """The probes of one module: a context that attaches and detaches them; afterwards it still gives the profile."""

    def __init__(self, module: nn.Module, backward: bool, rules: Rules, recorder: RecorderName, capacity: int) -> None:
        self._backward = backward
        self._name: RecorderName = recorder
        self._device_times = devices.of_module(module).layer_times(capacity)
        clock = self._device_times.clock if self._device_times else None
        self._recorder: Recorder = make_recorder(recorder, backward=backward, capacity=capacity, device_clock=clock)
        self._plan = list(_plan(module))
        self._paths = list(module.named_modules(remove_duplicate=False))
        self._kinds = classify(module, rules)
        self._undo: list[Callable[[], None]] = []
        self._kept: deque[dict[str, Any]] = deque()
        self._kept_intervals = 0
        self._dropped = 0
        self._replay = Replay()
        self._cost = ProbeCost()

    def __enter__(self) -> Self:
        if self._undo:
            raise UsageError("these probes are attached already: leave their context first, or make new ones")
        self._cost = calibrate(self._name, backward=self._backward)
        try:
            if self._backward:
                self._undo.append(self._recorder.observe_backward())
            for index, spot in enumerate(self._plan):
                if spot.attached in _CALLED_AS:
                    self._undo.append(_replace(self._recorder, spot.module, _CALLED_AS[spot.attached], index))
                elif spot.attached == "hooked":
                    self._undo.append(_hook(self._recorder, spot.module, index))
        except BaseException:
            self._detach()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._detach()

    def _detach(self) -> None:
        while self._undo:
            self._undo.pop()()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Mark a step: with any marked, a profile holds what lies in them, as a mean over them."""
        refuse_if_loaded()  # since the probes were attached, perhaps
        opened = self._recorder.begin(STEP)
        try:
            yield
        finally:
            self._recorder.end(opened)
            self._drain()

    def profile(self) -> Profile:
        """The profile of all calls that have ended by now; also after the context was left.

        Raises InvariantError when the layers' times do not sum to the step. Warns where events could not be kept.
        """
        self._drain()
        # Only now, as lazy parameters have no size before the first forward.
        facts = _facts(self._plan, self._paths, self._kinds)
        if self._device_times:
            profile = assemble(self._replay.sums(), facts, self._cost, self._dropped)
        else:
            profile = assemble(Sums.of(self._recorder.sums()), facts, self._cost)
        profile.self_check()
        for omission in profile.omissions():
            warnings.warn(omission, stacklevel=2)
        return profile

    @property
    def trace(self) -> Trace:
        """The stamps that are kept: those of the last steps, up to some ten thousand intervals."""
        self._drain()
        return Trace.of(list(self._kept), self._dropped)

    def _drain(self) -> None:
        drained = self._recorder.drain()
        if self._device_times:
            drained = self._device_times.place(drained)
            self._replay.add(Trace.of([drained]))
        self._dropped += drained["dropped"]
        # Put together only when it is asked for: a step must not pay for all those before it.
        self._kept.append(drained)
        self._kept_intervals += len(drained["spans"]) + len(drained["nodes"])
        while len(self._kept) > 1 and (self._kept_intervals > _KEPT_INTERVALS or len(self._kept) > _KEPT_PARTS):
            oldest = self._kept.popleft()
            self._kept_intervals -= len(oldest["spans"]) + len(oldest["nodes"])


@dataclass(frozen=True)
class _Spot:
    """A module, its first path, and how it is instrumented: `attached` as in LayerFacts."""

    path: str
    module: nn.Module
    attached: str


def _plan(module: nn.Module) -> Iterator[_Spot]:
    """Every module once, in the order of nn.Module.named_modules, with how it is instrumented."""
    closed: list[tuple[str, str]] = []  # paths whose inside no probe can see, and why
    for path, layer in module.named_modules():
        above = next((reason for prefix, reason in closed if path.startswith(prefix)), None)
        attached = f"skipped: {above}" if above else _attachment(layer)
        if above is None and (reason := _closed(layer)):
            closed.append((f"{path}." if path else "", reason))
        yield _Spot(path, layer, attached)


def _closed(module: nn.Module) -> str | None:
    """Why no probe can see the calls of the module's own modules."""
    if isinstance(module, torch.jit.ScriptModule):
        return "inside TorchScript"
    # Without that part of PyTorch, which takes 70 MB, nothing can have been compiled.
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    whole = dynamo is not None and isinstance(module, dynamo.OptimizedModule)
    if whole or _compiled_call(module) or has_compiled(module):
        return "inside torch.compile"
    return None


def _compiled_call(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None


def _attachment(module: nn.Module) -> str:
    if _compiled_call(module):
        return "compiled"
    forward = getattr(module, "forward", None)
    if forward is None or getattr(forward, "__func__", forward) is nn.Module.forward:
        return NO_FORWARD
    # A property, or another descriptor that can be set, comes before the instance's own attributes.
    return "hooked" if hasattr(inspect.getattr_static(type(module), "forward", None), "__set__") else "replaced"


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

    def put(self, recorder: Recorder, layer: int) -> int:
        """Put a probe around what stands there now; returns its place in the stack."""
        probe = recorder.probe(self._attributes.get(self._name, self._original), layer)
        refuse_to_be_compiled(type(probe), _is_attached)
        self._attributes[self._name] = probe
        self._probes.append(probe)
        return len(self._probes) - 1

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


def _replace(recorder: Recorder, module: nn.Module, name: str, layer: int) -> Callable[[], None]:
    """Put a probe where the instance looks its call up; returns what takes it off again."""
    key = id(module), name
    if key not in _STACKS:
        _STACKS[key] = module, _Stack(module.__dict__, name, getattr(module, name))
    stack = _STACKS[key][1]
    place = stack.put(recorder, layer)
    probe = module.__dict__[name]

    def undo() -> None:
        recorder.silence(probe)
        if stack.take_off(place) and _STACKS.get(key, (None, None))[1] is stack:
            del _STACKS[key]

    return undo


def _hook(recorder: Recorder, module: nn.Module, layer: int) -> Callable[[], None]:
    """Module hooks, for a module whose forward an instance attribute cannot replace."""
    opened: dict[int, list[Any]] = defaultdict(list)  # by thread

    def begin(*_: Any) -> None:
        opened[threading.get_ident()].append(recorder.begin(layer))

    def end(*_: Any) -> None:
        recorder.end(opened[threading.get_ident()].pop())

    before = module.register_forward_pre_hook(begin)
    after = module.register_forward_hook(end, always_call=True)

    def undo() -> None:
        before.remove()
        after.remove()

    return undo


def _facts(plan: Sequence[_Spot], paths: Sequence[tuple[str, nn.Module]], kinds: Mapping[str, str]) -> list[LayerFacts]:
    """The facts of every path of every module, in the order of nn.Module.named_modules without removing duplicates."""
    modules = {id(spot.module): number for number, spot in enumerate(plan)}
    numbers: dict[str, int] = {}
    weights = WeightCount()
    facts: list[LayerFacts] = []
    for path, layer in paths:
        # A lazy layer that no forward has reached has no weights yet.
        unborn = any(map(is_lazy, layer.parameters(recurse=False)))
        count = 0 if unborn else weights.add(layer)
        parent = numbers[path.rpartition(".")[0]] if path else None
        numbers[path] = len(facts)
        number = modules[id(layer)]
        facts.append(LayerFacts(path, type(layer).__name__, kinds[path], parent, count, plan[number].attached, number))
    return facts
