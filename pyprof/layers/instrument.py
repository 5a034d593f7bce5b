"""Attach probes to all layers of a module, and always detach them."""

from __future__ import annotations

import inspect
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pyprof import device as devices
from pyprof.device.weights import WeightCount
from pyprof.errors import UsageError
from pyprof.layers import nvtx as ranges
from pyprof.layers.attachment import Attachment, BackwardWatch, Hooks, Replacement
from pyprof.layers.compiled import has_compiled, refuse_if_loaded
from pyprof.layers.device_log import DeviceLog
from pyprof.layers.kinds import classify
from pyprof.layers.last_steps import LastSteps
from pyprof.layers.memory_log import MemoryLog
from pyprof.layers.plain_steps import Turns
from pyprof.layers.profile import LayerFacts, Profile, assemble
from pyprof.layers.recorder import Recorder, RecorderName, make_recorder
from pyprof.layers.replay import Replay
from pyprof.layers.sums import Sums
from pyprof.layers.trace import STEP, Trace
from pyprof.layers.uncalled import NO_FORWARD

if TYPE_CHECKING:
    from pyprof import _native

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
    nvtx: bool | None = None,
    events: bool = False,
) -> Probes:
    """Probes on every layer of `module` while the returned context is entered, around any code of yours.

    `step` of what is entered marks a step, and `plain_step` one that is taken without probes, in turn with the others:
    the profile then knows what the probes cost. `backward` also times the layers' backward. `rules` are (regular
    expression on the path, kind) pairs that come before the built-in guesses of a layer's kind. `recorder` is "native"
    or its twin "python". `capacity` is the number of calls that each thread can hold between two marked steps; what
    finds no room is counted in the profile. With `nvtx`, or where PYPROF_NVTX=1 is set, layers, steps and optimizers
    open ranges of the NVTX domain `pyprof` for a tool that is attached to the program (docs/traces.md).

    On a GPU the times of the layers are the host's, and `Profile.device_time` says what the device did for each; where
    its work cannot be recorded, `Profile.notes` say why. With `events` the times are instead those between events on
    the device's stream, which are times of launches where kernels fill less of the step, and disturb it more.

    A module that torch.compile compiled stays compiled, and is one layer; see `pyprof.layers.compiled` for functions
    that are compiled around `module`. What the first forward builds has to be there before: call the module once.

    Raises UsageError where `module` is no nn.Module, and where there can be no ranges that were asked for.
    """
    check_module(module)
    return Probes(module, backward, rules, recorder, capacity, nvtx, events)


def check_module(module: object) -> None:
    """Raise UsageError where it is no nn.Module."""
    if not isinstance(module, nn.Module):
        raise UsageError(f"only an nn.Module can be instrumented, not {type(module).__name__}: pass the module itself")


class Probes:
    """The probes of one module: a context that attaches and detaches them; afterwards it still gives the profile."""

    def __init__(
        self,
        module: nn.Module,
        backward: bool,
        rules: Rules,
        recorder: RecorderName,
        capacity: int,
        nvtx: bool | None,
        events: bool,
    ) -> None:
        self.device = devices.of_module(module)
        self._device_times = self.device.layer_times(capacity) if events else None
        clock = self._device_times.clock if self._device_times else None
        self._plan = list(_plan(module))
        self._paths = list(module.named_modules(remove_duplicate=False))
        opened = self._opens_ranges = ranges.wanted(False if nvtx is None and recorder == "python" else nvtx)
        self._recorder: Recorder = make_recorder(
            recorder,
            backward=backward,
            capacity=capacity,
            device_clock=clock,
            ranges=self._layer_ranges(module) if opened else None,
        )
        self._kinds = classify(module, rules)
        self._no_log: str | None = None
        self._log = None if events else self._device_log()
        self._attachments = [*([ranges.OptimizerRanges()] if opened else []), *self._to_attach(backward)]
        self._attached: list[Attachment] = []
        self._entered = self._paused = False
        self._kept: deque[dict[str, Any]] = deque()
        self._kept_intervals = 0
        self._dropped = 0
        self._replay = Replay()
        self._turns = Turns()
        self._memory = MemoryLog(recorder == "native")

    def __enter__(self) -> Self:
        if self._entered:
            raise UsageError("these probes are attached already: leave their context first, or make new ones")
        try:
            for attachment in self._attachments:
                attachment.put()
                self._attached.append(attachment)
        except BaseException:
            self._detach()
            raise
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered = self._paused = False
        self._detach()

    def _detach(self) -> None:
        while self._attached:
            self._attached.pop().take_off()

    def _to_attach(self, backward: bool) -> list[Attachment]:
        attachments: list[Attachment] = [] if self._log is None else [self._log]
        if backward:
            attachments.append(BackwardWatch(self._recorder))
        for index, spot in enumerate(self._plan):
            if spot.attached in _CALLED_AS:
                attachments.append(Replacement(self._recorder, spot.module, _CALLED_AS[spot.attached], index))
            elif spot.attached == "hooked":
                attachments.append(Hooks(self._recorder, spot.module, index))
        return attachments

    def _layer_ranges(self, module: nn.Module) -> _native.LayerRanges:
        numbers = _numbers(self._plan)
        modules = [numbers[id(layer)] for _, layer in self._paths]
        return ranges.layer_ranges([path for path, _ in self._paths], modules, type(module).__name__)

    def pause(self) -> None:
        """Take the probes out, in all threads, until `resume`; nothing where they are out."""
        if not self._paused:
            self._paused = True
            for attachment in reversed(self._attached):
                attachment.pause()

    def resume(self) -> None:
        """Put the probes back; nothing where they are in place."""
        if self._paused:
            self._paused = False
            for attachment in self._attached:
                attachment.resume()

    @contextmanager
    def step(self, *, memory: bool = False) -> Iterator[None]:
        """Mark a step: with any marked, a profile holds what lies in them, as a mean over them.

        With `memory` every allocation and free of the step is kept for `pyprof.write_trace`, which takes longer by some
        hundred nanoseconds each. Raises UsageError where that is asked for while torch.profiler runs.
        """
        refuse_if_loaded()  # since the probes were attached, perhaps
        self.device.synchronize()
        with self._memory.step(memory):
            yield from self._marked()

    def _marked(self) -> Iterator[None]:
        begin = time.perf_counter_ns()
        opened = self._recorder.begin(STEP)
        try:
            yield
        finally:
            self._recorder.end(opened)
            self.device.synchronize()
            self._turns.add(time.perf_counter_ns() - begin, probed=True)
            self.hand_over()

    @contextmanager
    def plain_step(self) -> Iterator[None]:
        """Take the probes out for a step, and time it: see `Profile.plain`.

        Take such steps in turn with those that `step` marks, of the same work. The probes are out in all threads.
        Raises UsageError outside of the context, where there are none to take out.
        """
        if not self._entered:
            raise UsageError("a plain step lies between probed ones: take it within the context of the probes")
        self.pause()
        try:
            self.device.synchronize()
            begin = time.perf_counter_ns()
            yield
            self.device.synchronize()
            self._turns.add(time.perf_counter_ns() - begin, probed=False)
        finally:
            self.resume()

    def capture(self, step: Callable[[], object]) -> Callable[[], object]:
        """Capture a step into the device's graph; calling what is returned replays it.

        The probes are in place meanwhile where the device's work is recorded, here or by a tool that NVTX ranges are
        opened for, so that the graph's nodes get their layer, and out where not. Raises UsageError where the device or
        the step allows no capture.
        """
        if (self._log and self._log.reason is None) or (self._opens_ranges and not self._device_times):
            return self.device.capture(step)
        self.pause()
        try:
            return self.device.capture(step)
        finally:
            self.resume()

    def run_marked(self, step: Callable[[], object]) -> None:
        """Call a step and mark it; `hand_over` is to follow, outside of what is timed."""
        opened = self._recorder.begin(STEP)
        try:
            step()
        finally:
            self._recorder.end(opened)

    def hand_over(self) -> None:
        """Take over what was recorded, so that there is room for the next step."""
        drained = self._recorder.drain()
        if self._device_times:
            drained = self._device_times.place(drained)
            self._replay.add(Trace.of([drained]))
        if self._log:
            self.device.synchronize()
            self._log.take(drained["spans"], drained["threads"])
            if self._log.is_full:
                self._log.settle(self._recorder.sums()["sites"])
        self._dropped += drained["dropped"]
        # Put together only when it is asked for: a step must not pay for all those before it.
        self._kept.append(drained)
        self._kept_intervals += len(drained["spans"]) + len(drained["nodes"])
        while len(self._kept) > 1 and (self._kept_intervals > _KEPT_INTERVALS or len(self._kept) > _KEPT_PARTS):
            oldest = self._kept.popleft()
            self._kept_intervals -= len(oldest["spans"]) + len(oldest["nodes"])

    def profile(self) -> Profile:
        """The profile of all calls that have ended by now; also after the context was left.

        Raises InvariantError when the layers' times do not sum to the step. Warns where events could not be kept.
        """
        self.hand_over()
        # Only now, as lazy parameters have no size before the first forward.
        facts = _facts(self._plan, self._paths, self._kinds)
        if self._device_times:
            profile = assemble(self._replay.sums(), facts, self._dropped)
        else:
            sums = Sums.of(self._recorder.sums())
            device = self._log.sums(sums.sites) if self._log and self._log.reason is None else None
            profile = assemble(sums, facts, device=device)
        profile = replace(profile, plain=self._turns.plain_steps(), notes=self._notes())
        profile.self_check()
        for omission in profile.omissions():
            warnings.warn(omission, stacklevel=2)
        return profile

    def _device_log(self) -> DeviceLog | None:
        """A log of the device's work; None where the host does it all, or where it cannot be had."""
        places = self._recorder.places()
        try:
            log = self.device.work_log(*places) if places else None
        except UsageError as error:
            self._no_log = str(error)
            return None
        return DeviceLog(log) if log else None

    def _notes(self) -> tuple[str, ...]:
        """What a reader of the times on a device has to know."""
        reason = self._log.reason if self._log else self._no_log
        said = (f"no kernel times by layer: {reason}; the layers' times are the host's",) if reason else ()
        return (*said, *(self._device_times.notes() if self._device_times else ()))

    @property
    def trace(self) -> Trace:
        """The stamps that are kept: those of the last steps, up to some ten thousand intervals."""
        self.hand_over()
        return Trace.of(list(self._kept), self._dropped)

    def last_steps(self) -> LastSteps:
        """What is kept of the last steps, to be drawn: see `pyprof.write_trace`."""
        trace, sites = self.trace, self._recorder.sums()["sites"]
        log = self._log if self._log and self._log.reason is None else None
        work = log.latest(sites) if log else None
        facts = tuple(_facts(self._plan, self._paths, self._kinds))
        return LastSteps(trace, facts, sites, work, self._notes(), self._memory.samples())


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


def _numbers(plan: Sequence[_Spot]) -> dict[int, int]:
    """By the identity of each module, the number by which the recorder knows it."""
    return {id(spot.module): number for number, spot in enumerate(plan)}


def _facts(plan: Sequence[_Spot], paths: Sequence[tuple[str, nn.Module]], kinds: Mapping[str, str]) -> list[LayerFacts]:
    """The facts of every path of every module, in the order of nn.Module.named_modules without removing duplicates."""
    modules = _numbers(plan)
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
