"""The executors by name."""

from __future__ import annotations

from collections.abc import Iterable

from pyprof.errors import UsageError
from pyprof.executors import devices, local, ray, slurm
from pyprof.executors.kind import Asked, Kind
from pyprof.names import nearest
from pyprof.plain import shown
from pyprof.records import validate
from pyprof.records.executor import Executor

_KINDS = (
    local.EXECUTOR,
    devices.EXECUTOR,
    ray.EXECUTOR,
    slurm.EXECUTOR,
)
KINDS = {kind.name: kind for kind in _KINDS}


def kind_of(name: str) -> Kind:
    """The kind of a name; raises UsageError for one that nobody knows."""
    kind = KINDS.get(name)
    if kind is None:
        raise UsageError(f"there is no executor {shown(name)} among {', '.join(KINDS)}: {nearest(name, KINDS)}")
    return kind


def options_of(kind: Kind, pairs: Iterable[str]) -> dict[str, object]:
    """The options of an executor from texts NAME=VALUE; raises UsageError for an unknown name or a bad value."""
    known = {option.name: option for option in kind.options}
    options: dict[str, object] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not (name and separator):
            raise UsageError(f"--executor-option is given as NAME=VALUE, not {shown(pair)}")
        if name not in known:
            says = nearest(name, known) if known else "it has none"
            raise UsageError(f"the executor {kind.name} has no option {shown(name)}: {says}")
        if name in options:
            raise UsageError(f"--executor-option gives {name} twice: give it once")
        options[name] = validate.checked(known[name].check, value, f"--executor-option {name}")
    return options


def create(name: str, asked: Asked) -> Executor:
    """An executor; raises UsageError where it is unknown, or where its packages are not installed."""
    return kind_of(name).create(asked)
