"""Ctrl-C while ranks load and while they measure: all of them end within seconds, and one sentence says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# What a terminal does, and what a script or a scheduler does.
WAYS: dict[str, Callable[[int], None]] = {
    "ctrl-c": lambda asking: os.killpg(asking, signal.SIGINT),
    "sigterm": lambda asking: os.kill(asking, signal.SIGTERM),
}
FACTORY = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
import torch
from torch import distributed, nn
import sharded_models

class Noted(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        Path(f"forward-{{distributed.get_rank()}}").touch()
        return self.module(x)

def noted():
    Path(f"loads-{{distributed.get_rank()}}").touch()
    model, inputs = sharded_models.tensor_parallel()
    return Noted(model), inputs
"""


def of_group(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("what", "way"), [("loads", "sigterm"), ("forward", "ctrl-c")])
def test_an_interrupted_profile_of_ranks_leaves_none_behind(tmp_path: Path, what: str, way: str) -> None:
    (tmp_path / "noted.py").write_text(FACTORY)
    command = ["profile", "noted:noted", "--ranks", "2", "--length", "16", "--seconds", "120"]
    with subprocess.Popen(
        [sys.executable, "-m", "pyprof", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as asking:
        deadline = time.monotonic() + 120
        while not all((tmp_path / f"{what}-{rank}").exists() for rank in range(2)):
            assert asking.poll() is None, asking.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert len(of_group(asking.pid)) == 3
        begin = time.monotonic()
        WAYS[way](asking.pid)
        printed, told = asking.communicate(timeout=60)
        assert time.monotonic() - begin < 5
    assert asking.returncode == 130
    assert (printed, told.splitlines()) == ("", ["pyprof: interrupted"])
    while of_group(asking.pid) and time.monotonic() - begin < 5:
        time.sleep(0.02)
    assert of_group(asking.pid) == []
