"""Kernel times by layer through a libcupti without a device: planted work, and every number of the table is exact."""

from __future__ import annotations

import threading

import pytest
import torch
from cuda_part import COMPILER
from fake_gpu import (
    COOPERATIVE,
    COPY,
    LAUNCH_EX,
    LAUNCH_KERNEL,
    LAUNCH_KERNEL_PTSZ,
    MEMCPY_ASYNC,
    MEMSET,
    MEMSET_ASYNC,
    PEER_COPY,
    US,
    Kernels,
    microseconds,
    run,
)
from torch import nn

import pyprof
from pyprof.layers.instrument import instrument

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]


def test_every_layer_has_its_kernels_forward_and_backward(gpu):
    module = nn.Sequential(
        Kernels(lambda: (gpu.call(300 * US), gpu.call(20 * US)), lambda: gpu.call(500 * US)),
        nn.Sequential(Kernels(lambda: gpu.call(70 * US), lambda: gpu.call(110 * US)), nn.Identity()),
    )
    profile, layers = run(module, backward=True)
    assert microseconds(layers["0"].own_forward) == 320
    assert microseconds(layers["1.0"].own_forward) == 70
    assert microseconds(layers["1"].forward) == 70
    assert microseconds(layers["1"].own_forward) == 0
    assert microseconds(layers[""].forward) == 390
    assert microseconds(layers["0"].backward) == 500
    assert microseconds(layers["1.0"].own_backward) == 110
    assert microseconds(layers[""].backward) == 610
    assert microseconds(layers["1.1"].backward) is None
    assert (layers["0"].forward.kernels, layers["0"].forward.launches) == (2, 2)
    device = profile.device_time
    assert microseconds(device.total) == 1000
    # One stream, where each kernel waits for the one before it: busy is their sum.
    assert device.busy_seconds == pytest.approx(1e-3, abs=1e-9)
    assert device.outside.kernels == device.unknown.kernels == 0
    assert [(kernel.name, kernel.count) for kernel in device.kernels] == [("void gemm<float>(float)", 5)]
    assert profile.notes == ()


def test_all_kinds_of_calls_and_their_twins_find_their_layer(gpu):
    calls = [LAUNCH_KERNEL, LAUNCH_KERNEL_PTSZ, LAUNCH_EX, LAUNCH_EX + 1, COOPERATIVE, COOPERATIVE + 1]
    module = nn.Sequential(
        Kernels(lambda: [gpu.call(10 * US, call) for call in calls]),
        Kernels(
            lambda: (
                gpu.call(30 * US, MEMCPY_ASYNC, COPY),
                gpu.call(5 * US, 319, PEER_COPY),
                gpu.call(7 * US, MEMSET_ASYNC, MEMSET),
                gpu.call(7 * US, 428, MEMSET),
            )
        ),
    )
    _, layers = run(module)
    assert (microseconds(layers["0"].own_forward), layers["0"].own_forward.kernels) == (60, 6)
    own = layers["1"].own_forward
    assert (own.kernels, own.copies, own.memsets) == (0, 2, 2)
    assert own.copy_seconds == pytest.approx(35e-6)
    assert own.memset_seconds == pytest.approx(14e-6)


def test_what_no_layer_launched_is_outside(gpu):
    module = Kernels(lambda: gpu.call(10 * US))
    with instrument(module) as probes:
        gpu.call(90 * US)  # before the step
        for _ in range(2):
            with probes.step():
                module(torch.ones(1))
                gpu.call(30 * US)
    device = probes.profile().device_time
    assert microseconds(device.outside) == 30
    assert microseconds(device.total) == 40


def test_a_step_inside_of_a_step_is_a_part_of_it(gpu):
    module = Kernels(lambda: gpu.call(10 * US))
    with instrument(module) as probes:
        for _ in range(3):
            with probes.step():
                module(torch.ones(1))
                with probes.step():
                    module(torch.ones(1))
    profile = probes.profile()
    assert profile.device_time.steps == profile.steps == 3
    assert microseconds(profile.device_time.layers[0].own_forward) == 20


def test_streams_and_devices_are_apart(gpu):
    module = Kernels(
        lambda: (
            gpu.call(4_000 * US, stream=1),
            gpu.call(3_000 * US, stream=2),
            gpu.call(1_000 * US, device=1, stream=1),
        )
    )
    profile, layers = run(module, steps=2)
    device = profile.device_time
    assert microseconds(layers[""].own_forward) == 8_000
    assert device.streams == 3
    first, second = device.devices
    # The second stream's kernel runs beside the first one's.
    assert 4e-3 <= first.busy_seconds < 5e-3
    assert second.busy_seconds == pytest.approx(1e-3, abs=1e-9)


def test_launches_of_other_threads_find_the_layer_that_is_open_there(gpu):
    inner = Kernels(lambda: gpu.call(50 * US))

    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, value):
            threads = [threading.Thread(target=self.inner, args=(value,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            gpu.call(20 * US)
            for thread in threads:
                thread.join()
            return value

    _, layers = run(Pool(), steps=5)
    assert microseconds(layers["inner"].own_forward) == 200
    assert layers["inner"].own_forward.launches == 4
    assert microseconds(layers[""].own_forward) == 20


def test_a_thread_that_the_recorder_never_saw_launches_outside(gpu):
    def forward():
        thread = threading.Thread(target=lambda: gpu.call(50 * US))
        thread.start()
        thread.join()

    profile, layers = run(Kernels(forward))
    assert microseconds(layers[""].own_forward) == 0
    assert microseconds(profile.device_time.outside) == 50


def test_recomputation_is_apart(gpu):
    from torch.utils.checkpoint import checkpoint

    inside = Kernels(lambda: gpu.call(30 * US), lambda: gpu.call(70 * US))

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = inside

        def forward(self, value):
            return checkpoint(self.inside, value, use_reentrant=True)

    _, layers = run(Checkpointed(), backward=True)
    assert microseconds(layers["inside"].own_forward) == 30
    assert microseconds(layers["inside"].recompute) == 30
    assert microseconds(layers["inside"].own_backward) == 70


def test_two_instruments_share_the_one_subscription(gpu):
    inner = Kernels(lambda: gpu.call(30 * US))
    outer = nn.Sequential(inner, Kernels(lambda: gpu.call(10 * US)))
    with instrument(outer) as first:
        with instrument(inner) as second, first.step(), second.step():
            outer(torch.ones(1))
        with first.step():
            outer(torch.ones(1))
    layers = first.profile().device_time.layers
    assert [microseconds(layer.own_forward) for layer in layers] == [0, 30, 10]
    device = second.profile().device_time
    assert microseconds(device.layers[0].own_forward) == 30
    assert microseconds(device.outside) == 10


def test_nobody_listens_while_a_plain_step_runs(gpu):
    module = Kernels(lambda: gpu.call(30 * US))
    with instrument(module) as probes:
        for _ in range(3):
            with probes.step():
                module(torch.ones(1))
            with probes.plain_step():
                assert not gpu.callback_is_there()
                assert gpu.kinds() == 0
                module(torch.ones(1))
    profile = probes.profile()
    assert (profile.device_time.steps, profile.device_time.total.kernels) == (3, 1)


def test_profile_has_the_devices_time_and_the_table_shows_it(gpu):
    module = nn.Sequential(Kernels(lambda: gpu.call(300 * US)), Kernels(lambda: gpu.call(100 * US)))
    profile = pyprof.profile(module, torch.ones(1), seconds=0.2)
    assert [microseconds(layer.own_forward) for layer in profile.device_time.layers] == [0, 300, 100]
    assert profile.plain is not None
    text = str(profile)
    assert "the device works 400" in text
    assert "longest kernels" in text


def test_much_work_is_added_up_as_it_comes(gpu, monkeypatch):
    monkeypatch.setattr("pyprof.layers.device_log._KEPT_OPERATIONS", 10)
    module = nn.Sequential(Kernels(lambda: [gpu.call(3 * US) for _ in range(4)]), Kernels(lambda: gpu.call(10 * US)))
    profile, layers = run(module, steps=20)
    assert microseconds(layers["0"].own_forward) == 12
    assert microseconds(layers["1"].own_forward) == 10
    assert profile.device_time.total.kernels == 5
    assert profile.device_time.steps == 20
