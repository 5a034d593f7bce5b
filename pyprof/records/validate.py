"""Small validators for what a user writes in a study file: each takes a value and its place, and returns it checked.

Every refusal is a UsageError of one sentence that begins with the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyprof.errors import UsageError
from pyprof.names import nearest

Check = Callable[[object, str], Any]


def table(data: object, where: str, checks: Mapping[str, Check], required: Iterable[str] = ()) -> dict[str, Any]:
    """Check a table key by key; absent keys stay absent. Raises UsageError on an unknown or missing key."""
    if not isinstance(data, Mapping):
        raise UsageError(f"{where} must be a table, not {_shown(data)}")
    for key in data:
        if key not in checks:
            raise UsageError(f"{where} has no key {key!r}: {nearest(str(key), checks)}")
    for key in required:
        if key not in data:
            raise UsageError(f"{where} lacks the key {key!r}: add it")
    return {key: checks[key](value, f"{where}: {key}") for key, value in data.items()}


def text(value: object, where: str) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where} must be a text that is not empty, not {_shown(value)}")
    return value


def flag(value: object, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise UsageError(f"{where} must be true or false, not {_shown(value)}")
    return value


def whole(least: int, most: int | None = None) -> Check:
    """A whole number from `least` to `most`."""

    def check(value: object, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{where} must be a whole number, not {_shown(value)}")
        if value < least or (most is not None and value > most):
            span = f"at least {least}" if most is None else f"from {least} to {most}"
            raise UsageError(f"{where} must be {span}, not {value}")
        return value

    return check


def real(above: float, below: float) -> Check:
    """A number between two others."""

    def check(value: object, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{where} must be a number, not {_shown(value)}")
        if not above < value < below:
            raise UsageError(f"{where} must be above {above:g} and below {below:g}, not {value:g}")
        return float(value)

    return check


def quantity(parse: Callable[[str], float], example: str) -> Check:
    """A positive number, or a text with a unit that `parse` understands, such as `example`."""

    def check(value: object, where: str) -> float:
        if isinstance(value, str):
            try:
                value = parse(value)
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from error
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise UsageError(f"{where} must be above zero, such as {example!r}, not {_shown(value)}")
        return value

    return check


def one_of(names: Iterable[str], what: str) -> Check:
    """One of some names; a typo is told the nearest."""
    known = tuple(names)

    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or value not in known:
            raise UsageError(f"{where} has no {what} {_shown(value)}: {nearest(str(value), known)}")
        return value

    return check


def listed(check: Check) -> Check:
    """A list of at least one value, each checked; repeated ones are refused."""

    def check_all(value: object, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{where} must be a list, not {_shown(value)}")
        if not value:
            raise UsageError(f"{where} is an empty list: name at least one, or leave the key out")
        checked = tuple(check(item, where) for item in value)
        repeated = [item for index, item in enumerate(checked) if item in checked[:index]]
        if repeated:
            raise UsageError(f"{where} names {_shown(repeated[0])} twice: name it once")
        return checked

    return check_all


def _shown(value: object) -> str:
    return "a list" if isinstance(value, list) else "a table" if isinstance(value, Mapping) else repr(value)
