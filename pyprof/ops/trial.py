"""Whether Hopper's kernels of window attention are to be taken on a card: they are tried on it once, before anything
relies on them.

They were written from prototypes that are proven on a card, and are themselves proven on an emulation of one. Before
the first problem of a process that they would be taken for, a process of its own runs them on a few problems, holds
their results against dense attention in float64, and their bits in repeated runs against one another. A process of its
own, since what is wrong with a kernel can also end its process or never end. The verdict is kept for this card and this
very build, under $XDG_CACHE_HOME/pyprof or ~/.cache/pyprof. Where they do not pass, the kernels for every card run, and
a warning says why.
"""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

import torch

SECONDS = 120.0  # with a first import of PyTorch from a slow disk; the checks take a few
_CHECKING = "checking"  # what the process prints when it has come to the kernels
_INJECTED = ("CUDA_INJECTION64_PATH", "NVTX_INJECTION64_PATH")  # a profiler's, which is not to record the trial
_LOCK = threading.Lock()
_verdicts: dict[int, Verdict] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the kernels passed, else the reason; `lasting` if it is about the card and not about the moment."""

    passed: bool
    reason: str = ""
    lasting: bool = True


def passed(device: int) -> bool:
    """Whether Hopper's kernels passed on the device of this number; the first call tries them if nobody did before."""
    with _LOCK:
        if device not in _verdicts:
            card = torch.cuda.get_device_name(device)
            _verdicts[device] = verdict = _verdict(device, card)
            if not verdict.passed:
                told = "; this is kept until pyprof is built anew" if verdict.lasting else ""
                warnings.warn(
                    f"window attention on {card} runs without Hopper's own kernels: {verdict.reason}{told}. "
                    "PYPROF_CUDA_KERNELS=mma says so from the start, and =hopper takes them without a trial.",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return _verdicts[device].passed


def cards() -> list[tuple[str, Verdict | None]]:
    """Every card here that Hopper's kernels run on, and the verdict that is kept for it."""
    names = [
        torch.cuda.get_device_name(device)
        for device in range(torch.cuda.device_count())
        if torch.cuda.get_device_capability(device) == (9, 0)
    ]
    return [(name, _read(_place(name))) for name in dict.fromkeys(names)]


def _verdict(device: int, card: str) -> Verdict:
    place = _place(card)
    with _alone(place):
        known = _read(place)
        if known is None:
            print(f"pyprof: tries Hopper's window-attention kernels on {card}, once", file=sys.stderr, flush=True)
            known = _tried(device)
            if known.lasting:
                _write(place, card, known)
    return known


def _tried(device: int) -> Verdict:
    """The verdict of a process of its own."""
    command = [sys.executable, "-P", "-m", "pyprof.ops.trial", f"cuda:{device}"]
    environment = {name: value for name, value in os.environ.items() if name not in _INJECTED}
    environment["PYPROF_CUDA_KERNELS"] = "hopper"
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as expired:
        began = _CHECKING.encode() in (expired.stdout or b"")
        return Verdict(False, f"their trial did not end within {SECONDS:.0f} s", began)
    except OSError as error:
        return Verdict(False, f"they could not be tried ({error})", False)
    printed = done.stdout.splitlines()
    try:
        return Verdict(**json.loads(printed[-1]))
    except (IndexError, TypeError, ValueError):
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        began = _CHECKING in printed
        what = "their trial broke off" if began else "they could not be tried"
        return Verdict(False, f"{what} (exit code {done.returncode}: {last})", began)


def _place(card: str) -> Path:
    """Where the verdict for a card and this build is kept."""
    built = importlib.util.find_spec("pyprof._window_cuda")
    library = Path(built.origin).read_bytes() if built and built.origin else b""
    name = hashlib.sha256(card.encode() + b"\0" + library).hexdigest()[:24]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "pyprof", "kernels", f"{name}.json")


def _read(place: Path) -> Verdict | None:
    try:
        document = json.loads(place.read_text())
        return Verdict(bool(document["passed"]), str(document["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(place: Path, card: str, verdict: Verdict) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    document = {"card": card, "tried": now, "passed": verdict.passed, "reason": verdict.reason}
    part = place.with_suffix(f".{os.getpid()}")
    try:
        part.write_text(json.dumps(document, indent=1) + "\n")
        part.replace(place)
    except OSError:
        with suppress(OSError):  # each process has a trial of its own then
            part.unlink()


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """No other process tries the same meanwhile, where that can be had."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.with_suffix(".lock").open("w")
    except OSError:
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(device: str) -> Verdict:
    """Try the kernels on a device, and print the verdict as the last line."""
    try:
        torch.zeros(1, device=device)
        print(_CHECKING, flush=True)
        verdict = _checked(device)
    except torch.OutOfMemoryError:
        verdict = Verdict(False, "their trial needs more memory than is free", False)
    print(json.dumps(dataclasses.asdict(verdict)), flush=True)
    return verdict


def _checked(device: str) -> Verdict:
    """The verdict of the first problem on which they are wrong, or that they passed."""
    from pyprof.ops.trial_cases import CASES, DTYPES, check

    for case, dtype in product(CASES, DTYPES):
        found = check(case, dtype, device)
        if not found.right:
            where = f"{case.window}, {case.sizes}, {dtype}"
            what = f"errors are {found.error:.3g} of what is allowed, {found.others} runs have other bits"
            return Verdict(False, f"they are wrong on it (problem {where}: {what})")
    return Verdict(True)


if __name__ == "__main__":
    main(sys.argv[1])
