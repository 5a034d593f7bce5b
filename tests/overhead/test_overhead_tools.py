"""The tools: chosen by name, attached, read and taken off again without a trace."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pyprof import _native
from pyprof.device.host import HostDevice
from pyprof.errors import UsageError
from pyprof.overhead.hooks import HOOKS
from pyprof.overhead.measure import absent
from pyprof.overhead.peers import DEEPSPEED, TORCHPROF
from pyprof.overhead.tools import TOOLS, find, missing

SPIN_NS = 300_000
BACKWARD = {"pyprof", "Python hooks"}


class Spin(nn.Linear):
    """Takes 0.3 ms in an operator of PyTorch, which torchprof needs to see anything."""

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        with torch.profiler.record_function("spin"):
            _native.spin(SPIN_NS)
        return super().forward(value)


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Sequential(Spin(4, 4), nn.ReLU()))


def state(module: nn.Module) -> list[set[str]]:
    """The attributes of every module, and its hooks."""
    attributes = []
    for layer in module.modules():
        attributes.append({name for name in layer.__dict__ if name != "_is_full_backward_hook"})
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks
        assert not layer._backward_hooks
        assert not layer._backward_pre_hooks
    return attributes


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_tool_times_the_layers_of_a_step_and_goes_without_a_trace(tool, peers):
    module, value = model(), torch.ones(2, 4, requires_grad=True)
    before, expected = state(module), module(value)
    attached = tool.attach(module, True)
    with attached.recording():
        result = module(value)
        result.sum().backward()
    times = attached.layers()
    attached.detach()
    assert state(module) == before
    assert torch.equal(result, expected)
    if tool.name == "record_function":
        assert times is None
        return
    leaves = {"0", "1.0", "1.1"}
    assert set(times) == (leaves if tool is TORCHPROF else leaves | {"", "1"})
    assert times["1.0"].forward >= SPIN_NS
    assert times["0"].forward < times["1.0"].forward
    assert all((layer.backward is not None) == (tool.name in BACKWARD) for layer in times.values())
    if tool is not TORCHPROF:
        assert times[""].forward >= times["1"].forward >= times["1.0"].forward


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tool", [DEEPSPEED, TORCHPROF], ids=lambda tool: tool.name)
def test_the_package_itself_where_it_is_installed(tool):
    if importlib.util.find_spec(tool.package) is None:
        pytest.skip(f"{tool.package} is not installed")
    module, value = model(), torch.ones(2, 4)
    before = state(module)
    attached = tool.attach(module, False)
    module(value)
    times = attached.layers()
    attached.detach()
    assert times["1.0"].forward >= SPIN_NS
    assert state(module) == before


def test_what_is_kept_of_a_call_grows_with_the_calls(peers):
    kept = {}
    for calls in (1, 3):
        for tool in TOOLS:
            module = model()
            attached = tool.attach(module, False)
            with attached.recording():
                for _ in range(calls):
                    module(torch.ones(2, 4))
            kept[tool.name, calls] = attached.kept_bytes()
            attached.detach()
    assert kept["pyprof", 3] - kept["pyprof", 1] == 2 * 5 * 56  # an entry of 56 bytes for each call of five layers
    assert kept["torch.profiler", 3] > kept["torch.profiler", 1] > 0


def test_tools_are_found_by_name_in_a_fixed_order():
    assert find(()) == TOOLS
    assert [tool.name for tool in find(("torchprof", "hooks", "PyProf"))] == ["pyprof", "Python hooks", "torchprof"]
    with pytest.raises(UsageError, match="did you mean 'torchprof'"):
        find(("torchpof",))
    with pytest.raises(UsageError, match="choose from pyprof"):
        find(("vtune",))


def test_a_tool_that_is_not_installed_says_how_to_get_it():
    absent = missing(replace(HOOKS, package="no_such_package", install="pip install it"))
    assert absent.status == "skipped"
    assert absent.reason == "not installed: pip install it"
    assert missing(HOOKS) is None


def test_on_a_device_a_tool_that_keeps_cupti_is_measured_alone():
    beside, host = SimpleNamespace(has_own_time=True), HostDevice()
    tools = find(("pyprof", "record_function", "torch.profiler"))
    skipped = {tool.name: failure for tool in tools if (failure := absent(tool, tools, beside)) is not None}
    assert list(skipped) == ["torch.profiler"]
    assert skipped["torch.profiler"].status == "skipped"
    assert skipped["torch.profiler"].reason.endswith("measure it alone, by --tools torch.profiler")
    assert not any(absent(tool, tools, host) for tool in tools)
    (alone,) = find(("torch.profiler",))
    assert absent(alone, (alone,), beside) is None
    assert {tool.name for tool in TOOLS if tool.keeps_cupti} == {"torch.profiler", "torchprof"}
