"""Who may write to a run directory: one process at a time, on whatever machine."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyprof.errors import UsageError
from pyprof.records.lock import GRACE_SECONDS, Lock, is_held, owner_of


def write_owner(path: Path, machine: str, age: float, seconds: float = 60.0) -> None:
    owner = {"machine": machine, "process": 77, "since": "2026-01-01T00:00:00+00:00", "seconds": seconds}
    path.write_text(json.dumps(owner))
    then = time.time() - age
    os.utime(path, (then, then))


def test_one_process_holds_it_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    lock = Lock(path)
    assert is_held(path)
    with pytest.raises(UsageError) as caught:
        Lock(path)
    assert f"another process (process {os.getpid()} on {socket.gethostname()}, since " in str(caught.value)
    lock.release()
    assert not is_held(path)
    assert owner_of(path) is None
    Lock(path).release()


def test_a_process_that_dies_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    program = "import os, sys; from pathlib import Path; from pyprof.records.lock import Lock\n"
    program += "lock = Lock(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == -9
    assert owner_of(path) is not None
    assert not is_held(path)
    lock = Lock(path)
    assert lock.taken_over is None
    lock.release()


def test_another_machine_that_still_writes_is_believed_where_the_system_lock_is_not_shared(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    write_owner(path, "elsewhere", age=10.0)
    assert is_held(path)
    with pytest.raises(UsageError, match=r"another coordinator \(process 77 on elsewhere, since 2026.*wrote to"):
        Lock(path)
    # What was refused has not touched it.
    assert owner_of(path) is not None


def test_a_stale_lock_of_another_machine_is_taken_over_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    write_owner(path, "elsewhere", age=60.0 + GRACE_SECONDS + 10)
    assert not is_held(path)
    lock = Lock(path)
    assert lock.taken_over is not None
    assert "was stale and is taken over: its owner (process 77 on elsewhere" in lock.taken_over
    lock.release()


def test_one_that_promised_to_be_silent_for_long_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    write_owner(path, "elsewhere", age=600.0, seconds=900.0)
    with pytest.raises(UsageError, match=r"wrote to .* 10 min ago"):
        Lock(path)
    write_owner(path, "elsewhere", age=1000.0, seconds=900.0)
    Lock(path).release()


def test_a_promise_is_heard(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    lock = Lock(path)
    os.utime(path, (0, 0))
    lock.promise(900.0)
    owner = owner_of(path)
    assert owner is not None
    assert owner.seconds == 900.0
    assert time.time() - path.stat().st_mtime < 60
    lock.release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"machine": 3}', b"\xff\x00"])
def test_a_damaged_file_is_nobody_s(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".lock"
    path.write_bytes(content)
    assert owner_of(path) is None
    Lock(path).release()


def test_a_file_system_without_locks_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UsageError, match=r"cannot be locked \(Function not implemented\): choose another -o"):
        Lock(tmp_path / ".lock")
