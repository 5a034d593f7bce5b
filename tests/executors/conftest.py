"""Clusters for the tests of the executors."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import fake_slurm
import pytest
import sleeping_worker
from cluster_tests import PYTHONPATH
from ray_tests import MARK, none_left, processes
from slurm_tests import FakeSlurm


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    """A fake Slurm on PATH, whose jobs are killed in the end; a test that leaves some has failed."""
    state = tmp_path / "slurm-state"
    commands = fake_slurm.install(state)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.setenv(sleeping_worker.LOG, str(tmp_path / "log"))
    fake = FakeSlurm(state)
    yield fake
    left = fake.processes()
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert not left, "jobs outlived the executor"


@pytest.fixture
def ray_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What the processes of a test are known by; one that leaves some has failed."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'pyprof-transformers[ray]'")
    monkeypatch.setenv(MARK, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.setenv(sleeping_worker.LOG, str(tmp_path / "log"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield str(tmp_path)
    is_clean = none_left(str(tmp_path), 5.0)
    for process in processes(str(tmp_path)):
        os.kill(process, signal.SIGKILL)
    assert is_clean, "processes of Ray outlived the executor"
