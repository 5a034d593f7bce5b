"""The slowdown of a step, by a clock that moves only with the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from torch import nn

from pyprof.overhead.slowdown import UNPROFILED, ToolSwitch, slowdowns
from pyprof.overhead.tool import Attached, Tool
from pyprof.timing.clock import HostStopwatch
from pyprof.timing.interleave import RoundLimits

STEP_NS, RECORDING_NS, ATTACH_NS = 1_000_000, 20_000, 50_000_000


class Clock:
    now = 0

    def now_ns(self) -> int:
        return self.now


class Machine:
    """A step, and tools that need a known time to attach, to record, and in each step."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.attached: list[str] = []
        self.added = {"none": 0}

    def step(self) -> None:
        self.clock.now += STEP_NS + sum(self.added.get(name, 0) for name in self.attached)

    def tool(self, name: str, added: int, fails: bool = False) -> Tool:
        machine = self
        self.added[name] = added

        class One(Attached):
            def __init__(self, module: nn.Module, backward: bool) -> None:
                assert not machine.attached
                machine.attached.append(name)
                machine.clock.now += ATTACH_NS

            @contextmanager
            def recording(self) -> Iterator[None]:
                machine.clock.now += RECORDING_NS
                if fails:
                    raise RuntimeError("it cannot time this")
                yield

            def detach(self) -> None:
                machine.attached.remove(name)

        return Tool(name, One, timed="")


def test_the_slowdown_is_that_of_the_step_and_the_recording_but_not_of_attaching():
    machine = Machine()
    tools = [machine.tool("light", 10_000), machine.tool("heavy", 980_000)]
    switch = ToolSwitch(nn.Identity(), machine.step, backward=False)
    rounds = slowdowns(switch, tools, RoundLimits(1.0, most_rounds=8), stopwatch=HostStopwatch(machine.clock))
    assert rounds.count == 8
    assert rounds.seconds(UNPROFILED).value == pytest.approx(STEP_NS * 1e-9)
    assert rounds.ratio("light", UNPROFILED).value == pytest.approx(1.03)
    assert rounds.ratio("heavy", UNPROFILED).value == pytest.approx(2.0)
    assert not machine.attached


def test_a_tool_that_fails_drops_out_and_leaves_the_module_to_the_others():
    machine = Machine()
    tools = [machine.tool("fails", 0, fails=True), machine.tool("works", 0)]
    switch = ToolSwitch(nn.Identity(), machine.step, backward=True)
    rounds = slowdowns(switch, tools, RoundLimits(1.0, most_rounds=6), stopwatch=HostStopwatch(machine.clock))
    assert rounds.failures["fails"].reason == "RuntimeError: it cannot time this"
    assert rounds.ratio("works", UNPROFILED).value == pytest.approx(1.02)
    assert not machine.attached


def test_a_step_that_settles_follows_each_attachment_untimed():
    machine = Machine()
    tool = machine.tool("unsettled", 0)
    first = 7 * STEP_NS

    def step():
        machine.step()
        nonlocal unsettled
        machine.clock.now += unsettled
        unsettled = 0

    switch = ToolSwitch(nn.Identity(), step, backward=False, settles=True)
    prepare, unsettled = switch.prepare, 0

    def switched(tool):
        nonlocal unsettled
        unsettled = first  # the first step after anything was switched
        prepare(tool)

    switch.prepare = switched
    rounds = slowdowns(switch, [tool], RoundLimits(1.0, most_rounds=6), stopwatch=HostStopwatch(machine.clock))
    assert set(rounds.samples[UNPROFILED]) == {STEP_NS}
    assert rounds.ratio("unsettled", UNPROFILED).value == pytest.approx(1.02)
    assert not machine.attached


def test_gradients_are_forgotten_before_each_step():
    module = nn.Linear(2, 2)
    module.weight.grad = module.weight.detach().clone()
    ToolSwitch(module, lambda: None, backward=True).prepare(None)
    assert module.weight.grad is None
