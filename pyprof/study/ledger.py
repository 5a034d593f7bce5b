"""What is known of the cases of a run: their records, on disk and here, and which of them are settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from pyprof.failures import Status
from pyprof.records.case import Case
from pyprof.records.executor import Outcome
from pyprof.records.record import Record
from pyprof.records.store import Store

# Outcomes that measuring again would only repeat. What was skipped may fit another time, and an error may be mended.
SETTLED: tuple[Status, ...] = ("ok", "oom", "timeout")
_FAILED: tuple[Status, ...] = ("oom", "timeout")


class Ledger:
    """The records of a run by the keys of their cases, those of the run before it included; `keep` writes more.

    `settled` holds the keys of the cases that are measured, under way, or left out. `failed` are the records of those
    that ran out of memory or time: of ten thousand records few have, and each new case is held against these alone.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.records: dict[str, Record] = {} if store.previous is None else dict(store.previous.records)
        for key in torn(list(self.records.values())):
            del self.records[key]
        self.settled = {key for key, record in self.records.items() if record.status in SETTLED}
        self.failed = {key: record for key, record in self.records.items() if record.status in _FAILED}
        self.counts = Counter(record.status for record in self.records.values())

    def settle(self, cases: Sequence[Case]) -> None:
        """These need no measuring any more, or are being measured."""
        self.settled |= {case.key for case in cases}

    def reopen(self, cases: Sequence[Case]) -> None:
        """These are to be measured after all."""
        self.settled -= {case.key for case in cases}

    def keep(self, outcomes: Sequence[Outcome]) -> None:
        """Write the records of a group, but for those that would only repeat that a case was skipped."""
        new = [each for each in outcomes if not self._repeats(each.record)]
        if new:
            self._store.append_all(new)
        for record in (each.record for each in new):
            key = record.case.key
            before = self.records.get(key)
            if before is not None:
                self.counts -= Counter((before.status,))
            self.counts[record.status] += 1
            self.records[key] = record
            self.failed.pop(key, None)
            if record.status in _FAILED:
                self.failed[key] = record

    def _repeats(self, record: Record) -> bool:
        before = self.records.get(record.case.key)
        return before is not None and (before.status, before.reason) == ("skipped", record.reason)


def torn(records: Sequence[Record]) -> list[str]:
    """The keys of the last group that was written, where a crash has left only a part of it: it is measured again."""
    last = records[-1].place if records else None
    if last is None or last.together < 2:
        return []
    keys = []
    for record in reversed(records):
        if record.place is None or (record.place.group, record.place.attempt) != (last.group, last.attempt):
            break
        keys.append(record.case.key)
    return keys if len(keys) < last.together else []


def now() -> str:
    """The time of day, as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
