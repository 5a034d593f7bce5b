"""Tipping points in a terminal, beside the published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from pyprof.analysis.curves import ALLOCATOR_WORDS
from pyprof.analysis.published import Agreement
from pyprof.analysis.tipping import Crossing
from pyprof.records.comparison import Comparison
from pyprof.report.style import Glyphs, interval
from pyprof.report.view import ModalityView, TippingLine

AGREEMENT: Mapping[Agreement, tuple[str, str]] = {
    "agrees": ("=", "as published"),
    "earlier": ("<", "earlier"),
    "later": (">", "later"),
    "new": ("!", "none was found in 2023"),
}
NAMES: Mapping[str, str] = {
    "then": "implementations comparable with 2023 (eager against eager)",
    "now": "each model's best implementation",
}


def tipping_table(part: ModalityView, glyphs: Glyphs) -> Group:
    """For each comparison a line for each metric: a column for each mode, then what was published."""
    modes = list(dict.fromkeys(line.mode for line in part.tipping))
    groups: dict[Comparison, dict[str, list[TippingLine]]] = {}
    for line in part.tipping:
        metric = line.indicator.title.lower() + (f", {line.setting}" if line.setting else "")
        groups.setdefault(line.comparison, {}).setdefault(metric, []).append(line)
    blocks = [[_row(metric, lines, modes, glyphs) for metric, lines in metrics.items()] for metrics in groups.values()]
    heading = [Text("metric"), *(Text(f"{mode} ({part.unit}s)") for mode in modes), Text(f"2023 ({part.unit}s)")]
    rows = [heading, *(row for block in blocks for row in block)]
    widths = [max(row[index].cell_len for row in rows) for index in range(len(heading))]
    title = Text.assemble(("Tipping points", "bold"), ": the length from which the variant costs less [95 % interval]")
    parts: list[RenderableType] = [title, *_legend(part.tipping), _indented(_grid([heading], widths, "bold"))]
    for metrics, block in zip(groups.values(), blocks, strict=True):
        lines = [line for each in metrics.values() for line in each]
        parts += [_pair(lines[0]), _indented(_grid(block, widths)), *_reasons(lines, glyphs)]
    return Group(*parts)


def _indented(part: RenderableType, columns: int = 2) -> Padding:
    return Padding(part, (0, 0, 0, columns), expand=False)


def _pair(line: TippingLine) -> Text:
    comparison = line.comparison
    return Text.assemble(
        (comparison.variant, "bold"),
        f" {comparison.variant_how} ",
        ("against ", "dim"),
        (comparison.vanilla, "bold"),
        f" {comparison.vanilla_how} ",
        (f"({comparison.name}, {comparison.dtype})", "dim"),
    )


def _grid(rows: Sequence[Sequence[Text]], widths: Sequence[int], style: str = "") -> Grid:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for width in widths:
        grid.add_column(width=width, overflow="fold")
    for row in rows:
        grid.add_row(*row, style=style)
    return grid


def _row(metric: str, lines: Sequence[TippingLine], modes: Sequence[str], glyphs: Glyphs) -> list[Text]:
    by_mode = {line.mode: line for line in lines}
    cells = [verdict(by_mode[mode], glyphs) if mode in by_mode else Text(glyphs.dash, "dim") for mode in modes]
    return [Text(metric), *cells, published(lines[0], glyphs)]


def verdict(line: TippingLine, glyphs: Glyphs) -> Text:
    """The tipping point with its interval and how it relates to the published one."""
    text = plain_verdict(line, glyphs)
    return text.append(f" {AGREEMENT[line.agreement][0]}", "not bold cyan") if line.agreement else text


def plain_verdict(line: TippingLine, glyphs: Glyphs) -> Text:
    """The tipping point with its interval, or the status with the range of lengths that it is about."""
    text = _terse_verdict(line)
    if line.tipping.crossing is not None:
        text.append(f" {_interval(line.tipping.crossing, glyphs)}", "not bold dim")
    elif line.tipping.status in ("everywhere", "nowhere") and line.shortest is not None:
        text.append(f" {line.shortest:,}{glyphs.dash}{line.longest:,}", "not bold dim")
    return text


def _terse_verdict(line: TippingLine) -> Text:
    """The tipping point alone, or the status in its place: a question mark where the measurements cannot tell."""
    tipping = line.tipping
    if tipping.crossing is not None:
        style = "bold yellow" if tipping.status == "several" else "bold green"
        return Text(f"{tipping.crossing.length:,.0f}", style)
    styles = {"everywhere": "bold green", "nowhere": "red", "several": "yellow"}
    if tipping.status in styles:
        return Text(tipping.status, styles[tipping.status])
    return Text("no time" if line.time_was_up else "?", "dim")


def _legend(lines: Sequence[TippingLine]) -> list[Text]:
    """What the names of the comparisons and the signs behind a tipping point mean; only those that occur."""
    said = senses({line.comparison.name: line.comparison.conditions for line in lines})
    signs = {line.agreement for line in lines}
    against = [f"{sign} {meaning}" for agreement, (sign, meaning) in AGREEMENT.items() if agreement in signs]
    if against:
        said.append(f"2023: {', '.join(against)}")
    return [Text("; ".join(said), "dim")] if said else []


def senses(conditions: Mapping[str, tuple[str, str]]) -> list[str]:
    """What the names of comparisons mean, in which dtype they are and what their allocators do, by name.

    Only where a name does not say it; float32, as in 2023, is said where there are other dtypes beside it.
    """
    words = {name: meaning for name, meaning in NAMES.items() if name in conditions}
    plain = {dtype for _, dtype in conditions.values()} <= {"float32"}
    dtypes = {} if plain else {name: dtype for name, (_, dtype) in conditions.items()}
    kept = {name: ALLOCATOR_WORDS.get(own, own) for name, (own, _) in conditions.items() if own != "default"}
    said = [
        f"{name}: {', '.join(filter(None, (words.get(name), dtypes.get(name), kept.get(name))))}"
        for name in {**words, **dtypes, **kept}
    ]
    if any(allocator == "keep" for allocator, _ in conditions.values()):
        said.append(
            "memory kept: what a step frees stays with the process, so the next one is not charged for it again"
        )
    return said


def _interval(crossing: Crossing, glyphs: Glyphs) -> str:
    return interval(crossing.low, crossing.high, glyphs.dash)


def published(line: TippingLine, glyphs: Glyphs) -> Text:
    """What was published on the metric."""
    finding = line.published
    if finding is None:
        return Text(glyphs.dash, "dim")
    return Text("none" if finding.low is None else f"{finding.low:,}{glyphs.dash}{finding.high:,}", "cyan")


def _reasons(lines: Sequence[TippingLine], glyphs: Glyphs) -> list[RenderableType]:
    """What limits the verdicts, each once with the metrics and modes that it is about."""
    reasons: dict[str, list[str]] = {}
    for line in lines:
        about = f"{line.indicator.title.lower()} {line.mode}"
        if line.tipping.reason:
            reasons.setdefault(line.tipping.reason, []).append(about)
        if len(line.tipping.crossings) > 1 or (line.tipping.crossings and line.tipping.crossing is None):
            crossings = "; ".join(
                f"{'cheaper' if crossing.gains else 'dearer'} from {crossing.length:,.0f} {_interval(crossing, glyphs)}"
                for crossing in line.tipping.crossings
            )
            reasons.setdefault(crossings, []).append(about)
    notes = [Text(f"{', '.join(about)}: {reason}", "dim") for reason, about in reasons.items()]
    return [_indented(note, 4) for note in notes]
