"""A measurement and a comparison of two calls in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyprof.quantity import format_seconds
from pyprof.report.notebook.parts import faint, result, table
from pyprof.report.page.markup import Part, tag

if TYPE_CHECKING:
    from pyprof.statistics.estimate import Estimate
    from pyprof.timing.compare import PairedComparison
    from pyprof.timing.sampling import Measurement


def measurement(measured: Measurement) -> str:
    """The median of a call with its interval, and what is odd about the samples."""
    row: list[Part] = [*_estimate(measured.estimate), len(measured.samples), measured.repeats, measured.stopped_by]
    heads = ["median", "95 % interval", "samples", "calls a sample", "stopped by"]
    if measured.steady is not None:
        heads.append("at full speed")
        row.append(format_seconds(measured.steady.value))
    odd = [str(measured.shape)] if str(measured.shape) else []
    odd += ["still changing when the sampling ended"] if measured.still_changing else []
    odd += [str(measured.system)] if measured.system and measured.system.is_much else []
    return result("measurement of a call", table(heads, [row], text=0), *(faint(each) for each in odd))


def comparison(compared: PairedComparison) -> str:
    """The verdict in words, and both times."""
    rows = [(name, *_estimate(seconds)) for name, seconds in (("a", compared.seconds_a), ("b", compared.seconds_b))]
    ratio = compared.ratio
    bounds = "" if ratio.interval is None else f"{ratio.interval[0]:.4f} – {ratio.interval[1]:.4f}"
    rows.append(("b / a", f"{ratio.value:.4f}", bounds))
    return result(
        ["b against a: ", tag("b", str(compared))],
        table(("", "median", f"{compared.confidence:.0%} interval"), rows),
        faint(
            f"{compared.pairs:,} rounds in {format_seconds(compared.elapsed_seconds)}, stopped by {compared.stopped_by}"
        ),
    )


def _estimate(seconds: Estimate) -> tuple[str, str]:
    bounds = "" if seconds.interval is None else " – ".join(map(format_seconds, seconds.interval))
    return format_seconds(seconds.value), bounds or "too few samples"
