"""Approximate forward work of the base models, to predict what a case will cost before it is measured.

Every function maps a length in the model's unit to floating-point operations of one example, where a multiply-add
counts twice. Softmax, normalisation and copies are left out, so only the growth over the length is meant to be
trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

_WIDTH = 768
_LAYERS = 12


def padded(length: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not less than `length`."""
    return -(-length // multiple) * multiple


def encoder(tokens: int, context: float, width: int = _WIDTH, layers: int = _LAYERS) -> float:
    """Work of encoder layers with a feedforward part four times as wide, each query meeting `context` keys."""
    return layers * tokens * (24.0 * width**2 + 4.0 * context * width)


def bert(length: int) -> float:
    return encoder(length, length)


def longformer(length: int) -> float:
    # Chunks of two one-sided windows meet twice in the scores (4 x 256 keys a query) and span three in the values.
    return encoder(padded(length, 512), (4 * 256 + 3 * 256) / 2)


def nystromformer(length: int) -> float:
    # Per query: five products with 64 landmarks and a convolution over 65 neighbours.
    return encoder(max(padded(length, 64), 128), (5 * 64 + 65) / 2)


def _waveform(frames: int) -> float:
    """Work of HuBERT's convolutional encoder and positional convolution for that many frames."""
    first = 64 * 512 * 10
    later = 512**2 * (3 * (32 + 16 + 8 + 4) + 2 * (2 + 1))
    positional = _WIDTH * (_WIDTH // 16) * 128
    return 2.0 * frames * (first + later + positional)


def hubert(length: int) -> float:
    return _waveform(length) + encoder(length, length)


def _l_hubert(length: int, *, context: int) -> float:
    return _waveform(length) + encoder(length, min(context + 1, length))


def l_hubert(context: int) -> Callable[[int], float]:
    """The work function of an L-HuBERT whose queries meet `context` neighbours and themselves, and nothing else."""
    return partial(_l_hubert, context=context)


def _l_hubert_in_chunks(length: int, *, side: int) -> float:
    return _waveform(length) + encoder(padded(length, 2 * side), (4 * side + 3 * side) / 2)


def l_hubert_in_chunks(side: int) -> Callable[[int], float]:
    """The same with overlapping chunks, for `side` neighbours on each side."""
    return partial(_l_hubert_in_chunks, side=side)


def vit(length: int) -> float:
    tokens = (length // 16) ** 2 + 1
    return 2.0 * tokens * _WIDTH * 3 * 16**2 + encoder(tokens, tokens)


def swin(length: int) -> float:
    work = 2.0 * (length // 4) ** 2 * 128 * 3 * 4**2
    for stage, depth in enumerate((2, 2, 18, 2)):
        width, side = 128 * 2**stage, math.ceil(length / 4 / 2**stage)
        tokens, window_tokens = side**2, padded(side, 7) ** 2
        attention = window_tokens * (8.0 * width**2 + 4.0 * 49 * width)
        merging = 4.0 * tokens * width**2 if stage < 3 else 0.0
        work += depth * (attention + 16.0 * tokens * width**2) + merging
    return work
