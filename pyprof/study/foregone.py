"""Cases that need no measuring, since it is known beforehand that they fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pyprof.errors import UsageError
from pyprof.models import registry
from pyprof.records.case import Case
from pyprof.records.record import Record


def why_foregone(case: Case, records: Mapping[str, Record]) -> str | None:
    """Why a case need not be measured, None where it has to be; of the records those that failed are enough."""
    return _cannot_run(case) or _beyond_failure(case, records)


def _cannot_run(case: Case) -> str | None:
    """A mode that is not the model's, or an implementation of attention that does not run in it."""
    entry = registry.find(case.model)
    if entry is None:
        return None
    try:
        entry.check_mode(case.mode)
        entry.check_attention(case.attention, case.mode)
    except UsageError as error:
        return str(error)
    return None


def _beyond_failure(case: Case, records: Mapping[str, Record]) -> str | None:
    """A shorter length of the same kind that was out of memory or took too long already."""
    for record in records.values():
        failed = record.status in ("oom", "timeout") and record.case.length < case.length
        if failed and replace(record.case, length=case.length) == case:
            what = "ran out of memory" if record.status == "oom" else "took too long"
            return f"length {record.case.length} {what} already, and this is longer"
    return None
