"""Parts of an input by their place: ``first:0.75``, ``last:512``, ``0.25:0.5``. Loads no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyprof.errors import UsageError
from pyprof.plain import shown

_BOUND = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<percent>%)?", re.ASCII)
_EXAMPLES = "first:0.75, last:512 or 0.25:0.5"


@dataclass(frozen=True)
class Bound:
    """A place in an input: a share of its length, or a number of tokens."""

    value: float
    share: bool

    def of(self, length: int) -> int:
        """The same in tokens, at most the length."""
        return min(round(self.value * length) if self.share else int(self.value), length)


@dataclass(frozen=True)
class Region:
    """The tokens from `begin` up to `end`, counted from the input's beginning or, with `from_end`, from its end."""

    text: str
    begin: Bound
    end: Bound
    from_end: bool = False

    def of(self, length: int) -> tuple[int, int]:
        """Where it begins and where it ends in an input of that length; raises UsageError where it is empty there."""
        begin, end = self.begin.of(length), self.end.of(length)
        if self.from_end:
            begin, end = length - end, length - begin
        if begin >= end:
            raise UsageError(f"the region {self.text} holds nothing of an input of {length} tokens: take a larger one")
        return begin, end

    def __str__(self) -> str:
        return self.text


def parse_region(text: str) -> Region:
    """A region as users write it; raises UsageError.

    Numbers with a point or a % are shares of the input's length, whole numbers are tokens.
    """
    kind, _, size = text.strip().partition(":")
    if kind in ("first", "last"):
        return Region(text.strip(), Bound(0.0, True), _bound(size, text), from_end=kind == "last")
    begin, end = _bound(kind, text), _bound(size, text)
    if begin.share == end.share and begin.value >= end.value:
        raise UsageError(f"the region {shown(text)} ends before it begins: write {_EXAMPLES}")
    return Region(text.strip(), begin, end)


def _bound(text: str, region: str) -> Bound:
    match = _BOUND.fullmatch(text.strip())
    if match is None or len(match["number"]) > 12:
        raise UsageError(f"{shown(region)} is not a region of an input: write {_EXAMPLES}")
    value = float(match["number"]) / (100 if match["percent"] else 1)
    share = bool(match["percent"]) or "." in match["number"]
    if share and value > 1:
        raise UsageError(f"the region {shown(region)} is larger than the input: write {_EXAMPLES}")
    return Bound(value, share)
