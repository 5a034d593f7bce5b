"""Find the overhead of tools on a model: slowdown of its step, cost of a call, bytes, and errors of layer times."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyprof import device as devices
from pyprof.failures import Failure
from pyprof.machine.environment import current_environment
from pyprof.models import registry
from pyprof.models.loaded import LoadedModel
from pyprof.overhead.accuracy import Accuracy, Errors, accuracy
from pyprof.overhead.empty import Added, bytes_per_call, tools_per_call
from pyprof.overhead.plan import Plan
from pyprof.overhead.result import Calibration, ModeResult, Overhead, Row
from pyprof.overhead.slowdown import BARE, Looks, slowdowns
from pyprof.overhead.tool import Tool
from pyprof.overhead.tools import find, missing
from pyprof.timing.interleave import Interleaved, RoundLimits
from pyprof.timing.watch import Watch
from pyprof.worker.profile_model import profile_model, step_of

Progress = Callable[[str], None]
# Of the time for the steps: what goes to the empty module, to the planted model, and to the calibration. Each.
_SHARE = 0.25
# Every contestant runs the same model, so that one of them warms it up for all.
_WARMUP_SHARE = 0.02
_MOST_ROUNDS = 500


def find_overhead(plan: Plan, progress: Progress = lambda _: None) -> Overhead:
    """The overhead of the planned tools on the planned model.

    A tool that is not installed, or that fails on the model, is a row with its reason. Raises UsageError for a model,
    a length or a tool that does not exist or does not fit.
    """
    tools = find(plan.tools)
    modes = tuple(_in_mode(plan, mode, tools, progress) for mode in plan.modes)
    return Overhead(plan, current_environment(), modes)


@dataclass(frozen=True)
class _Figures:
    """All that was measured in one mode."""

    rounds: Interleaved
    calls: dict[str, Added | Failure]
    bytes: dict[str, float | Failure | None]
    accuracy: Accuracy


def _in_mode(plan: Plan, mode: str, tools: Sequence[Tool], progress: Progress) -> ModeResult:
    progress(f"{mode}: loading {plan.model}")
    loaded, length = _load(plan, mode)
    absent = {tool.name: failure for tool in tools if (failure := missing(tool)) is not None}
    present = [tool for tool in tools if tool.name not in absent]
    backward = mode == "train"
    step = step_of(loaded, length, plan.batch)
    device = devices.of(plan.device)
    with _hushed(), Watch(device.throttled) as watch:
        rounds = slowdowns(
            Looks(loaded.step, step, backward=backward),
            present,
            RoundLimits(plan.seconds, _MOST_ROUNDS, warmup_seconds=_WARMUP_SHARE * plan.seconds),
            stopwatch=device.stopwatch(),
            watch=watch,
            progress=lambda taken: progress(f"{mode}: steps, round {taken.count}"),
        )
        noise = watch.noise()
        progress(f"{mode}: calls of a module that does nothing")
        plain, calls = tools_per_call(present, backward=backward, seconds=_SHARE * plan.seconds)
        kept = {tool.name: bytes_per_call(tool) for tool in present}
        progress(f"{mode}: layers with planted durations")
        truth = accuracy(present, backward=backward, seconds=_SHARE * plan.seconds)
        progress(f"{mode}: calibration")
        calibration = _calibration(loaded, length, plan)
    figures = _Figures(rounds, calls, kept, truth)
    return ModeResult(
        mode,
        loaded.attention,
        rounds.seconds(BARE) if BARE in rounds.samples else None,
        tuple(rounds.samples.get(BARE, ())),
        rounds.stopped_by,
        tuple(_row(tool, absent.get(tool.name), figures) for tool in tools),
        plain,
        truth.unseen_call_ns,
        calibration,
        noise,
        loaded.notes(length),
    )


def _load(plan: Plan, mode: str) -> tuple[LoadedModel, int]:
    entry = registry.find(plan.model)
    length = plan.length_in(entry.unit if entry else "token")
    loaded = registry.load(
        plan.model,
        size=plan.size,
        attention=plan.attention,
        mode=mode,
        longest=length,
        dtype=plan.dtype,
        device=plan.device,
    )
    loaded.fit(length)
    return loaded, length


def _calibration(loaded: LoadedModel, length: int, plan: Plan) -> Calibration:
    profile = profile_model(loaded, length, plan.batch, _SHARE * plan.seconds)
    loaded.step.zero_grad(set_to_none=True)
    return Calibration(
        profile.cost,
        profile.calls / profile.steps,
        profile.nodes / profile.steps,
        profile.probe_seconds,
        profile.step_seconds,
    )


def _row(tool: Tool, absent: Failure | None, figures: _Figures) -> Row:
    failure = absent or figures.rounds.failures.get(tool.name)
    bare = BARE in figures.rounds.samples and failure is None
    call, kept = figures.calls.get(tool.name), figures.bytes.get(tool.name)
    errors: Errors | Failure | None = figures.accuracy.tools.get(tool.name)
    gaps = {
        what: found.reason
        for what, found in (("call", call), ("event_bytes", kept), ("errors", errors))
        if isinstance(found, Failure)
    }
    return Row(
        tool.name,
        "ok" if failure is None else failure.status,
        tool.timed,
        None if failure is None else failure.reason,
        figures.rounds.ratio(tool.name, BARE) if bare else None,
        tuple(figures.rounds.samples.get(tool.name, ())),
        None if isinstance(call, Failure) else call,
        None if isinstance(kept, Failure) else kept,
        tool.bytes_by,
        None if isinstance(errors, Failure) else errors,
        gaps,
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Without the tools' warnings: each step would bring its own, and writing them takes time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
