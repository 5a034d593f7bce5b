"""What a report begins with, on one screen: which model costs least, or from which length a variant costs less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.analysis.omitted import outcome
from pyprof.failures import NO_TIME
from pyprof.records.comparison import Comparison
from pyprof.report.ranking import command_text, longer_lines, ranking_tables, verdicts
from pyprof.report.style import Glyphs, rule
from pyprof.report.tipping_table import plain_verdict, published, senses
from pyprof.report.view import ModalityView, TippingLine, View


def in_short(view: View, width: int, glyphs: Glyphs) -> Iterator[RenderableType]:
    """The answers, each section with its rule; nothing where nothing is compared."""
    for part in view.modalities:
        if part.one_length and part.rankings:
            yield rule(f"in short: which model costs least at {part.lengths[0]:,} {part.unit}s", width, glyphs)
            yield from verdicts(part, glyphs)
            disturbed = view.trust is not None and view.trust.level == "do not trust"
            undecided = any(line.longer for line in part.rankings if line.indicator.headline)
            if view.longer is not None and undecided and not disturbed:
                yield from longer_lines(view.longer, width)
            if modes := _without_time(part, view):
                yield from _no_time(f"{' and '.join(modes)}: no time", view, width)
            yield Text("")
            yield from ranking_tables(part, width, glyphs)
            yield from _senses({line.name: (line.allocator, line.dtype) for line in part.rankings})
    lines = [line for part in view.modalities for line in part.tipping if line.indicator.headline]
    if lines:
        yield rule("in short: the length from which a variant costs less", width, glyphs)
        for indicator in dict.fromkeys(line.indicator for line in lines):
            title = Text.assemble((indicator.title, "bold"), f" {indicator.scope}" if indicator.scope else "")
            yield title.append(f" in {_units(lines)} [95 % interval]")
            yield _tipping([line for line in lines if line.indicator == indicator], glyphs)
        if any(line.time_was_up for line in lines):
            yield from _no_time("no time", view, width)
        yield from _senses({line.comparison.name: line.comparison.conditions for line in lines})


def _without_time(part: ModalityView, view: View) -> list[str]:
    """The modes of which no ranking was measured because the time was up."""
    ranked = {line.mode for line in part.rankings}
    spent = [omission for omission in view.omitted if outcome(omission.status, omission.reason) == NO_TIME]
    modes = [each.mode for each in spent if each.modality == part.name]
    return [mode for mode in dict.fromkeys(modes) if mode not in ranked]


def _no_time(what: str, view: View, width: int) -> Iterator[RenderableType]:
    yield Text(f"{what}: the study's time was up before" + (", and this goes on:" if view.resume else ""), "dim")
    yield from [command_text(view.resume, width)] if view.resume else []


def _units(lines: Sequence[TippingLine]) -> str:
    """What lengths are counted in: "tokens", or "tokens (swin: pixels)"."""
    units = {line.comparison.variant: line.comparison.unit for line in lines}
    first, *others = dict.fromkeys(units.values())
    odd = [f"{', '.join(name for name, own in units.items() if own == unit)}: {unit}s" for unit in others]
    return f"{first}s" + (f" ({'; '.join(odd)})" if odd else "")


def _senses(conditions: dict[str, tuple[str, str]]) -> Iterator[RenderableType]:
    said = senses(conditions)
    if said:
        yield Text("; ".join(said), "dim")


def _tipping(lines: Sequence[TippingLine], glyphs: Glyphs) -> Grid:
    """A line for each variant and sense, a column for each mode and setting."""
    heads = list(dict.fromkeys((line.mode, line.setting) for line in lines))
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column("variant", no_wrap=True)
    grid.add_column("", no_wrap=True)
    for mode, setting in heads:
        grid.add_column(Text(f"{mode} {setting}".rstrip()))
    grid.add_column("2023", no_wrap=True)
    rows: dict[str, dict[Comparison, dict[tuple[str, str], TippingLine]]] = {}
    for line in lines:
        rows.setdefault(line.comparison.variant, {}).setdefault(line.comparison, {})[line.mode, line.setting] = line
    for variant, comparisons in rows.items():
        for number, (comparison, own) in enumerate(comparisons.items()):
            cells = [plain_verdict(own[head], glyphs) if head in own else Text(glyphs.dash, "dim") for head in heads]
            finding = published(next(iter(own.values())), glyphs) if number == 0 else Text("")
            grid.add_row(Text("" if number else variant, "bold"), Text(comparison.sense), *cells, finding)
    return grid
