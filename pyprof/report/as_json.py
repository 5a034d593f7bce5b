"""Views as JSON documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pyprof.report.view import SCHEMA, View

if TYPE_CHECKING:
    from pyprof.report.several import Several


def document(view: View) -> dict[str, Any]:
    """The report of a run: the whole view in plain objects, lists, numbers and texts; what was not measured is null."""
    plain: dict[str, Any] = as_plain(view)
    return plain


def several_document(told: Several) -> dict[str, Any]:
    """The reports of several runs by their names, and how the later ones differ from the first."""
    return {
        "schema": SCHEMA,
        "runs": [{"name": name, **document(view)} for name, view in zip(told.names, told.views, strict=True)],
        "pairs": as_plain(told.pairs),
        "differences": as_plain(told.differences),
    }


def as_plain(value: Any) -> Any:
    """A value of dataclasses, mappings and sequences in plain objects and lists.

    An `indicator` within is written by its name, as "metric": what is known of it stands once in the document.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return dict(_entry(field.name, getattr(value, field.name)) for field in fields(value))
    if isinstance(value, Mapping):
        return {key: as_plain(each) for key, each in value.items()}
    return [as_plain(each) for each in value]


def _entry(name: str, value: Any) -> tuple[str, Any]:
    if name == "indicator":
        return "metric", None if value is None else value.name
    return name, as_plain(value)
