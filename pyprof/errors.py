"""Errors that a user can cause, and the exit codes that they end in.

Every message is one sentence that says what is wrong and what to do about it. Only ``pyprof.cli`` prints and exits.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """What `pyprof` ends in: a few words for the help, and a sentence for docs/command-line.md."""

    summary: str
    meaning: str

    def __new__(cls, code: int, summary: str, meaning: str) -> Self:
        """A member that is the code and knows its words."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.summary, member.meaning = summary, meaning
        return member

    DONE = 0, "done", "The command did what it was asked for, and a gate that was set is passed."
    GATE_FAILED = 1, "a gate failed", "A gate that was set is not passed: a regression is shown, or cases are missing."
    WRONG_USE = 2, "wrong use", "What was asked for does not exist or cannot be done; the message says what to do."
    INCOMPLETE = (
        3,
        "some cases failed",
        "Some cases failed, each with its reason, a model or its factory failed by itself (it raised, or ended the "
        "program), or the disk is full; what was measured is kept.",
    )
    UNJUDGEABLE = (
        4,
        "too disturbed to judge",
        "Other work on the machine disturbed a gate's measurements so much that they neither pass nor fail: measure "
        "again, as the message says.",
    )
    DEFECT = (
        70,
        "a defect of pyprof",
        "Something in pyprof itself went wrong, and the message is no help: please report it. "
        "With PYPROF_TRACEBACK=1 in the environment it says where.",
    )
    INTERRUPTED = 130, "interrupted", "Ctrl-C, or asked to end (SIGTERM, SIGHUP); what was measured is kept."


class PyprofError(Exception):
    """Base of all errors that are shown to a user as one sentence, without a traceback."""

    exit_code: int = ExitCode.WRONG_USE


class UsageError(PyprofError):
    """Something that was asked for does not exist or cannot be done: a typo, a bad value, a missing file."""


class GateError(PyprofError):
    """A gate that the user set was not passed: a regression, say."""

    exit_code = ExitCode.GATE_FAILED


class DisturbedError(PyprofError):
    """A gate that the user set can be neither passed nor failed: other work disturbed what was measured."""

    exit_code = ExitCode.UNJUDGEABLE


class IncompleteError(PyprofError):
    """Some cases failed; everything that was measured is kept."""

    exit_code = ExitCode.INCOMPLETE


class ModelError(PyprofError):
    """A model, or the factory that makes it, failed in its own code: it raised an exception, or ended the program."""

    exit_code = ExitCode.INCOMPLETE


class InvariantError(PyprofError):
    """A measurement contradicts itself (children and own time do not sum to the total, say): a defect of pyprof."""

    exit_code = ExitCode.DEFECT
