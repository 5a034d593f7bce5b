"""Models under the shortest names that tell them apart, for readers; data keep the names that were given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pyprof.names import is_reference
from pyprof.report.view import View

Told = TypeVar("Told")
# What is pasted into a shell keeps whole names.
_COMMANDS = ("command", "resume")
_PATH = re.compile(r"[\w./~ -]+")


@dataclass(frozen=True)
class ShortNames:
    """The short names of models that have one: factories without their package, checkpoints without their folder."""

    short: Mapping[str, str]

    @classmethod
    def of(cls, models: Iterable[str]) -> ShortNames:
        """The shortest end of each name that no other model ends in too."""
        ends = {model: list(_ends(model)) for model in dict.fromkeys(models)}
        used = Counter(end for own in ends.values() for end in own)
        chosen = {model: next((end for end in own if used[end] == 1), model) for model, own in ends.items()}
        return cls({model: end for model, end in chosen.items() if end != model})

    @classmethod
    def of_views(cls, views: Iterable[View]) -> ShortNames:
        """Those of all models that the views are about."""
        return cls.of(model for view in views for model in view.cases.get("model", ()))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest = sorted(self.short, key=len, reverse=True)
        return re.compile(rf"(?<![\w./:-])({'|'.join(map(re.escape, longest))})(?![\w/:])")

    def __call__(self, text: str) -> str:
        """A text with short names in it."""
        return self._pattern.sub(lambda found: self.short[found[1]], text) if self.short else text

    def within(self, told: Told) -> Told:
        """The same with short names in all of its texts, at any depth, but for commands."""
        return self._within(told) if self.short else told

    def _within(self, told: Any) -> Any:
        if isinstance(told, str):
            return self(told)
        if is_dataclass(told) and not isinstance(told, type):
            own = ((field.name, getattr(told, field.name)) for field in fields(told) if field.init)
            return replace(told, **{name: self._within(value) for name, value in own if name not in _COMMANDS})
        if isinstance(told, Mapping):
            return {self._within(key): self._within(value) for key, value in told.items()}
        if isinstance(told, (list, tuple)):
            return type(told)(map(self._within, told))
        return told

    def legend(self) -> tuple[str, ...]:
        """A line for each package or folder: whose names are short, and what they stand for."""
        places: dict[str, list[str]] = {}
        for model, end in self.short.items():
            places.setdefault(model[: -len(end)], []).append(end)
        return tuple(f"{', '.join(ends)}: of {place.rstrip(':/')}" for place, ends in places.items())


AS_GIVEN = ShortNames({})


def _ends(model: str) -> Iterable[str]:
    """What may stand for a name, shortest first, itself last."""
    if is_reference(model):
        package, _, attribute = model.partition(":")
        yield attribute
        parts = package.split(".")
        yield from (f"{'.'.join(parts[-count:])}:{attribute}" for count in range(1, len(parts) + 1))
        return
    if _PATH.fullmatch(model):
        folders = Path(model).parts
        yield from ("/".join(folders[-count:]) for count in range(1, len(folders)))
    yield model
