"""Run a command line in this process, and judge what it ended in and what it printed."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyprof.cli.main import main

# Nothing here is so large that it may take longer; a hang is what never ends.
SECONDS = 120.0
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
ALLOWED = {
    "study": {0, 2},  # dry runs
    "report": {0, 2},
    "advise": {0, 2},
    "match": {0, 2, 3},
    "compare": {0, 2, 3, 4},
    "profile": {0, 2, 3},
    "overhead": {0, 2, 3},
    "attention": {0, 2, 3},
    "models": {0, 2},
    "env": {0, 2},
}


class Hang(BaseException):
    """The time is up; no `except Exception` of ours may take it for something else."""


@dataclass(frozen=True)
class Outcome:
    """What a command line came to: `fault` in a few words, None where all is as it should be."""

    arguments: tuple[str, ...]
    code: int | None
    out: str
    err: str
    seconds: float
    fault: str | None


def outcome(arguments: Sequence[str], seconds: float = SECONDS) -> Outcome:
    """Run one command line."""
    begin, code, fault = time.perf_counter(), None, None
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before = sys.stdout, sys.stderr
    with _kept(), _deadline(seconds):
        sys.stdout, sys.stderr = out, err
        try:
            code = main([*arguments])
        except Hang:
            fault = f"it took longer than {seconds:g} s"
        except BaseException:
            fault = traceback.format_exc()
        finally:
            sys.stdout, sys.stderr = before
    printed, said = (stream.buffer.getvalue().decode(errors="replace") for stream in (out, err))  # type: ignore[attr-defined]
    fault = fault or _fault(arguments, code, printed, said)
    return Outcome(tuple(arguments), code, printed, said, time.perf_counter() - begin, fault)


def _fault(arguments: Sequence[str], code: int | None, out: str, err: str) -> str | None:
    command = arguments[0] if arguments else ""
    gate = any(argument.startswith("--fail-over") for argument in arguments) and command == "compare"
    allowed = ALLOWED.get(command, {0, 2}) | ({1} if gate else set())
    said = [line for line in err.splitlines() if line.startswith("pyprof: ")]
    if code not in allowed:
        return f"exit code {code}: {err[-3000:]}"
    if "Traceback (most recent" in err + out:
        return f"a traceback: {err[-3000:]}"
    if _CONTROL.search(out) or any(map(_CONTROL.search, said)):
        return f"a control character: {_CONTROL.findall(out + err)[:5]}"
    if code == 2 and (
        len(said) != 1 or out or (len(err.splitlines()) > 1 and command in ("report", "compare", "study"))
    ):
        return f"more or less than one sentence: {err[-1000:]!r} {out[:200]!r}"
    if any(len(line) > 3000 for line in said):
        return f"a sentence of {max(map(len, said))} characters"
    if code == 1 and not any("the gate is not passed" in line for line in said):
        return f"exit code 1 without a gate: {err[-1000:]}"
    if "--json" in arguments and "--help" not in arguments and "-h" not in arguments and out and code != 2:
        try:
            json.loads(out, parse_constant=_no_number)
        except ValueError as error:
            return f"no JSON document: {error}"
    return None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _kept() -> Iterator[None]:
    """Give back what a command changes in this process: the environment, the processors, torch's threads."""
    environment, cores = dict(os.environ), os.sched_getaffinity(0)
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    os.environ["PYPROF_TRACEBACK"] = ""
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.sched_setaffinity(0, cores)
        torch = sys.modules.get("torch")
        if torch and threads:
            torch.set_num_threads(threads)
