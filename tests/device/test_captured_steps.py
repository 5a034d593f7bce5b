"""Steps captured into a graph: how a card is asked for it, what a profile of one says, and where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from model_steps import registry_step
from torch import nn

from pyprof.cli.main import main
from pyprof.device.cuda import CudaDevice
from pyprof.device.host import HostDevice
from pyprof.errors import UsageError
from pyprof.layers.captured import OtherPath, captured_notes, other_kernels, other_paths
from pyprof.layers.device_log import DeviceLog
from pyprof.layers.device_time import BusyTime, DeviceTime, KernelTime, LayerWork, Work
from pyprof.layers.instrument import instrument
from pyprof.layers.profile import Profile
from pyprof.layers.steps import record_steps
from pyprof.models import registry
from pyprof.worker.profile_model import profile_model
from pyprof.worker.step import Step


class FakeCuda:
    """As much of torch.cuda as a capture takes; `log` holds what was done, in order."""

    def __init__(self, refuses: bool = False) -> None:
        self.log: list[str] = []
        self._refuses = refuses

    def Stream(self) -> Any:
        return self

    current_stream = Stream

    def wait_stream(self, _: object) -> None:
        self.log.append("wait")

    @contextmanager
    def device(self, name: str) -> Iterator[None]:
        self.log.append(name)
        yield

    @contextmanager
    def stream(self, _: object) -> Iterator[None]:
        self.log.append("beside")
        yield
        self.log.append("back")

    def CUDAGraph(self) -> Any:
        return self

    @contextmanager
    def graph(self, _: object, stream: object) -> Iterator[None]:
        assert stream is self
        self.log.append("capture")
        yield
        if self._refuses:
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")
        self.log.append("captured")

    def replay(self) -> None:
        self.log.append("replay")


def test_a_step_is_warmed_up_beside_captured_and_replayed() -> None:
    cuda = FakeCuda()
    step = CudaDevice("cuda:1", cuda).capture(lambda: cuda.log.append("step"))
    step()
    assert cuda.log == [
        *("cuda:1", "wait", "beside", "step", "step", "step", "back", "wait"),
        *("capture", "step", "captured", "replay"),
    ]


def test_a_step_that_cannot_be_captured_is_one_sentence() -> None:
    with pytest.raises(
        UsageError, match=r"cannot be captured .*operation not permitted.*: leave --launch out"
    ) as raised:
        CudaDevice("cuda", FakeCuda(refuses=True)).capture(lambda: None)
    assert "\n" not in str(raised.value)


def test_the_host_has_no_graphs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="cpu has no graphs"):
        HostDevice().capture(lambda: None)
    assert main(["profile", "bert", "--size", "tiny", "--launch", "graph"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cpu has no graphs to capture launches in: leave --launch out, or choose cuda" in said


class Noting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.probed: list[bool] = []

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        self.probed.append("forward" in vars(self))
        return value


class Replaying(HostDevice):
    """A host that captures: a replay calls nothing."""

    def capture(self, fn: Callable[[], object]) -> Callable[[], object]:
        fn()
        return lambda: None


def test_probes_are_out_while_a_step_is_captured_unless_they_bear_it() -> None:
    module = Noting()
    with instrument(module) as probes:
        probes.device = Replaying()
        replay = probes.capture(lambda: module(torch.ones(1)))
        plain, _ = record_steps(probes, replay, lambda: None, 0.05)
        probes._log = cast(DeviceLog, SimpleNamespace(reason=None))
        probes.capture(lambda: module(torch.ones(1)))
        probes._log = None
    assert module.probed == [False, True]
    profile = probes.profile()
    assert profile.steps >= len(plain.probed) > 0
    assert profile.layers[0].forward_seconds is None  # a replay calls no layer
    assert plain.ratio is not None


class Warming(HostDevice):
    """Calls what it captures as often as CUDA does."""

    captures_graphs = True

    def capture(self, fn: Callable[[], object]) -> Callable[[], object]:
        for _ in range(4):
            fn()
        return lambda: None


def test_a_captured_training_step_begins_without_gradients_as_an_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding to gradients takes a kernel for each parameter, which an eager step does not have."""
    monkeypatch.setattr("pyprof.layers.instrument.devices.of_module", lambda _: Warming())
    loaded = registry.load("bert", size="tiny", attention="best", mode="train", longest=16)
    there: list[bool] = []
    loaded.step.register_forward_pre_hook(
        lambda *_: there.append(any(weight.grad is not None for weight in loaded.step.parameters()))
    )
    profile_model(loaded, 16, 1, 0.01, launch="graph")
    assert len(there) == 6  # a first one, an eager one to compare with, and those of the capture
    assert not any(there)


def test_layers_that_differ_alike_are_told_once() -> None:
    eager = {"embed": 3, "layer.0.attention": 1, "layer.1.attention": 1, "layer.0.norm": 1, "gone": 2}
    captured = {"embed": 3, "layer.0.attention": 14, "layer.1.attention": 14, "layer.0.norm": 1, "new": 1}
    found = other_paths(eager, captured)
    assert found == (OtherPath("layer.0.attention", 2, 1, 14), OtherPath("gone", 1, 2, 0), OtherPath("new", 1, 0, 1))
    assert str(found[0]) == "layer.0.attention and 1 more: 14 kernels captured, 1 eager"
    assert other_paths(eager, eager) == ()


def test_kernels_that_the_two_do_not_run_alike() -> None:
    assert other_kernels({"gemm": 4, "flash": 1}, {"gemm": 4, "softmax": 1}) == ("flash", "softmax")
    assert other_kernels({"gemm": 4}, {"gemm": 5}) == ("gemm",)


def profile_with(kernels: dict[str, float], count: float) -> Profile:
    module = nn.Sequential(nn.Identity())
    with instrument(module) as probes, probes.step():
        module(1)
    profile = probes.profile()
    works = [LayerWork(Work(), Work(kernels=number), None, None, None, None) for number in (0.0, count)]
    of_device = DeviceTime(
        tuple(works),
        1,
        Work(),
        Work(),
        Work(kernels=count),
        (BusyTime(0, 0.0, 0.0, 0.0),),
        tuple(KernelTime(name, name, 0.0, number) for name, number in kernels.items()),
        1,
    )
    return replace(profile, device_time=of_device)


def test_the_notes_say_where_a_captured_step_differs() -> None:
    eager = profile_with({"flash": 1}, 1)
    assert captured_notes(eager, eager) == ("the captured step runs the kernels of the eager one",)
    notes = captured_notes(eager, profile_with({"gemm": 2, "softmax": 1}, 3))
    assert notes == (
        "captured, the step takes another path than eager: 0: 3 kernels captured, 1 eager",
        "kernels that the two do not run alike: flash, gemm, softmax",
    )
    (unknown,) = captured_notes(eager, replace(eager, device_time=None))
    assert "a replay calls no layer" in unknown


def test_what_looks_once_at_a_captured_step_sees_its_operators_or_its_replay() -> None:
    step, ran = registry_step("bert", 16), list[str]()
    step._run = lambda inputs: ran.append("operators")  # type: ignore[method-assign]
    step._replay = lambda: ran.append("replay")
    for _ in range(2):
        assert step.once(_call) == "called"
    assert ran == ["operators"]
    step._found.clear()
    assert step.once(_call, replayed=True) == "called"
    assert ran == ["operators", "replay"]
    assert step.is_captured


def _call(step: Step) -> str:
    step()
    return "called"
