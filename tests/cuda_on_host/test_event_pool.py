"""The CUDA runtime code on the host: the module of csrc/cuda over a fake runtime, driven by the real recorder."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pybind11
import pytest
import torch
from torch import nn

from pyprof.device import cuda
from pyprof.errors import UsageError
from pyprof.layers.instrument import instrument

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).parent / "fake_runtime"
COMPILER = shutil.which("g++") or shutil.which("c++")
MS = 1_000_000

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    library = tmp_path_factory.mktemp("cuda") / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    sources = [*sorted((ROOT / "csrc/cuda").glob("*.cpp")), FAKE / "runtime.cpp"]
    includes = [FAKE, ROOT / "csrc", pybind11.get_include(), sysconfig.get_paths()["include"]]
    assert COMPILER
    command = [COMPILER, "-std=c++20", "-O1", "-g", "-shared", "-fPIC", "-fvisibility=hidden"]
    command += [f"-I{path}" for path in includes] + [str(path) for path in sources] + ["-o", str(library)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    spec = importlib.util.spec_from_file_location("_cuda", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, ctypes.CDLL(str(library))


@pytest.fixture
def gpu(built, monkeypatch):
    module, control = built
    control.fake_repair()
    monkeypatch.setattr(cuda, "load", lambda: module)
    monkeypatch.setattr("pyprof.device.of_module", lambda _: cuda.CudaDevice())
    control.fake_live_events.restype = ctypes.c_int64
    control.fake_launch.argtypes = control.fake_refuse_events_after.argtypes = [ctypes.c_int64]
    before = control.fake_live_events()
    yield control
    assert control.fake_live_events() == before, "events leak"


class _Launching(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, launch, forward, backward):
        ctx.launch, ctx.backward_ns = launch, backward
        launch(forward)
        return value * 1

    @staticmethod
    def backward(ctx, gradient):
        ctx.launch(ctx.backward_ns)
        return gradient, None, None, None


class Kernel(nn.Module):
    """Queues work and returns at once, as a layer on a GPU does."""

    def __init__(self, gpu, forward, backward):
        super().__init__()
        self.launch = gpu.fake_launch
        self.durations = (forward, backward)

    def forward(self, value):
        return _Launching.apply(value, self.launch, *self.durations)


def test_layer_times_are_the_devices_and_exact(gpu):
    module = nn.Sequential(Kernel(gpu, 3 * MS, 5 * MS), nn.Sequential(Kernel(gpu, 7 * MS, 11 * MS)), nn.Identity())
    value = torch.ones(1, requires_grad=True)
    with instrument(module, backward=True) as probes:
        for _ in range(3):
            with probes.step():
                module(value).backward()
    profile = probes.profile()
    layers = {layer.path: layer for layer in profile.layers}
    # The fake clock only moves with the work.
    close = {"abs": 1e-6}
    assert layers["0"].own_forward_seconds == pytest.approx(3e-3, **close)
    assert layers["1.0"].own_forward_seconds == pytest.approx(7e-3, **close)
    assert layers["1"].forward_seconds == pytest.approx(7e-3, **close)
    assert layers["0"].own_backward_seconds == pytest.approx(5e-3, **close)
    assert layers["1.0"].own_backward_seconds == pytest.approx(11e-3, **close)
    assert profile.step_seconds == pytest.approx(26e-3, **close)
    assert layers[""].backward_seconds == pytest.approx(16e-3, **close)
    del probes


def test_a_full_pool_is_counted_as_overflow(gpu):
    module = nn.Sequential(nn.Identity(), nn.Identity())
    with instrument(module, capacity=1) as probes:  # four events: the step and one more span
        for _ in range(2):
            module(1)
            module(1)
    assert probes.profile().overflowed > 0


def test_no_room_for_events_is_one_sentence_and_leaves_none_behind(gpu):
    gpu.fake_refuse_events_after(10)
    with pytest.raises(UsageError, match="out of memory"):
        instrument(nn.Identity())


def test_a_failed_device_is_one_sentence(gpu):
    def step_on_a_broken_device():
        with instrument(nn.Identity()) as probes, probes.step():
            gpu.fake_break()

    with pytest.raises(UsageError, match="unspecified launch failure"):
        step_on_a_broken_device()


def test_without_the_cuda_part_the_error_says_how_to_get_it():
    with pytest.raises(UsageError, match="PYPROF_CUDA=1"):
        cuda.load()
