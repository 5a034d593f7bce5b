"""What the system took of a step: told by `profile` and `measure` beside the times, and true."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from statistics import median

import pytest
import torch
from rich.console import Console
from torch import nn

import pyprof
from pyprof.machine import allocator
from pyprof.quantity import format_count
from pyprof.records.noise import SystemPart, SystemTime
from pyprof.report.layers import write
from pyprof.timing.page_faults import PAGES, PageFaults

SECOND = 10**9


class Faulting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.work = PageFaults()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.work()
        return x


def test_the_part_is_of_all_processor_time_and_the_faults_are_those_of_a_step() -> None:
    part = SystemPart.of([SystemTime(3_000, SECOND // 10, SECOND), SystemTime(3_000, 3 * SECOND // 10, SECOND)], 2)
    assert part == SystemPart(1_500, 0.2)
    assert part.is_much
    assert str(part) == "20 % of this step is the system handing out memory (1.5 k page faults)"


@pytest.mark.parametrize(("faults", "share"), [(999, 0.5), (5_000, 0.049)])
def test_little_is_not_worth_a_word(faults: int, share: float) -> None:
    assert not SystemPart(faults, share).is_much


def test_where_nothing_is_told_there_is_no_part() -> None:
    assert SystemPart.of([]) is None
    assert SystemPart.of([SystemTime()] * 6) is None


def test_measure_tells_the_faults_of_a_call_and_says_so() -> None:
    taken = pyprof.measure(PageFaults(), min_samples=10, max_samples=10, max_seconds=5.0)
    assert taken.system is not None
    assert PAGES <= taken.system.faults < 1.5 * PAGES
    assert taken.system.is_much
    assert str(taken.system) in str(taken)
    assert taken.to_json()["system"] == {"faults": taken.system.faults, "share": taken.system.share}


def test_measure_says_nothing_of_a_call_that_is_handed_none() -> None:
    value = torch.ones(64)
    taken = pyprof.measure(lambda: value + 1, max_samples=20, max_seconds=1.0)
    assert taken.system is None or not taken.system.is_much
    assert "page faults" not in str(taken)


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_profile_tells_it_in_its_text_its_json_and_its_table(mode: str) -> None:
    module = nn.Sequential(Faulting(), nn.Linear(4, 4))
    profile = pyprof.profile(module, torch.ones(2, 4), mode=mode, seconds=0.3)
    assert profile.system is not None
    assert PAGES <= profile.system.faults < 1.5 * PAGES
    told = f"is the system handing out memory ({format_count(profile.system.faults)} page faults)"
    assert told in repr(profile)
    assert profile.to_json()["system"]["faults"] == profile.system.faults
    console = Console(file=io.StringIO(), width=120, color_system=None)
    write(profile, console, title="faulting")
    assert told in console.file.getvalue()


STEPS = """
import json
import torch
from torch import nn
import pyprof
from pyprof.records.noise import SystemTime

class Attention(nn.Module):
    # Without a fused kernel: two large temporaries in each of 20 layers.
    def forward(self, x):
        for _ in range(20):
            x = torch.softmax(x @ x.transpose(1, 2), -1) @ x
        return x

torch.set_num_threads(1)
module, value = Attention(), torch.rand(12, 1536, 64)
profile = pyprof.profile(module, value, seconds=4.0)
spent = []
with torch.inference_mode():
    for _ in range(4):
        before = SystemTime.now()
        module(value)
        spent.append(SystemTime.now() - before)
print(json.dumps({"part": vars(profile.system), "spent": spent}))
"""


@pytest.mark.slow
def test_a_million_faults_have_the_share_that_goes_away_where_memory_is_kept() -> None:
    parts, spent = {}, {}
    for name in ("default", "keep"):
        command = [sys.executable, "-c", STEPS]
        environ = {**os.environ, **allocator.variables(name)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=300)
        told = json.loads(done.stdout)
        parts[name], spent[name] = SystemPart(**told["part"]), [SystemTime(*step) for step in told["spent"]]
    plain = SystemPart.of(spent["default"])
    assert plain is not None
    assert 1_000_000 < parts["default"].faults < 1_200_000
    assert parts["default"].share == pytest.approx(plain.share, abs=0.05)
    # The best of its steps, as the heap still grows in some. The user's own time differs from process to process by
    # more than the faults cost: bench/allocator.py shows both.
    kept = min(spent["keep"], key=lambda step: step.system_ns)
    assert kept.faults < plain.faults / 2
    assert kept.system_ns < median(step.system_ns for step in spent["default"]) / 2
