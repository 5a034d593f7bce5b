"""What the in-place conversion touches of fairseq's HuBERT, for machines without fairseq.

The modules have fairseq's names and its layout (length, batch, channels); the attention is written out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """fairseq's dropout, which may stay on outside of training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.apply_during_inference = False


class Attention(nn.Module):
    """Multi-head attention over (length, batch, channels) in fairseq's words."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.scaling = heads, (width // heads) ** -0.5
        self.dropout_module = Dropout(0.1)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(width, width))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, None]:
        return attend(self, query, None, key_padding_mask), None


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn, self.fc1 = Attention(width, heads), nn.Linear(width, width)

    def forward(self, x: Tensor, padding_mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(query=x, key=x, value=x, key_padding_mask=padding_mask, need_weights=False)[0]
        return x + self.fc1(x).relu()


class Hubert(nn.Module):
    """Behind the convolutions: (batch, length, channels) in, the same shape out."""

    def __init__(self, width: int = 32, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.feature_extractor, self.mask_emb = nn.Identity(), nn.Parameter(torch.zeros(width))
        self.encoder = nn.Module()
        self.encoder.pos_conv = nn.Sequential()
        self.encoder.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        x = x.transpose(0, 1)
        for layer in self.encoder.layers:
            x = layer(x, padding_mask)
        return x.transpose(0, 1)


def attend(layer: Any, x: Tensor, window: tuple[int, int] | None, padding_mask: Tensor | None) -> Tensor:
    """Attention of one layer with every score formed, in a window where there is one."""
    length, batch, width = x.shape
    heads = [
        projection(x).reshape(length, batch, layer.num_heads, -1).permute(1, 2, 0, 3)
        for projection in (layer.q_proj, layer.k_proj, layer.v_proj)
    ]
    scores = layer.scaling * heads[0] @ heads[1].transpose(2, 3)
    if window is not None:
        distance = torch.arange(length)[None] - torch.arange(length)[:, None]
        scores = scores.masked_fill((distance < -window[0]) | (distance > window[1]), float("-inf"))
    if padding_mask is not None:
        scores = scores.masked_fill(padding_mask[:, None, None], float("-inf"))
    weights = scores.softmax(dim=-1).nan_to_num()
    return layer.out_proj((weights @ heads[2]).permute(2, 0, 1, 3).reshape(length, batch, width))
