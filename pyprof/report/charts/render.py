"""Charts as PNG, SVG and PDF, and the JavaScript that draws them on a page; the one place that needs vl-convert."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any, Literal, get_args

from pyprof.errors import UsageError
from pyprof.report.charts.chart import SCHEMA, Chart, Spec, config, rows, with_printable_text
from pyprof.report.charts.theme import on_paper

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[str, ...] = get_args(Format)
# Pixels of a PNG for one of the chart: 144 dots to the inch, twice that of a plain screen.
_ZOOM = 2.0
# The width of a page of a paper, in points.
PAGE = 500
_VEGA = "https://vega.github.io/schema/vega/v6.json"
_EMBED = "window.vegaEmbed = vegaEmbed;"


def image(chart: Chart, format: Format, spec: Spec | None = None, *, width: int = PAGE, height: int = 220) -> bytes:
    """A picture of a chart, with light colours and its data inside; of its first choices unless a `spec` is given.

    Raises UsageError where vl-convert is not installed.
    """
    return draw(standing(chart, chart.spec if spec is None else spec, width, height), format, chart.language)


def standing(chart: Chart, spec: Spec, width: int, height: int) -> dict[str, Any]:
    """A specification that stands by itself: sized, with its title and its data in it."""
    tables = {name: rows(columns) for name, columns in chart.tables.items()}
    if chart.language == "vega":
        data = [{**source, "values": tables[source["name"]]} if source["name"] in tables else source
                for source in spec["data"]]  # fmt: skip
        legend = {"fill": "kind", "orient": "bottom", "direction": "horizontal", "columns": 6, "symbolType": "square"}
        beside = {"autosize": "pad", "title": chart.title, "legends": [legend]}
        return {**spec, **beside, "data": data, "width": width, "height": height}
    return {"title": chart.title, **spec, "width": width, "height": height, "datasets": tables}


def draw(spec: Mapping[str, Any], format: Format, language: Literal["vega-lite", "vega"] = "vega-lite") -> bytes:
    """A specification drawn, on white where the format has a ground."""
    convert = _vl_convert()
    whole = on_paper({"$schema": SCHEMA if language == "vega-lite" else _VEGA, **with_printable_text(spec)})
    whole["config"] = on_paper({**config(10), "background": "white", **spec.get("config", {})})
    prefix = "vegalite" if language == "vega-lite" else "vega"
    options = {"png": {"scale": _ZOOM, "ppi": 72}}.get(format, {})
    drawn: str | bytes = getattr(convert, f"{prefix}_to_{format}")(whole, **options)
    return drawn.encode() if isinstance(drawn, str) else drawn


@cache
def javascript() -> str:
    """Vega, Vega-Lite and vega-embed as one script for a page without network.

    Raises UsageError where vl-convert is not installed.
    """
    script = _vl_convert().javascript_bundle(_EMBED)
    return f"/* Vega, Vega-Lite and vega-embed, https://vega.github.io, BSD 3-clause */(()=>{{{script}}})();"


def _vl_convert() -> ModuleType:
    try:
        import vl_convert
    except ImportError:
        raise UsageError(
            "pictures need vl-convert, which is not installed: pip install 'pyprof-transformers[page]'"
            " (the report in a terminal needs nothing)"
        ) from None
    return vl_convert
