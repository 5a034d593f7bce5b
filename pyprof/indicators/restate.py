"""A run with what follows from its readings once somebody has said an intensity, a price or a quality to be reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyprof.indicators import registry
from pyprof.indicators.indicator import Indicator, stated
from pyprof.records.costs import Costs
from pyprof.records.record import Record
from pyprof.records.run_directory import Run


def restated(run: Run, costs: Costs) -> Run:
    """The same run with what is derived from its readings by these costs, where it has that or it can be told now.

    Nothing is written: the run's directory stays as it is.
    """
    known = {each.name: each for each in run.resolved.indicators}
    asked = {
        "carbon": costs.intensity is not None,
        "monetary": costs.price is not None,
        "sample_efficiency": bool(costs.target),
    }
    derived = [registry.find(name) for name, now in asked.items() if now or name in known]
    own = tuple(stated(each, costs) for each in derived)
    others = tuple(each for each in run.resolved.indicators if each.name not in {own.name for own in derived})
    indicators = tuple(sorted((*others, *own), key=lambda each: (each.place, each.name)))
    return replace(
        run,
        study=replace(run.study, costs=costs),
        resolved=replace(run.resolved, indicators=indicators),
        records={key: _restated(record, derived, costs) for key, record in run.records.items()},
    )


def _restated(record: Record, derived: Sequence[Indicator], costs: Costs) -> Record:
    if record.status != "ok" or record.case.batch == "largest":
        return record
    own = {
        each.name: each.read(record.case, record.indicators, costs)
        for each in derived
        if each.read is not None and record.case.mode in each.modes
    }
    return replace(record, indicators={**record.indicators, **own})
