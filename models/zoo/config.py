"""The shape of the zoo's encoder and the mechanism in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The shapes of Long Range Arena's byte-level text task (Tay et al., ICLR 2021): base as in the paper's appendix, small
# as in the released configuration. `tiny` is for trials.
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "base": {"hidden_size": 512, "num_attention_heads": 8, "num_hidden_layers": 6, "intermediate_size": 2048},
    "small": {"hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 4, "intermediate_size": 1024},
    "tiny": {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 64},
}


@dataclass
class ZooConfig:
    """An encoder: its shape, and the mechanism `attention` with its options.

    `max_position_embeddings` is the length up to which parameters that belong to positions are made; where a model is
    loaded for longer inputs their rows are repeated. `causal`: no position sees a later one.
    """

    attention: str = "dense"
    options: Mapping[str, float] = field(default_factory=dict)
    hidden_size: int = 512
    num_attention_heads: int = 8
    num_hidden_layers: int = 6
    intermediate_size: int = 2048
    vocab_size: int = 257
    pad_token_id: int = 0
    max_position_embeddings: int = 512
    dropout: float = 0.1
    causal: bool = False
    layer_norm_eps: float = 1e-6
    model_type: str = "zoo"
    _attn_implementation: str = "eager"
