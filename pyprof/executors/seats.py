"""The seats of a machine: a GPU each, or equal sets of its processors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from pyprof import device as devices
from pyprof.errors import UsageError
from pyprof.plain import shown
from pyprof.timing.cores import ROOT, parse, siblings, spoken, usable_cores

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Counting cards by PyTorch loads it, which takes seconds, on a cold disk perhaps a minute.
_COUNT_SECONDS = 120.0
_COUNT = "import json, torch; print(json.dumps(torch.cuda.device_count()))"
_LIST = re.compile(r"cuda:\d{1,4}(,cuda:\d{1,4})*")


@dataclass(frozen=True)
class Seat:
    """Where one worker sits: the processors it may use, None for all, and the variables of its process."""

    name: str
    cores: frozenset[int] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def seats_of(workers: str | None, device: str, cards: int | None = None, root: Path = ROOT) -> tuple[Seat, ...]:
    """The seats that were asked for: a number of them, "cuda:0,cuda:2", or sets of processors such as "0-3/4-7".

    `device` is that of the study: cpu, cuda or auto. Without a number it is every GPU; processors have to be divided by
    a number or by name. `cards` is how many GPUs there are, by default what PyTorch says. Raises UsageError.
    """
    text = None if workers is None else workers.strip()
    if re.fullmatch(r"cuda:\d+", device):
        raise UsageError(f"--executor devices chooses the GPUs itself: give --device cuda and --workers {device}")
    if text is not None and _LIST.fullmatch(text):
        if device == "cpu":
            raise UsageError(f"--workers {text} names GPUs and the study is to run on the cpu: give --device cuda")
        return _cards(sorted({int(name[5:]) for name in text.split(",")}))
    if text is not None and not text.isdigit():
        return _sets(text, device)
    count = None if text is None else int(text)
    if count == 0:
        raise UsageError("--workers must be at least 1")
    if device != "cpu":
        there = count_cards() if cards is None else cards
        if count is not None and device == "cuda" and count > there:
            raise UsageError(f"--workers {count} asks for more GPUs than the {there} of this machine")
        if there:
            return _cards(range(there if count is None else min(count, there)))
        if device != devices.AUTO:
            raise UsageError("--executor devices found no GPU of this machine: give --device cpu and --workers")
    if count is None:
        raise UsageError(
            "--executor devices needs --workers where there is no GPU: into how many sets to divide the cores"
        )
    return tuple(_seat(cores) for cores in divided(count, root))


def divided(count: int, root: Path = ROOT) -> list[frozenset[int]]:
    """So many sets of the usable processors, equal and without a common physical core; the rest stays unused."""
    cores: dict[tuple[int, ...], list[int]] = {}
    for core in usable_cores():
        cores.setdefault(tuple(siblings(core, root)), []).append(core)
    # Sets are alike only where their cores have equally many threads.
    most = max(map(len, cores.values()))
    physical = [own for own in cores.values() if len(own) == most]
    if count > len(physical):
        raise UsageError(
            f"--workers {count} asks for more sets than the {len(physical)} physical cores that this process may use"
        )
    size = len(physical) // count
    return [frozenset(chain.from_iterable(physical[number * size : (number + 1) * size])) for number in range(count)]


def count_cards() -> int:
    """How many GPUs PyTorch sees; in a process of its own, since this one is not to load it."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _COUNT], capture_output=True, text=True, timeout=_COUNT_SECONDS, check=True
        )
        return int(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0


def _cards(numbers: Iterable[int]) -> tuple[Seat, ...]:
    """A seat a GPU; each process sees its own alone, whatever this one sees of all."""
    visible = os.environ.get(VISIBLE)
    names = None if visible is None else [name.strip() for name in visible.split(",") if name.strip()]
    seats = []
    for number in numbers:
        if names is not None and number >= len(names):
            raise UsageError(f"there is no cuda:{number}: {VISIBLE} lets this process see {len(names)}")
        seats.append(Seat(f"cuda:{number}", variables={VISIBLE: str(number) if names is None else names[number]}))
    return tuple(seats)


def _sets(text: str, device: str) -> tuple[Seat, ...]:
    try:
        sets = [parse(part) for part in text.split("/")]
    except UsageError:
        raise UsageError(
            f"--workers takes a number, GPUs such as cuda:0,cuda:1, or processors such as 0-3/4-7, not {shown(text)}"
        ) from None
    if device not in ("cpu", devices.AUTO):
        raise UsageError(f"--workers {text} names processors and the study is to run on {device}: give --device cpu")
    every = list(chain.from_iterable(sets))
    if len(set(every)) < len(every):
        raise UsageError(f"--workers {text} gives a processor to two workers: give each its own")
    missing = sorted(set(every).difference(usable_cores()))
    if missing:
        raise UsageError(
            f"--workers {text} asks for {spoken(missing)}, but this process may use {spoken(usable_cores())}"
        )
    return tuple(_seat(frozenset(cores)) for cores in sets)


def _seat(cores: frozenset[int]) -> Seat:
    return Seat(f"cores {spoken(cores)}", cores)


def joined(seats: Sequence[Seat]) -> Seat:
    """One seat with the processors or the GPUs of several, in their order, for a model that is sharded over them."""
    cores = (
        None if any(seat.cores is None for seat in seats) else frozenset().union(*(seat.cores or () for seat in seats))
    )
    visible = ",".join(seat.variables[VISIBLE] for seat in seats if VISIBLE in seat.variables)
    variables = {**seats[0].variables, **({VISIBLE: visible} if visible else {})}
    return Seat(" and ".join(seat.name for seat in seats), cores, variables)


def on_host(seats: Sequence[Seat]) -> bool:
    """Whether the seats are sets of processors, which share the host's memory."""
    return all(seat.cores is not None for seat in seats)
