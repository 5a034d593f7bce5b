"""Every range that is opened is closed, nested as the calls are, and has the name that the layer table has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn
from watching import Range, Seen

import pyprof
from pyprof import _native
from pyprof.errors import UsageError

HERE = Path(__file__).parent
HEAD = f"""
import json, sys, threading
sys.path.insert(0, {str(HERE)!r})
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
import pyprof
from expected import expected
from pyprof.layers.nvtx import case_range
torch.manual_seed(0)
"""
MODELS = ("bert", "longformer", "nystromformer", "hubert", "l-hubert", "vit", "swin")
LENGTHS = {"vit": 32, "swin": 32}


def calls(ranges: list[Range], depth: int = 0) -> Iterator[list[Any]]:
    """(depth, name, category) of calls and steps, in the order of opening; backward's ranges are no calls."""
    for each in ranges:
        if each.category in ("forward", "recompute", "step"):
            yield [depth, each.name, each.category]
            yield from calls(each.inside, depth + 1)
        else:
            yield from calls(each.inside, depth)


def nodes(ranges: list[Range]) -> Counter[str]:
    """How many nodes each layer ran: a node is the innermost range of those of backward."""
    found: Counter[str] = Counter()
    for each in ranges:
        found += nodes(each.inside)
        if each.category == "backward":
            deeper = [inner for inner in each.inside if inner.category == "backward"]
            found[each.name] += not deeper
    return found


def check(outermost: list[list[Range]], expected: dict[str, Any]) -> None:
    """What the threads' ranges have to be."""
    seen = sorted(list(calls(ranges)) for ranges in outermost)
    assert [thread for thread in seen if thread] == sorted(expected["threads"])
    callers = {(name, caller) for name, caller in expected["callers"]}
    total: Counter[str] = Counter()
    for ranges in outermost:
        total += nodes(ranges)
        around = Range("", "", -1, ranges)
        for each, outer in around.walk():
            if each.category == "backward":
                inner = outer is not None and outer.category == "backward"
                assert (each.name, outer.name if inner else None) in callers
    # A node inside of one of the same layer finds that layer's range open.
    missing = Counter(expected["nodes"]) - total
    assert not total - Counter(expected["nodes"])
    assert missing.total() <= expected["nested"]
    named = {name for thread in seen for _, name, category in thread if category != "step"}
    assert named == set(expected["table"])


def by_thread(seen: Seen) -> list[list[Range]]:
    return list(seen.threads.values())


MANY = (
    HEAD
    + """
from pyprof.models import registry
from pyprof.worker.profile_model import step_of
lengths, told = {lengths!r}, {{}}
for name in {models!r}:
    for mode in ("infer", "train"):
        length = lengths.get(name, 32)
        loaded = registry.load(name, size="tiny", attention="best", mode=mode, longest=length)
        loaded.fit(length)
        step = step_of(loaded, length, 1)
        step()
        with case_range(f"{{name}} {{mode}}", True), pyprof.instrument(loaded.step, backward=True, nvtx=True) as probes:
            for _ in range(2):
                with probes.step():
                    step()
        told[f"{{name}} {{mode}}"] = expected(probes)
print(json.dumps(told))
"""
)


def test_seven_models_in_inference_and_training(watch):
    seen = watch(MANY.format(lengths=LENGTHS, models=MODELS))
    assert set(seen.printed) == {f"{model} {mode}" for model in MODELS for mode in ("infer", "train")}
    for case, told in seen.printed.items():
        found = seen.inside(case)
        assert found.category == "case"
        assert bool(told["nodes"]) == case.endswith("train")
        check([found.inside], told)


def test_names_payloads_and_categories(watch):
    seen = watch(
        HEAD
        + """
model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 4)))
optimizer = torch.optim.AdamW(model.parameters())
with pyprof.instrument(model, backward=True) as probes, probes.step():
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
print(json.dumps(expected(probes)))
""",
        PYPROF_NVTX="1",
    )
    check(by_thread(seen), seen.printed)
    (step,) = seen.ranges
    assert (step.name, step.category, step.payload) == ("step", "step", -1)
    assert [(each.name, each.category) for each in step.inside][-1] == ("AdamW.step", "optimizer")
    paths = ["Sequential", "0", "1", "1.0", "1.1"]
    assert all(each.payload == paths.index(each.name) for each, _ in step.walk() if each.category != "optimizer")
    strings = [line[3] for line in seen.calls if line[0] == "string"]
    assert len(strings) == len(set(strings))  # each name is registered once


def test_without_being_asked_for_nothing_is_opened(watch):
    seen = watch(
        HEAD
        + """
model = nn.Sequential(nn.Linear(4, 4))
pyprof.profile(model, torch.ones(2, 4), mode="train", seconds=0.01)
with case_range("nothing"):
    pass
"""
    )
    assert seen.calls == []


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_opens_recompute_inside_of_backward(watch, reentrant):
    seen = watch(
        HEAD
        + f"""
class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    def forward(self, value):
        return checkpoint(self.inner, value, use_reentrant={reentrant})
model = nn.Sequential(Checkpointed(), nn.Linear(4, 4))
value = torch.ones(2, 4, requires_grad=True)
with pyprof.instrument(model, backward=True, nvtx=True) as probes:
    for _ in range(2):
        with probes.step():
            model(value).sum().backward()
print(json.dumps(expected(probes)))
"""
    )
    check(by_thread(seen), seen.printed)
    found = [(each, outer) for step in seen.ranges for each, outer in step.walk()]
    again = [outer for each, outer in found if each.category == "recompute" and each.name == "0.inner"]
    assert len(again) == 2
    assert {(outer.name, outer.category) for outer in again} >= {("0", "backward")} if reentrant else again


def test_exceptions_in_forward_and_backward_and_in_the_optimizer(watch):
    seen = watch(
        HEAD
        + """
class Fails(torch.autograd.Function):
    @staticmethod
    def forward(context, value):
        return value.clone()
    @staticmethod
    def backward(context, gradient):
        raise ValueError("in backward")
class Layer(nn.Module):
    fails = ""
    def forward(self, value):
        if self.fails == "forward":
            raise ValueError("in forward")
        return Fails.apply(value) if self.fails == "backward" else value * 2
class Optimizer(torch.optim.SGD):
    def step(self, closure=None):
        raise ValueError("in the optimizer")
model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Layer()), nn.Linear(4, 4))
optimizer = Optimizer(model.parameters(), 0.1)
failed = 0
with pyprof.instrument(model, backward=True, nvtx=True) as probes:
    for fails in ("forward", "backward", "", "backward", "forward", ""):
        model[1][0].fails = fails
        try:
            with probes.step():
                model(torch.ones(2, 4)).sum().backward()
                optimizer.step()
        except ValueError:
            failed += 1
assert failed == 6
print(json.dumps(expected(probes)))
"""
    )
    check(by_thread(seen), seen.printed)
    (thread,) = by_thread(seen)
    assert [each.name for each in thread] == ["step"] * 6
    assert Counter(each.name for step in thread for each in step.inside)["Optimizer.step"] == 2


def test_threads_have_ranges_of_their_own(watch):
    seen = watch(
        HEAD
        + """
model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
def work():
    for _ in range(20):
        model(torch.ones(2, 8)).sum().backward()
with pyprof.instrument(model, backward=True, nvtx=True) as probes:
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(json.dumps(expected(probes)))
"""
    )
    assert len(seen.threads) == 4
    check(by_thread(seen), seen.printed)


def test_a_backward_on_another_thread_than_its_forward(watch):
    seen = watch(
        HEAD
        + """
model = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
with pyprof.instrument(model, backward=True, nvtx=True) as probes:
    loss = model(torch.ones(2, 8)).sum()
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
print(json.dumps(expected(probes)))
"""
    )
    assert len(seen.threads) == 2
    check(by_thread(seen), seen.printed)
    _, backward = by_thread(seen)
    assert {each.category for each in backward} == {"backward"}


def test_second_order_and_shared_and_recursive_modules(watch):
    seen = watch(
        HEAD
        + """
class Block(nn.Module):
    def __init__(self, shared):
        super().__init__()
        self.items = nn.ModuleList([shared, nn.Linear(4, 4)])
    def forward(self, value):
        for item in self.items:
            value = item(value)
        return value
class Recursive(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
    def forward(self, value, depth=2):
        return self.linear(value) if depth == 0 else self(value, depth - 1)
shared = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
model = nn.Sequential(Block(shared), Block(shared), Recursive())
value = torch.ones(2, 4, requires_grad=True)
with pyprof.instrument(model, backward=True, nvtx=True) as probes, probes.step():
    (gradient,) = torch.autograd.grad(model(value).sum(), value, create_graph=True)
    gradient.square().sum().backward()
print(json.dumps(expected(probes)))
"""
    )
    check(by_thread(seen), seen.printed)
    names = {each.name for step in seen.ranges for each, _ in step.walk()}
    assert {"0.items.0.0", "1.items.0.0"} <= names  # the shared module, in each of the places that hold it


def test_the_command_line_opens_ranges_around_its_steps(watch):
    seen = watch(
        ["-m", "pyprof", "profile", "bert", "--size", "tiny", "--length", "16", "--seconds", "0.1", "--nvtx", "--json"]
    )
    profile = seen.inside("profile")
    assert profile.category == "case"
    steps = [each for each in profile.inside if each.name == "step"]
    assert len(steps) == seen.printed["steps"]
    named = {each.name for step in steps for each, _ in step.walk()}
    layers = seen.printed["layers"]
    called = [path for path, calls in zip(layers["path"], layers["calls"], strict=True) if path and calls]
    assert named >= set(called)


def test_a_case_of_a_study_is_a_range(watch):
    chosen = ["--size", "tiny", "--lengths", "16", "--models", "bert", "--modes", "infer", "--metrics", "latency"]
    seen = watch(["-m", "pyprof", "study", "quick", *chosen, "-o", "run"], PYPROF_NVTX="1")
    cases = [each for each in seen.ranges if each.category == "case"]
    assert cases
    assert all(each.name.startswith("bert tiny length 16 infer") for each in cases), cases[0].name
    assert any(each.name == "step" for case in cases for each, _ in case.walk())


def test_a_value_of_the_variable_that_means_nothing_is_one_sentence(monkeypatch):
    monkeypatch.setenv("PYPROF_NVTX", "yes")
    with pytest.raises(UsageError, match="set it to 1 or 0"):
        pyprof.instrument(nn.Identity())


def test_a_build_without_headers_says_what_to_install(monkeypatch):
    monkeypatch.setattr(_native, "has_nvtx", False)
    pyprof.instrument(nn.Identity())
    with pytest.raises(UsageError, match="install nvidia-nvtx"):
        pyprof.instrument(nn.Identity(), nvtx=True)


def test_the_twin_in_python_opens_none_and_says_so():
    with pytest.raises(UsageError, match="recorder='native'"):
        pyprof.instrument(nn.Identity(), recorder="python", nvtx=True)


@pytest.mark.parametrize("nvtx", [True, False])
def test_probes_are_in_place_while_a_tool_that_sees_ranges_records_the_capture(nvtx):
    """So that the graph's nodes, which that tool records, have a layer; without ranges nobody would know of it."""
    module = nn.Sequential(nn.Tanh())
    with pyprof.instrument(module, nvtx=nvtx) as probes:
        captured = []
        probes.device = SimpleNamespace(capture=lambda step: captured.append("forward" in vars(module[0])))
        probes.capture(lambda: None)
        assert captured == [nvtx]
        assert "forward" in vars(module[0])
