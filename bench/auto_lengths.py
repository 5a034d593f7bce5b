"""Automatic lengths against the full published grid: the same tipping points, for how many measurements?"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Sequence

from harness import Bar, Figures, parser, publish

from pyprof.analysis.ratio import RatioPoint
from pyprof.analysis.refine import coarse, needs_refinement
from pyprof.analysis.tipping import Tipping, find_tipping
from pyprof.records.published import diwan2023 as published

METHOD = """\
The grids are those of the 2023 study. Costs are simulated, since the full grid at base size takes days: linear and
quadratic terms in the proportions of the field's figures, Longformer's in steps of its window as the real one has them,
with log-normal noise of a known interval that is the same whenever a length is measured. Both ways see the same
measurements; 30 seeds each.

Agreement: the tipping point found by refinement lies within the full grid's interval, widened by one step of the grid.
"""
SEEDS = range(30)
Ratio = Callable[[int], float]
CASES: dict[str, tuple[str, Ratio, int | None]] = {
    "nystromformer / bert": ("text", lambda n: 1.45e-3 * n / (1.15e-3 * n + 1.7e-7 * n**2), None),
    "longformer / bert": (
        "text",
        lambda n: 1.43e-3 * math.ceil(n / 512) * 512 / (1.2e-3 * n + 1.7e-7 * n**2),
        512,
    ),
    "l-hubert / hubert": ("speech", lambda n: (0.02 + 2.2e-3 * n) / (0.01 + 1.7e-3 * n + 3.0e-7 * n**2), None),
    "swin / vit": ("vision", lambda n: (0.02 + 4.6e-6 * n**2) / (0.005 + 3.9e-6 * n**2 + 2.3e-12 * n**4), None),
}


def measure(ratio: Ratio, length: int, half_width: float, seed: int) -> RatioPoint:
    noise = random.Random(f"{seed} {length}").gauss(0, half_width / 1.96)
    log = math.log(ratio(length)) + noise
    return RatioPoint(length, math.exp(log), math.exp(log - half_width), math.exp(log + half_width))


def refined(grid: Sequence[int], period: int | None, look: Callable[[int], RatioPoint]) -> tuple[Tipping, int]:
    measured = {length: look(length) for length in coarse(grid, period=period)}
    while True:
        points = [measured[length] for length in sorted(measured)]
        following = needs_refinement(points, grid, 0, period)
        if following is None:
            return find_tipping(points), len(points)
        measured[following] = look(following)


def agree(full: Tipping, auto: Tipping, step: int) -> bool:
    if full.crossing is None or auto.crossing is None:
        return full.status == auto.status
    low, high = full.crossing.low or 0, full.crossing.high or math.inf
    return low - step <= auto.crossing.length <= high + step


def main() -> int:
    options = parser(METHOD).parse_args()
    rows, agreements, taken_all, full_all = [], [], 0, 0
    for name, (modality, ratio, period) in CASES.items():
        grid = published().grids[modality].lengths
        for half_width in (0.0, 0.02, 0.05):
            taken, agreeing = 0, 0
            for seed in SEEDS:

                def look(length: int, seed: int = seed) -> RatioPoint:
                    return measure(ratio, length, half_width, seed)  # noqa: B023 - called before the loop goes on

                auto, count = refined(grid, period, look)
                full = find_tipping([look(length) for length in grid])
                taken += count
                agreeing += agree(full, auto, grid[1] - grid[0])
            taken_all += taken
            full_all += len(grid) * len(SEEDS)
            agreements.append(agreeing / len(SEEDS))
            mean = taken / len(SEEDS)
            rows.append((name, 100 * half_width, len(grid), mean, 100 * mean / len(grid), 100 * agreements[-1]))
    columns = ("comparison", "noise, ±%", "full grid", "refined, mean", "share, %", "agreement, %")
    bars = [
        Bar("measurements against the full grid", 100 * taken_all / full_all, "%", 20),
        Bar("the same tipping points", 100 * sum(agreements) / len(agreements), "%", 95, "higher"),
    ]
    return publish(METHOD, [Figures("lengths measured", columns, rows)], bars, options.json)


if __name__ == "__main__":
    sys.exit(main())
