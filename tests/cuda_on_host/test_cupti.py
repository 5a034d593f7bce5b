"""Kernel times by layer through a libcupti without a device: planted work, and every number of the table is exact."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import sys
import threading
import time

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
    Gpu,
    Kernels,
    card,
    microseconds,
    run,
)
from toolkit import cuda_headers
from torch import nn

import pyprof
from pyprof import _native
from pyprof.device import cuda, cupti
from pyprof.errors import UsageError
from pyprof.layers.instrument import instrument

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]


Recording = cupti.CuptiActivity
LOAD = cupti.load
_HEADERS = cuda_headers()
_LIBRARIES = [] if _HEADERS is None else sorted(_HEADERS.parent.glob("lib*/libcupti.so.*"))
REAL = _LIBRARIES[0] if _LIBRARIES else None


@pytest.fixture
def gpu(cuda_module, fake_cupti, monkeypatch):
    control = Gpu(ctypes.CDLL(str(fake_cupti)))
    control.repair()
    control.plant(hands_out_running=1)
    card(control, fake_cupti, cuda_module[0], monkeypatch)
    yield control
    assert control.repair() == 0, "CUPTI was not left as it was found"


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


class TestGraphs:
    def capture(self, gpu, module, stream=7):
        gpu.begin_capture(stream)
        module(torch.ones(1))
        return gpu.end_capture(stream)

    def module(self, gpu, first=30, second=10):
        return nn.Sequential(Kernels(lambda: gpu.call(first * US)), Kernels(lambda: gpu.call(second * US)))

    def replay(self, gpu, probes, executable, steps=3):
        for _ in range(steps):
            with probes.step():
                gpu.graph_launch(executable, 7)
        profile = probes.profile()
        return profile, [microseconds(layer.own_forward) for layer in profile.device_time.layers]

    def test_replays_find_the_layers_of_their_capture(self, gpu):
        module = self.module(gpu)
        with instrument(module) as probes:
            executable = gpu.instantiate(self.capture(gpu, module))
            profile, layers = self.replay(gpu, probes, executable)
        assert layers == [0, 30, 10]
        assert profile.device_time.total.launches == 1
        assert profile.device_time.total.kernels == 2
        assert microseconds(profile.device_time.outside) == 0

    def test_child_graphs_keep_their_layers(self, gpu):
        module = self.module(gpu)
        with instrument(module) as probes:
            inner = self.capture(gpu, module)
            outer = self.capture(gpu, module[1])
            gpu.add_child(outer, inner)
            _, layers = self.replay(gpu, probes, gpu.instantiate(outer))
        assert layers == [0, 30, 20]

    def test_an_updated_graph_does_what_it_was_updated_to(self, gpu):
        module = self.module(gpu)
        with instrument(module) as probes:
            executable = gpu.instantiate(self.capture(gpu, module[0]))
            gpu.update(executable, self.capture(gpu, module[1]))
            _, layers = self.replay(gpu, probes, executable)
        assert layers == [0, 0, 10]

    def test_a_graph_that_was_captured_before_the_probes_is_said(self, gpu):
        module = self.module(gpu)
        executable = gpu.instantiate(self.capture(gpu, module))
        with instrument(module) as probes, pytest.warns(UserWarning, match="captured before the probes"):
            profile, layers = self.replay(gpu, probes, executable)
        assert layers == [0, 0, 0]
        assert microseconds(profile.device_time.outside) == 40

    def test_a_module_that_launches_a_graph_of_its_own_keeps_its_kernels(self, gpu):
        executable = None

        class Compiled(nn.Module):
            def forward(self, value):
                gpu.graph_launch(executable, 7)
                return value

        plain = self.module(gpu)
        executable = gpu.instantiate(self.capture(gpu, plain))
        module = nn.Sequential(Compiled(), Kernels(lambda: gpu.call(5 * US)))
        profile, layers = run(module)
        assert microseconds(layers["0"].own_forward) == 40
        assert microseconds(layers["1"].own_forward) == 5
        assert profile.omissions() == ()


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, value):
        return self.linear(value).relu()


def capturing(gpu, launches):
    """A backend of torch.compile that does what mode="reduce-overhead" does: it warms up, captures, then replays."""

    def backend(graph, inputs):
        del inputs
        calls, executables = [], []

        def run(*args):
            calls.append(args)
            if len(calls) == 1:
                launches()
            elif not executables:
                gpu.begin_capture(7)
                launches()
                executables.append(gpu.instantiate(gpu.end_capture(7)))
                gpu.graph_launch(executables[0], 7)
            else:
                gpu.graph_launch(executables[0], 7)
            return graph(*args)

        return run

    return backend


@pytest.mark.parametrize("warmed_up", [0, 1, 2])
def test_a_block_that_is_compiled_to_a_graph_keeps_its_kernels(gpu, warmed_up):
    """Its graph is captured before the probes are attached, or while they are."""
    block = Block()
    block.compile(backend=capturing(gpu, lambda: (gpu.call(30 * US), gpu.call(10 * US))))
    module = nn.Sequential(block, Kernels(lambda: gpu.call(5 * US)))
    value = torch.ones(1, 2)
    with torch.no_grad():
        for _ in range(warmed_up):
            module(value)
        with instrument(module) as probes:
            for _ in range(4):
                with probes.step():
                    module(value)
        profile = probes.profile()
        module(value)  # it is as compiled as it was before
    layers = {layer.path: work for layer, work in zip(profile.layers, profile.device_time.layers, strict=True)}
    assert microseconds(layers["0"].forward) == 40
    assert microseconds(layers["1"].own_forward) == 5
    assert (profile.device_time.total.kernels, profile.device_time.unknown.kernels) == (3, 0)
    assert microseconds(profile.device_time.outside) == 0
    assert profile.omissions() == ()


def test_a_captured_step_has_the_layers_of_its_capture(gpu, monkeypatch):
    module = nn.Sequential(Kernels(lambda: gpu.call(30 * US)), Kernels(lambda: gpu.call(10 * US)))

    def capture(_, step):
        gpu.begin_capture(7)
        step()
        executable = gpu.instantiate(gpu.end_capture(7))
        return lambda: gpu.graph_launch(executable, 7)

    monkeypatch.setattr(cuda.CudaDevice, "capture", capture)
    with instrument(module) as probes:
        replay = probes.capture(lambda: module(torch.ones(1)))
        for _ in range(3):
            probes.run_marked(replay)
            probes.hand_over()
            with probes.plain_step():
                replay()
    device = probes.profile().device_time
    assert [microseconds(layer.own_forward) for layer in device.layers] == [0, 30, 10]
    assert (device.steps, device.total.kernels, device.total.launches) == (3, 2, 1)


def test_busy_time_of_a_call_is_recorded_without_layers(gpu, fake_cupti, monkeypatch):
    device = cuda.CudaDevice(cuda=pyprof.device.of_module(nn.Identity())._cuda, activity=Recording(str(fake_cupti)))
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


class TestWhereCuptiCannotBeHad:
    @pytest.mark.parametrize(
        ("result", "sentence"),
        [
            (39, r"another profiler in this process is using CUPTI \(Proton, say, or torch.profiler, which keeps it"),
            (35, "the driver does not permit profiling to this user"),
            (40, "the driver does not permit profiling to this user"),
            (999, r"CUPTI refuses a subscriber: CUPTI_ERROR_PLANTED \(CUPTI 999\)"),
        ],
    )
    def test_one_sentence_says_why_and_the_host_is_profiled(self, gpu, result, sentence):
        gpu.plant(refuses_subscribers=result)
        with instrument(Kernels(lambda: gpu.call(US))) as probes, probes.step():
            time.sleep(1e-3)
        profile = probes.profile()
        assert profile.device_time is None
        (note,) = profile.notes
        assert re.fullmatch(f"no kernel times by layer: {sentence}.*; the layers' times are the host's", note)

    def test_what_is_refused_after_the_subscription_leaves_nothing_behind(self, gpu):
        gpu.plant(refuses_kinds=35)
        module = Kernels(lambda: gpu.call(10 * US))
        with instrument(module) as probes, probes.step():
            module(torch.ones(1))
        (note,) = probes.profile().notes
        assert note.startswith("no kernel times by layer: the driver does not permit profiling to this user")
        assert not gpu.callback_is_there()
        assert abs(gpu.time() - time.time_ns()) < 10**9  # its own clock again
        gpu.plant(refuses_kinds=0)
        _, layers = run(module)
        assert microseconds(layers[""].own_forward) == 10

    def test_nsight_is_named(self, gpu, monkeypatch):
        monkeypatch.setenv("NSYS_PROFILING_SESSION_ID", "1")
        gpu.plant(refuses_subscribers=39)
        with instrument(nn.Identity()) as probes:
            pass
        assert "Nsight" in probes.profile().notes[0]

    def test_another_subscriber_that_came_first_stays(self, gpu):
        gpu.subscribe_another()
        profile_notes = None
        with instrument(Kernels(lambda: gpu.call(US))) as probes, probes.step():
            pass
        profile_notes = probes.profile().notes
        assert gpu.callback_is_there()
        assert "another profiler" in profile_notes[0]
        gpu.unsubscribe_another()

    def test_another_subscriber_that_comes_between_two_steps_is_said_and_stays(self, gpu):
        module = Kernels(lambda: gpu.call(10 * US))
        with instrument(module) as probes:
            with probes.step():
                module(torch.ones(1))
            with probes.plain_step():
                gpu.subscribe_another()
                module(torch.ones(1))
            with probes.step():
                module(torch.ones(1))
            assert gpu.callback_is_there()
            with probes.plain_step():
                gpu.unsubscribe_another()
            with probes.step():
                module(torch.ones(1))
        profile = probes.profile()
        # Of one of the three steps nothing is known, so that no mean of them is told.
        assert (profile.steps, profile.device_time) == (3, None)
        assert profile.notes[0].startswith("no kernel times by layer: another profiler in this process is using CUPTI")

    def test_an_old_library_and_none_at_all(self, gpu, fake_cupti, tmp_path):
        with pytest.raises(UsageError, match="cannot be opened"):
            cupti.CuptiLog(_native.Recorder().places(), _native.clock(), library=str(tmp_path / "none.so"))
        gpu.plant(version=16)
        copy = tmp_path / "libold.so"
        copy.write_bytes(fake_cupti.read_bytes())
        old = Gpu(ctypes.CDLL(str(copy)))
        old.plant(version=16)
        with pytest.raises(UsageError, match="too old: that of CUDA 12 or newer is needed"):
            cupti.CuptiLog(_native.Recorder().places(), _native.clock(), library=str(copy))

    def test_where_there_is_no_library_or_no_cuda_part_the_host_is_profiled(self, gpu, tmp_path, monkeypatch):
        device = pyprof.device.of_module(nn.Identity())
        library = str(tmp_path / "none.so")
        monkeypatch.setitem(sys.modules, "pyprof._cuda", None)
        monkeypatch.setattr(device, "work_log", lambda *given: cupti.CuptiLog(*given, library=library))
        notes = []
        for reason in ("CUPTI cannot be opened", "layer times on a GPU need the CUDA part of pyprof"):
            with instrument(Kernels(lambda: gpu.call(US))) as probes, probes.step():
                time.sleep(1e-3)
            profile = probes.profile()
            assert (profile.device_time, profile.step_seconds > 1e-3) == (None, True)
            (note,) = profile.notes
            assert note.startswith(f"no kernel times by layer: {reason}")
            notes.append(note)
            monkeypatch.setattr(cupti, "load", LOAD)
        assert all(note.endswith("; the layers' times are the host's") and "\n" not in note for note in notes)

    def test_none_that_can_be_found_by_name(self, cuda_module):
        if ctypes.util.find_library("cupti"):
            pytest.skip("there is one")
        with pytest.raises(RuntimeError, match=r"no libcupti\.so: install nvidia-cuda-cupti of PyTorch's CUDA version"):
            cuda_module[0].WorkLog(_native.Recorder().places(), _native.clock())

    @pytest.mark.skipif(REAL is None or torch.cuda.is_available(), reason="needs CUDA's libcupti, and no GPU")
    def test_the_real_one_without_a_driver(self, gpu, cuda_module):
        log = cuda_module[0].WorkLog(_native.Recorder().places(), _native.clock(), library=str(REAL))
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"^CUPTI refuses a subscriber: CUPTI_ERROR_\w+ \(CUPTI \d+\)$"):
                log.start()
        log.stop()
        assert len(log.drain()["operations"]) == 0

    def test_the_twin_in_python_has_no_kernel_times(self, gpu):
        with instrument(Kernels(lambda: gpu.call(US)), recorder="python") as probes, probes.step():
            pass
        assert probes.profile().device_time is None

    def test_a_failed_device_is_one_sentence(self, gpu):
        def step_on_a_broken_device():
            with instrument(nn.Identity()) as probes, probes.step():
                gpu.plant(fails=1)

        with pytest.raises(UsageError, match="the device has failed, so start a new process"):
            step_on_a_broken_device()


def test_a_call_that_the_library_does_not_know_is_no_obstacle(gpu):
    gpu.plant(unknown_call=799)
    _, layers = run(Kernels(lambda: gpu.call(US)))
    assert microseconds(layers[""].own_forward) == 1


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
