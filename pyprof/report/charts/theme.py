"""The colours of charts and of the page, light and dark, by name: told apart also by people who are colour-blind.

A chart names a colour as `var(--NAME)`. On the page that is a CSS variable, so that a chart follows the reader's
scheme and prints light; for paper `on_paper` puts the light colour in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# What text, lines and grounds are drawn in: text has a contrast of at least 4.5 to 1 on its ground, marks of 3 to 1.
LIGHT: Mapping[str, str] = {
    "ground": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#1a1d21",
    "faint": "#565d66",
    "line": "#868d96",
    "grid": "#e2e5e9",
    "link": "#0b5cad",
    "good": "#1a6e3c",
    "bad": "#b3261e",
    "care": "#8a5a00",
    "series-0": "#0072b2",
    "series-1": "#c24a00",
    "series-2": "#00805d",
    "series-3": "#9a3f93",
    "series-4": "#8c6d00",
    "series-5": "#b8325e",
    "series-6": "#4a5568",
    "series-7": "#3f3fb0",
    "kind-self-attention": "#0072b2",
    "kind-cross-attention": "#003f63",
    "kind-convolution": "#3f97c9",
    "kind-state-space": "#117733",
    "kind-recurrence": "#8f8500",
    "kind-feedforward": "#cc7f00",
    "kind-router": "#882255",
    "kind-fused": "#5b5ea6",
    "kind-embedding": "#009e73",
    "kind-normalisation": "#c0679b",
    "kind-head": "#d55e00",
    "kind-communication": "#d3195a",
    "kind-other": "#6f7780",
    "kind-outside": "#8b929b",
}
DARK: Mapping[str, str] = {
    **LIGHT,
    "ground": "#15181c",
    "panel": "#1e2227",
    "ink": "#eceef1",
    "faint": "#a9b1bb",
    "line": "#79818b",
    "grid": "#2f353c",
    "link": "#7cb8f2",
    "good": "#6fcf97",
    "bad": "#ff8a80",
    "care": "#e6b450",
    "series-0": "#58b2ea",
    "series-1": "#ff9457",
    "series-2": "#3ecb9d",
    "series-3": "#d98fd3",
    "series-4": "#dcb93b",
    "series-5": "#ff86ab",
    "series-6": "#b3bdca",
    "series-7": "#a0a0ff",
    "kind-self-attention": "#2f95d6",
    "kind-cross-attention": "#6c93c9",
    "kind-convolution": "#7fc3ea",
    "kind-state-space": "#4fae6c",
    "kind-router": "#c9628f",
    "kind-fused": "#8d90d6",
    "kind-recurrence": "#b0a52a",
    "kind-feedforward": "#e39a1f",
    "kind-communication": "#f2668b",
    "kind-other": "#8f98a3",
    "kind-outside": "#6b737d",
}
_COLOUR = re.compile(r"var\(--([a-z0-9-]+)\)")
_SERIES = sum(name.startswith("series-") for name in LIGHT)
# Lines are told apart by their dashes too, and points by their shapes.
DASHES: Sequence[Sequence[int]] = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 2, 1, 2])
SHAPES: Sequence[str] = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def colour(name: str) -> str:
    """The colour of that name, as charts and style sheets have it."""
    return f"var(--{name})"


def series(number: int) -> str:
    """The colour of a line; after the last one the first again, which dashes and shapes tell apart."""
    return colour(f"series-{number % _SERIES}")


def kind_colour(kind: str, number: int = 0) -> str:
    """The colour of a kind of layers; one that a user brought has that of a line."""
    name = f"kind-{kind.replace(' ', '-')}"
    return colour(name) if name in LIGHT else series(number)


def kind_colours(kinds: Iterable[str]) -> list[str]:
    """The colours of some kinds, in their order."""
    return [kind_colour(kind, number + 3) for number, kind in enumerate(kinds)]


def on_paper(value: Any) -> Any:
    """A specification with the light colours themselves in the place of their names."""
    if isinstance(value, str):
        return _COLOUR.sub(lambda match: LIGHT.get(match[1], match[0]), value)
    if isinstance(value, Mapping):
        return {key: on_paper(each) for key, each in value.items()}
    return [on_paper(each) for each in value] if isinstance(value, list | tuple) else value


def style_sheet() -> str:
    """The colours as CSS variables: light, dark where the reader's system is, light again in print."""
    light, dark = (";".join(f"--{name}:{value}" for name, value in theme.items()) for theme in (LIGHT, DARK))
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}"
        ":root[data-theme=light]{color-scheme:light}"
    )


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG 2.2), from 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
