"""Two calls that were timed in turn: their ratio round by round, and the interval that came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyprof.report.charts.chart import Chart, Columns, axis, hint, layered, rounded, scale, table
from pyprof.report.charts.theme import colour

if TYPE_CHECKING:
    from pyprof.timing.compare import PairedComparison

# More points than these lie over each other; what is drawn then are rounds at equal distances.
MOST_POINTS = 2_000


def rounds_chart(paired: PairedComparison, baseline: str, head: str) -> Chart:
    """A point for each round, the ratio's interval as a band, and a rule where both take the same."""
    step = max(-(-paired.pairs // MOST_POINTS), 1)
    rounds = list(enumerate(paired.ratios, start=1))[::step]
    ratio = paired.ratio
    tables: Mapping[str, Columns] = {
        "rounds": {
            "round": [number for number, _ in rounds],
            "ratio": [rounded(value) for _, value in rounds],
        },
        "band": {
            "low": [] if ratio.low is None else [rounded(ratio.low)],
            "high": [] if ratio.high is None else [rounded(ratio.high)],
        },
        "ratio": {"value": [rounded(ratio.value)]},
    }
    y = axis("ratio", f"{head} in units of {baseline}"[:70], scale=scale("log"), axis={"format": "~f", "tickCount": 6})
    spec = layered(
        [
            {**table("band"), "mark": {"type": "rect", "color": colour("series-0"), "opacity": 0.25},
             "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}}},
            {"data": {"values": [{"one": 1}]}, "mark": {"type": "rule", "color": colour("ink"), "strokeDash": [4, 3]},
             "encoding": {"y": {"field": "one", "type": "quantitative"}}},
            {**table("ratio"), "mark": {"type": "rule", "color": colour("series-0"), "strokeWidth": 2},
             "encoding": {"y": {**y, "field": "value"}}},
            {**table("rounds"), "mark": {"type": "point", "filled": True, "size": 26, "color": colour("series-1"),
                                         "opacity": 0.75},
             "encoding": {"x": axis("round", "round", axis={"grid": False, "format": "d", "tickMinStep": 1}), "y": y,
                          "tooltip": hint(round="round", ratio="ratio")}},
        ],
        tables,
    )  # fmt: skip
    bounds = "" if ratio.low is None or ratio.high is None else f", {ratio.low:.4g} to {ratio.high:.4g}"
    left_out = f" Every {step}th round is drawn." if step > 1 else ""
    return Chart(
        name="rounds",
        title="Round by round",
        description=f"{head} in units of {baseline} over {paired.pairs:,} rounds: {ratio.value:.4g}{bounds}.",
        tables=tables,
        specs={"": spec},
        caption="A point is a round, with all that its two steps waited; the band is the interval of the ratio, where "
        f"waits for other processes are taken out. Below 1 {head} takes less.{left_out}",
        height=320,
    )
