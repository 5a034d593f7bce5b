from __future__ import annotations

import pytest
import torch

from pyprof.attention import measure


@pytest.fixture(autouse=True)
def small_limit(monkeypatch):
    """A matrix product that takes no time worth mentioning."""
    monkeypatch.setattr(measure, "LIMIT_SIZE", 64)


def masked(query, key, value, window, key_lengths=None, scale=None):
    """A right kernel: plain attention under a mask."""
    position = torch.arange(query.shape[2])
    ahead = position - position[:, None]
    visible = ((ahead >= -window[0]) & (ahead <= window[1]))[None, None]
    if key_lengths is not None:
        visible = visible & (position < key_lengths[:, None])[:, None, None]
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    weights = scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(~visible, 0.0)
    return weights @ value


@pytest.fixture
def right():
    return masked
