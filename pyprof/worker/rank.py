"""The process of one rank, started by ``pyprof.worker.ranks`` as ``python -m pyprof.worker.rank SOCKET LIFELINE``.

It answers one request after the other, and ends at once when the process that asks has ended, whatever it is at.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any, Protocol

from pyprof.errors import UsageError
from pyprof.failures import FOREIGN, failure_of
from pyprof.worker.ranks import Failed, Membership, receive, send

# How the collectives' libraries say that another rank did not come, in lower case.
_WAITED = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "timed out waiting")


class Work(Protocol):
    """What all ranks do: it is told its place, and its methods are what can be asked, joined first."""

    def join(self, place: Place) -> None:
        """Begin, as one of several that have found one another."""
        ...


class Place:
    """This process among its ranks."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.device = membership.device

    def prepare(self) -> None:
        """Load what is needed, which takes some ranks longer than others, before they have to find one another."""
        import torch  # noqa: F401

    def meet(self) -> None:
        """Join the process group; returns when all are there."""
        import torch
        from torch import distributed

        torch.set_num_threads(self.membership.threads)
        if self.device.startswith("cuda"):
            torch.cuda.set_device(self.device)
        distributed.init_process_group(
            self.membership.backend,
            init_method=f"file:///proc/self/fd/{self.membership.meeting}",
            rank=self.membership.rank,
            world_size=self.membership.count,
            timeout=timedelta(seconds=self.membership.collective_seconds),
        )
        self._flag = torch.zeros(1)
        self.begin()

    def begin(self) -> None:
        """Wait until all ranks are here."""
        self.agree(False)

    def agree(self, stop: bool) -> bool:
        """Whether any of the ranks wants to stop; all of them get the same answer."""
        from torch import distributed

        self._flag.fill_(float(stop))
        distributed.all_reduce(self._flag, distributed.ReduceOp.MAX)
        return bool(self._flag.item())


def main(kind: type[Place] = Place) -> None:
    """Serve requests until the other process ends."""
    # Ctrl-C in a terminal reaches this process too, and it is the other one that ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection, lifeline = Connection(int(sys.argv[1])), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    membership, work = receive(connection)
    place = kind(membership)
    _answer(connection, place.prepare)
    while True:
        what, args = receive(connection)
        if what == "join":
            _answer(connection, place.meet, lambda: work.join(place))
        else:
            _answer(connection, lambda: getattr(work, what)(*args))  # noqa: B023 - called at once


def _answer(connection: Connection, *parts: Callable[[], Any]) -> None:
    """Do what was asked, part by part, and answer with the last one's result."""
    answer: Any = None
    try:
        for part in parts:
            answer = part()
    except FOREIGN as error:  # a model may raise anything, and which rank it was is told by the other process
        failure = failure_of(error)
        waiting = any(sign in failure.reason.lower() for sign in _WAITED)
        answer = Failed(failure, waiting, isinstance(error, UsageError))
    send(connection, answer)


def _end_with(lifeline: int) -> None:
    """End when the process that asks has ended, also in the middle of a collective."""
    os.read(lifeline, 1)
    os._exit(0)


if __name__ == "__main__":
    main()
