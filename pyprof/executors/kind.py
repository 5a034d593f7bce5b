"""What an executor is called, what may be asked of it, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyprof.records.executor import Executor
from pyprof.records.validate import Check


@dataclass(frozen=True)
class Option:
    """Something that may be asked of an executor: `check` takes the text of the command line, `text` is its help."""

    name: str
    check: Check
    text: str


@dataclass(frozen=True)
class Asked:
    """What an executor is made from.

    `directory` is that of the run, in which it may keep the files that it names. `workers` is what ``--workers``
    says, None where it was left out; `options` are checked, by their names. `resumed`: the run goes on. `tell` is given
    a sentence about what a start has to wait for.
    """

    directory: Path
    workers: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    resumed: bool = False
    tell: Callable[[str], None] = lambda sentence: None


@dataclass(frozen=True)
class Kind:
    """One kind of executor; `create` imports what it needs, and raises UsageError where that is not installed."""

    name: str
    summary: str
    create: Callable[[Asked], Executor]
    options: tuple[Option, ...] = ()
