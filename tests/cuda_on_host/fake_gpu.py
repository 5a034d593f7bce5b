"""A GPU that is a fake driver under a fake libcupti: its controls, and modules that give it work."""

from __future__ import annotations

import ctypes
import time
from types import SimpleNamespace

import torch
from torch import nn

from pyprof.device import cuda, cupti
from pyprof.layers.instrument import instrument

US = 1_000
LAUNCH_KERNEL, LAUNCH_KERNEL_PTSZ, LAUNCH_EX, COOPERATIVE, MEMCPY_ASYNC, MEMSET_ASYNC = 307, 442, 652, 477, 306, 216
KERNEL, COPY, PEER_COPY, MEMSET = 10, 1, 22, 2


class Event:
    def __init__(self, enable_timing=True):
        del enable_timing

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return (other.at - self.at) * 1e3


class Gpu:
    """The controls of the fake driver; `call` is a launch."""

    def __init__(self, library):
        self.library = library
        library.fake_call.argtypes = [ctypes.c_uint32, ctypes.c_int, ctypes.c_char_p, ctypes.c_int64]
        library.fake_call.argtypes += [ctypes.c_uint32, ctypes.c_uint32]
        library.fake_plant.argtypes = [ctypes.c_char_p, ctypes.c_int64]
        library.fake_repair.restype = library.fake_time.restype = library.fake_kinds.restype = ctypes.c_int64
        library.fake_times_told.restype = ctypes.c_int64

    def call(self, nanoseconds, call=LAUNCH_KERNEL, kind=KERNEL, name="_Z4gemmIfEvT_", device=0, stream=7):
        return self.library.fake_call(call, kind, name.encode(), nanoseconds, device, stream)

    def plant(self, **what):
        for name, value in what.items():
            self.library.fake_plant(name.encode(), value)

    def __getattr__(self, name):
        return getattr(self.library, f"fake_{name}")


def card(control, library, module, monkeypatch):
    """The device over the fake driver; every module is known to be on it."""
    torch_cuda = SimpleNamespace(
        synchronize=lambda _: control.synchronize(),
        is_current_stream_capturing=lambda: False,
        Event=Event,
        device=lambda _: torch.autograd.profiler.record_function("nothing"),
    )
    torch_cuda.synchronize.__defaults__ = (None,)
    device = cuda.CudaDevice(cuda=torch_cuda)
    monkeypatch.setattr(cupti, "load", lambda: module)
    monkeypatch.setattr(device, "work_log", lambda *given: cupti.CuptiLog(*given, library=str(library)))
    monkeypatch.setattr(device, "throttled", lambda: None)
    monkeypatch.setattr("pyprof.device.of_module", lambda _: device)
    return device


class Launching(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, forward, backward):
        ctx.backward_launches = backward
        forward()
        return value * 1

    @staticmethod
    def backward(ctx, gradient):
        ctx.backward_launches()
        return gradient, None, None


class Kernels(nn.Module):
    """Launches what it is given, and returns at once."""

    def __init__(self, forward, backward=lambda: None):
        super().__init__()
        self.launches = forward, backward

    def forward(self, value):
        return Launching.apply(value, *self.launches)


def run(module, steps=3, backward=False, **how):
    value = torch.ones(1, requires_grad=backward)
    with instrument(module, backward=backward, **how) as probes:
        for _ in range(steps):
            with probes.step():
                result = module(value)
                if backward:
                    result.backward()
    profile = probes.profile()
    return profile, {layer.path: work for layer, work in zip(profile.layers, profile.device_time.layers, strict=True)}


def microseconds(work):
    return None if work is None else round(work.kernel_seconds * 1e6, 6)
