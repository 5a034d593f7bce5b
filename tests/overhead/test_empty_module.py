"""What a call costs more, and what is kept of it."""

from __future__ import annotations

import random
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

from pyprof.failures import Failure
from pyprof.overhead import empty_module
from pyprof.overhead.empty_module import CALLS, Added, Caller, Nothing, added_per_call, bytes_per_call, tools_per_call
from pyprof.overhead.hooks import HOOKS, RECORD_FUNCTION
from pyprof.overhead.probes import PYPROF
from pyprof.overhead.tool import HEAP, Attached, Tool


class Machine:
    """Stands in for the module `time`; it works at half of its speed in every other round."""

    def __init__(self) -> None:
        self.now = 0
        self.rounds = 0

    def perf_counter_ns(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now * 1e-9

    def work(self, nanoseconds: int) -> None:
        self.now += nanoseconds * (1 + self.rounds % 2)


class Works(Nothing):
    def __init__(self, machine: Machine, nanoseconds: int) -> None:
        super().__init__()
        self.machine = machine
        self.nanoseconds = nanoseconds

    def forward(self, value: object) -> object:
        self.machine.work(self.nanoseconds)
        return value


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(empty_module, "time", made)

    class Orders(random.Random):
        """An order begins a round."""

        def sample(self, *arguments):
            made.rounds += 1
            return super().sample(*arguments)

    monkeypatch.setattr(empty_module.random, "Random", Orders)
    return made


class Broken(Nothing):
    def forward(self, value: object) -> object:
        raise RuntimeError("it broke")


def test_what_is_added_is_stated_at_the_undisturbed_speed_and_a_failure_has_its_reason(machine):
    recorded = {
        "half as much": (Caller(Works(machine, 1_500)), nullcontext),
        "broken": (Caller(Broken()), nullcontext),
    }
    plain, added = added_per_call(Caller(Works(machine, 1_000)), recorded, torch.zeros(1), seconds=100, most_rounds=20)
    assert plain == 1_000
    assert added["half as much"] == Added(undisturbed=500.0, median=750.0, share=0.5, rounds=20)
    assert added["broken"] == Failure("error", "RuntimeError: it broke")


def test_what_a_recording_takes_is_not_part_of_a_call(machine):
    @contextmanager
    def recording():
        machine.work(10_000_000)
        yield
        machine.work(10_000_000)

    recorded = {"recorded": (Caller(Works(machine, 1_100)), recording)}
    _, added = added_per_call(Caller(Works(machine, 1_000)), recorded, torch.zeros(1), seconds=100, most_rounds=10)
    assert added["recorded"].undisturbed == pytest.approx(100)


def test_what_is_slow_sits_the_later_rounds_out(machine):
    recorded = {
        "slow": (Caller(Works(machine, 1_000_000)), nullcontext),
        "quick": (Caller(Works(machine, 2_000)), nullcontext),
    }
    _, added = added_per_call(Caller(Works(machine, 1_000)), recorded, torch.zeros(1), seconds=4, most_rounds=100)
    assert added["slow"].rounds == 7  # 0.2 or 0.4 s each, until half of the time is used up
    assert added["quick"].rounds == 100


@pytest.mark.parametrize("backward", [False, True])
def test_tools_are_attached_to_a_module_each_and_taken_off(backward):
    class Refuses(Attached):
        def __init__(self, module: nn.Module, backward: bool) -> None:
            raise NotImplementedError("not on this module")

        def detach(self) -> None: ...

    tools = [PYPROF, HOOKS, Tool("refuses", Refuses, timed="")]
    _, added = tools_per_call(tools, backward=backward, seconds=0.2)
    assert added["refuses"] == Failure("skipped", "not on this module")
    assert added["Python hooks"].undisturbed > added["pyprof"].undisturbed


class Hoarder(Attached):
    """Keeps a thousand bytes of every call of the callee."""

    def __init__(self, module: nn.Module, backward: bool) -> None:
        self.kept: list[bytes] = []
        callee = module.get_submodule("callee")
        self.handle = callee.register_forward_hook(lambda *_: self.kept.append(bytes(1000)))

    def detach(self) -> None:
        self.handle.remove()


def test_the_bytes_of_a_call():
    assert bytes_per_call(PYPROF) == 56 * (CALLS + 2) / (CALLS + 1)  # with the mark of the step
    assert bytes_per_call(RECORD_FUNCTION) is None
    kept = bytes_per_call(Tool("hoarder", Hoarder, timed="", bytes_by=HEAP))
    assert 1000 * CALLS / (CALLS + 1) < kept < 1100
    assert bytes_per_call(HOOKS) > 2 * 28  # two integers of Python
