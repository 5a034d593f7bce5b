"""Names that users write: the nearest known one, and ``package.module:function`` imported."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pyprof.errors import UsageError
from pyprof.failures import FOREIGN, sentence

_LONGEST_NAME = 200


def nearest(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """How to correct `name`: the nearest known name or, where none is near, `otherwise` (by default all names)."""
    names = list(known)
    spellings = {each.lower(): each for each in names}
    # Of a long text none is near, and looking for one would take minutes.
    close = difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=0.5) if len(name) < _LONGEST_NAME else []
    if close:
        return f"did you mean {spellings[close[0]]!r}?"
    return otherwise or f"choose from {', '.join(names)}"


def is_reference(name: str) -> bool:
    """Whether `name` is written as something to be imported, ``package.module:attribute``."""
    module, _, attribute = name.partition(":")
    return attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def imported(name: str, what: str) -> Callable[..., Any]:
    """The function that ``package.module:function`` stands for; see ``imported_object``."""
    function = imported_object(name, what, "function")
    if not callable(function):
        raise UsageError(f"{name.partition(':')[0]} has no function {name.partition(':')[2]!r}: check {what} {name}")
    return function  # type: ignore[no-any-return]


def imported_object(name: str, what: str, kind: str) -> Any:
    """What ``package.module:attribute`` stands for, looked for in the current directory too.

    Raises UsageError that names the cause, `what` it should have been ("the factory") and its `kind` ("function").
    """
    package, _, attribute = name.partition(":")
    if not is_reference(name):
        raise UsageError(f"{what} is written package.module:{kind}, not {name!r}")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(package)
    except FOREIGN as error:  # a user's module may raise anything while it is imported
        raise UsageError(f"{package} cannot be imported for {what} {name}: {sentence(error)}") from error
    if not hasattr(module, attribute):
        raise UsageError(f"{package} has no {kind} {attribute!r}: check {what} {name}")
    return getattr(module, attribute)
