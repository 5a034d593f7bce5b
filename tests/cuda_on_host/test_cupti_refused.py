"""Where CUPTI cannot be had: one sentence says why, and the host is profiled."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import sys
import time

import pytest
import torch
from cuda_part import COMPILER
from fake_gpu import US, Gpu, Kernels, microseconds, run
from toolkit import cuda_headers
from torch import nn

import pyprof
from pyprof import _native
from pyprof.device import cupti
from pyprof.errors import UsageError
from pyprof.layers.instrument import instrument

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]
LOAD = cupti.load
_HEADERS = cuda_headers()
_LIBRARIES = [] if _HEADERS is None else sorted(_HEADERS.parent.glob("lib*/libcupti.so.*"))
REAL = _LIBRARIES[0] if _LIBRARIES else None


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
