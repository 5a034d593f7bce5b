"""Are the kinds complete: the share of `other` in each step, and what the layers' own times miss of the step."""

from __future__ import annotations

import sys

from harness import TYPICAL, Bar, Figures, note, parser, publish

from pyprof.layers.profile import Profile
from pyprof.models import registry
from pyprof.worker.profile_model import profile_model

METHOD = """\
Each model at base size and a typical length, best attention, in inference and in training: a step of warm-up, then
steps with all probes for some seconds. `other` and `outside` (of all layers: the loss, the engine's start) are shares
of the probed step; the gap is what all own times and the outside miss of that step's own measurement.
"""


def profiled(model: str, mode: str, seconds: float) -> Profile:
    loaded = registry.load(model, attention="best", mode=mode, longest=TYPICAL[model])
    loaded.fit(TYPICAL[model])
    return profile_model(loaded, TYPICAL[model], 1, seconds)


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--seconds", type=float, default=4.0, help="time for each model and mode (default: 4)")
    chosen = options.parse_args()
    rows, bars = [], []
    for model in TYPICAL:
        for mode in ("infer", "train"):
            note(f"{model} {mode} ...")
            profile = profiled(model, mode, chosen.seconds)
            sums = {kind: forward + (backward or 0.0) for kind, (forward, backward, _) in profile.kinds().items()}
            step = profile.step_seconds
            other = 100 * sums.get("other", 0.0) / step
            outside = 100 * profile.outside_seconds / step
            gap = 100 * abs(sum(sums.values()) + profile.outside_seconds - step) / step
            attention = 100 * sums["self-attention"] / step
            rows.append((model, mode, TYPICAL[model], step * 1e3, profile.steps, attention, other, outside, gap))
            bars.append(Bar(f"{model} {mode}: other", other, "%", 5))
            bars.append(Bar(f"{model} {mode}: gap", gap, "%", 1))
    columns = ("model", "mode", "length", "step, ms", "steps", "attention, %", "other, %", "outside, %", "gap, %")
    return publish(METHOD, [Figures("shares of a step", columns, rows)], bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
