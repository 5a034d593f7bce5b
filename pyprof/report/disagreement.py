"""Where indicators disagree, in a terminal: the pairs of models that change places, and Kendall's tau."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.records.indicator import IndicatorFacts
from pyprof.report.style import Glyphs, plural
from pyprof.report.view import ModalityView
from pyprof.report.view_disagreement import DisagreementLine, TauCell

# So many pairs of models are told in words.
MOST_SENTENCES = 6
# In a table of more columns there is no room for bounds.
FEW = 3


def disagreement_blocks(
    part: ModalityView, indicators: Mapping[str, IndicatorFacts], width: int, glyphs: Glyphs
) -> Iterator[RenderableType]:
    """The longest length of each sense and mode; nothing where no two indicators are shown to disagree."""
    last: dict[tuple[str, str, str], DisagreementLine] = {}
    for line in part.disagreements:
        last[line.name, line.mode, line.setting] = line
    for line in last.values():
        if any(contrast.reversed for contrast in line.contrasts):
            yield from _line(line, part, indicators, width, glyphs)


def _line(
    line: DisagreementLine, part: ModalityView, indicators: Mapping[str, IndicatorFacts], width: int, glyphs: Glyphs
) -> Iterator[RenderableType]:
    where = ", ".join(word for word in (line.name, line.setting) if word)
    yield Text.assemble(
        ("Where indicators disagree", "bold"), f" at {line.length:,} {part.unit}s, ", (line.mode, "bold"), f" ({where})"
    )
    told = [contrast for contrast in line.contrasts if contrast.reversed]
    for contrast in told[:MOST_SENTENCES]:
        yield Text(f"  {glyphs.dot} {contrast.sentence}")
    if len(told) > MOST_SENTENCES:
        more = plural(len(told) - MOST_SENTENCES, "more pair")
        yield Text(f"  {glyphs.dot} and {more} of models (--json has all)", "dim")
    if len(line.columns) > 2:
        sides = (("Kendall's tau", line.concordances), ("within families", line.within))
        for head, cells in (*sides, ("between families", line.between)):
            if cells:
                yield _taus(head, cells, line.metrics, indicators, glyphs)
        hidden = "[from, to]" if len(line.metrics) - 1 <= FEW else "?"
        yield Text(f"1: the same order, -1: the reverse; {hidden} where the noise hides orders", "dim")


def _taus(
    head: str,
    taus: Sequence[TauCell],
    metrics: Sequence[str],
    indicators: Mapping[str, IndicatorFacts],
    glyphs: Glyphs,
) -> Grid:
    cells = {(cell.one, cell.other): cell for cell in taus}
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column(head, no_wrap=True)
    titles = {name: indicators[name].title if name in indicators else name for name in metrics}
    columns = metrics[:-1]
    for name in columns:
        grid.add_column(Text(titles[name]), justify="right")
    for row, name in enumerate(metrics[1:], 1):
        grid.add_row(
            Text(titles[name], "bold"),
            *(
                _tau(cells[other, name], len(columns) <= FEW, glyphs) if index < row else Text()
                for index, other in enumerate(columns)
            ),
        )
    return grid


def _tau(cell: TauCell, few: bool, glyphs: Glyphs) -> Text:
    if cell.tau is None or cell.low is None or cell.high is None:
        return Text(glyphs.dash, "dim")
    bounds = "" if cell.low == cell.high else f" [{cell.low:.1f}, {cell.high:.1f}]" if few else "?"
    return Text(f"{cell.tau:.2f}{bounds}", "yellow" if cell.reversals else "")
