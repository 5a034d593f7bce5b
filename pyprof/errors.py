"""Errors that a user can cause, and the exit codes that they end in.

Every message is one sentence that says what is wrong and what to do about it. Only ``pyprof.cli`` prints and exits.
"""

from __future__ import annotations


class PyprofError(Exception):
    """Base of all errors that are shown to a user as one sentence, without a traceback."""

    exit_code = 2


class UsageError(PyprofError):
    """Something that was asked for does not exist or cannot be done: a typo, a bad value, a missing file."""


class GateError(PyprofError):
    """A gate that the user set was not passed: a regression, say."""

    exit_code = 1


class IncompleteError(PyprofError):
    """Some cases failed; everything that was measured is kept."""

    exit_code = 3


class InvariantError(PyprofError):
    """A measurement contradicts itself (children and own time do not sum to the total, say): a defect of pyprof."""

    exit_code = 3
