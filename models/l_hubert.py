"""L-HuBERT: HuBERT whose self-attention sees a window of neighbours only (Diwan, Choi, Harwath, ACL 2023)."""

from __future__ import annotations

from transformers.models.hubert.modeling_hubert import HubertModel

from pyprof.models.attention import window
from pyprof.models.blueprint import Blueprint
from pyprof.models.speech import hubert_config


def context_32(size: str) -> Blueprint:
    """A window of 16 neighbours on each side."""
    return _l_hubert(size, 16)


def context_100(size: str) -> Blueprint:
    """A window of 50 neighbours on each side."""
    return _l_hubert(size, 50)


def _l_hubert(size: str, side: int) -> Blueprint:
    window.install()
    return Blueprint(HubertModel, hubert_config(size, window=(side, side)))
