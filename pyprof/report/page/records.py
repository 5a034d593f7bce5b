"""The table of all records on a page: columns for its script, which sorts and filters them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyprof.plain import printable
from pyprof.records.indicator import IndicatorFacts
from pyprof.report.charts.chart import rounded, with_printable_text
from pyprof.report.page.markup import Markup, tag
from pyprof.report.several import Several
from pyprof.report.style import scale

_TEXTS = (
    "model",
    "attention",
    "weights",
    "mode",
    "batch",
    "size",
    "dtype",
    "device",
    "compiled",
    "allocator",
    "launch",
    "optimizer",
    "ranks",
    "place",
    "status",
)
# What can be filtered by a list of its values, unless there are too many to choose from.
_CHOSEN = (
    "run",
    "model",
    "attention",
    "mode",
    "batch",
    "dtype",
    "device",
    "allocator",
    "launch",
    "optimizer",
    "ranks",
    "place",
    "status",
)
_MOST_CHOICES = 60
# What goes without saying where it is the same in all.
_USUAL = {"ranks": 1}


def records_data(told: Several) -> dict[str, Any]:
    """All records of all runs by column, with the heading, unit and kind of each; what is the same in all is apart."""
    columns: dict[str, list[Any]] = {}
    if len(told.views) > 1:
        columns["run"] = [
            name for name, view in zip(told.names, told.views, strict=True) for _ in view.cases.get("key", ())
        ]
    indicators = {each.name: each for view in told.views for each in view.indicators}
    names = dict.fromkeys(name for view in told.views for name in view.cases)
    for name in names:
        columns[name] = [
            value for view in told.views for value in view.cases.get(name) or [None] * len(view.cases.get("key", ()))
        ]
    columns["key"] = [
        case_id(number, key) for number, view in enumerate(told.views) for key in view.cases.get("key", ())
    ]
    columns = with_printable_text(columns)
    count = len(columns.get("key", ()))
    texts = [name for name in ("run", *_TEXTS) if name in columns]
    shown = [name for name in texts if name in ("model", "length") or len(set(map(str, columns[name]))) > 1]
    same = {
        name: _word(columns[name][0])
        for name in texts
        if name not in shown and count and columns[name][0] not in (None, False, _USUAL.get(name))
    }
    heads = [{"name": name, "title": name, "text": True} for name in shown]
    units = set(columns.get("unit", ()))
    heads.insert(
        shown.index("model") + 1 if "model" in shown else 0,
        {
            "name": "length",
            "title": f"length ({next(iter(units))}s)" if len(units) == 1 else "length (tokens or pixels)",
        },
    )
    scaled: dict[str, list[Any]] = {}
    for name, indicator in indicators.items():
        if name in columns and any(value is not None for value in columns[name]):
            heads.append(_figures(name, indicator, columns, scaled))
    heads += [
        {"name": "samples", "title": "samples"},
        {"name": "seconds", "title": "took (s)"},
        {"name": "reason", "title": "why not", "text": True},
    ]
    kept = {each["name"] for each in heads} | {"key", *scaled, *_CHOSEN}
    columns = {
        **{name: [_word(each) for each in column] if name in texts else column for name, column in columns.items()},
        **scaled,
    }
    columns["seconds"] = [round(value, 2) for value in columns.get("seconds", ())]
    chosen = [name for name in _CHOSEN if name in shown and len(set(columns[name])) <= _MOST_CHOICES]
    return {
        "columns": {name: column for name, column in columns.items() if name in kept},
        "heads": heads,
        "chosen": chosen,
        "same": same,
    }


def case_id(run: int, key: str) -> str:
    """What a case is called within a page, which can hold one case of several runs."""
    return f"{run}-{key}"


def _figures(
    name: str, indicator: IndicatorFacts, columns: Mapping[str, Sequence[Any]], scaled: dict[str, list[Any]]
) -> dict[str, Any]:
    """One scale and one unit for a column, its interval's ends beside it."""
    unit = scale([value for value in columns[name] if value is not None], indicator.format, indicator.unit)
    for own in (name, f"{name}_low", f"{name}_high"):
        if own in columns:
            scaled[own] = [None if value is None else rounded(value / unit.factor) for value in columns[own]]
    title = f"{indicator.title.lower()} ({unit.unit})" if unit.unit else indicator.title.lower()
    return {"name": name, "title": printable(title), "interval": f"{name}_low" in columns}


def _word(value: Any) -> Any:
    return "" if value is None else ("yes" if value else "no") if isinstance(value, bool) else str(value)


def records_part(told: Several, data: Mapping[str, Any]) -> list[Markup]:
    """The place of the table, with its filters; without its script a sentence says what would stand here."""
    count = len(data["columns"].get("key", ()))
    said = ", ".join(f"{name} {value}" for name, value in data["same"].items())
    hint = tag("p", f"The same in all: {said}.", class_="faint") if said else None
    return [
        tag("p", f"{count:,} records. Click a heading to sort; what the filters leave is counted below."),
        *([hint] if hint else []),
        tag("div", class_="tools", id="filters", role="search", aria_label="Filters of the table of records"),
        tag("p", id="count", role="status", class_="faint"),
        tag("div", class_="scroll", id="records", tabindex=0, role="region", aria_label="All records"),
    ]
