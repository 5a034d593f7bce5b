"""Steps without probes, in turn with probed ones: nobody looks at them, and the difference is what looking costs."""

from __future__ import annotations

import time
from statistics import fmean

import pytest
import torch
from torch import nn

import pyprof
from pyprof.errors import UsageError
from pyprof.layers.instrument import Probes, instrument
from pyprof.layers.plain_steps import Turns

MS = 1e-3


def spin(seconds):
    """On a processor, since what a step waits for other processes is no part of a ratio."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Noting(nn.Module):
    """Notes at each call whether a probe stands in for its forward, and whether any hook is on it."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seconds = seconds
        self.seen = []

    def forward(self, value):
        self.seen.append("forward" in vars(self) or bool(self._forward_hooks))
        spin(self.seconds)
        return value * self.weight


@pytest.fixture(params=["native", "python"])
def recorder(request):
    return request.param


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_profile_has_as_many_steps_that_nobody_looks_at(mode, recorder):
    module = Noting(MS)
    profile = pyprof.profile(module, torch.ones(2), mode=mode, seconds=0.1, recorder=recorder)
    assert profile.plain is not None
    timed = module.seen[-2 * profile.steps :]
    assert sum(timed) == profile.steps
    pairs = list(zip(timed[::2], timed[1::2], strict=True))
    assert all(one != other for one, other in pairs)  # in each round one of each
    assert len(set(pairs)) == 2  # in either order
    assert profile.plain.step.value >= MS
    assert profile.layers[0].calls == 1
    assert "forward" not in vars(module)
    if mode == "train":
        assert profile.nodes / profile.steps == int(profile.nodes / profile.steps)  # those of plain steps are not seen


def test_the_cost_of_looking_is_found(monkeypatch):
    marked = Probes.run_marked

    def costly(probes, step):
        marked(probes, step)
        spin(MS)

    monkeypatch.setattr(Probes, "run_marked", costly)
    profile = pyprof.profile(Noting(2 * MS), torch.ones(1), seconds=0.4)
    assert profile.plain.ratio.interval is not None
    assert profile.plain.ratio.value == pytest.approx(1.5, abs=0.1)
    assert profile.step_seconds < fmean(profile.plain.probed) * 1e-9 - 0.9 * MS  # nothing is rescaled
    assert "without probes, " in repr(profile)
    document = profile.to_json()["plain"]
    assert document["pairs"] == len(document["samples"]) == len(document["probed"])


def test_long_steps_are_taken_once_with_and_once_without_probes():
    module = Noting(0.06)
    profile = pyprof.profile(module, torch.ones(1), seconds=0.1)
    assert profile.steps == len(profile.plain.samples) == 1
    assert len(module.seen) == 4  # two of the warm-up
    assert profile.plain.ratio.interval is None
    assert "too few for an interval, 1 round" in repr(profile)


def test_steps_of_the_users_own_can_be_plain(recorder):
    module = nn.Sequential(Noting(), nn.Linear(1, 1))
    with instrument(module, backward=True, recorder=recorder) as probes:
        for number in range(8):
            for turn in (probes.step, probes.plain_step)[:: -1 if number % 2 else 1]:
                with turn():
                    module(torch.ones(1)).sum().backward()
    profile = probes.profile()
    assert profile.steps == 8
    assert profile.plain.pairs == len(profile.plain.samples) == 8
    assert profile.plain.ratio.interval is not None
    assert module[0].seen.count(True) == module[0].seen.count(False) == 8
    assert {layer.path: layer.calls for layer in profile.layers} == {"": 1, "0": 1, "1": 1}
    assert profile.nodes % 8 == 0


def test_another_instrument_goes_on_through_a_plain_step(recorder):
    module = nn.Sequential(nn.Identity())
    with instrument(module, recorder=recorder) as around, instrument(module, recorder=recorder) as probes:
        with probes.plain_step():
            module(1)
        with around.plain_step():
            module(1)
        module(1)
    assert [each.profile().layers[1].calls for each in (around, probes)] == [2, 2]
    assert "forward" not in vars(module[0])


def test_a_plain_step_that_fails_is_none_and_the_probes_are_back():
    module = nn.Sequential(nn.Linear(2, 2))

    def fail():
        with probes.plain_step():
            module(torch.ones(1, 3))

    with instrument(module) as probes:
        with pytest.raises(RuntimeError):
            fail()
        assert "forward" in vars(module[0])
    assert probes.profile().plain is None
    assert "forward" not in vars(module[0])


def test_outside_of_the_context_no_step_is_plain():
    probes = instrument(nn.Identity())
    with pytest.raises(UsageError, match="within the context"), probes.plain_step():
        pass
    with probes:
        pass
    with pytest.raises(UsageError, match="within the context"), probes.plain_step():
        pass


def test_neighbours_are_pairs():
    turns = Turns()
    assert turns.plain_steps() is None
    steps = [(10, False), (20, True), (22, True), (11, False), (12, False), (24, True), (26, True), (13, False)]
    for nanoseconds, probed in steps:
        turns.add(nanoseconds, probed=probed)
    plain = turns.plain_steps()
    assert plain.samples == (10, 11, 12, 13)
    assert plain.probed == (20, 22, 24, 26)
    assert plain.pairs == 4
    turns.add(14, probed=False)
    turns.add(15, probed=False)
    turns.add(30, probed=True)
    assert turns.plain_steps().probed == (20, 22, 24, 26, None, 30)


def test_plain_steps_without_a_neighbour_have_a_time_and_no_ratio():
    turns = Turns()
    for _ in range(10):
        turns.add(5_000_000, probed=False)
    plain = turns.plain_steps()
    assert plain.step.value == pytest.approx(5 * MS)
    assert plain.ratio is None
    assert str(plain) == "no plain step had a probed one beside it"
