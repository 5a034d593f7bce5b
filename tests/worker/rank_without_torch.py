"""A rank that meets nobody and loads no torch, and what it can be asked: for tests of the process that asks."""

from __future__ import annotations

import os
import signal
import time

from pyprof.errors import UsageError
from pyprof.worker import rank


class Alone(rank.Place):
    def prepare(self) -> None:
        pass

    def meet(self) -> None:
        pass

    def begin(self) -> None:
        pass


class Work:
    """`culprit` is the rank that is at fault; the others wait for it as they do in a collective."""

    def __init__(self, culprit: int = 1) -> None:
        self.culprit = culprit

    def join(self, place: rank.Place) -> None:
        self.number = place.membership.rank

    def who(self) -> tuple[int, int, str | None]:
        return self.number, os.getpid(), os.environ.get("LOCAL_RANK")

    def fail(self, how: str) -> str:
        if self.number == self.culprit:
            if how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            elif how == "exits":
                print("the last words", flush=True)
                os._exit(7)
            elif how == "raises":
                raise ValueError("planted")
            elif how == "memory":
                raise MemoryError("can't allocate memory")
            elif how == "hangs":
                time.sleep(3600)
        if how == "usage":
            raise UsageError("that cannot be asked for")
        if how in ("dies", "exits"):
            time.sleep(0.1)
            raise RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer")
        if how == "hangs":
            raise RuntimeError("[gloo] Timed out waiting 1000ms for recv operation to complete")
        time.sleep(3600)
        return "never"


if __name__ == "__main__":
    import rank_without_torch

    rank.main(rank_without_torch.Alone)
