"""Signals that ask a program to end, taken for Ctrl-C: what was started is then ended in order, and what is there kept.

A batch system, a container and `kill` send SIGTERM, a terminal that is closed SIGHUP. Ctrl-C itself, SIGINT, reaches no
program that a shell has put into the background of a script: a process that another one started is asked to end by
SIGTERM, therefore.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# What asks for an end, beside SIGINT. One that is ignored (by nohup) stays ignored.
ASKING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupted_by(*signals: signal.Signals) -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread where one of these comes; nothing in another thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in signals if signal.getsignal(each) is signal.SIG_DFL}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
