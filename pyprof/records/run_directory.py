"""The run directory: a study, its environment, and one line per measured case, safe before the next begins.

``study.toml``, ``resolved.json`` (which models, implementations and indicators the study stood for) and
``environment.json`` are written once. ``layers.jsonl`` holds the single layers of a case,
``{"key": ..., columns}``, and is written before the case's line in ``records.jsonl``, so that a record always has its
layers. Where a case stands in a file twice, because it was measured again, the last line counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from pyprof.errors import UsageError
from pyprof.plain import shown
from pyprof.printing import ShownInNotebook
from pyprof.records import study as studies
from pyprof.records import validate
from pyprof.records.environment import Environment
from pyprof.records.executor import Columns
from pyprof.records.export import TableName, frame_of
from pyprof.records.frame import Frame
from pyprof.records.migrate import resolved_from_1
from pyprof.records.record import SCHEMA, Record
from pyprof.records.resolved import Resolved
from pyprof.records.strict_json import parsed
from pyprof.records.study import Study

STUDY, RESOLVED, ENVIRONMENT = "study.toml", "resolved.json", "environment.json"
# A line for each further environment, where workers of a run have unlike machines or devices.
ENVIRONMENTS = "environments.jsonl"
# What a run is doing, for `pyprof status`.
PROGRESS = "progress.json"
RECORDS, LAYERS, LOCK = "records.jsonl", "layers.jsonl", ".lock"
# What a report writes beside them.
PAGE = "report.html"
# A report says which lines are damaged, up to so many.
MOST_WARNINGS = 20
Read = TypeVar("Read")


@dataclass(frozen=True)
class Run(ShownInNotebook):
    """A run as read from its directory: `records` by the key of their case, `warnings` one sentence each.

    `environment` is the first that it was measured in, `others` are the further ones, where workers had unlike ones.
    """

    directory: Path
    study: Study
    resolved: Resolved
    environment: Environment
    records: Mapping[str, Record]
    warnings: tuple[str, ...] = ()
    others: tuple[Environment, ...] = ()

    @property
    def environments(self) -> Mapping[str, Environment]:
        """All environments by their fingerprint, the first one first."""
        return {each.fingerprint: each for each in (self.environment, *self.others)}

    def to_frame(self, table: TableName = "records") -> Frame:
        """The records as columns, a row each; or what the kinds of their layers cost, or their single layers."""
        return frame_of(self, table)

    def to_pandas(self, table: TableName = "records") -> Any:
        """The same as a pandas.DataFrame; raises UsageError where pandas is not installed."""
        return self.to_frame(table).to_pandas()


def read(directory: str | os.PathLike[str]) -> Run:
    """Read a run; damaged lines become warnings. Raises UsageError where there is no run, or one of another schema."""
    directory = Path(directory)
    if not (directory / STUDY).is_file():
        raise UsageError(f"{directory} holds no run (there is no {STUDY}): give the directory of a study, as in -o")
    records, warnings = _read_records(directory / RECORDS)
    study = studies.read(directory / STUDY)
    resolved = _read_resolved(directory, study, records)
    others = tuple(_read_others(directory / ENVIRONMENTS))
    return Run(directory, study, resolved, _read_environment(directory), records, warnings, others)


def read_layers(directory: Path, key: str) -> Columns | None:
    """The layers of the case with that key, by column (docs/runs.md lists them), or None where it has none.

    Every layer stands at the same place in all columns; times are in seconds for one step.
    """
    return dict(layers_of(directory, (key,))).get(key)


def layers_of(directory: Path, keys: Collection[str]) -> Iterator[tuple[str, Columns]]:
    """The layers of the cases with these keys, as they come in the file: of a key that is there twice the last counts.

    What others have is passed over unread, as a large run has more layers than memory.
    """
    wanted = {key.encode(): key for key in keys}
    for line in _lines(directory / LAYERS):
        near = _KEY.match(line.content)
        if near is not None and near[1] not in wanted:
            continue
        try:
            data = parsed(line.content)
        except ValueError:
            continue  # a torn line, or one whose damage the record of its case shows
        key = data.pop("key", None)
        if key in keys:
            yield key, validate.checked(_layers, data, f"line {line.number} of {directory / LAYERS}")


# How a line of layers begins as pyprof writes it.
_KEY = re.compile(rb'\{"key":"([0-9a-f]{16})"')


def _layers(value: Any) -> Columns:
    if len({len(column) for column in _COLUMNS(value).values()}) > 1:
        raise validate.Refused("has columns of different lengths")
    return value  # type: ignore[no-any-return]


_COLUMNS = validate.mapping(validate.listing(validate.plain))


@dataclass(frozen=True)
class _Line:
    number: int
    content: bytes
    whole: bool


def _lines(path: Path) -> Iterator[_Line]:
    try:
        with path.open("rb") as lines:
            for number, content in enumerate(lines, start=1):
                yield _Line(number, content, content.endswith(b"\n"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def _read_records(path: Path) -> tuple[dict[str, Record], tuple[str, ...]]:
    records: dict[str, Record] = {}
    warnings = []
    foreign: list[str] = []
    for line in _lines(path):
        try:
            data = parsed(line.content)
        except ValueError as error:
            warnings.append(
                f"line {line.number} of {path} is not a JSON object ({error}) and is left out"
                if line.whole
                else f"the last line of {path} is torn, as a crash leaves it: its case counts as not measured, "
                "and --resume measures it"
            )
            continue
        if type(data.get("schema")) is int and not 1 <= data["schema"] <= SCHEMA:
            foreign.append(f"line {line.number} of {path} is left out: it has schema {shown(data['schema'])}")
            schema = shown(data["schema"])
            continue
        try:
            record = Record.from_json(data)
        except UsageError as error:
            warnings.append(f"line {line.number} of {path} is left out: {error}")
            continue
        # Taking an older record out first keeps the order that of the last lines.
        records.pop(record.case.key, None)
        records[record.case.key] = record
    if foreign and not records:
        raise UsageError(
            f"{path} was written with schema {schema} and this pyprof reads schemas 1 to {SCHEMA}: "
            "use the pyprof that wrote it, or measure anew"
        )
    warnings += foreign
    if len(warnings) > MOST_WARNINGS:
        rest = f"{len(warnings) - MOST_WARNINGS} more lines of {path} are left out, as they are damaged too"
        warnings = [*warnings[:MOST_WARNINGS], rest]
    return records, tuple(warnings)


def _read_environment(directory: Path) -> Environment:
    path = directory / ENVIRONMENT
    return _of(path, Environment.from_json, _read_document(path))


def _read_others(path: Path) -> Iterator[Environment]:
    for line in _lines(path):
        try:
            data = parsed(line.content)
        except ValueError as error:
            if not line.whole:
                continue  # as a crash leaves it: nothing was measured there yet
            raise UsageError(f"line {line.number} of {path} is not a JSON object ({error}): measure anew") from error
        yield _of(path, Environment.from_json, data)


def _read_resolved(directory: Path, study: Study, records: Mapping[str, Record]) -> Resolved:
    """What the study resolved; a run of schema 1 has not written that down."""
    path = directory / RESOLVED
    if not path.exists():
        return resolved_from_1(study, (record.case for record in records.values()))
    resolved = _of(path, Resolved.from_json, _read_document(path))
    last = max((pairing.block for pairing in resolved.pairings), default=0)
    if last >= len(study.blocks):
        raise UsageError(f"{path} has a pairing of comparison {last + 1}, which {STUDY} has not: measure anew")
    return resolved.of_dtype(study.dtype)


def _of(path: Path, read_json: Callable[[Mapping[str, Any]], Read], data: Mapping[str, Any]) -> Read:
    """What a document holds; raises UsageError that begins with the file."""
    try:
        return read_json(data)
    except UsageError as error:
        raise UsageError(f"{path} is damaged ({error}): measure anew") from error


def _read_document(path: Path) -> dict[str, Any]:
    try:
        return parsed(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): measure anew") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a JSON object ({error}): measure anew") from error


def differences(stored: Study, given: Study) -> list[str]:
    """The keys in which a study differs from the one that a run was made with.

    The time budget may change between a run and its resumption, and what `given` leaves to the machine was settled by
    the run. The description is only text.
    """
    settled = ("device", "threads", "memory_budget", "metrics")
    names = []
    for each in fields(Study):
        if each.name in ("description", "time_budget"):
            continue
        value = getattr(given, each.name)
        if each.name in settled and value in (None, "auto", ()):
            continue
        if value != getattr(stored, each.name):
            names.append({"blocks": "comparison", "care": "measure"}.get(each.name, each.name))
    return names
