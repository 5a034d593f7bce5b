"""How a result is printed: by its renderer in the report, which stands above the room that made the result.

This table is what joins the two, so that no lower room imports the report; a renderer is loaded when it is first used.
"""

from __future__ import annotations

import importlib

# The class of a result to the function that writes it in plain text, as wide as the terminal.
RENDERERS = {"Profile": "pyprof.report.layers:text"}


def printed(result: object) -> str:
    """What ``print(result)`` shows."""
    module, function = RENDERERS[type(result).__name__].split(":")
    text: str = getattr(importlib.import_module(module), function)(result)
    return text
