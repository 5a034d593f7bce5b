"""The console of every command: what it is given to print is text, and never an order to the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from pyprof.plain import without_controls


class Console(rich.console.Console):
    """Rich's console without its markup, so that a name may hold brackets, and without control characters in texts.

    Those have no width for rich, so that taking them out moves nothing.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed; see rich."""
        for segment in super().render(renderable, options):
            plain = segment.text if segment.control else without_controls(segment.text)
            yield segment if plain == segment.text else Segment(plain, segment.style)
