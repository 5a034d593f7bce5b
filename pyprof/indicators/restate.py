"""A run with what follows from its energies and times once somebody has said an intensity or a price."""

from __future__ import annotations

from dataclasses import replace

from pyprof.indicators import registry
from pyprof.indicators.indicator import stated
from pyprof.records.costs import DERIVED, Costs
from pyprof.records.record import Record
from pyprof.records.run_directory import Run


def restated(run: Run, costs: Costs) -> Run:
    """The same run with carbon and money by these costs, where it has them or they can be told now.

    Nothing is written: the run's directory stays as it is.
    """
    known = {each.name: each for each in run.resolved.indicators}
    asked = {"carbon": costs.intensity is not None, "monetary": costs.price is not None}
    names = [name for name in DERIVED if asked[name] or name in known]
    own = tuple(stated(registry.find(name), costs) for name in names)
    others = tuple(each for each in run.resolved.indicators if each.name not in names)
    indicators = tuple(sorted((*others, *own), key=lambda each: (each.place, each.name)))
    return replace(
        run,
        study=replace(run.study, costs=costs),
        resolved=replace(run.resolved, indicators=indicators),
        records={key: _restated(record, names, costs) for key, record in run.records.items()},
    )


def _restated(record: Record, names: list[str], costs: Costs) -> Record:
    if record.status != "ok" or record.case.batch == "largest":
        return record
    derived = {name: DERIVED[name](record.case, record.indicators, costs) for name in names}
    return replace(record, indicators={**record.indicators, **derived})
