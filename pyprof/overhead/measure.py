"""Measure the overhead of tools on a model: slowdown of its step, cost of a call, bytes, and errors of layer times."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyprof import device as devices
from pyprof.device import Device
from pyprof.errors import ModelError
from pyprof.failures import Failure, blamed
from pyprof.machine.environment import current_environment
from pyprof.models.loaded import LoadedModel
from pyprof.overhead.accuracy import Accuracy, Errors, accuracy
from pyprof.overhead.empty_module import Added, bytes_per_call, tools_per_call
from pyprof.overhead.probes import PYPROF
from pyprof.overhead.request import OverheadRequest
from pyprof.overhead.result import ModeResult, Overhead, Row, Stated
from pyprof.overhead.slowdown import UNPROFILED, ToolSwitch, slowdowns
from pyprof.overhead.tool import Tool
from pyprof.overhead.tools import find, missing
from pyprof.timing.interleave import Interleaved, RoundLimits
from pyprof.timing.watch import Watch
from pyprof.worker.profile_model import at_work, profile_model, step_of

Progress = Callable[[str], None]
# Of the time for the steps, what goes to each of these: the empty module, the known model, and our own profile.
_SHARE = 0.25
# All contestants run the same model, so that one of them warms it up for all.
_WARMUP_SHARE = 0.02
_MOST_ROUNDS = 500


def measure_overhead(request: OverheadRequest, progress: Progress = lambda _: None) -> Overhead:
    """The overhead of the requested tools on the requested model; `progress` is called with what is being measured.

    A tool that is not installed, or that fails on the model, is a row with its reason. Raises UsageError for a model,
    a length or a tool that does not exist or does not fit, and ModelError where the model itself fails.
    """
    tools = find(request.tools)
    modes, unit = [], ""
    for mode in request.modes:
        progress(f"{mode}: loading {request.setup.model}")
        loaded = request.setup.load(mode)
        modes.append(_in_mode(request, loaded, tools, progress))
        unit = loaded.unit
    return Overhead(request, unit, current_environment(), tuple(modes))


@dataclass(frozen=True)
class _Figures:
    """All that was measured in one mode."""

    rounds: Interleaved
    calls: dict[str, Added | Failure]
    bytes: dict[str, float | Failure | None]
    accuracy: Accuracy


def _in_mode(request: OverheadRequest, loaded: LoadedModel, tools: Sequence[Tool], progress: Progress) -> ModeResult:
    setup, mode, seconds = request.setup, loaded.mode, request.seconds
    device = devices.of(setup.device)
    left_out = {tool.name: failure for tool in tools if (failure := absent(tool, tools, device)) is not None}
    present = [tool for tool in tools if tool.name not in left_out]
    backward = mode == "train"
    step = step_of(loaded, setup.length, setup.batch)
    with blamed(at_work(loaded.name, setup.length, setup.batch, mode)):
        step()
    with _without_warnings(), Watch(device.throttled) as watch:
        rounds = slowdowns(
            ToolSwitch(loaded.step, step.inputs.timed(step), backward=backward, settles=device.has_own_time),
            present,
            RoundLimits(seconds, _MOST_ROUNDS, warmup_seconds=_WARMUP_SHARE * seconds),
            stopwatch=device.stopwatch(),
            watch=watch,
            progress=lambda taken: progress(f"{mode}: steps, round {taken.count}"),
        )
        noise = watch.noise()
        if UNPROFILED in rounds.failures:
            raise ModelError(f"{loaded.name} failed without a profiler: {rounds.failures[UNPROFILED].reason}")
        progress(f"{mode}: calls of an empty module")
        plain, calls = tools_per_call(present, backward=backward, seconds=_SHARE * seconds)
        kept = {tool.name: bytes_per_call(tool) for tool in present}
        progress(f"{mode}: layers of known durations")
        truth = accuracy(present, backward=backward, seconds=_SHARE * seconds)
        progress(f"{mode}: what a profile states")
        stated = _stated(loaded, setup.length, setup.batch, _SHARE * seconds)
    figures = _Figures(rounds, calls, kept, truth)
    return ModeResult(
        mode,
        loaded.attention,
        rounds.seconds(UNPROFILED) if UNPROFILED in rounds.samples else None,
        tuple(rounds.samples.get(UNPROFILED, ())),
        rounds.stopped_by,
        tuple(_row(tool, left_out.get(tool.name), figures) for tool in tools),
        plain,
        truth.unseen_call_ns,
        stated,
        noise,
        rounds.waited(UNPROFILED, noise) if UNPROFILED in rounds.samples else None,
        (*loaded.notes(setup.length), *step.inputs.notes),
    )


def absent(tool: Tool, tools: Sequence[Tool], device: Device) -> Failure | None:
    """Why a tool cannot be measured with the others on this device, None where it can."""
    if tool.keeps_cupti and device.has_own_time and PYPROF in tools:
        return Failure(
            "skipped",
            f"{tool.name} keeps CUPTI once it was used, and pyprof would have no kernel times beside it: measure it "
            f"alone, by --tools {tool.name}",
        )
    return missing(tool)


def _stated(loaded: LoadedModel, length: int, batch: int, seconds: float) -> Stated:
    profile = profile_model(loaded, length, batch, seconds)
    loaded.step.zero_grad(set_to_none=True)
    plain = profile.plain
    assert plain is not None
    assert plain.ratio is not None  # it takes both kinds of steps
    return Stated(
        profile.calls / profile.steps, profile.nodes / profile.steps, plain.step, plain.ratio, len(plain.samples)
    )


def _row(tool: Tool, left_out: Failure | None, figures: _Figures) -> Row:
    failure = left_out or figures.rounds.failures.get(tool.name)
    paired = UNPROFILED in figures.rounds.samples and failure is None
    call, kept = figures.calls.get(tool.name), figures.bytes.get(tool.name)
    errors: Errors | Failure | None = figures.accuracy.tools.get(tool.name)
    gaps = {
        what: figure.reason
        for what, figure in (("call", call), ("event_bytes", kept), ("errors", errors))
        if isinstance(figure, Failure)
    }
    return Row(
        tool.name,
        "ok" if failure is None else failure.status,
        tool.timed,
        None if failure is None else failure.reason,
        figures.rounds.ratio(tool.name, UNPROFILED) if paired else None,
        tuple(figures.rounds.samples.get(tool.name, ())),
        None if isinstance(call, Failure) else call,
        None if isinstance(kept, Failure) else kept,
        tool.bytes_by,
        None if isinstance(errors, Failure) else errors,
        gaps,
    )


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence the tools' warnings: each step would bring its own, and writing them takes time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
