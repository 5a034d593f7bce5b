"""Two encoders for bench/gate_pairs.py: one of many tiny parallel regions, one of the published base size.

PLANTED_ROUNDS in the environment is JSON: how many rounds of arithmetic a step of each model does beside its own work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel

Factory = tuple[nn.Module, Callable[[int, int], tuple[torch.Tensor]]]
VARIABLE = "PLANTED_ROUNDS"
WORDS = 1000


class Encoder(nn.Module):
    """BERT with so many rounds of arithmetic behind each forward."""

    def __init__(self, name: str, config: BertConfig) -> None:
        super().__init__()
        self.bert = BertModel(config, add_pooling_layer=False)
        self.rounds = json.loads(os.environ.get(VARIABLE, "{}")).get(name, 0)

    def forward(self, tokens: torch.Tensor) -> Any:
        from pyprof.timing.planted import Work

        encoded = self.bert(tokens).last_hidden_state
        if self.rounds:
            Work(self.rounds)()
        return encoded


def _made(name: str, **sizes: int) -> Factory:
    config = BertConfig(vocab_size=WORDS, **sizes)
    return Encoder(name, config), lambda length, batch: (torch.randint(WORDS, (batch, length)),)


def tiny() -> Factory:
    """Six layers of width 64: hundreds of parallel regions of some microseconds each."""
    return _made("tiny", hidden_size=64, num_hidden_layers=6, num_attention_heads=2, intermediate_size=256)


def base() -> Factory:
    """Twelve layers of width 768."""
    return _made("base", hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072)
