"""Frames as CSV, JSON and Parquet: the same columns and values in each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping

from pyprof.plain import json_safe
from pyprof.records.frame import Frame, Value, needed

# What makes a spreadsheet compute a cell instead of showing it.
_FORMULA = ("=", "+", "-", "@", "\t")


def as_csv(frame: Frame) -> bytes:
    """A line of names, then a line a row: missing values are empty, a truth is true or false, numbers are exact.

    A text that a spreadsheet would compute has an apostrophe before it.
    """
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(map(_cell, frame.names))
    lines.writerows([_cell(value) for value in row] for row in frame.rows())
    return written.getvalue().encode()


def as_json(frame: Frame) -> bytes:
    """A list of objects, one a row and a line, with null for a missing value."""
    objects = (dict(zip(frame.names, row, strict=True)) for row in frame.rows())
    lines = ",\n".join(json.dumps(each, ensure_ascii=False, allow_nan=False) for each in objects)
    return f"[\n{json_safe(lines)}\n]\n".encode()


def as_parquet(frame: Frame) -> bytes:
    """A Parquet file with nulls for missing values; raises UsageError where pyarrow is not installed."""
    written = io.BytesIO()
    needed("pyarrow.parquet").write_table(frame.to_arrow(), written)
    return written.getvalue()


FORMATS: Mapping[str, Callable[[Frame], bytes]] = {"csv": as_csv, "json": as_json, "parquet": as_parquet}


def _cell(value: Value) -> Value:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
