"""Matched configurations side by side, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from pyprof.analysis.matching import TOLERANCE
from pyprof.quantity import format_bytes, format_count

# What is counted, by its title, its name and how it is written.
COSTS = (
    ("parameters", "parameters", format_count),
    ("FLOPs", "flops", format_count),
    ("memory access", "memory_access", format_bytes),
    ("activations", "activations", format_count),
    ("peak memory", "peak_memory", format_bytes),
)
# What stands where a cost cannot be counted.
_NOTHING = "–"


def table(model: str, to: str, columns: Sequence[Mapping[str, Any]]) -> Grid:
    """A column for the target and one for each match; each figure with its ratio to the target's."""
    target = columns[0]
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column("", style="bold", no_wrap=True)
    grid.add_column(to, justify="right")
    for each in columns[1:]:
        grid.add_column(f"{model} by {each['by']}", justify="right")
    grid.add_row("sizes", "", *(Text(sizes_words(each["dimensions"]), "cyan") for each in columns[1:]))
    for title, name, written in COSTS:
        cells = []
        for each in columns[1:]:
            ratio = times(each, target, name)
            text = Text(_NOTHING if each.get(name) is None else written(each[name]))
            text.append("" if ratio is None else f" {ratio:.2f}x", "dim")
            cells.append(_matched(text, each["by"] == name))
        grid.add_row(title, _NOTHING if target.get(name) is None else written(target[name]), *cells)
    latency = [_matched(Text(latency_words(each)), each["by"] == "latency") for each in columns[1:]]
    grid.add_row("latency", "1x", *latency)
    return grid


def latency_verdict(to: str, columns: Sequence[Mapping[str, Any]]) -> str | None:
    """Whether a match by latency is one, in a sentence; None where there is no such match."""
    each = next((each for each in columns if each["by"] == "latency"), None)
    if each is None:
        return None
    off, share = each["latency_ratio"] - 1, f"{TOLERANCE:.0%}"
    if each["within_tolerance"]:
        return f"The match by latency is shown to lie within {share} of {to}: its whole interval does."
    if abs(off) > TOLERANCE:
        return (
            f"No configuration was found within {share} of the latency of {to}: the nearest one is {100 * off:+.1f} % "
            "off. Free a finer dimension, such as ffn, or give it more --seconds."
        )
    why = "its interval is wider" if each.get("latency_interval") else "it was timed too seldom"
    return (
        f"The match by latency lies within {share} of {to}, but is not shown to: {why}. Give it more --seconds on a "
        "quiet machine."
    )


def times(each: Mapping[str, Any], target: Mapping[str, Any], name: str) -> float | None:
    """How many times the target's cost a match has; None where one of them is not known or the target's is 0."""
    mine, other = each.get(name), target.get(name)
    return mine / other if mine is not None and other else None


def latency_words(each: Mapping[str, Any]) -> str:
    """A match's latency in units of the target's, with its 95 % interval where there is one."""
    bounds = each.get("latency_interval")
    return f"{each['latency_ratio']:.3f}x" + (f" [{bounds[0]:.3f} to {bounds[1]:.3f}]" if bounds else "")


def sizes_words(dimensions: Mapping[str, int]) -> str:
    """The dimensions of a match: depth and width, heads, the width of the feedforward part."""
    return f"{dimensions['depth']} x {dimensions['width']}, {dimensions['heads']} heads, ffn {dimensions['ffn']:,}"


def _matched(text: Text, matched: bool) -> Text:
    if matched:
        text.stylize("bold green")
    return text
