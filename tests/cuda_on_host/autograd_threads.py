"""A training step whose backward runs in autograd's own thread for a device, over the fake CUPTI; prints JSON.

Autograd has such threads for devices alone. PyTorch lets a backend in Python stand for one, once in a process, so this
is a program: `python autograd_threads.py FOLDER LIBCUPTI`, the folder being that of the CUDA part over fakes.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
import threading
from pathlib import Path

import pytest
import torch
from fake_gpu import US, Gpu, Kernels, card, microseconds
from torch import nn
from torch.utils import _pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from pyprof.layers.instrument import instrument

STEPS = 3


class OnCard(torch.Tensor):
    """A tensor that PyTorch takes for one on the card; it is computed with on the host."""

    @staticmethod
    def __new__(cls, inner, requires_grad=False):
        how = {"dtype": inner.dtype, "device": "card:0", "requires_grad": requires_grad}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, **how)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        kwargs = {name: value for name, value in (kwargs or {}).items() if name != "device"}
        args, kwargs = _pytree.tree_map_only(OnCard, lambda tensor: tensor.inner, (args, kwargs))
        return _pytree.tree_map_only(torch.Tensor, OnCard, function(*args, **kwargs))


def main(folder: str, library: str) -> None:
    spec = importlib.util.spec_from_file_location("_cuda", next(Path(folder).glob("_cuda*.so")))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    gpu = Gpu(ctypes.CDLL(library))
    threads = set()

    def backward(microseconds):
        def launch():
            own = threading.get_native_id()
            threads.add(Path(f"/proc/self/task/{own}/comm").read_text().strip())
            gpu.call(microseconds * US)

        return launch

    _setup_privateuseone_for_python_backend("card")
    layers = nn.Sequential(
        Kernels(lambda: gpu.call(3 * US), backward(5)),
        nn.Sequential(Kernels(lambda: gpu.call(7 * US), backward(11))),
    )
    value = OnCard(torch.ones(1), requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        card(gpu, library, module, patch)
        with instrument(layers, backward=True) as probes:
            for _ in range(STEPS):
                with probes.step():
                    layers(value).sum().backward()
        profile = probes.profile()
    device = profile.device_time
    found = {
        layer.path: (microseconds(work.own_forward), microseconds(work.own_backward))
        for layer, work in zip(profile.layers, device.layers, strict=True)
    }
    told = {"threads": sorted(threads), "layers": found, "unknown": device.unknown.kernels, "steps": device.steps}
    print(json.dumps({**told, "kernels": device.total.kernels, "outside": microseconds(device.outside)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
