"""Whose clock the times of layers are of: on a GPU those of the host alone can mislead, and a reader is told."""

from __future__ import annotations

from collections.abc import Iterable

from pyprof.report.view import ShareChart

_HOST = "cpu"


def host_only(charts: Iterable[ShareChart]) -> str | None:
    """A sentence where what a device did for its layers was not recorded; None where it was, and on a host."""
    on_device = [chart for chart in charts if chart.device != _HOST]
    without = [chart for chart in on_device if not _has_device_time(chart)]
    if not without:
        return None
    of = (
        ""
        if len(without) == len(on_device)
        else " of " + ", ".join(dict.fromkeys(each.column.model for each in without))
    )
    return (
        f"Times of layers{of} are the host's, with Python and launches: what the device did for each layer was not "
        "recorded, so where launches take longer than kernels the shares say nothing of these."
    )


def _has_device_time(chart: ShareChart) -> bool:
    return any(row.device for line in chart.rows for row in line.modes.values())
