"""Image Transformer, 1-D local attention: blocks of queries look at their own block and at the positions around it.

Family: fixed pattern
Source: Parmar et al., "Image Transformer", ICML 2018, section 3.3, "1D Local Attention"
Equation: softmax over {j : b floor(i / b) - m <= j < b floor(i / b) + b + m}; in the causal form, the paper's, j <= i
Complexity: L * (block + 2 * memory)
Addresses: attention
Cannot: cross-attention
Limit: dense attention where block >= L
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyprof.models.zoo.blocks import Pattern, over_pattern
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention


class Image1d(Attention):
    """Blocks of `block` queries, and `memory` positions before them (and after them where the form is not causal)."""

    def __init__(self, config: ZooConfig, layer: int, *, block: int, memory: int) -> None:
        super().__init__(config, layer)
        self.block, self.memory = block, memory

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        starts = torch.arange(0, query.shape[2], self.block, device=query.device)[:, None]
        after = 0 if self.causal else self.memory
        around = torch.arange(-self.memory, self.block + after, device=query.device)
        pattern = Pattern(starts + around[self.memory : self.memory + self.block], starts + around)
        return over_pattern(query, key, value, pattern.causal() if self.causal else pattern, mask, self.rate)
