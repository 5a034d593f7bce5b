"""The console of every command: what it is given to print is text, and never an order to the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from pyprof.plain import without_controls

_LEAST, _DIGITS = 10, 6


class Console(rich.console.Console):
    """Rich's console without its markup, so that a name may hold brackets, and without control characters in texts.

    Those have no width for rich, so that taking them out moves nothing.
    """

    def __init__(self, **options: Any) -> None:
        for variable, name, otherwise in (("COLUMNS", "width", 80), ("LINES", "height", 25)):
            size = os.environ.get(variable, "")
            # In a width of 0 rich prints nothing, and of five thousand digits it makes no number.
            if size.isdigit() and not (size.isascii() and len(size) <= _DIGITS and int(size) >= _LEAST):
                options.setdefault(name, otherwise)
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed; see rich."""
        for segment in super().render(renderable, options):
            plain = segment.text if segment.control else without_controls(segment.text)
            yield segment if plain == segment.text else Segment(plain, segment.style)
