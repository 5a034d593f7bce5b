"""Kernels that CUDA graphs replay: captured, cloned, updated, or made by a compiler, over a driver without a device."""

from __future__ import annotations

import pytest
import torch
from cuda_part import COMPILER
from fake_gpu import US, Kernels, microseconds, run
from torch import nn

from pyprof.device import cuda
from pyprof.layers.instrument import instrument

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]


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

    def test_where_cupti_tells_of_no_updates_a_node_stays_with_its_first_layer(self, gpu):
        gpu.plant(unknown_call=22)  # as with CUDA 12
        module = self.module(gpu)
        with instrument(module) as probes:
            executable = gpu.instantiate(self.capture(gpu, module[0]))
            gpu.update(executable, self.capture(gpu, module[1]))
            _, layers = self.replay(gpu, probes, executable)
        assert layers == [0, 10, 0]

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
