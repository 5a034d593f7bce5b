"""Which cases to look at layer by layer where not all can be shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from pyprof.analysis.curves import Curve, Curves, Key

_SPREAD = 4


def marked_cases(curves: Curves, lengths: Mapping[str, Iterable[float]], modality_of: Mapping[str, str]) -> list[str]:
    """The keys of the cases with layers, those to be kept first where there is no room for all.

    Of every curve first the case nearest to the middle, then the ends, then those next to the marked `lengths` of its
    modality (mean lengths of data sets, tipping points), then a few between, then the rest.
    """
    ranked: list[list[list[str]]] = [
        _ranked(curve, lengths.get(modality_of.get(key[0].model, ""), ())) for key, curve in _with_layers(curves)
    ]
    steps = max(map(len, ranked), default=0)
    ordered = (key for step in range(steps) for curve in ranked if step < len(curve) for key in curve[step])
    return list(dict.fromkeys(ordered))


def _with_layers(curves: Curves) -> Iterable[tuple[Key, Curve]]:
    for key, curve in curves.ok.items():
        timed = {length: record for length, record in curve.items() if record.kinds}
        if timed:
            yield key, timed


def _ranked(curve: Curve, marks: Iterable[float]) -> list[list[str]]:
    """Groups of keys, the most wanted first."""
    lengths = sorted(curve)
    inside = [mark for mark in marks if lengths[0] <= mark <= lengths[-1]]
    low, high = math.log(lengths[0]), math.log(lengths[-1])
    between = [math.exp(low + (high - low) * step / (_SPREAD + 1)) for step in range(1, _SPREAD + 1)]
    wanted = [
        [_nearest(lengths, math.exp((low + high) / 2))],
        [lengths[0], lengths[-1]],
        [_nearest(lengths, mark) for mark in sorted(inside)],
        [_nearest(lengths, target) for target in between],
        lengths,
    ]
    return [[curve[length].case.key for length in some] for some in wanted]


def _nearest(lengths: Sequence[int], target: float) -> int:
    return min(lengths, key=lambda length: abs(length - target))
