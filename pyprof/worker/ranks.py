"""The processes of a model that is sharded over several: started together, asked together, and ended together.

Each is one rank of a process group of this machine that meets through a file. What one does, all do: a request goes to
all of them, and is done when the last has answered. Where one dies, fails, or gives no answer, the others wait for it
in a collective, so they are ended, and one sentence says what became of which.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Any

from pyprof import device as devices
from pyprof.errors import ModelError, UsageError
from pyprof.failures import Failure
from pyprof.quantity import format_seconds
from pyprof.worker.obituary import obituary

PROGRAM = ("-P", "-m", "pyprof.worker.rank")
# Loading torch takes seconds, on a cold disk perhaps a minute.
START_SECONDS = 300.0
# Where a rank has failed, the others may tell more of the cause within this time.
_GRACE_SECONDS = 1.0
# The part of a request's time after which a rank that waits for another one in a collective gives up.
_COLLECTIVE_SHARE = 0.5
_BACKENDS = {"cuda": "cpu:gloo,cuda:nccl"}


@dataclass(frozen=True)
class Membership:
    """What a process has to know to be one rank of several: `meeting` is a descriptor of the file through which they
    find each other.

    `collective_seconds` is how long it waits for others at most; `device` is PyTorch's name of its own.
    """

    rank: int
    count: int
    device: str
    backend: str
    meeting: int
    threads: int
    collective_seconds: float


@dataclass(frozen=True)
class Failed:
    """A rank's answer where it could not do what it was asked.

    `waiting`: it was another rank that did not come; `usage`: what was asked for does not exist or cannot be done.
    """

    failure: Failure
    waiting: bool = False
    usage: bool = False


def send(connection: Connection, message: object) -> None:
    """Send any object that can be pickled; a tensor with all that is in it, not as memory that is shared."""
    connection.send_bytes(pickle.dumps(message))


def receive(connection: Connection) -> Any:
    """What the other end has sent; raises EOFError where it has ended."""
    return pickle.loads(connection.recv_bytes())


def ranks_devices(device: str, count: int) -> list[str]:
    """The device of each rank: the host for all, or one GPU after the other. Raises UsageError where there are too few.

    `device` is that of the case, which is the first one's where it names a GPU.
    """
    kind, _, first = devices.of(device).torch_name.partition(":")
    if kind == "cpu":
        return [kind] * count
    names = [f"{kind}:{int(first or 0) + number}" for number in range(count)]
    reason = devices.of(names[-1]).available()
    if reason is not None:
        raise UsageError(f"{count} ranks need as many devices from {names[0]} on: {reason}")
    return names


class RankProcesses:
    """`count` processes that do the `work` together; `seconds` is how long a request may take.

    `program` is what Python runs in each, with the numbers of the socket and of the lifeline.
    Raises ModelError where they cannot start, and UsageError where there are too few devices.
    """

    def __init__(
        self,
        work: object,
        count: int,
        device: str,
        threads: int,
        seconds: float,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.devices = ranks_devices(device, count)
        self._seconds = seconds
        # It is no file of any folder, so that nothing stays behind when all of these processes are killed at once.
        meeting = os.memfd_create("meeting of ranks")
        self._meeting: int | None = meeting
        self._ranks: list[_Rank] = []
        kind = self.devices[0].partition(":")[0]
        try:
            for number, own in enumerate(self.devices):
                membership = Membership(
                    rank=number,
                    count=count,
                    device=own,
                    backend=_BACKENDS.get(kind, "gloo"),
                    meeting=meeting,
                    threads=max(1, threads // count),
                    collective_seconds=seconds * _COLLECTIVE_SHARE,
                )
                self._ranks.append(_Rank(membership, program))
            self._ask([(rank.membership, work) for rank in self._ranks], START_SECONDS)
            self.ask("join")
        except BaseException:
            self.close()
            raise

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of the processes."""
        return tuple(rank.process.pid for rank in self._ranks)

    @property
    def alive(self) -> bool:
        """Whether they can still be asked."""
        return bool(self._ranks)

    def ask(self, what: str, *args: Any) -> list[Any]:
        """Have every rank do something; their answers in the order of the ranks.

        Where one fails, all of them are ended. Raises MemoryError where it ran out of memory, UsageError where what was
        asked for does not exist or cannot be done, and ModelError otherwise.
        """
        return self._ask([(what, args)] * len(self._ranks), self._seconds)

    def _ask(self, requests: Sequence[Any], seconds: float) -> list[Any]:
        if not self._ranks:
            raise ModelError("the ranks have ended, as one of them failed")
        for rank, request in zip(self._ranks, requests, strict=True):
            # One that has ended gives no answer either, and that is told below.
            with contextlib.suppress(OSError):
                send(rank.connection, request)
        answers: dict[int, Any] = {}
        failures: dict[int, Failed] = {}
        deadline = time.monotonic() + seconds
        while len(answers) + len(failures) < len(self._ranks):
            pending = {r.connection: n for n, r in enumerate(self._ranks) if n not in answers and n not in failures}
            ready = wait(list(pending), max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            for connection in ready:
                number = pending[connection]  # type: ignore[index]
                answer = self._ranks[number].answer()
                if not isinstance(answer, Failed):
                    answers[number] = answer
                    continue
                failures[number] = answer
                deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
        if len(answers) == len(self._ranks):
            return [answers[number] for number in range(len(self._ranks))]
        silent = [number for number in range(len(self._ranks)) if number not in answers and number not in failures]
        error = self._error(failures, silent, seconds)
        self.close()
        raise error

    def _error(self, failures: dict[int, Failed], silent: Sequence[int], seconds: float) -> Exception:
        """The one sentence: of the rank that died or failed by itself, rather than of those that waited for it."""
        count = len(self._ranks)
        for number, failed in sorted(failures.items(), key=lambda each: each[1].waiting):
            if failed.waiting and silent:
                break
            reason = failed.failure.reason
            if failed.usage:
                return UsageError(reason)
            if failed.failure.status == "oom":
                return MemoryError(f"rank {number} of {count}: {reason.removeprefix('out of memory: ')}")
            return ModelError(f"rank {number} of {count}: {reason}")
        late = " and ".join(f"rank {number}" for number in silent)
        if failures:
            return ModelError(f"{late} of {count} gave no answer: rank {next(iter(failures))} waited for it in vain")
        return ModelError(f"{late} of {count} gave no answer within {format_seconds(seconds)}")

    def close(self) -> None:
        """End all of them at once; may be called twice."""
        for rank in self._ranks:
            rank.process.kill()
        for rank in self._ranks:
            rank.close()
        self._ranks = []
        if self._meeting is not None:
            os.close(self._meeting)
            self._meeting = None


class _Rank:
    """One process, the connection to it, and a pipe that tells it when this process has ended."""

    def __init__(self, membership: Membership, program: Sequence[str]) -> None:
        self.membership = membership
        ours, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        self.connection = Connection(ours.detach())
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        passed = (theirs.fileno(), lifeline)
        try:
            # In the process group of this process: who ends that ends the ranks too.
            self.process = subprocess.Popen(
                [sys.executable, *program, *map(str, passed)],
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=self._printed,
                pass_fds=(*passed, membership.meeting),
                env={**os.environ, **_variables(membership)},
            )
        except BaseException:
            self._release()
            raise
        finally:
            theirs.close()
            os.close(lifeline)

    def answer(self) -> Any:
        """What the process says; that it has ended where it says nothing more."""
        try:
            return receive(self.connection)
        except (EOFError, OSError):
            try:
                code = self.process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                return Failed(Failure("error", "the measuring process closed the connection to the one that asks"))
            return Failed(obituary(code, self._printed))

    def close(self) -> None:
        """Wait for its end, which has been seen to."""
        self.process.wait()
        self._release()

    def _release(self) -> None:
        self.connection.close()
        os.close(self._lifeline)
        self._printed.close()


def _variables(membership: Membership) -> dict[str, str]:
    """What programs for several ranks look for, as torchrun sets it, and as many threads as there are for each."""
    number, count, threads = str(membership.rank), str(membership.count), str(membership.threads)
    variables = {
        "RANK": number,
        "LOCAL_RANK": number,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
    if Path("/sys/class/net/lo").exists():
        # All ranks are on this machine, whose own name may not lead anywhere.
        variables["GLOO_SOCKET_IFNAME"] = "lo"
    return variables
