"""A record: what one case gave. Immutable, versioned, with its raw samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pyprof.errors import UsageError
from pyprof.failures import Status
from pyprof.records.case import Case
from pyprof.records.reading import Reading

SCHEMA = 2
# The indicator that the parameters of the kinds are parts of.
PARAMETERS = "parameters"


@dataclass(frozen=True)
class KindCost:
    """What all layers of one kind cost together, by their own times (seconds) and own parameters.

    A backward time is None where none was seen (inference). `faults` are the page faults of a step's forward in these
    layers, None where they were not counted.
    """

    forward_seconds: float
    backward_seconds: float | None
    parameters: int
    faults: int | None = None


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
        """A JSON object of all fields, with the schema and the case's key."""
        return {
            **self.__dict__,
            "schema": SCHEMA,
            "key": self.case.key,
            "case": self.case.to_json(),
            "indicators": {name: reading.to_json() for name, reading in self.indicators.items()},
            "kinds": {kind: asdict(cost) for kind, cost in self.kinds.items()},
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Rebuild a record of this schema or an older one; raises UsageError for another schema or a missing field."""
        schema = data.get("schema")
        if schema not in (1, SCHEMA):
            raise UsageError(
                f"the record has schema {schema!r} and this pyprof reads schemas 1 to {SCHEMA}: "
                "report it with the pyprof that wrote it, or measure anew"
            )
        try:
            if schema == 1:
                from pyprof.records.migrate import record_from_1

                data = record_from_1(data)
            values = dict(data)
            del values["schema"]
            values.pop("key", None)
            values["case"] = Case.from_json(data["case"])
            values["indicators"] = {name: Reading.from_json(reading) for name, reading in data["indicators"].items()}
            values["kinds"] = {kind: KindCost(**cost) for kind, cost in data["kinds"].items()}
            values["notes"] = tuple(data["notes"])
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"the record is damaged ({error}): remove its line and resume the run") from error
