"""`pyprof profile --launch graph` as a user types it, on a card over the fake driver."""

from __future__ import annotations

import ctypes
import json
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from cuda_part import COMPILER
from fake_gpu import US, Event, Gpu, Kernels
from torch import nn

from pyprof.cli.main import main
from pyprof.device import cuda, cupti, registry

MS = 1_000 * US
pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]


class Waiting(Event):
    """An event of which the time is that at which the device has done all before it."""

    def synchronize(self):
        CARD.gpu.synchronize()
        self.record()


class Card(cuda.CudaDevice):
    """The card; tensors lie on the host. PyTorch's part for CUDA is what captures into the fake driver's graphs."""

    torch_name = "cpu"

    def __init__(self, gpu, library):
        super().__init__("cuda", cuda=self)
        self.gpu, self.library, self.capturing = gpu, str(library), False

    def available(self):
        return None

    def throttled(self):
        return None

    def work_log(self, places, clock):
        return cupti.CuptiLog(places, clock, library=self.library)

    def synchronize(self, _=None):
        self.gpu.synchronize()

    Event = Waiting

    def device(self, _):
        return nullcontext()

    def Stream(self):
        return SimpleNamespace(wait_stream=lambda _: None)

    current_stream = Stream

    def stream(self, _):
        return nullcontext()

    def is_current_stream_capturing(self):
        return self.capturing

    def CUDAGraph(self):
        return SimpleNamespace(replay=None)

    @contextmanager
    def graph(self, made, stream):
        del stream
        self.gpu.begin_capture(7)
        self.capturing = True
        yield
        self.capturing = False
        executable = self.gpu.instantiate(self.gpu.end_capture(7))
        made.replay = lambda: self.gpu.graph_launch(executable, 7)

    def empty_cache(self):
        pass


CARD: Card


def attend():
    """As PyTorch's attention may: one kernel, and while it is captured, three."""
    kernels = ("gemm", "softmax", "gemm") if CARD.capturing else ("flash",)
    for name in kernels:
        CARD.gpu.call(3 * MS, name=name)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Kernels(attend)
        self.norm = Kernels(lambda: CARD.gpu.call(1 * MS, name="norm"))

    def forward(self, value):
        return self.norm(self.attention(value))


def model():
    return Model(), lambda length, batch: {"value": torch.ones(batch, length)}


@pytest.fixture
def card(cuda_module, fake_cupti, monkeypatch):
    global CARD
    CARD = Card(Gpu(ctypes.CDLL(str(fake_cupti))), fake_cupti)
    CARD.gpu.repair()
    monkeypatch.setattr(cupti, "load", lambda: cuda_module[0])
    monkeypatch.setitem(registry._factories, "cuda", lambda name: CARD)
    monkeypatch.setattr("pyprof.device.of_module", lambda _: CARD)
    yield CARD
    assert CARD.gpu.repair() == 0, "CUPTI was not left as it was found"


def profiled(capsys, *words):
    """What the command printed."""
    command = ["profile", "test_graph_command:model", "--device", "cuda", "--length", "8", "--seconds", "0.8", *words]
    code = main(command)
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def test_a_captured_step_is_told_with_its_other_path_and_what_tracing_costs(card, capsys):
    card.gpu.plant(tracing=2_500 * US)  # on each of four kernels, of ten milliseconds together
    found = json.loads(profiled(capsys, "--launch", "graph", "--json"))
    assert (found["launch"], found["dtype"]) == ("graph", "bfloat16")
    device = found["device_time"]
    assert (device["total"]["kernels"], device["total"]["launches"]) == (4, 1)
    assert (device["unknown"]["kernels"], device["unplaced"], device["outside"]["kernels"]) == (0, 0, 0)
    assert found["layers"]["path"] == ["", "attention", "norm"]
    assert device["layers"]["own_forward_kernels"] == [0, 3, 1]
    # The step is a replay that nobody traces, and what tracing adds stands beside it.
    plain = found["plain"]
    assert 10e-3 <= plain["step"]["value"] < 15e-3
    assert plain["ratio"]["low"] <= plain["ratio"]["value"] <= plain["ratio"]["high"]
    assert 1.6 < plain["ratio"]["value"] < 2.4
    assert device["busy_seconds"] == pytest.approx(20e-3, rel=0.01)
    said = " ".join(profiled(capsys, "--launch", "graph").split())
    assert "bfloat16, captured in a CUDA graph" in said
    assert "captured, the step takes another path than eager: attention: 3 kernels captured, 1 eager" in said
    assert "kernels that the two do not run alike: flash, gemm, softmax" in said
    assert "% longer with probes" in said


def test_an_eager_step_is_told_without_a_word_of_graphs(card, capsys):
    found = json.loads(profiled(capsys, "--json"))
    assert (found["launch"], found["device_time"]["total"]["kernels"], found["notes"]) == ("eager", 2, [])
    assert found["device_time"]["layers"]["own_forward_kernels"] == [0, 1, 1]


@pytest.mark.parametrize("launch", ["eager", "graph"])
def test_where_cupti_cannot_be_had_one_sentence_says_so_and_the_step_is_timed(card, capsys, launch):
    card.gpu.plant(refuses_subscribers=39)
    found = json.loads(profiled(capsys, "--launch", launch, "--json"))
    first, *others = found["notes"]
    assert first.startswith("no kernel times by layer: another profiler in this process is using CUPTI")
    assert [other.startswith("the step was captured into a CUDA graph") for other in others] == [True] * (
        launch == "graph"
    )
    assert found["device_time"] is None
    assert found["plain"]["step"]["value"] > (10e-3 if launch == "graph" else 4e-3)
    assert found["plain"]["ratio"]["value"] > 0
