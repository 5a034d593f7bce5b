"""The scores that Long Range Arena published; importing this loads no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

SOURCE = "Tay et al., Long Range Arena, ICLR 2021"
_PREFIX = "lra-"


def scores(task: str) -> Mapping[str, float]:
    """The published accuracy by model as pyprof names it ("lra-transformer"), as a share; none where all failed."""
    table = _table()
    columns = table["columns"]
    if task not in columns:
        return {}
    at = columns.index(task)
    return {_PREFIX + name: row[at] / 100 for name, row in table.items() if name != "columns"}


@cache
def _table() -> Mapping[str, Any]:
    reference = files("pyprof.reference").joinpath("lra.toml").read_text(encoding="utf-8")
    table: Mapping[str, Any] = tomllib.loads(reference)["score"]
    return table
