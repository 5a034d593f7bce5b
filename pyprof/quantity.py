"""Quantities with units as people write and read them: "8 min", "2 GiB", "12.3 ms", "109.5 M"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from pyprof.errors import UsageError
from pyprof.names import nearest
from pyprof.plain import shown

_DURATIONS: Mapping[str, float] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "days": 86400.0,
}
_SIZES: Mapping[str, float] = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
# About thirty years: longer is a mistake, and more than some of the system's own clocks can count.
LONGEST_SECONDS = 1e9
_SHARE = re.compile(r"\s*(?P<number>\d+(?:\.\d*)?|\.\d+)(?P<exponent>[eE][+-]?\d+)?\s*(?P<percent>%?)\s*")
_QUANTITY = re.compile(r"\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>[^\W\d_]*)\s*")


def parse_duration(text: str | float) -> float:
    """Seconds of "90 s", "8 min", "1.5h" or a plain number of seconds; raises UsageError."""
    return _parse(text, _DURATIONS, 1.0, "a duration", "90 s, 8 min or 2 h")


def parse_size(text: str | int) -> int:
    """Bytes of "2 GiB", "512MB" or a plain number of bytes, rounded down; raises UsageError."""
    return int(_parse(text, _SIZES, 1.0, "a size", "512 MiB, 2 GiB or 2 GB"))


def parse_share(text: str) -> float:
    """A share such as "3%", "3 %" or "0.03"; raises UsageError for 1 and more without a %, which is ambiguous."""
    match = _SHARE.fullmatch(text)
    value = float(match["number"] + (match["exponent"] or "")) / (100 if match["percent"] else 1) if match else -1.0
    if match is None or not (match["percent"] or value < 1) or not math.isfinite(value):
        raise UsageError(f"{shown(text)} is not a share: write 3% or 0.03")
    return value


def check_seconds(seconds: object, what: str, *, or_none: bool = False) -> None:
    """Raise UsageError unless a time that work may take is a finite number above zero, or zero with `or_none`."""
    number: Any = math.nan if isinstance(seconds, bool) or not isinstance(seconds, Real) else seconds
    if not (0 < number <= LONGEST_SECONDS or (or_none and number == 0)):
        raise UsageError(f"{what} has to be positive, a number of seconds, not {shown(seconds)}")


def _parse(text: str | float, units: Mapping[str, float], plain: float, what: str, examples: str) -> float:
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise UsageError(f"{shown(str(text))} is not {what}: write {examples}")
    name = match["unit"]
    unit = {spelling.lower(): factor for spelling, factor in units.items()}.get(name.lower()) if name else plain
    if unit is None:
        hint = nearest(name, units, f"write {examples}")
        raise UsageError(f"{shown(str(text))} is not {what}, because there is no unit {name!r}: {hint}")
    value = float(match["number"]) * unit
    if not math.isfinite(value) or value < 0:
        raise UsageError(f"{shown(str(text))} is not {what}: it has to be a finite number that is not negative")
    return value


def format_seconds(seconds: float) -> str:
    """A time with three significant digits ("1.53 s", "12.3 ms"), or in minutes and hours from two minutes on."""
    size = abs(seconds)
    if size >= 119.5:
        return ("-" if seconds < 0 else "") + _format_long(size)
    return _engineering(seconds, (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)), zero="0 s")


def _format_long(seconds: float) -> str:
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if minutes else f"{hours} h"


def format_bytes(size: float) -> str:
    """A size with three significant digits in binary units ("1.20 GiB", "512 MiB"); whole bytes below one KiB."""
    if abs(size) < 2**10:
        return f"{size:.0f} B"
    return _engineering(size, (("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30), ("TiB", 2**40)), zero="0 B")


def format_count(count: float) -> str:
    """A count in thousands, millions, ... with one decimal ("109.5 M", "1.2 k"); whole numbers below one thousand."""
    units = (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15))
    if abs(count) < 999.5:
        return f"{count:.0f}"
    for name, unit in units[:-1]:
        if round(abs(count) / unit, 1) < 1000:
            return f"{count / unit:.1f} {name}"
    name, unit = units[-1]
    return f"{count / unit:.1f} {name}"


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def named(names: Sequence[str], most: int = 3) -> str:
    """Some names in a sentence: "a, b, c and 2 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def format_longer(ratio: float) -> str:
    """How much longer or shorter something takes by the ratio of two times: "0.31 % longer", "47.6 % shorter"."""
    percent = round(100 * (ratio - 1), 2)
    size = abs(percent)
    decimals = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{size:,.{decimals}f} % {'shorter' if percent < 0 else 'longer'}"


def _engineering(value: float, units: tuple[tuple[str, float], ...], zero: str) -> str:
    """The value in the largest unit that leaves at least one before the point, with three significant digits."""
    if value == 0:
        return zero
    chosen, scale = units[0]
    for name, unit in units[1:]:
        # Rounding first keeps 999.96 ms from being written as "1000 ms".
        if _three_digits(abs(value) / unit) >= 1:
            chosen, scale = name, unit
    rounded = _three_digits(abs(value) / scale)
    decimals = 0 if rounded >= 100 else 1 if rounded >= 10 else 2
    return f"{value / scale:.{decimals}f} {chosen}"


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")
