"""A number axis in a terminal: where tipping points, published ones and data sets lie."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from pyprof.records.published import DataSet
from pyprof.report.style import Glyphs
from pyprof.report.view import Axis, ModalityView, TippingLine

_EXAMPLES = {"speech": "utterance", "text": "example"}
_SIDES = {"below": "below it", "within": "in its interval", "above": "above it"}


def tipping_axis(part: ModalityView, axis: Axis, width: int, glyphs: Glyphs) -> Group:
    """One line for the data sets, one for the published tipping point and one for each headline tipping point."""
    lines = [line for line in part.tipping if line.indicator.headline and line.tipping.status != "not measured"]
    headlines = [line.indicator for line in part.tipping if line.indicator.headline]
    titles = " and ".join(dict.fromkeys(indicator.title.lower() for indicator in headlines))
    labels = [_label(line) for line in lines]
    indent = max([len(label) for label in [*labels, "data sets (mean)", "published 2023"]]) + 1
    ruler = _Ruler(axis.low, axis.high, max(width - indent - 3, 20))
    rows: list[RenderableType] = [_line("", ruler.scale(part.unit, glyphs), indent)]
    if axis.data_sets:
        rows.append(_line("data sets (mean)", ruler.marks(axis.data_sets, glyphs), indent))
    published = axis.published
    if published is not None and published.low is not None and published.high is not None:
        band = ruler.span(published.low, published.high, glyphs.published * 3, "cyan")
        rows.append(_line("published 2023", band, indent))
    rows += [_line(label, _mark(line, ruler, glyphs), indent) for label, line in zip(labels, lines, strict=True)]
    title = Text.assemble(
        ("On the axis", "bold"), f": {titles} tipping points and data sets ({part.unit}s, logarithmic)"
    )
    return Group(title, *rows, *_key(axis.data_sets, glyphs), *data_set_sentences(part, lines))


def data_set_sentences(part: ModalityView, lines: Iterable[TippingLine]) -> list[Text]:
    """For each tipping point the data sets next to it on either side, in words; equal sentences once."""
    noun = _EXAMPLES.get(part.name, "example")
    said: dict[str, list[str]] = {}
    for line in lines:
        sides = {side: [near for near in line.data_sets if near.side == side] for side in _SIDES}
        chosen = {"below": sides["below"][-1:], "within": sides["within"], "above": sides["above"][:1]}
        clauses: list[str] = []
        for side, some in chosen.items():
            names = [f"{near.data_set} ({near.length:,})" for near in some]
            if names and not clauses:
                size = f"{some[0].length:,} {part.unit}s"
                first = f"the mean {some[0].data_set} {noun}"
                names[0] = f"{first}, {size}, lies" if len(names) == 1 else f"{first} ({size})"
                names[-1] += " lie" if len(names) > 1 else ""
            if names:
                clauses.append(f"{_listed(names)} {_SIDES[side]}")
        if clauses:
            said.setdefault("; ".join(clauses), []).append(_label(line))
    return [Text.assemble((f"{_together(about)}: ", "bold"), sentence) for sentence, about in said.items()]


def _listed(names: Sequence[str]) -> str:
    """Names in a list: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _together(labels: Sequence[str]) -> str:
    """Labels in one list, a model's name only where it changes."""
    names = [label.split(" ", 1) for label in labels]
    return ", ".join(
        rest if index and names[index - 1][0] == name else f"{name} {rest}" for index, (name, rest) in enumerate(names)
    )


def _label(line: TippingLine) -> str:
    return f"{line.comparison.variant} {line.comparison.name} {line.mode}"


def _line(label: str, content: Text, indent: int) -> Text:
    return Text(f"{label:<{indent}}", no_wrap=True).append_text(content)


def _key(data_sets: Sequence[DataSet], glyphs: Glyphs) -> list[Text]:
    if not data_sets:
        return []
    said = (f"{number} {data_set.name} {data_set.length:,}" for number, data_set in enumerate(data_sets, 1))
    return [Text("  " + f" {glyphs.dot} ".join(said), "dim")]


def _mark(line: TippingLine, ruler: _Ruler, glyphs: Glyphs) -> Text:
    crossing = line.tipping.crossing
    if crossing is None:
        return Text(f" {line.tipping.status}", "dim")
    low = ruler.low if crossing.low is None else crossing.low
    high = ruler.high if crossing.high is None else crossing.high
    marks = (
        glyphs.before if crossing.low is None else glyphs.begin,
        glyphs.line,
        glyphs.beyond if crossing.high is None else glyphs.end,
    )
    text = ruler.span(low, high, "".join(marks), "green")
    # The point lies inside its interval, so it must not cover one of the marks that end it.
    first, last = ruler.column(low), ruler.column(high)
    at = ruler.column(crossing.length)
    at = min(max(at, first + 1), last - 1) if last - first > 1 else at
    plain = text.plain.ljust(at + 1)
    return Text(plain[:at] + glyphs.point + plain[at + 1 :], "green")


@dataclass(frozen=True)
class _Ruler:
    """A logarithmic axis from `low` to `high` over `width` characters, after one for what lies before it."""

    low: float
    high: float
    width: int

    def column(self, length: float) -> int:
        part = math.log(length / self.low) / math.log(self.high / self.low) if self.high > self.low else 0.5
        return 1 + round(min(max(part, 0.0), 1.0) * (self.width - 1))

    def scale(self, unit: str, glyphs: Glyphs) -> Text:
        low, high = f"{self.low:,}", f"{self.high:,}"
        inner = list(glyphs.line * self.width)
        for length in _round_lengths(self.low, self.high):
            label = f"{length:,}"
            start = self.column(length) - 1 - len(label) // 2
            if start > len(low) + 1 and start + len(label) < self.width - len(high) - 1:
                inner[start : start + len(label)] = label
        inner[: len(low)] = low
        inner[self.width - len(high) :] = high
        return Text(f" {''.join(inner)}", "dim")

    def span(self, low: float, high: float, marks: str, style: str) -> Text:
        first, last = self.column(low), self.column(high)
        body = marks[1] * max(last - first - 1, 0)
        return Text(" " * first + (marks[0] + body + marks[2] if last > first else marks[1]), style)

    def marks(self, data_sets: Sequence[DataSet], glyphs: Glyphs) -> Text:
        cells = [glyphs.line] * (self.width + 2)
        cells[0] = cells[-1] = " "
        for number, data_set in enumerate(data_sets, 1):
            length = data_set.length
            at = 0 if length < self.low else self.width + 1 if length > self.high else self.column(length)
            cells[at] = str(number)[-1] if 0 < at <= self.width else glyphs.before if at == 0 else glyphs.beyond
        return Text("".join(cells), "yellow")


def _round_lengths(low: float, high: float) -> list[int]:
    """The lengths 1, 2 and 5 times a power of ten within a range."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [
        factor * 10**exponent for exponent in exponents for factor in (1, 2, 5) if low < factor * 10**exponent < high
    ]
