"""From log-probabilities of symbols in each frame to a labelling: greedily, or by a search over prefixes.

Graves, Fernández, Gomez, Schmidhuber, "Connectionist temporal classification", ICML 2006; the search over prefixes
after Hannun, Maas, Jurafsky, Ng, "First-pass large vocabulary continuous speech recognition using bi-directional
recurrent DNNs", 2014, without a language model. Loads numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError

GREEDY, BEAM = "greedy", "beam"
_NEVER = -math.inf
# What a frame gives less than a thousandth of is not tried in a beam: a trained model leaves two or three symbols.
LEAST = math.log(1e-3)

LogProbabilities = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Decoding:
    """How transcripts are found: `width` 0 is greedy, any other is that of a beam."""

    width: int = 0

    def __str__(self) -> str:
        return f"{BEAM}:{self.width}" if self.width else GREEDY

    def __call__(self, frames: LogProbabilities, blank: int = 0) -> list[int]:
        """The labelling of an utterance's frames (frames, symbols)."""
        return beam_search(frames, self.width, blank=blank)[0] if self.width else greedy(frames, blank=blank)


def parse_decoding(text: str) -> Decoding:
    """``greedy``, ``beam`` (of width 16) or ``beam:WIDTH``; raises UsageError for anything else."""
    name, _, width = text.partition(":")
    if name == GREEDY and not width:
        return Decoding()
    if name == BEAM and (not width or (width.isascii() and width.isdecimal() and 0 < len(width) < 5 and int(width))):
        return Decoding(int(width or 16))
    raise UsageError(f"there is no decoding {text!r}: choose {GREEDY}, {BEAM} or {BEAM}:WIDTH, as in {BEAM}:16")


def greedy(frames: LogProbabilities, *, blank: int = 0) -> list[int]:
    """The labelling of the most probable path: each frame's best symbol, repeated ones once, without blanks."""
    best = np.asarray(frames).argmax(axis=-1)
    changes = np.append(True, best[1:] != best[:-1]) if len(best) else np.zeros(0, dtype=bool)
    return [int(symbol) for symbol in best[changes] if symbol != blank]


def beam_search(
    frames: LogProbabilities, width: int, *, blank: int = 0, least: float = LEAST
) -> tuple[list[int], float]:
    """The most probable labelling that a search over prefixes finds, and the logarithm of its probability.

    `frames` (frames, symbols) are log-probabilities. `width` prefixes are kept after each frame, each with the
    probability of all its paths that end in a blank and of those that do not. Symbols of a log-probability below
    `least` are not tried, but for a frame's best; with ``-math.inf`` and a width of all prefixes the search is exact.
    """
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, _NEVER)}
    for frame in np.asarray(frames, dtype=np.float64):
        tried = np.union1d(np.flatnonzero(frame >= least), frame.argmax())
        beam = _best(_extended(beam, [(int(symbol), float(frame[symbol])) for symbol in tried], blank), width)
    prefix = max(beam, key=lambda each: _sum(*beam[each]))
    return list(prefix), _sum(*beam[prefix])


def _extended(
    beam: dict[tuple[int, ...], tuple[float, float]], symbols: list[tuple[int, float]], blank: int
) -> dict[tuple[int, ...], tuple[float, float]]:
    """All prefixes after one more frame."""
    after: dict[tuple[int, ...], tuple[float, float]] = {}
    for prefix, (in_blank, in_symbol) in beam.items():
        either = _sum(in_blank, in_symbol)
        last = prefix[-1] if prefix else None
        for symbol, probability in symbols:
            if symbol == blank:
                one, other = after.get(prefix, (_NEVER, _NEVER))
                after[prefix] = (_sum(one, either + probability), other)
                continue
            if symbol == last:
                one, other = after.get(prefix, (_NEVER, _NEVER))
                after[prefix] = (one, _sum(other, in_symbol + probability))
            # The same symbol again is a new one only behind a blank.
            before = in_blank if symbol == last else either
            if before > _NEVER:
                longer = (*prefix, symbol)
                one, other = after.get(longer, (_NEVER, _NEVER))
                after[longer] = (one, _sum(other, before + probability))
    return after


def _best(beam: dict[tuple[int, ...], tuple[float, float]], width: int) -> dict[tuple[int, ...], tuple[float, float]]:
    if len(beam) <= width:
        return beam
    kept = sorted(beam, key=lambda prefix: (-_sum(*beam[prefix]), prefix))[:width]
    return {prefix: beam[prefix] for prefix in kept}


def _sum(one: float, other: float) -> float:
    """The logarithm of the sum of two probabilities given by theirs."""
    high, low = (one, other) if one >= other else (other, one)
    return high if low == _NEVER else high + math.log1p(math.exp(low - high))
