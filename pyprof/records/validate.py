"""Checks of what comes from outside, study files and runs alike: each takes a value and returns what it means.

A check raises `Refused` with what is wrong; the checks around it add the place, so that nothing is spent on places
while all is well. `checked` makes of it one sentence that begins with the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from pyprof.errors import UsageError
from pyprof.names import nearest
from pyprof.plain import has_controls, printable, shown

Check = Callable[[Any], Any]
Made = TypeVar("Made")
# What 64 bits hold: nanoseconds, bytes and counts are integers of that size wherever they are computed with.
MOST = 2**63 - 1
# Lengths, batches and the like: at many places the index of a tensor's elements is of this size.
LARGE = 2**31 - 1
# No figure is beyond these, and the ratio or the product of any two of them is still a number.
_LEAST, _LARGEST = 1e-60, 1e60
# How deep the lists and tables of what is only passed on may be nested.
_DEEPEST = 8
_REAL = {int, float}
_LONGEST_PLACE = 300


class Refused(Exception):
    """A value is not what it has to be: `says` follows the place, as in "must be a number, not null"."""

    def __init__(self, says: str) -> None:
        super().__init__(says)
        self.says = says
        self._place, self._number = "", ""

    def at(self, place: str | int) -> None:
        """The value stands at that key, or is the item of that number in a list, which follows the list's own key."""
        if isinstance(place, int):
            self._number = f" {place}{self._number}"
        else:
            around = f"{printable(place[:_LONGEST_PLACE])}{self._number}"
            self._place = f"{around}: {self._place}" if self._place else around
            self._number = ""

    def __str__(self) -> str:
        return f"{self._place}{'' if self.says.startswith(':') or not self._place else ' '}{self.says}"


def checked(check: Check, value: object, where: str) -> Any:
    """What the check makes of a value; raises UsageError, one sentence that begins with `where`."""
    try:
        return check(value)
    except Refused as refused:
        refused.at(where)
        raise UsageError(str(refused)) from None


def table(checks: Mapping[str, Check], required: Iterable[str] = ()) -> Check:
    """A table key by key; absent keys stay absent. An unknown or a missing key is refused."""
    required = tuple(required)

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Refused(f"must be a table, not {shown(value)}")
        made = {}
        for key, item in value.items():
            own = checks.get(key)
            if own is None:
                raise Refused(f"has no key {shown(key)}: {nearest(str(key), checks)}")
            try:
                made[key] = own(item)
            except Refused as refused:
                refused.at(key)
                raise
        for key in required:
            if key not in made:
                raise Refused(f"lacks the key {key!r}: add it")
        return made

    return check


def instance(cls: Callable[..., Made], *, absent: Iterable[str] = (), **checks: Check) -> Callable[[Any], Made]:
    """A dataclass from the table of its fields, each with its check.

    All fields have to be there but those in `absent`, which came with a later version and have a default.
    """
    names = [each.name for each in fields(cls)]  # type: ignore[arg-type]
    defaults = {each.name for each in fields(cls) if each.default is not MISSING or each.default_factory is not MISSING}  # type: ignore[arg-type]
    assert sorted(names) == sorted(checks), f"{cls}: give a check for each field"
    assert defaults.issuperset(absent), f"{cls}: only what has a default may be absent"
    check = table(checks, [name for name in names if name not in set(absent)])

    def make(value: Any) -> Made:
        return cls(**check(value))

    return make


def mapping(check: Check, what: str = "a table") -> Check:
    """A table from names of any kind to values that are all checked alike; `what` it is is told where it is none."""

    def check_all(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Refused(f"must be {what}, not {shown(value)}")
        made = {}
        for key, item in value.items():
            if not isinstance(key, str) or not key or has_controls(key):
                raise Refused(f"has the key {shown(key)}: give it a name of one line without control characters")
            try:
                made[key] = check(item)
            except Refused as refused:
                refused.at(key)
                raise
        return made

    return check_all


def listing(check: Check) -> Check:
    """A list of values that are all checked alike, empty ones too, as a tuple."""

    def check_all(value: Any) -> tuple[Any, ...]:
        _is_list(value)
        made = []
        for number, item in enumerate(value, start=1):
            try:
                made.append(check(item))
            except Refused as refused:
                refused.at(number)
                raise
        return tuple(made)

    return check_all


def optional(check: Check) -> Check:
    """What the check takes, or null."""

    def check_given(value: Any) -> Any:
        return None if value is None else check(value)

    return check_given


def text(value: Any) -> str:
    """A string in one line that is not empty and holds no control characters."""
    if not isinstance(value, str) or not value.strip():
        raise Refused(f"must be a text that is not empty, not {shown(value)}")
    if has_controls(value):
        raise Refused(f"must be a text of one line without control characters, not {shown(value)}")
    return value


def words(value: Any) -> str:
    """A string of any kind, empty or in several lines."""
    if not isinstance(value, str):
        raise Refused(f"must be a text, not {shown(value)}")
    return value


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Refused(f"must be true or false, not {shown(value)}")
    return value


def whole(least: int, most: int | None = None) -> Check:
    """A whole number from `least` to `most`, by default of 64 bits."""
    largest = MOST if most is None else most

    def span(value: int) -> str:
        if largest < LARGE:
            return f"from {least} to {largest}"
        return f"at least {least}" if value < least else f"at most {largest}"

    def check(value: Any) -> int:
        if type(value) is not int:
            raise Refused(f"must be a whole number, not {shown(value)}")
        if not least <= value <= largest:
            raise Refused(f"must be {span(value)}, not {shown(value)}")
        return value

    return check


def wholes(least: int) -> Check:
    """A list of whole numbers of 64 bits from `least`, empty ones too, as a tuple."""
    one = whole(least)

    def check(value: Any) -> tuple[int, ...]:
        _is_list(value)
        # A run has millions of them: only where one is wrong is each looked at.
        if value and (set(map(type, value)) != {int} or min(value) < least or max(value) > MOST):
            listing(one)(value)
        return tuple(value)

    return check


def real(above: float, below: float) -> Check:
    """A number between two others."""

    def check(value: Any) -> float:
        if type(value) not in _REAL:
            raise Refused(f"must be a number, not {shown(value)}")
        if not above < value < below:
            raise Refused(f"must be above {above:g} and below {below:g}, not {shown(value)}")
        return float(value)

    return check


def figure(value: Any) -> float:
    """A measured number as it is: finite, and not so large or so small that nothing can be computed with it."""
    if type(value) not in _REAL:
        raise Refused(f"must be a number, not {shown(value)}")
    if value and not _LEAST < abs(value) < _LARGEST:
        raise Refused(f"must be a number that can be measured, not {shown(value)}")
    return value  # type: ignore[no-any-return]


def not_negative(value: Any) -> float:
    """A measured number of at least zero, as it is."""
    if figure(value) < 0:
        raise Refused(f"must be at least 0, not {shown(value)}")
    return value  # type: ignore[no-any-return]


def plain(value: Any, depth: int = 0) -> Any:
    """Any JSON value that can be written again: finite, of 64 bits, and not nested too deeply."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        if not -MOST <= value <= MOST:
            raise Refused(f"must be a number of 64 bits, not {shown(value)}")
        return value
    if depth == _DEEPEST:
        raise Refused("has lists and tables that are nested too deeply")
    items = value.items() if isinstance(value, Mapping) else enumerate(value, start=1)
    for place, item in items:
        try:
            plain(item, depth + 1)
        except Refused as refused:
            refused.at(place)
            raise
    return value


def quantity(parse: Callable[[str], float], example: str, most: float) -> Check:
    """A positive number up to `most`, or a text with a unit that `parse` understands, such as `example`."""

    def check(value: Any) -> float:
        if isinstance(value, str):
            try:
                value = parse(value)
            except UsageError as error:
                raise Refused(f": {error}") from error
        if type(value) not in _REAL or not value > 0:
            raise Refused(f"must be above zero, such as {example!r}, not {shown(value)}")
        if not value <= most:
            raise Refused(f"must be a time or a size that can be had, such as {example!r}, not {shown(value)}")
        return value  # type: ignore[no-any-return]

    return check


def one_of(names: Iterable[str], what: str) -> Check:
    """One of some names; a typo is told the nearest."""
    known = tuple(names)

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise Refused(f"has no {what} {shown(value)}: {nearest(str(value), known)}")
        return value

    return check


def listed(check: Check) -> Check:
    """A list of at least one value, each checked; repeated ones are refused."""

    def check_all(value: Any) -> tuple[Any, ...]:
        _is_list(value)
        if not value:
            raise Refused("is an empty list: name at least one, or leave the key out")
        made = tuple(check(item) for item in value)
        if len(set(made)) < len(made):
            repeated = next(item for index, item in enumerate(made) if item in made[:index])
            raise Refused(f"names {shown(repeated)} twice: name it once")
        return made

    return check_all


def _is_list(value: Any) -> None:
    if not isinstance(value, list | tuple):
        raise Refused(f"must be a list, not {shown(value)}")
