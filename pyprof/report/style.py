"""How figures, kinds and marks look in a terminal: with colour, without, and where only ASCII can be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.text import Text

from pyprof.quantity import format_bytes, format_count, format_seconds
from pyprof.quantity import plural as plural
from pyprof.records.case import Batch, Case
from pyprof.records.indicator import Format, IndicatorFacts

if TYPE_CHECKING:
    from pyprof.records.environment import Environment

# Between these widths in columns a report keeps its layout; narrower and wider consoles get the nearer of the two.
LEAST_WIDTH, MOST_WIDTH = 60, 140

# For each format its units, largest first, and the least number that stands before one.
_UNITS: Mapping[str, tuple[tuple[tuple[str, float], ...], float]] = {
    "time": ((("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)), 0.1),
    "bytes": ((("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("B", 1.0)), 1.0),
    "count": ((("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0)), 1.0),
}

KIND_STYLES: Mapping[str, str] = {
    "self-attention": "bright_blue",
    "cross-attention": "blue",
    "convolution": "bright_green",
    "state space": "bright_cyan",
    "recurrence": "bright_yellow",
    "feedforward": "magenta",
    "router": "red",
    "fused": "bright_magenta",
    "embedding": "yellow",
    "normalisation": "green",
    "head": "cyan",
    "communication": "bright_red",
    "other": "white",
    "outside": "bright_black",
}

STATUS_STYLES: Mapping[str, str] = {
    "ok": "green",
    "oom": "red",
    "timeout": "red",
    "error": "bold red",
    "skipped": "yellow",
    "no time": "dim",
    "not needed": "dim",
}


@dataclass(frozen=True)
class Glyphs:
    """The characters of a report; each kind has a filling of its own, so that bars can be read without colour."""

    fillings: Mapping[str, str] = field(
        default_factory=lambda: {
            "self-attention": "█",
            "cross-attention": "▙",
            "convolution": "▦",
            "state space": "▤",
            "recurrence": "▥",
            "feedforward": "▒",
            "router": "◆",
            "fused": "▓",
            "embedding": "▚",
            "normalisation": "░",
            "head": "▪",
            "communication": "⇄",
            "other": "+",
            "outside": "·",
        }
    )
    cheaper: str = "▼"
    dearer: str = "▲"
    partly: str = "▽"
    spread: str = "±"
    rule: str = "━"
    line: str = "─"
    range: str = "━"
    begin: str = "├"
    end: str = "┤"
    published: str = "▒"
    point: str = "●"
    before: str = "◂"
    beyond: str = "▸"
    dash: str = "–"
    dot: str = "·"
    arrow: str = "→"
    fold: str = "⋯"
    cut: str = "…"
    launch: str = "◇"

    def filling(self, kind: str) -> str:
        """The character that fills a kind's part of a bar: of a user's own kind its first letter."""
        return self.fillings.get(kind, kind[0] if kind[:1].isascii() and kind[:1].isalnum() else self.fillings["other"])


ASCII = Glyphs(
    fillings={
        "self-attention": "#",
        "cross-attention": "X",
        "convolution": "c",
        "state space": "s",
        "recurrence": "r",
        "feedforward": "=",
        "router": "@",
        "fused": "&",
        "embedding": "%",
        "normalisation": ":",
        "head": "h",
        "communication": "w",
        "other": "+",
        "outside": ".",
    },
    cheaper="v",
    dearer="^",
    partly="~",
    spread="+-",
    rule="=",
    line="-",
    range="=",
    begin="[",
    end="]",
    published="=",
    point="o",
    before="<",
    beyond=">",
    dash="-",
    dot="-",
    arrow="to",
    fold="...",
    cut="~",
    launch="!",
)


def glyphs(encoding: str) -> Glyphs:
    """The characters that an encoding can show."""
    every = Glyphs()
    try:
        "".join((*every.fillings.values(), every.cheaper, every.partly, every.before, every.spread)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return every


def usable_width(width: int) -> int:
    """The columns that a report uses of a console's width."""
    return min(max(width, LEAST_WIDTH), MOST_WIDTH)


def rule(title: str, width: int, marks: Glyphs) -> Text:
    """The line that begins a section, across the whole width and with an empty line before it."""
    text = Text("\n" + marks.rule * 2, "bright_blue", no_wrap=True)
    text.append(f" {title} ", "bold")
    return text.append(marks.rule * max(width - len(title) - 4, 0))


def spread(value: float, low: float | None, high: float | None, marks: Glyphs) -> str:
    """The larger distance from a figure to a bound of its interval, in percent of the figure."""
    if low is None or high is None or not value:
        return f"{marks.spread}?"
    percent = 100 * max(high - value, value - low) / value
    return f"{marks.spread}{percent:.0f}%" if percent >= 9.95 else f"{marks.spread}{percent:.1f}%"


def interval(low: int | None, high: int | None, dash: str = "–") -> str:
    """The lengths between which a tipping point lies, a question mark for an open end: "[512–1,024]"."""
    bounds = ("?" if bound is None else f"{bound:,}" for bound in (low, high))
    return f"[{dash.join(bounds)}]"


def length_range(shortest: int, longest: int) -> str:
    """A range of lengths in words: "128 to 2,048", or the only one."""
    return f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"


def batch_words(batch: Batch) -> str:
    """A batch as it is written behind a mode: ", batch 4", or nothing for one example."""
    return {1: "", "largest": ", largest batch"}.get(batch, f", batch {batch}")


@dataclass(frozen=True)
class Scale:
    """The unit that the figures of one table are written in, and its size in the metric's own unit."""

    unit: str
    factor: float = 1.0

    def number(self, value: float) -> str:
        """The figure without its unit, with three significant digits or all of its whole ones."""
        scaled = abs(value) / self.factor
        decimals = 0 if scaled >= 99.95 or scaled == 0 else 1 if scaled >= 9.995 else 2 if scaled >= 0.9995 else 3
        return f"{value / self.factor:,.{decimals}f}"


def scale(values: Iterable[float], format: Format, unit: str = "") -> Scale:
    """One unit for all values: the largest in which the smallest still has a digit or so before the point.

    `unit` is what a count or a plain number is of.
    """
    if format not in _UNITS:
        return Scale(unit)
    units, least = _UNITS[format]
    smallest = min(values, default=1.0)
    name, factor = next((each for each in units if smallest >= least * each[1]), units[-1])
    return Scale(f"{name} {unit}".strip() if format == "count" and unit != "1" else name, factor)


def short_case(case: Case) -> str:
    """A case in a sentence on a run whose other settings are known."""
    return f"{case.model} {case.how} {case.mode} {case.length:,}"


def figure(indicator: IndicatorFacts, value: float) -> str:
    """A value of an indicator with its unit."""
    written = {"time": format_seconds, "bytes": format_bytes, "count": format_count}.get(indicator.format)
    plain = f"{float(f'{value:.3g}'):,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
    number = plain if written is None else written(value)
    # A time and a size are written with their unit; a share has none.
    return number if indicator.format in ("time", "bytes") or indicator.unit == "1" else f"{number} {indicator.unit}"


def device_line(environment: Environment, device: str) -> str:
    """The processor or the GPUs that were measured, and the version of PyTorch."""
    where = f"{environment.cpu}, {plural(environment.threads, 'thread')}"
    if device != "cpu":
        where = ", ".join(gpu.name for gpu in environment.gpus)
    return f"{where}, torch {environment.torch}"
