"""Records of a libcupti without a device: its clock, its buffers, and what is late, lost or out of order."""

from __future__ import annotations

import ctypes
import time

import pytest
import torch
from cuda_part import COMPILER
from fake_gpu import COPY, MEMCPY_ASYNC, US, Gpu, Kernels, microseconds, run
from torch import nn

import pyprof
from pyprof import _native
from pyprof.device import cuda, cupti
from pyprof.errors import UsageError
from pyprof.layers.instrument import instrument

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]


def test_host_and_device_lie_on_one_axis(gpu):
    module = Kernels(lambda: gpu.call(2_000 * US))
    profile, _ = run(module, steps=2)
    device = profile.device_time
    assert device.busy_seconds == pytest.approx(2e-3, abs=1e-9)
    # The kernel starts as it is launched, in the step: only what comes before and after is idle.
    assert 0 <= device.idle_seconds < 2e-3


@pytest.mark.parametrize("ahead", [0, 10**18])
def test_a_clock_that_cannot_be_set_is_converted(gpu, ahead):
    gpu.plant(refuses_clock=1, clock_ahead=ahead)
    profile, layers = run(Kernels(lambda: gpu.call(2_000 * US)), steps=4)
    assert microseconds(layers[""].own_forward) == pytest.approx(2_000, rel=1e-3)
    assert profile.device_time.total.kernels == 1
    assert profile.device_time.busy_seconds == pytest.approx(2e-3, rel=1e-2)
    assert 0 <= profile.device_time.idle_seconds < 2e-3


def test_the_clock_is_given_back(gpu):
    run(Kernels(lambda: gpu.call(US)), steps=1)
    assert abs(gpu.time() - time.time_ns()) < 10**9


def test_cupti_is_told_our_clock_once_and_its_own_when_all_have_gone(gpu):
    module = Kernels(lambda: gpu.call(US))
    with instrument(module) as probes:
        for _ in range(5):
            with probes.step():
                module(torch.ones(1))
            with probes.plain_step():
                module(torch.ones(1))
        with instrument(module):
            pass
        assert gpu.times_told() == 1
        with probes.step():
            module(torch.ones(1))
    assert gpu.times_told() == 2
    assert abs(gpu.time() - time.time_ns()) < 10**9
    profile = probes.profile()
    assert (profile.device_time.total.kernels, profile.device_time.steps) == (1, 6)
    assert 0 <= profile.device_time.idle_seconds < 1e-2


def test_a_clock_that_another_profiler_has_set_since_is_left_to_it(gpu):
    module = Kernels(lambda: gpu.call(2_000 * US))
    with instrument(module) as probes:
        with probes.step():
            module(torch.ones(1))
        probes.pause()
        gpu.tell_another_clock()
        probes.resume()  # which tells ours again
        with probes.step():
            module(torch.ones(1))
        probes.pause()
        gpu.tell_another_clock()
    assert gpu.time() == 12_345
    device = probes.profile().device_time
    assert (device.steps, microseconds(device.total)) == (2, 2_000)
    assert 0 <= device.idle_seconds < 2e-3


@pytest.mark.parametrize("planted", [{"backwards": 1}, {"holds_back": 2}, {"backwards": 1, "holds_back": 1}])
def test_records_that_come_late_or_out_of_order_are_found(gpu, planted):
    module = nn.Sequential(Kernels(lambda: gpu.call(30 * US)), Kernels(lambda: gpu.call(10 * US)))
    with instrument(module) as probes:
        for _ in range(4):
            gpu.plant(**planted)
            with probes.step():
                module(torch.ones(1))
        gpu.plant(holds_back=0)
    profile = probes.profile()
    layers = profile.device_time.layers
    assert [microseconds(layer.own_forward) for layer in layers] == [0, 30, 10]
    assert profile.omissions() == ()


def test_records_that_are_lost_are_counted(gpu):
    module = Kernels(lambda: [gpu.call(US) for _ in range(5)])
    with instrument(module) as probes, probes.step():
        module(torch.ones(1))
        gpu.plant(drops=2, without_time=1)
    with pytest.warns(UserWarning, match="3 records of the device's work found no room"):
        profile = probes.profile()
    assert profile.device_time.total.kernels == 2
    assert profile.device_time.total.launches == 5


def test_full_rings_lose_records_and_launches_and_say_so(gpu, cuda_module, fake_cupti):
    recorder = _native.Recorder()
    log = cuda_module[0].WorkLog(
        recorder.places(), _native.clock(), operations=4, launches=2, nodes=2, library=str(fake_cupti)
    )
    log.start()
    for _ in range(7):
        gpu.call(US)
    gpu.begin_capture(3)
    for _ in range(5):
        gpu.call(US, stream=3)
    gpu.synchronize()
    read = log.drain()
    log.stop()
    assert (len(read["operations"]), read["lost"]) == (4, 3)
    assert (len(read["launches"]), read["lost_launches"]) == (2, 10)
    assert (len(read["nodes"]), read["lost_nodes"]) == (2, 3)
    assert len(log.drain()["operations"]) == 0


def test_buffers_are_used_again_without_losing_records(gpu, cuda_module, fake_cupti):
    recorder = _native.Recorder()
    log = cuda_module[0].WorkLog(recorder.places(), _native.clock(), library=str(fake_cupti))
    log.start()
    for _ in range(20_000):
        gpu.call(1)
    gpu.synchronize()
    read = log.drain()
    log.stop()
    assert len(read["operations"]) == 20_000, "several buffers, each of which is used again"
    assert read["lost"] == 0


@pytest.mark.parametrize(("version", "lost"), [(26, False), (130001, True)])
def test_no_buffer_is_refused_where_cupti_may_crash_for_it(gpu, cuda_module, fake_cupti, tmp_path, version, lost):
    copy = tmp_path / "libcupti_of_a_version.so"  # the version is read once for each library
    copy.write_bytes(fake_cupti.read_bytes())
    other = Gpu(ctypes.CDLL(str(copy)))
    other.plant(version=version, fills_all=1)
    log = cuda_module[0].WorkLog(_native.Recorder().places(), _native.clock(), library=str(copy))
    log.start()
    for _ in range(90_000):
        other.call(1)
    read = log.drain()
    log.stop()
    assert len(read["operations"]) + read["lost"] == 90_000
    assert (read["lost"] > 0) == lost


def test_work_that_still_runs_as_the_probes_go_is_waited_for(gpu):
    module = Kernels(lambda: gpu.call(5_000 * US))
    with instrument(module) as probes:
        module(torch.ones(1))
    profile = probes.profile()
    assert microseconds(profile.device_time.layers[0].own_forward) == 5_000
    assert profile.omissions() == ()
    with instrument(module) as probes:
        with probes.step():
            module(torch.ones(1))
        module(torch.ones(1))
        with probes.plain_step():
            module(torch.ones(1))
    profile = probes.profile()
    assert (profile.device_time.total.kernels, profile.omissions()) == (1, ())


def test_correlations_that_begin_anew_are_kept_apart(gpu):
    gpu.plant(counts_anew=1)
    first = [0]
    module = nn.Sequential(
        Kernels(lambda: [gpu.call(10 * US) for _ in range(first[0])]), Kernels(lambda: gpu.call(30 * US))
    )
    with instrument(module) as probes:
        for number in range(10):
            first[0] = 0
            if number % 2:
                module(torch.ones(1))  # which launches nothing in its first layer, and lies in no step
            first[0] = 1
            with probes.step():
                module(torch.ones(1))
            with probes.plain_step():
                pass
    device = probes.profile().device_time
    assert [microseconds(layer.own_forward) for layer in device.layers] == [0, 10, 30]
    assert (device.steps, device.total.kernels, device.total.launches) == (10, 2, 2)


@pytest.mark.parametrize("backward", [False, True])
def test_what_begins_and_ends_with_the_recording_is_no_step_s(gpu, backward):
    """As the first call does after CUPTI was switched, which finds no buffers."""
    gpu.plant(unsettled=3_000 * US)
    module = nn.Sequential(Kernels(lambda: gpu.call(300 * US)), Kernels(lambda: gpu.call(200 * US)))
    value = torch.ones(1, requires_grad=True)
    profile = pyprof.profile(module, value, mode="train" if backward else "infer", seconds=0.5)
    assert profile.plain.pairs > 5
    assert profile.plain.step.value < 2e-3
    assert profile.plain.ratio.low is not None
    assert profile.plain.ratio.low < 2  # with what begins and ends with the recording it is 7 and more
    assert [microseconds(layer.own_forward) for layer in profile.device_time.layers] == [0, 300, 200]
    assert profile.device_time.steps == profile.steps >= profile.plain.pairs  # which leaves out a warm-up


def test_steps_of_the_users_own_can_follow_one_that_settles(gpu):
    gpu.plant(unsettled=3_000 * US)
    module = Kernels(lambda: gpu.call(300 * US))

    def step():
        module(torch.ones(1))

    with instrument(module) as probes:
        for _ in range(6):
            with probes.step(before=step):
                step()
            with probes.plain_step(before=step):
                step()
    profile = probes.profile()
    assert profile.plain.step.value < 2e-3
    assert profile.plain.ratio.low is not None
    assert profile.plain.ratio.low < 2  # with what begins and ends with the recording it is 7 and more
    assert (profile.device_time.total.kernels, profile.device_time.steps, profile.calls) == (1, 6, 6)


def test_busy_time_of_a_call_is_recorded_without_layers(gpu, fake_cupti, monkeypatch):
    device = cuda.CudaDevice(
        cuda=pyprof.device.of_module(nn.Identity())._cuda, activity=cupti.CuptiActivity(str(fake_cupti))
    )
    made = []
    log = cupti.CuptiLog
    monkeypatch.setattr(cupti, "CuptiLog", lambda *given: made.append(given) or log(*given))
    gpu.call(900 * US)
    for _ in range(3):
        assert device.busy_ns(lambda: (gpu.call(300 * US), gpu.call(200 * US, MEMCPY_ASYNC, COPY))) == 500 * US
        gpu.call(900 * US)
    assert len(made) == 1, "megabytes for each reading"

    def failing():
        gpu.call(70 * US)
        raise ValueError("it broke")

    with pytest.raises(ValueError, match="it broke"):
        device.busy_ns(failing)
    assert device.busy_ns(lambda: gpu.call(20 * US)) == 20 * US
    gpu.plant(drops=1)
    with pytest.raises(UsageError, match="1 record of the device's work found no room"):
        device.busy_ns(lambda: gpu.call(20 * US))
    gpu.plant(refuses_subscribers=39)
    with pytest.raises(UsageError, match=r"another profiler .*: measure the latency"):
        device.busy_ns(lambda: None)
