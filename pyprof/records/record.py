"""A record: what one case gave. Immutable, versioned, with its raw samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pyprof.errors import UsageError
from pyprof.failures import STATUSES, Status
from pyprof.plain import shown
from pyprof.records import validate
from pyprof.records.case import CASE, Case
from pyprof.records.place import PLACE, Place
from pyprof.records.ranks import RANK, Rank
from pyprof.records.reading import READING, Reading
from pyprof.statistics.estimate import Estimate

SCHEMA = 2
# The indicator that the parameters of the kinds are parts of.
PARAMETERS = "parameters"


@dataclass(frozen=True)
class KindCost:
    """What all layers of one kind cost together, by their own times (seconds) and own parameters.

    A backward time is None where none was seen (inference). `faults` are the page faults of a step's forward in these
    layers, None where they were not counted; `device_seconds` what a device worked for them in a step, forward and
    backward together, None where there is none with a time of its own.
    """

    forward_seconds: float
    backward_seconds: float | None
    parameters: int
    faults: int | None = None
    device_seconds: float | None = None


@dataclass(frozen=True)
class Record:
    """The outcome of one case.

    `kinds` maps a layer's kind to its cost; `outside_seconds` is the part of the instrumented step that lies outside of
    every layer (the loss, the start of the engine), so that kinds and outside sum to `step_seconds`. `overhead` is how
    many times as long that step took as one without probes, None where none was taken beside it. The single
    layers are in the run's layers.jsonl under the case's key, because a report of many thousand records never needs
    them all. `attention` is the implementation that really ran, None where the case did not get that far.
    `environment` is the fingerprint of the machine and its software; `started` an ISO 8601 time in UTC, `seconds` what
    the case took, set-up included. `place` is the device and the machine of one worker of many, None where a run has
    one alone. `ranks` are the processes of a model that is sharded over several; the layers are those of the slowest.
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
    overhead: Estimate | None = None
    place: Place | None = None
    ranks: tuple[Rank, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields, with the schema and the case's key; no place or ranks where there are none."""
        place = {} if self.place is None else {"place": self.place.to_json()}
        ranks = {"ranks": [rank.to_json() for rank in self.ranks]} if self.ranks else {}
        return {
            **{name: value for name, value in self.__dict__.items() if name not in ("place", "ranks")},
            **place,
            **ranks,
            "schema": SCHEMA,
            "key": self.case.key,
            "case": self.case.to_json(),
            "indicators": {name: reading.to_json() for name, reading in self.indicators.items()},
            "kinds": {kind: asdict(cost) for kind, cost in self.kinds.items()},
            "overhead": None if self.overhead is None else asdict(self.overhead),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Rebuild a record of this schema or an older one; raises UsageError that names the field that is wrong."""
        schema = data.get("schema")
        if type(schema) is not int or not 1 <= schema <= SCHEMA:
            raise UsageError(
                f"the record has schema {shown(schema)} and this pyprof reads schemas 1 to {SCHEMA}: "
                "report it with the pyprof that wrote it, or measure anew"
            )
        if schema == 1:
            from pyprof.records.migrate import record_from_1

            data = record_from_1(data)
        values = {name: value for name, value in data.items() if name not in ("schema", "key")}
        record: Record = validate.checked(RECORD, values, "the record")
        if data.get("key", record.case.key) != record.case.key:
            raise UsageError(f"the record: key is {shown(data['key'])}, which is not that of its case")
        return record


KIND_COST = validate.instance(
    KindCost,
    absent=("faults", "device_seconds"),
    forward_seconds=validate.figure,
    backward_seconds=validate.optional(validate.figure),
    parameters=validate.whole(0),
    faults=validate.optional(validate.whole(0)),
    device_seconds=validate.optional(validate.figure),
)
OVERHEAD = validate.instance(
    Estimate,
    value=validate.not_negative,
    low=validate.optional(validate.not_negative),
    high=validate.optional(validate.not_negative),
)
RECORD = validate.instance(
    Record,
    absent=("reason", "step_seconds", "outside_seconds", "attention", "overhead", "place", "ranks"),
    case=CASE,
    status=validate.one_of(STATUSES, "status"),
    environment=validate.words,
    started=validate.words,
    seconds=validate.not_negative,
    reason=validate.optional(validate.words),
    indicators=validate.mapping(READING),
    kinds=validate.mapping(KIND_COST),
    step_seconds=validate.optional(validate.not_negative),
    outside_seconds=validate.optional(validate.figure),
    attention=validate.optional(validate.text),
    notes=validate.listing(validate.words),
    overhead=validate.optional(OVERHEAD),
    place=validate.optional(PLACE),
    ranks=validate.listing(RANK),
)
