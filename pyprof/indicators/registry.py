"""The indicators by name; importing this loads neither torch nor transformers.

Every module of this room that holds an `INDICATOR` is an entry. Others are registered, or written
``package.module:NAME`` wherever a metric is named, so that the process that measures finds them too.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from pyprof import indicators
from pyprof.errors import UsageError
from pyprof.indicators.indicator import Indicator
from pyprof.names import imported_object, is_reference, nearest

# Stands for every indicator that is known but for those that a model is trained for.
ALL = "all"
# The qualities by name, with the task that a model is trained and judged on. They are made by a room above this one.
TRAINED: Mapping[str, str] = {
    "listops_accuracy": "listops",
    "text_accuracy": "text",
    "retrieval_accuracy": "retrieval",
    "image_accuracy": "image",
    "pathfinder_accuracy": "pathfinder",
    "pathx_accuracy": "pathx",
    "speech_word_error_rate": "speech",
    "speech_frozen_word_error_rate": "speech_frozen",
    "language_perplexity": "language",
}
_QUALITY = "pyprof.quality.indicators"
# Those that were registered beside the entries of this room.
_registered: dict[str, Indicator] = {}


def register(indicator: Indicator) -> None:
    """Make an indicator known in this process; raises UsageError where another one has its name."""
    if indicator.name == ALL or _known().get(indicator.name, indicator) != indicator:
        raise UsageError(f"there is an indicator {indicator.name!r} already: choose another name")
    _registered[indicator.name] = indicator


def forget(name: str) -> None:
    """Take back what `register` made known."""
    _registered.pop(name, None)


def every() -> tuple[Indicator, ...]:
    """All indicators that are known, in the order of a report."""
    return _ordered(_known().values())


def find(name: str, where: str = "pyprof") -> Indicator:
    """The indicator of a name, or of ``package.module:NAME``, which is then registered.

    Raises UsageError that suggests the nearest name; `where` is what lacks it.
    """
    known = _known()
    if name in known:
        return known[name]
    if name in TRAINED:
        name = f"{_QUALITY}:{TRAINED[name]}"
    if is_reference(name):
        indicator = imported_object(name, "the indicator", "indicator")
        if not isinstance(indicator, Indicator):
            raise UsageError(f"{name} is no pyprof.indicators.indicator.Indicator: check the name")
        register(indicator)
        return indicator
    raise UsageError(f"{where} has no metric {name!r}: {nearest(name, (*known, *TRAINED))}")


def chosen(names: Sequence[str], where: str = "pyprof") -> tuple[Indicator, ...]:
    """The indicators of these names in the order of a report: the usual ones for none, all for "all".

    What is derived brings what it needs.
    Raises UsageError for one that does not exist.
    """
    if not names:
        return tuple(indicator for indicator in every() if indicator.usual)
    named = [find(name, where) for name in names if name != ALL]
    named += [find(need, where) for indicator in named for need in indicator.needs]
    rest = (indicator for indicator in every() if indicator.how != "trained") if ALL in names else ()
    return _ordered(dict.fromkeys((*named, *rest)))


def _known() -> dict[str, Indicator]:
    return {**_entries(), **_registered}


@cache
def _entries() -> dict[str, Indicator]:
    """The entries of this room."""
    names = (f"{indicators.__name__}.{module.name}" for module in pkgutil.iter_modules(indicators.__path__))
    entries = (getattr(importlib.import_module(name), "INDICATOR", None) for name in names if name != __name__)
    return {entry.name: entry for entry in entries if isinstance(entry, Indicator)}


def _ordered(some: Iterable[Indicator]) -> tuple[Indicator, ...]:
    return tuple(sorted(some, key=lambda indicator: (indicator.place, indicator.name)))
