"""How a result is printed: by its renderer in the report, which stands above the room that made the result.

These tables are what joins the two, so that no lower room imports the report; a renderer is loaded when it is first
used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

# The class of a result to the function that writes it in plain text, as wide as the terminal.
RENDERERS = {"Profile": "pyprof.report.layers:text"}
# The same for what a notebook shows: HTML without scripts.
NOTEBOOK = {
    "Profile": "pyprof.report.notebook.profile:html",
    "Measurement": "pyprof.report.notebook.timing:measurement",
    "PairedComparison": "pyprof.report.notebook.timing:comparison",
    "Run": "pyprof.report.notebook.run:run",
    "View": "pyprof.report.notebook.run:report",
    "GateView": "pyprof.report.notebook.gate:html",
}


class ShownInNotebook:
    """Base of a result that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return _rendered(self, NOTEBOOK)


def printed(result: object) -> str:
    """What ``print(result)`` shows."""
    return _rendered(result, RENDERERS)


def _rendered(result: object, renderers: Mapping[str, str]) -> str:
    module, function = renderers[type(result).__name__].split(":")
    text: str = getattr(importlib.import_module(module), function)(result)
    return text
