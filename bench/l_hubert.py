"""L-HuBERT on the fused kernel against HuBERT on fused dense attention: whole steps, interleaved, length by length."""

from __future__ import annotations

import sys

from harness import Bar, Figures, note, parser, publish

from pyprof.models import registry
from pyprof.records.case import Case
from pyprof.timing.clock import Call
from pyprof.timing.interleave import Interleaved, RoundLimits, interleave
from pyprof.worker.step import Step

METHOD = """\
Base size, batch 1, float32, random weights. In every round there is one step of each model, in random order, in one
process: HuBERT with sdpa, L-HuBERT (context 32) with the fused kernel and with the chunks of 2023. Times are medians,
ratios medians over the rounds, which pair the two steps, with a 95 % interval. An inference step is a forward pass; a
training step is forward, the loss of a light head, backward.

Promised: never slower beyond the interval from 200 tokens (training: from 400), and faster from 1,000, with an interval
that excludes 1.
"""
LENGTHS = {"infer": (50, 100, 200, 300, 400, 600, 1000, 1500), "train": (100, 200, 400, 600, 1000)}
NEVER_SLOWER = {"infer": 200, "train": 400}
FASTER = 1000
PLAYERS = {"sdpa": ("hubert", "sdpa"), "fused": ("l-hubert", "fused"), "chunks": ("l-hubert", "chunks")}


def step(model: str, attention: str, mode: str, length: int) -> Call:
    loaded = registry.load(model, attention=attention, mode=mode, longest=length)
    return Step(loaded, Case(model, length, mode, attention), "none", 1)


def bars_of(mode: str, length: int, taken: Interleaved) -> list[Bar]:
    ratio = taken.ratio("fused", "sdpa")
    if ratio.low is None or ratio.high is None:
        note("  too few rounds for an interval, so no bar here: give more --seconds")
        return []
    found = []
    if length >= NEVER_SLOWER[mode]:
        found.append(Bar(f"{mode}, {length}: fused over sdpa, lower end", ratio.low, "x", 1))
    if length >= FASTER:
        found.append(Bar(f"{mode}, {length}: fused over sdpa, upper end", ratio.high, "x", 0.9999))
    return found


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--seconds", type=float, default=30.0, help="rounds for each length and mode (default: 30)")
    options.add_argument("--modes", default="infer,train", help="infer, train (default: both)")
    options.add_argument("--lengths", help="tokens, 200,1000 say (default: those of the method)")
    chosen = options.parse_args()
    tables, bars = [], []
    for mode in chosen.modes.split(","):
        rows = []
        for length in map(int, chosen.lengths.split(",")) if chosen.lengths else LENGTHS[mode]:
            note(f"{mode}, {length} tokens ...")
            calls = {name: step(model, attention, mode, length) for name, (model, attention) in PLAYERS.items()}
            taken = interleave(calls, RoundLimits(chosen.seconds, 1000))
            if taken.failures:
                raise SystemExit(f"{mode} at {length} tokens failed: {taken.failures}")
            times = [taken.seconds(name).value * 1e3 for name in PLAYERS]
            ratios = [taken.ratio(name, "sdpa") for name in ("fused", "chunks")]
            shown = [figure for one in ratios for figure in (one.value, one.low, one.high)]
            note(f"  fused over sdpa {ratios[0].value:.3f}, chunks over sdpa {ratios[1].value:.3f}")
            rows.append((length, len(taken.samples["sdpa"]), *times, *shown))
            bars += bars_of(mode, length, taken)
        columns = ("tokens", "rounds", *(f"{name}, ms" for name in PLAYERS), "fused/sdpa", "from", "to")
        tables.append(Figures(mode, (*columns, "chunks/sdpa", "chunks from", "chunks to"), rows))
    return publish(METHOD, tables, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
