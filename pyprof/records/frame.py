"""A frame: named columns of one length, each of one type, in which what was not measured is None and never 0."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pyprof.errors import UsageError
from pyprof.plain import printable
from pyprof.records.validate import MOST

ColumnType = Literal["text", "integer", "number", "truth"]
Value = str | int | float | bool | None

_PANDAS: Mapping[ColumnType, str] = {"text": "string", "integer": "Int64", "number": "float64", "truth": "boolean"}
_ARROW: Mapping[ColumnType, str] = {"text": "string", "integer": "int64", "number": "float64", "truth": "bool_"}


@dataclass(frozen=True)
class Column:
    """One column: all values are of its type or None."""

    name: str
    type: ColumnType
    values: tuple[Value, ...]

    @classmethod
    def of(cls, name: str, values: Iterable[Any], expected: ColumnType = "text") -> Column:
        r"""A column of the expected type, or of one that holds whatever the values are: the last resort is their JSON.

        Control characters in texts, but for tabs and ends of lines, are written out as in ``\x1b``.
        """
        given = list(values)
        for name_of_type in (expected, *_FITS):
            fits, made = _FITS[name_of_type]
            if all(value is None or fits(value) for value in given):
                if made is not None:
                    given = [None if value is None else made(value) for value in given]
                return cls(printable(name), name_of_type, tuple(given))
        written = (None if value is None else json.dumps(value, ensure_ascii=False) for value in given)
        return cls(printable(name), "text", tuple(None if text is None else _text(text) for text in written))


@lru_cache(maxsize=4096)  # of many layers' names there are few different ones
def _text(value: str) -> str:
    return printable(value, keep="\n\t")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -MOST <= value <= MOST


# Whether a value is of a type, and what makes it so; narrower types first.
_FITS: Mapping[ColumnType, tuple[Any, Any]] = {
    "truth": (lambda value: isinstance(value, bool), None),
    "integer": (_is_integer, None),
    "number": (_is_number, float),
    "text": (lambda value: isinstance(value, str), _text),
}


@dataclass(frozen=True)
class Frame:
    """Columns of one length under names that are all different; what a CSV, JSON or Parquet file holds."""

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, columns: Iterable[Column]) -> Frame:
        """A frame in which a name that is taken already has a number behind it."""
        named: dict[str, Column] = {}
        for column in columns:
            name, number = column.name, 2
            while name in named:
                name, number = f"{column.name}_{number}", number + 1
            named[name] = Column(name, column.type, column.values)
        return cls(tuple(named.values()))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def rows(self) -> Iterator[tuple[Value, ...]]:
        """The values row by row, in the order of the columns."""
        return zip(*(column.values for column in self.columns), strict=True)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame: missing numbers are NaN, other missing values pandas.NA.

        Raises UsageError where pandas is not installed.
        """
        pandas = needed("pandas")
        series = {column.name: pandas.array(list(column.values), dtype=_PANDAS[column.type]) for column in self.columns}
        return pandas.DataFrame(series)

    def to_arrow(self) -> Any:
        """A pyarrow.Table, in which missing values are nulls; raises UsageError where pyarrow is not installed."""
        arrow = needed("pyarrow")
        arrays = [arrow.array(column.values, type=getattr(arrow, _ARROW[column.type])()) for column in self.columns]
        return arrow.Table.from_arrays(arrays, names=list(self.names))


def needed(module: str) -> Any:
    """An optional package; raises UsageError that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UsageError(
            f"this needs {package}, which cannot be imported ({error}): pip install 'pyprof-transformers[export]', "
            "or take CSV or JSON, which need nothing"
        ) from error
