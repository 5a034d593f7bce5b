"""Shares in percent, with their intervals: as bounds, since those of a share are unlike beside its ends."""

from __future__ import annotations


def percent(share: float | None, places: int, sign: str = "") -> str:
    """A share in percent with so many decimals, a dash where there is none; `sign` is ``+`` where it is always told."""
    return "-" if share is None else f"{100 * share:{sign}.{places}f}"


def bounds(low: float | None, high: float | None, places: int, sign: str = "") -> str:
    """The interval of a share, `` [31–94]``: with decimals as it is narrow, at most `places`; empty where none is."""
    if low is None or high is None:
        return ""
    wide = 100 * (high - low)
    shown = 0 if wide >= 2 else 1 if wide >= 0.2 else places
    dash = " to " if sign or low < 0 else "–"
    return f" [{percent(low, min(shown, places), sign)}{dash}{percent(high, min(shown, places), sign)}]"
