"""What torch.compile compiled stays compiled, or instrumenting it is refused."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest
import torch
from torch import nn

import pyprof
from pyprof.errors import UsageError
from pyprof.layers.instrument import instrument

VALUE = torch.ones(2, 4)


class Backend(list):
    """A compiler that notes the operations of each graph that it is given."""

    def __call__(self, graph, _):
        self.append(sorted(node.op for node in graph.graph.nodes if node.op not in ("placeholder", "output")))
        return graph.forward


class Plain(nn.Module):
    """Three operations."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, value):
        return self.second(torch.relu(self.first(value)))


@pytest.fixture
def backend():
    torch._dynamo.reset()
    yield Backend()
    torch._dynamo.reset()


@pytest.fixture(params=["native", "python"])
def recorder(request):
    return request.param


def its_forward(backend):
    module = Plain()
    module.forward = torch.compile(module.forward, backend=backend)
    return module


def its_class(backend):
    class Compiled(Plain):
        forward = torch.compile(Plain.forward, backend=backend)

    return Compiled()


def in_place(backend):
    module = Plain()
    module.compile(backend=backend)
    return module


def around_it(backend):
    return torch.compile(Plain(), backend=backend)


def a_wrapped_forward(backend):
    module = Plain()
    compiled = torch.compile(module.forward, backend=backend)

    @functools.wraps(compiled)
    def logged(*args):
        return compiled(*args)

    module.forward = logged
    return module


def another_method(backend):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Plain()
            self.work = torch.compile(self.work, backend=backend)

        def work(self, value):
            return self.inner(value)

        def forward(self, value):
            return self.work(value)

    return Outer()


WAYS = [its_forward, its_class, in_place, around_it, a_wrapped_forward, another_method]


@pytest.mark.parametrize("make", WAYS)
@pytest.mark.parametrize("nested", [False, True])
def test_a_compiled_module_stays_compiled_and_is_one_layer(backend, recorder, make, nested):
    compiled = make(backend)
    module = nn.Sequential(nn.Identity(), compiled) if nested else compiled
    before = dict(vars(compiled))
    with torch.no_grad():
        module(VALUE)
        graphs = len(backend)
        assert graphs == 1
        with instrument(module, recorder=recorder) as probes:
            module(VALUE)
        module(VALUE)
    assert len(backend) == graphs  # nothing was compiled anew, in pieces or otherwise
    assert dict(vars(compiled)) == before
    layers = {layer.path: layer for layer in probes.profile().layers}
    path = "1" if nested else ""
    assert layers[path].calls == 1
    inside = [layer for layer in layers.values() if layer.path.endswith(("first", "second"))]
    assert [(layer.calls, layer.attached) for layer in inside] == [(0, "skipped: inside torch.compile")] * 2


@pytest.mark.parametrize("make", WAYS)
def test_a_compiled_module_can_be_profiled(backend, make):
    module = make(backend)
    profile = pyprof.profile(module, VALUE, seconds=0.0)
    assert profile.layers[0].calls == 1
    for graph in backend:
        assert len(graph) == len(backend[0])  # whole graphs, never pieces
    graphs = len(backend)
    with torch.inference_mode():
        module(VALUE)
    assert len(backend) == graphs


def a_lambda(module, backend):
    return torch.compile(lambda value: module(value) + 1, backend=backend)


def the_module(module, backend):
    return torch.compile(module, backend=backend)


def a_step_of_an_object(module, backend):
    class Trainer:
        model = module

        @torch.compile(backend=backend)
        def step(self, value):
            return self.model(value).sum()

    return Trainer().step


@pytest.mark.parametrize("make", [a_lambda, the_module, a_step_of_an_object])
@pytest.mark.parametrize("before", [False, True])
def test_a_function_compiled_around_a_module_is_refused_and_stays_whole(backend, recorder, make, before):
    module = Plain()
    function = make(module, backend)
    with torch.no_grad():
        if before:
            function(VALUE)
        whole = list(backend)
        with instrument(module, recorder=recorder) as probes:
            for _ in range(2):
                with pytest.raises(UsageError, match="instrument the compiled module") as caught:
                    function(VALUE)
            module(VALUE)  # by itself it can be called
        function(VALUE)
        function(VALUE)
    assert "\n" not in str(caught.value)
    assert {layer.path: layer.calls for layer in probes.profile().layers}["first"] == 1
    if before:
        assert backend == whole  # what was compiled serves again
    assert len(backend) == 1
    assert len(backend[0]) >= 3


def test_a_forward_that_must_not_be_compiled_is_seen_inside(recorder):
    module = Plain()
    module.forward = torch.compiler.disable(module.forward)
    with instrument(module, recorder=recorder) as probes:
        module(VALUE)
    assert [layer.calls for layer in probes.profile().layers] == [1, 1, 1]


def test_a_probe_that_only_calls_on_is_compiled_as_what_it_stands_in_for(backend, recorder):
    module = Plain()
    with instrument(module, recorder=recorder):
        inner = module.first.forward
        module.first.forward = lambda value: inner(value) + 1  # somebody else's, which stays
    with torch.no_grad():
        expected = module(VALUE)
        found = torch.compile(module, backend=backend, fullgraph=True)(VALUE)
    assert torch.equal(found, expected)
    assert len(backend) == 1


def test_the_compiler_is_told_when_it_is_loaded_after_the_probes():
    script = """
import sys, torch, pyprof
from pyprof.errors import UsageError
module = torch.nn.Linear(2, 2)
with pyprof.instrument(module) as probes:
    assert "torch._dynamo" not in sys.modules
    around = torch.compile(lambda x: module(x) + 1, backend="eager")
    try:
        with probes.step():
            around(torch.ones(1, 2))
    except UsageError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("a module with probes is called inside of a function that torch.compile compiles"), (
        done
    )
