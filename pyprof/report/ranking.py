"""Rankings in a terminal: which model costs least, at one length in full and over many in short."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from rich import box
from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.quantity import format_seconds
from pyprof.records.indicator import IndicatorFacts
from pyprof.report.style import Glyphs, figure, length_range
from pyprof.report.tables import blocks_of
from pyprof.report.view import Column, LeastLine, MeasureLonger, ModalityView, RankingLine, RankingPlace

# Where measuring longer takes more seconds than this, noise is the matter rather than the number of samples.
LONG = 3600.0

# A column of a ranking: an indicator in a mode and, where there is more than one, a setting.
_Head = tuple[IndicatorFacts, str, str]


def verdicts(part: ModalityView, glyphs: Glyphs) -> Iterator[RenderableType]:
    """A line for each mode and sense: which model costs least at the only length, or that it is not shown."""
    headlines = [line for line in part.rankings if line.indicator.headline]
    for indicator in dict.fromkeys(line.indicator for line in headlines):
        scope = f" {indicator.scope}" if indicator.scope else ""
        yield Text.assemble((indicator.title, "bold"), scope)
        grid = Grid.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column()
        for line in headlines:
            if line.indicator == indicator:
                grid.add_row(Text(f"  {_where(line)}"), verdict(line, glyphs))
        yield grid


def verdict(line: RankingLine, glyphs: Glyphs) -> Text:
    """Who costs least, and how much more the next one costs, in one sentence."""
    beside = [place.column for place in line.places] + [column for column, _ in line.missing]
    name = partial(_name, beside=beside)
    fast = line.indicator.format == "time"
    first, second = line.places[:2]
    if line.decided and len(line.leaders) > 1:
        said = Text.assemble((_listed(map(name, line.leaders), "and"), "bold"), " cost exactly the same")
    elif line.decided:
        least = "is fastest" if fast else "costs least"
        said = Text.assemble((name(first.column), "bold green"), f" {least}; {name(second.column)} ")
        said.append(f"{_times(second, fast)} {_interval(second, glyphs)}".rstrip())
    else:
        said = Text.assemble(("not shown which", "bold yellow"), ": ", (_listed(map(name, line.leaders), "or"), "bold"))
        said.append(f"; {name(second.column)} {_times(second, fast)} {_interval(second, glyphs)}".rstrip())
    if line.missing:
        said.append(f" ({', '.join(f'{name(column)}: {status}' for column, status in line.missing)})", "dim")
    return said


def longer_lines(longer: MeasureLonger, width: int) -> Iterator[RenderableType]:
    """What to paste where an order is not shown."""
    needed = format_seconds(longer.seconds)
    if longer.seconds > LONG:
        quieter = "measure again while the machine is quieter (pyprof env --check names what disturbs)"
        yield Text(f"What is not shown would take about {needed} more of such samples: {quieter}", "yellow")
        return
    yield Text(f"To tell what is not shown, measure about {needed} longer:", "yellow")
    yield command_text(longer.command, width)


def command_text(command: str, width: int) -> Text:
    """A command to be pasted: broken between words, as a shell reads it."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if lines[-1] and len(lines[-1]) + len(word) > width - 7:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return Text("  " + " \\\n    ".join(lines), overflow="fold")


def ranking_tables(part: ModalityView, width: int, glyphs: Glyphs) -> Iterator[RenderableType]:
    """A table for each sense: a line for each model, a column for each indicator and mode."""
    for sense in dict.fromkeys(line.name for line in part.rankings):
        lines = {_head(line): line for line in part.rankings if line.name == sense}
        rows = list(dict.fromkeys(place.column for line in lines.values() for place in line.places))
        cells = {head: _cells(line, rows, glyphs) for head, line in lines.items()}
        labels = [Text.assemble((column.model, "bold"), f" {column.how}") for column in rows]
        used = max(label.cell_len for label in labels)
        headings = [max(map(len, _title(head).split("\n"))) for head in lines]
        for chosen in blocks_of(headings, list(cells.values()), width - used):
            grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), show_edge=False, pad_edge=False)
            grid.add_column(Text(sense), no_wrap=True, vertical="bottom")
            for index in chosen:
                grid.add_column(Text(_title(list(lines)[index])), no_wrap=True, vertical="bottom")
            for number, label in enumerate(labels):
                grid.add_row(label, *(list(cells.values())[index][number] for index in chosen))
            yield grid
    said = "times the least [95 % interval]"
    if any(not place.shown for line in part.rankings for place in line.places):
        said += "; ? the difference from the least is not shown"
    yield Text(said, "dim")


def least_table(part: ModalityView, glyphs: Glyphs) -> Iterator[RenderableType]:
    """Over the lengths at which all were measured: which model costs least, a line for each mode and sense.

    Where there are two models, the tipping point says it.
    """
    crowded = {line.name for line in part.rankings if len(line.places) + len(line.missing) > 2}
    lines = [line for line in part.least if line.indicator.headline and line.reigns and line.name in crowded]
    for indicator in dict.fromkeys(line.indicator for line in lines):
        least = "Fastest" if indicator.format == "time" else f"Best {indicator.title.lower()}"
        yield Text.assemble((least, "bold"), f" where all were measured ({part.unit}s)")
        grid = Grid.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column()
        for line in lines:
            if line.indicator == indicator:
                grid.add_row(Text(f"  {_where(line)}"), _reigns(line, glyphs))
        yield grid


def _reigns(line: LeastLine, glyphs: Glyphs) -> Text:
    columns = [column for reign in line.reigns for column in reign.leaders]
    said = Text()
    for index, reign in enumerate(line.reigns):
        names = " or ".join(_name(each, columns) for each in reign.leaders)
        said.append(f" {glyphs.dot} " if index else "").append(f"{length_range(reign.shortest, reign.longest)} ", "dim")
        said.append(names, "bold green" if len(reign.leaders) == 1 else "yellow")
    return said


def _where(line: RankingLine | LeastLine) -> str:
    return f"{line.mode} {line.name}" + (f", {line.setting}" if line.setting else "")


def _head(line: RankingLine) -> _Head:
    return line.indicator, line.mode, line.setting


def _title(head: _Head) -> str:
    indicator, mode, setting = head
    words = [*indicator.title.lower().split(), mode, *setting.split(", ")]
    return "\n".join(word for word in words if word)


def _cells(line: RankingLine, rows: Sequence[Column], glyphs: Glyphs) -> list[Text]:
    places: Mapping[Column, RankingPlace] = {place.column: place for place in line.places}
    statuses = dict(line.missing)
    return [
        _cell(line, places[column], glyphs) if column in places else Text(statuses.get(column, glyphs.dash), "dim")
        for column in rows
    ]


def _cell(line: RankingLine, place: RankingPlace, glyphs: Glyphs) -> Text:
    if place.ratio is None:
        return Text(figure(line.indicator, place.value), "bold green")
    bounds = _interval(place, glyphs)
    return Text(f"{place.ratio:.2f} {bounds}".rstrip() + ("" if place.shown else " ?"), "" if place.shown else "yellow")


def _interval(place: RankingPlace, glyphs: Glyphs) -> str:
    """The bounds of a ratio; nothing where it is counted, and so exact."""
    if place.low is None or place.high is None:
        return "[?]"
    return "" if place.low == place.high else f"[{place.low:.2f}{glyphs.dash}{place.high:.2f}]"


def _times(place: RankingPlace, fast: bool) -> str:
    return f"takes {place.ratio:.2f} times as long" if fast else f"costs {place.ratio:.2f} times as much"


def _name(column: Column, beside: Collection[Column]) -> str:
    """What a model is called beside others: by its name alone where that tells it from them."""
    alone = sum(each.model == column.model for each in set(beside)) < 2
    return column.model if alone else f"{column.model} {column.how}"


def _listed(names: Iterable[str], word: str) -> str:
    every = list(names)
    return f" {word} ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)
