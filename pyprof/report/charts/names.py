"""How charts call and mark what they show: a colour for each model, dashes for what else tells lines apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyprof.report.charts.chart import Key, Spec
from pyprof.report.charts.theme import DASHES, SHAPES, series
from pyprof.report.view import Column

_NAME = re.compile(r"[^a-z0-9]+")


def column_words(column: Column) -> str:
    """A model with its implementation and, where there are any, its weights."""
    return f"{column.model} {column.how}" + (f" ({column.weights})" if column.weights else "")


def chart_name(*parts: object) -> str:
    """A name for a file and an anchor, out of any words; equal ones are told apart by whoever uses them."""
    return "-".join(filter(None, (_NAME.sub("-", str(part).lower()).strip("-")[:40] for part in parts))) or "chart"


@dataclass(frozen=True)
class Lines:
    """The lines of some charts: each has its words, and the number of its colour and of its dashes."""

    words: tuple[str, ...]
    colours: tuple[int, ...]
    dashes: tuple[int, ...]

    @classmethod
    def of(cls, columns: Iterable[Column], runs: Sequence[str] = ("",)) -> Lines:
        """A colour for each model, dashes for each of its implementations; with several runs these have the dashes."""
        distinct = list(dict.fromkeys(columns))
        several = len(runs) > 1
        first = [column_words(column) if several else column.model for column in distinct]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(first))}
        words, colours, dashes = [], [], []
        for run_number, run in enumerate(runs):
            seen: dict[str, int] = {}
            for column, name in zip(distinct, first, strict=True):
                words.append(line_words(column, run if several else ""))
                colours.append(numbers[name])
                dashes.append(run_number if several else seen.setdefault(name, 0))
                seen[name] = seen.get(name, 0) + 1
        return cls(tuple(words), tuple(colours), tuple(dashes))

    def colour(self) -> Spec:
        """The scale of colours over the words of lines."""
        return {"domain": list(self.words), "range": [series(number) for number in self.colours]}

    def dash(self) -> Spec:
        """The scale of dashes over the words of lines."""
        return {"domain": list(self.words), "range": [list(DASHES[number % len(DASHES)]) for number in self.dashes]}

    def shape(self) -> Spec:
        """The scale of the points' shapes over the words of lines."""
        shapes = [SHAPES[(colour + dash) % len(SHAPES)] for colour, dash in zip(self.colours, self.dashes, strict=True)]
        return {"domain": list(self.words), "range": shapes}

    def keys(self) -> tuple[Key, ...]:
        """The legend."""
        return tuple(
            Key(words, series(colour), tuple(DASHES[dash % len(DASHES)]))
            for words, colour, dash in zip(self.words, self.colours, self.dashes, strict=True)
        )


def line_words(column: Column, run: str = "") -> str:
    """What a line is called: with several runs beside each other, after its run too."""
    return f"{column_words(column)} · {run}" if run else column_words(column)


def mark_letters(number: int) -> str:
    """A short mark for the n-th of some things that are listed elsewhere."""
    return chr(ord("a") + number) if number < 26 else str(number - 25)
