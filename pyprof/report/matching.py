"""Matched configurations side by side, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from pyprof.quantity import format_bytes, format_count

_ROWS = (
    ("parameters", "parameters", format_count),
    ("FLOPs", "flops", format_count),
    ("memory access", "memory_access", format_bytes),
    ("activations", "activations", format_count),
    ("peak memory", "peak_memory", format_bytes),
)


def table(model: str, to: str, columns: Sequence[Mapping[str, Any]]) -> Grid:
    """A column for the target and one for each match; each figure with its ratio to the target's."""
    target = columns[0]
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column("", style="bold", no_wrap=True)
    grid.add_column(to, justify="right")
    for each in columns[1:]:
        grid.add_column(f"{model} by {each['by']}", justify="right")
    grid.add_row("sizes", "", *(Text(_sizes(each["dimensions"]), "cyan") for each in columns[1:]))
    for title, name, written in _ROWS:
        cells = []
        for each in columns[1:]:
            text = Text(f"{written(each[name])} ").append(f"{each[name] / target[name]:.2f}x", "dim")
            cells.append(_matched(text, each["by"] == name))
        grid.add_row(title, written(target[name]), *cells)
    times = [_matched(Text(f"{each['latency_ratio']:.3f}x"), each["by"] == "latency") for each in columns[1:]]
    grid.add_row("latency", "1x", *times)
    return grid


def _matched(text: Text, matched: bool) -> Text:
    if matched:
        text.stylize("bold green")
    return text


def _sizes(dimensions: Mapping[str, int]) -> str:
    return f"{dimensions['depth']} x {dimensions['width']}, {dimensions['heads']} heads, ffn {dimensions['ffn']:,}"
