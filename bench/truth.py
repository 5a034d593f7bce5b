"""Is what pyprof says of times true? Planted durations, planted slowdowns, and the spread from run to run."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

import torch
import truth_durations
import truth_pairs
import truth_repeats
from harness import Bar, Figures, note, parser, publish
from neighbour import neighbour

METHOD = f"""\
All parts run while a second process loads one core with matrix products for random stretches of 1 to 5 s, about half of
the time.

{truth_durations.METHOD}
{truth_pairs.METHOD}
{truth_repeats.METHOD}"""


class Part(Protocol):
    """One part: it gathers in `run`, and tells at any time what there is."""

    def run(self) -> None: ...
    def figures(self) -> list[Figures]: ...
    def bars(self) -> list[Bar]: ...


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--parts", default="planted,aa,slower,spread", help="some of planted,aa,slower,spread,quick")
    options.add_argument("--runs", type=int, default=200, help="at most so many runs of each kind (default: 200)")
    options.add_argument("--seconds", type=float, default=5.0, help="time of one A/A comparison (default: 5)")
    options.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default: 1)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--quick-runs", metavar="A,B", help="two runs of the study quick that are there already")
    options.add_argument("--alone", action="store_true", help="without the second process")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    runs, seed = chosen.runs, chosen.seed
    directories = [Path(one) for one in (chosen.quick_runs or "").split(",") if one]
    makers: dict[str, Callable[[], Part]] = {
        "planted": lambda: truth_durations.Planted(min(200, runs), seed),
        "aa": lambda: truth_pairs.Alike(min(200, runs), seed, chosen.seconds),
        "slower": lambda: truth_pairs.Slower(min(100, runs), seed),
        "spread": lambda: truth_repeats.Spread(min(20, runs), seed),
        "quick": lambda: truth_repeats.Quick(directories),
    }
    if len(directories) not in (0, 2):
        options.error("--quick-runs takes two directories, as in --quick-runs A,B")
    wanted = chosen.parts.split(",")
    unknown = [name for name in wanted if name not in makers]
    if unknown:
        options.error(f"there is no part {', '.join(unknown)}: choose among {', '.join(makers)}")
    parts: list[Part] = []
    stopped = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with nullcontext() if chosen.alone else neighbour(seed):
            for name in wanted:
                begin = time.monotonic()
                parts.append(makers[name]())
                parts[-1].run()
                note(f"{name}: {(time.monotonic() - begin) / 60:.1f} min")
    except KeyboardInterrupt:
        stopped = True
        note("stopped: these are the results so far")
    figures = [table for part in parts for table in part.figures() if table.rows]
    held = publish(METHOD, figures, [bar for part in parts for bar in part.bars()], chosen.json)
    return 130 if stopped else held


if __name__ == "__main__":
    sys.exit(main())
