"""Charformer: characters are pooled to soft subwords before the first layer.

Family: downsampling
Source: Tay et al., "Charformer: Fast Character Transformers via Gradient-based Subword Tokenization", ICLR 2022,
    section 2
Equation: x^_i = sum_b softmax_b(F(X_b,i)) X_b,i over the means X_b,i of blocks of b characters, then means of d_s
    neighbours
Complexity: L * L / rate**2
Addresses: embedding
Cannot: autoregression, cross-attention
Limit: the plain embedding where the largest block and the rate are 1
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Embedding, positions_at


class Charformer(Embedding):
    """Blocks of 1 to `largest` characters, then one position for each `rate` of them.

    The layers above, and the hidden states that the encoder gives, have length / `rate` positions. The optional
    calibration of the block scores, which compares all positions, is left out, as is the convolution before.
    """

    CAUSAL = False

    def __init__(self, config: ZooConfig, *, largest: int, rate: int) -> None:
        super().__init__(config)
        self.largest, self.downsampling = largest, rate
        self.block_score = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        characters = self.tokens(tokens)
        hidden = self.subwords(characters + positions_at(places, characters), mask)
        pooled = means(hidden, mask, self.downsampling)
        left = None if mask is None else mask[:, :: self.downsampling]
        return self.dropout(pooled), left

    def subwords(self, characters: Tensor, mask: Tensor | None) -> Tensor:
        """For each character the mix of the blocks that it lies in, (batch, length, width)."""
        length = characters.shape[1]
        blocks = torch.stack(
            [
                means(characters, mask, size).repeat_interleave(size, dim=1)[:, :length]
                for size in range(1, self.largest + 1)
            ],
            dim=2,
        )
        weights = self.block_score(blocks).softmax(dim=2)
        return torch.sum(blocks * weights, dim=2)


def means(states: Tensor, mask: Tensor | None, size: int) -> Tensor:
    """The means of `size` neighbours, (batch, length / size, width), of tokens only."""
    there = torch.ones_like(states[:, :, :1]) if mask is None else mask[..., None].to(states.dtype)
    padding = (0, 0, 0, -states.shape[1] % size)
    sums, count = (
        torch.unflatten(functional.pad(each, padding), 1, (-1, size)).sum(dim=2) for each in (states * there, there)
    )
    return sums / count.clamp(min=1)
