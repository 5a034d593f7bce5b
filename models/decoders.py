"""The decoders of the study of generation: one architecture, and four ways to keep the tokens before."""

from __future__ import annotations

from typing import Any

from transformers.models.mistral.configuration_mistral import MistralConfig
from transformers.models.mistral.modeling_mistral import MistralForCausalLM

from pyprof.models.blueprint import Blueprint
from pyprof.models.decoder_entries import HEADS, INNER, LAYERS, WIDTH, WINDOW, WORDS

_POSITIONS = 1 << 17


def _blueprint(size: str, *, shared: int, window: int | None = None) -> Blueprint:
    published: dict[str, Any] = {
        "vocab_size": WORDS,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": shared,
        "sliding_window": window,
    }
    tiny: dict[str, Any] = {"vocab_size": 128, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2}
    tiny |= {"sliding_window": None if window is None else 8}
    sizes = published | tiny if size == "tiny" else published
    # Rotary positions need no table, so that one more than the longest costs nothing.
    config: Any = MistralConfig(
        **sizes, max_position_embeddings=_POSITIONS + 1, tie_word_embeddings=True, use_cache=False
    )
    return Blueprint(MistralForCausalLM, config)


def decoder(size: str) -> Blueprint:
    """Keys and values for every head."""
    return _blueprint(size, shared=HEADS)


def decoder_grouped(size: str) -> Blueprint:
    """Grouped-query attention: three heads share their keys and values."""
    return _blueprint(size, shared=4)


def decoder_shared(size: str) -> Blueprint:
    """Multi-query attention: all heads share their keys and values."""
    return _blueprint(size, shared=1)


def decoder_window(size: str) -> Blueprint:
    """Sliding-window attention: of a long text only the last tokens are kept."""
    return _blueprint(size, shared=HEADS, window=WINDOW)
