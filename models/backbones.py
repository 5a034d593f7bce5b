"""An encoder-decoder of L + L layers, a decoder of 2 L, and that decoder on bytes: the same budget of layers.

Each function is a factory: it returns the model with random weights and what makes its inputs, where its configuration
does not tell.
"""

from __future__ import annotations

from typing import Any

from torch import nn

LAYERS, WIDTH, HEADS, SUBWORDS, BYTES = 6, 512, 8, 32_000, 256


def encoder_decoder() -> nn.Module:
    """T5's architecture (Raffel et al., JMLR 2020): the length is that of the source and of the target."""
    from transformers import T5Config, T5Model

    config: Any = T5Config(
        vocab_size=SUBWORDS,
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=4 * WIDTH,
        num_layers=LAYERS,
        num_heads=HEADS,
        dropout_rate=0.0,
    )
    module: nn.Module = T5Model(config)
    return module


def _decoder(vocabulary: int) -> nn.Module:
    from transformers import GPT2Config, GPT2Model

    config: Any = GPT2Config(
        vocab_size=vocabulary,
        n_positions=8192,
        n_embd=WIDTH,
        n_layer=2 * LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    module: nn.Module = GPT2Model(config)
    return module


def decoder() -> nn.Module:
    """GPT-2's architecture with as many layers as both parts of the encoder-decoder, on subwords."""
    return _decoder(SUBWORDS)


def byte_decoder() -> nn.Module:
    """The same on bytes, of which a text has about four for each subword (Xue et al., ByT5, TACL 2022)."""
    return _decoder(BYTES)
