"""How a fresh run relates to what was published."""

from __future__ import annotations

from typing import Literal

from pyprof.analysis.tipping import Tipping
from pyprof.records.published import TippingFinding

Agreement = Literal["agrees", "earlier", "later", "new"]
Side = Literal["below", "within", "above", "out of range"]


def agreement(tipping: Tipping, finding: TippingFinding, measured: tuple[int, int]) -> Agreement | None:
    """How a tipping point relates to the published one; None where the run cannot tell.

    agrees: the two intervals overlap, or neither exists. earlier, later: they do not. new: one exists where none was
    found in 2023. `measured` is the range of lengths that the run covers.
    """
    crossing = tipping.crossing
    if finding.low is None or finding.high is None:
        exists = crossing is not None or tipping.status == "everywhere"
        return "new" if exists else "agrees" if tipping.status == "nowhere" else None
    if crossing is not None:
        if crossing.low is None and crossing.high is None:
            low = high = crossing.length
        else:
            low, high = crossing.low or 0.0, crossing.high or float("inf")
        return "earlier" if high < finding.low else "later" if low > finding.high else "agrees"
    if tipping.status == "everywhere" and measured[0] < finding.low:
        return "earlier"
    return "later" if tipping.status == "nowhere" and measured[1] > finding.high else None


def side(length: int, tipping: Tipping, measured: tuple[int, int]) -> Side | None:
    """Where a length lies: below the tipping point (the vanilla model costs less), within its interval, or above it.

    None where there is nothing to say; "out of range" where only a measurement at longer lengths could tell.
    """
    crossing = tipping.crossing
    if crossing is None:
        if tipping.status not in ("everywhere", "nowhere"):
            return None
        if not measured[0] <= length <= measured[1]:
            return "out of range"
        return "above" if tipping.status == "everywhere" else "below"
    if length < (crossing.length if crossing.low is None else crossing.low):
        return "below"
    if length > (crossing.length if crossing.high is None else crossing.high):
        return "above"
    return "within"
