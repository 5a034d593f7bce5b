"""Curves: what one model costs in one setting, over length."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property

from pyprof.records.case import Batch, Mode
from pyprof.records.comparison import Subject
from pyprof.records.record import Record

ALLOCATOR_WORDS = {"default": "memory not kept", "keep": "memory kept"}


@dataclass(frozen=True)
class Setting:
    """Everything that two cases must share for their costs to be compared, except their length.

    The fingerprint of the environment is part of it: figures of two machines never meet in one ratio.
    """

    mode: Mode
    size: str
    batch: Batch
    dtype: str
    device: str
    compiled: bool
    environment: str
    allocator: str = "default"

    @property
    def conditions(self) -> tuple[str, str]:
        """What a comparison fixes of it: see ``Comparison.conditions``."""
        return self.allocator, self.dtype


Curve = dict[int, Record]
Key = tuple[Subject, Setting]


@dataclass(frozen=True)
class Curves:
    """The records of a run by what they are about and their setting, each curve by length, shortest first.

    `all` holds every outcome, `ok` only what was measured; there is one record for each case and environment, the last
    one, because a resumed run measures a failed case anew.
    """

    all: Mapping[Key, Curve]

    @classmethod
    def of(cls, records: Iterable[Record]) -> Curves:
        """The curves of all records."""
        curves: dict[Key, Curve] = {}
        for record in sorted(records, key=lambda record: record.case.length):
            curves.setdefault((subject(record), setting(record)), {})[record.case.length] = record
        return cls(curves)

    @cached_property
    def ok(self) -> Mapping[Key, Curve]:
        """The curves of what was measured; a curve without any such record is left out."""
        measured = {
            key: {length: record for length, record in curve.items() if record.status == "ok"}
            for key, curve in self.all.items()
        }
        return {key: curve for key, curve in measured.items() if curve}

    @property
    def records(self) -> Iterator[Record]:
        """All records, curve by curve."""
        return (record for curve in self.all.values() for record in curve.values())

    def only(self, models: Collection[str]) -> Curves:
        """The curves of some models."""
        return Curves({key: curve for key, curve in self.all.items() if key[0].model in models})


def setting(record: Record) -> Setting:
    """The setting that a record was measured in."""
    case = record.case
    return Setting(
        case.mode, case.size, case.batch, case.dtype, case.device, case.compiled, record.environment, case.allocator
    )


def subject(record: Record) -> Subject:
    """The model, implementation, launch and optimizer that a record is about: those that its case asked for."""
    case = record.case
    return Subject(case.model, case.attention, case.weights, case.launch, case.optimizer)


def distinguishing(settings: Iterable[Setting]) -> tuple[str, ...]:
    """The names of the fields in which the settings differ, the mode and the batch apart: what a title must name."""
    every = set(settings)
    names = [field.name for field in fields(Setting) if field.name not in ("mode", "batch")]
    return tuple(name for name in names if len({getattr(setting, name) for setting in every}) > 1)


def describe(setting: Setting, names: Iterable[str]) -> str:
    """The named fields of a setting in words; empty where no field needs naming."""
    words = {
        "compiled": "compiled" if setting.compiled else "not compiled",
        "environment": f"machine {setting.environment[:8]}",
        "allocator": ALLOCATOR_WORDS.get(setting.allocator, setting.allocator),
    }
    return ", ".join(words.get(name, str(getattr(setting, name))) for name in names)
