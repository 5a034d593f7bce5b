"""A record: what one case gave. Immutable, versioned, with its raw samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pyprof.errors import UsageError
from pyprof.failures import Status
from pyprof.records.case import Case
from pyprof.records.reading import Reading

SCHEMA = 1


@dataclass(frozen=True)
class KindCost:
    """What all layers of one kind cost together, by their own times (seconds) and own parameters.

    A backward time is None where none was seen (inference).
    """

    forward_seconds: float
    backward_seconds: float | None
    parameters: int


@dataclass(frozen=True)
class Record:
    """The outcome of one case.

    `kinds` maps a layer's kind to its cost; `outside_seconds` is the part of the instrumented step that lies outside of
    every layer (the loss, the start of the engine), so that kinds and outside sum to `step_seconds`. The single
    layers are in the run's layers.jsonl under the case's key, because a report of many thousand records never needs
    them all. `attention` is the implementation that really ran, None where the case did not get that far.
    `environment` is the fingerprint of the machine and its software; `started` an ISO 8601 time in UTC, `seconds` what
    the case took, set-up included.
    """

    case: Case
    status: Status
    environment: str
    started: str
    seconds: float
    reason: str | None = None
    indicators: Mapping[str, Reading] = field(default_factory=dict)
    kinds: Mapping[str, KindCost] = field(default_factory=dict)
    step_seconds: float | None = None
    outside_seconds: float | None = None
    attention: str | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "key": self.case.key, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Rebuild a record; raises UsageError when it has another schema version or lacks a field."""
        if data.get("schema") != SCHEMA:
            raise UsageError(
                f"the record has schema {data.get('schema')!r} and this pyprof reads schema {SCHEMA}: "
                "report it with the pyprof that wrote it, or measure anew"
            )
        try:
            values = dict(data)
            del values["schema"]
            values.pop("key", None)
            values["case"] = Case.from_json(data["case"])
            values["indicators"] = {name: _reading(reading) for name, reading in data["indicators"].items()}
            values["kinds"] = {kind: KindCost(**cost) for kind, cost in data["kinds"].items()}
            values["notes"] = tuple(data["notes"])
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"the record is damaged ({error}): remove its line and resume the run") from error


def _reading(data: Mapping[str, Any]) -> Reading:
    samples, warmup = tuple(data["samples"]), tuple(data["warmup"])
    return Reading(data["value"], data["low"], data["high"], samples, warmup, data["reason"], data["detail"])
