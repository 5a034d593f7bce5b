"""Attach probes to all layers of a module, and always detach them."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from torch import nn

from pyprof import device as devices
from pyprof.errors import UsageError
from pyprof.layers import nvtx as ranges
from pyprof.layers.attachment import Attachment, BackwardWatch, Hooks, Replacement
from pyprof.layers.communication import CommunicationProbe, communicating, communication_paths, with_communication
from pyprof.layers.compiled import refuse_if_loaded
from pyprof.layers.device_log import DeviceLog
from pyprof.layers.kinds import classify
from pyprof.layers.last_steps import LastSteps
from pyprof.layers.memory_log import MemoryLog
from pyprof.layers.plain_steps import Turns
from pyprof.layers.profile import LayerFacts, Profile, assemble
from pyprof.layers.recorder import Recorder, RecorderName, make_recorder
from pyprof.layers.replay import Replay
from pyprof.layers.spots import facts_of, numbers_of, spots_of
from pyprof.layers.sums import Sums
from pyprof.layers.trace import STEP, Trace

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

    In a process of several that talk through torch.distributed, collectives and the waits for them are layers of the
    kind "communication", below those that call them.

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
        self._spots = list(spots_of(module))
        self._paths = list(module.named_modules(remove_duplicate=False))
        self._communicates = communicating()
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
        if self._communicates:
            attachments.append(CommunicationProbe(self._recorder, len(self._spots)))
        for index, spot in enumerate(self._spots):
            if spot.attached in _CALLED_AS:
                attachments.append(Replacement(self._recorder, spot.module, _CALLED_AS[spot.attached], index))
            elif spot.attached == "hooked":
                attachments.append(Hooks(self._recorder, spot.module, index))
        return attachments

    def _layer_ranges(self, module: nn.Module) -> _native.LayerRanges:
        numbers = numbers_of(self._spots)
        modules = [numbers[id(layer)] for _, layer in self._paths]
        paths = [path for path, _ in self._paths]
        if self._communicates:
            paths, modules = paths + communication_paths(paths), modules + [len(self._spots)] * len(paths)
        return ranges.layer_ranges(paths, modules, type(module).__name__)

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

    @property
    def records_device(self) -> bool:
        """Whether the work of a device is recorded, by kernels, beside what the host does."""
        return self._log is not None and self._log.reason is None

    @contextmanager
    def step(self, *, memory: bool = False, before: Callable[[], object] | None = None) -> Iterator[None]:
        """Mark a step: with any marked, a profile holds what lies in them, as a mean over them.

        With `memory` every allocation and free of the step is kept for `pyprof.write_trace`, which takes longer by some
        hundred nanoseconds each. Raises UsageError where that is asked for while torch.profiler runs. `before` is
        called first and is no part of the profile: where the last step was a plain one, a step on a GPU finds CUPTI in
        place that way.
        """
        refuse_if_loaded()  # since the probes were attached, perhaps
        if before is not None:
            self.settle(before)
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
    def plain_step(self, *, before: Callable[[], object] | None = None) -> Iterator[None]:
        """Take the probes out for a step, and time it: see `Profile.plain`.

        Take such steps in turn with those that `step` marks, of the same work. The probes are out in all threads.
        `before` is called first, without the probes too, and is not timed. Raises UsageError outside of the context,
        where there are none to take out.
        """
        if not self._entered:
            raise UsageError("a plain step lies between probed ones: take it within the context of the probes")
        self.pause()
        try:
            if before is not None:
                before()
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
        if self.records_device or (self._opens_ranges and not self._device_times):
            return self.device.capture(step)
        self.pause()
        try:
            return self.device.capture(step)
        finally:
            self.resume()

    @contextmanager
    def mark(self) -> Iterator[None]:
        """Mark a step; `hand_over` is to follow, outside of what is timed."""
        opened = self._recorder.begin(STEP)
        try:
            yield
        finally:
            self._recorder.end(opened)

    def run_marked(self, step: Callable[[], object]) -> None:
        """Call a step and mark it, as `mark` does."""
        opened = self._recorder.begin(STEP)
        try:
            step()
        finally:
            self._recorder.end(opened)

    def settle(self, step: Callable[[], object]) -> None:
        """Call a step that is no part of the profile, so that the next one finds everything in place."""
        step()
        self._recorder.drain()

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
        facts = self._facts()
        if self._device_times:
            profile = assemble(self._replay.sums(), facts, self._dropped)
        else:
            sums = Sums.of(self._recorder.sums())
            device = self._log.sums(sums.sites) if self._log and self.records_device else None
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
        return DeviceLog(log, self.device.synchronize) if log else None

    def _notes(self) -> tuple[str, ...]:
        """What a reader of the times on a device has to know."""
        reason = self._log.reason if self._log else self._no_log
        said = (f"no kernel times by layer: {reason}; the layers' times are the host's",) if reason else ()
        return (*said, *(self._device_times.notes() if self._device_times else ()))

    def _facts(self) -> list[LayerFacts]:
        facts = facts_of(self._spots, self._paths, self._kinds)
        return with_communication(facts, len(self._spots)) if self._communicates else facts

    @property
    def trace(self) -> Trace:
        """The stamps that are kept: those of the last steps, up to some ten thousand intervals."""
        self.hand_over()
        return Trace.of(list(self._kept), self._dropped)

    def last_steps(self) -> LastSteps:
        """What is kept of the last steps, to be drawn: see `pyprof.write_trace`."""
        trace, sites = self.trace, self._recorder.sums()["sites"]
        work = self._log.latest(sites) if self._log and self.records_device else None
        facts = tuple(self._facts())
        return LastSteps(trace, facts, sites, work, self._notes(), self._memory.samples())
