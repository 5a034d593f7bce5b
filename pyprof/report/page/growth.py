"""How costs grow with the length, and Long Range Arena's table beside a run, on a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyprof.report import arena_scores, speech_rates
from pyprof.report.arena import order_line, setting_words
from pyprof.report.growth import EXPLANATION, growth_words
from pyprof.report.page.markup import Markup, grid, tag
from pyprof.report.view import View


def growth_part(view: View) -> Iterable[Markup]:
    """A table of fitted exponents for each mode; nothing where no source claims a growth."""
    if view.growth:
        yield tag("p", EXPLANATION)
    for mode in dict.fromkeys(line.setting.mode for line in view.growth):
        lines = [line for line in view.growth if line.setting.mode == mode]
        costs = list(dict.fromkeys(name for line in lines for name in line.costs))
        rows = [
            [
                str(line.subject),
                line.complexity,
                f"{line.claimed.exponent:.2f}",
                *("".join(growth_words(line.costs[name])) if name in line.costs else "–" for name in costs),
            ]
            for line in sorted(lines, key=lambda line: line.claimed.exponent)
        ]
        heads = ["model", "claim", "claimed", *(name.replace("_", " ") for name in costs)]
        yield grid(heads, rows, caption=f"Exponents of the length, {mode}")


def arena_part(view: View) -> Iterable[Markup]:
    """Speed and memory, ours / published, for each setting, and how the orders relate."""
    for table in view.arena:
        lengths = list(dict.fromkeys(cell.length for cell in table.cells))
        words = setting_words(table)
        yield tag("p", f"{words[0].upper()}{words[1:]}:")
        for title, ours, published in (
            ("Steps a second", "speed", "published_speed"),
            ("Peak memory", "memory", "published_memory"),
        ):
            rows = [
                [
                    model,
                    *(
                        f"{'–' if getattr(cell, ours) is None else f'{getattr(cell, ours):.2f}'}"
                        f" / {getattr(cell, published):.2f}"
                        for cell in table.cells
                        if cell.model == model
                    ),
                ]
                for model in dict.fromkeys(cell.model for cell in table.cells)
            ]
            yield grid(["model", *(f"{length:,}" for length in lengths)], rows, caption=title)
        yield tag("p", order_line(table).plain)


def scores_part(view: View) -> Iterable[Markup]:
    """The scores on the arena's tasks, ours / published, with speed and memory."""
    for table in view.scores:
        rows = [arena_scores.cells(table, row) for row in table.rows]
        yield from _models(
            arena_scores.setting_words(table), arena_scores.heads(table), rows, arena_scores.remarks(table)
        )


def speech_part(view: View) -> Iterable[Markup]:
    """Word error rates, ours / published, with what hearing costs."""
    for table in view.speech:
        rows = [speech_rates.cells(table, row) for row in table.rows]
        yield from _models(
            speech_rates.setting_words(table), speech_rates.heads(table), rows, speech_rates.remarks(table)
        )


def _models(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], remarks: Iterable[str]
) -> Iterable[Markup]:
    yield grid(heads, rows, caption=caption)
    for remark in remarks:
        yield tag("p", remark)
