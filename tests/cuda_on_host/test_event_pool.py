"""The CUDA runtime code on the host: the module of csrc/cuda over a fake runtime, driven by the real recorder."""

from __future__ import annotations

import ctypes
import json
import re
from types import SimpleNamespace

import pytest
import torch
from cuda_part import COMPILER
from torch import nn

from pyprof.device import cuda, cupti
from pyprof.errors import UsageError
from pyprof.layers.instrument import instrument

MS = 1_000_000
# Nothing has to be waited for: the fake runtime's clock is ahead of what was launched.
IDLE = SimpleNamespace(synchronize=lambda _: None, is_current_stream_capturing=lambda: False)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]


@pytest.fixture
def gpu(cuda_module, monkeypatch):
    module, control = cuda_module
    control.fake_repair()
    monkeypatch.setattr(cupti, "load", lambda: module)
    monkeypatch.setattr("pyprof.device.of_module", lambda _: cuda.CudaDevice(cuda=IDLE))
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
    with instrument(module, backward=True, events=True) as probes:
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
    with instrument(module, capacity=1, events=True) as probes:  # four events: the step and one more span
        for _ in range(2):
            module(1)
            module(1)
    assert probes.profile().overflowed > 0


@pytest.mark.parametrize("how", [1, 2])
def test_a_stream_that_is_captured_gets_no_event_and_its_graph_stays_valid(gpu, how):
    class Capturing(Kernel):
        def forward(self, value):
            gpu.fake_capture(how)
            result = self.inside(super().forward(value))
            assert gpu.fake_capture(0) == 1, "an event was recorded into the graph, or left an error behind"
            return result

    module = nn.Sequential(Capturing(gpu, 3 * MS, 0), Kernel(gpu, 5 * MS, 0))
    module[0].inside = nn.Identity()
    with instrument(module, events=True) as probes:
        for _ in range(2):
            with probes.step():
                module(torch.ones(1))
    profile = probes.profile()
    layers = {layer.path: layer for layer in profile.layers}
    assert layers["1"].own_forward_seconds == pytest.approx(5e-3, abs=1e-4)
    assert profile.overflowed == 0
    assert any("2 calls were captured into a graph" in note for note in profile.notes)


def test_notes_say_what_event_times_are(gpu):
    with instrument(nn.Identity(), events=True) as probes:
        pass
    assert any("times of its launches" in note for note in probes.profile().notes)


def test_no_room_for_events_is_one_sentence_and_leaves_none_behind(gpu):
    gpu.fake_refuse_events_after(10)
    with pytest.raises(UsageError, match="out of memory"):
        instrument(nn.Identity(), events=True)


def test_a_failed_device_is_one_sentence(gpu):
    def step_on_a_broken_device():
        with instrument(nn.Identity(), events=True) as probes, probes.step():
            gpu.fake_break()

    with pytest.raises(UsageError, match="unspecified launch failure"):
        step_on_a_broken_device()


def test_without_the_cuda_part_the_error_says_how_to_get_it():
    with pytest.raises(UsageError, match="PYPROF_CUDA=1"):
        cupti.load()


def commanded(monkeypatch, capsys, *words):
    """What `pyprof profile` ends with, its output and its errors, on a card over the fake runtime."""
    from pyprof.cli.main import main
    from pyprof.device import registry
    from pyprof.device.host import HostDevice

    class Card(HostDevice):
        """Tensors lie on the host, and everything else is the card's."""

        has_own_time = True
        usual_dtype = "bfloat16"
        layer_times = cuda.CudaDevice.layer_times

    card = Card("cpu")
    monkeypatch.setitem(registry._factories, "cpu", lambda name: card)
    monkeypatch.setattr("pyprof.device.of_module", lambda _: card)
    arguments = ["profile", "bert", "--size", "tiny", "--length", "16", "--device", "cpu", "--seconds", "0.2", *words]
    code = main(arguments)
    return code, *capsys.readouterr()


def test_events_on_the_command_line_state_their_cost_and_what_they_are(gpu, monkeypatch, capsys):
    code, out, _ = commanded(monkeypatch, capsys, "--events")
    assert code == 0
    printed = " ".join(out.split())
    assert "bfloat16, layers by events" in printed
    assert "layer times are from events around each layer: where kernels fill less of the step they are" in printed
    assert "profiling overhead: a step is" in printed
    assert re.search(r"% (longer|shorter) with probes", printed)
    code, out, _ = commanded(monkeypatch, capsys, "--events", "--json")
    document = json.loads(out)
    assert (code, document["events"], document["device_time"]) == (0, True, None)
    assert document["plain"]["ratio"]["value"] > 0
    # The fake clock stands still, as nothing of this was launched on it: the times are those of its events.
    own = [seconds for seconds in document["layers"]["own_forward_seconds"] if seconds is not None]
    assert max(own) < 1e-4 < document["plain"]["step"]["value"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--events", "--launch", "graph"), "cpu has no graphs"),
        (("--events",), "cpu has no events that could time layers: leave --events out, or choose cuda"),
    ],
)
def test_events_where_there_are_none_are_one_sentence(capsys, words, message):
    from pyprof.cli.main import main

    assert main(["profile", "bert", "--size", "tiny", "--length", "16", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_events_in_a_captured_graph_are_refused(capsys):
    from pyprof.cli.main import main

    assert main(["profile", "bert", "--device", "cuda", "--events", "--launch", "graph"]) == 2
    assert "events have no time in a captured graph: leave --events or --launch graph out" in capsys.readouterr().err
