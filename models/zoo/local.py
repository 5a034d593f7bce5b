"""Local blocks: a query looks at the keys of its own block.

Family: fixed pattern
Source: the local attention of Tay et al., "Long Range Arena", ICLR 2021; blocks as in Liu et al., "Generating Wikipedia
    by Summarizing Long Sequences", ICLR 2018, section 4.2.3
Equation: softmax over {j : floor(j / b) = floor(i / b)}
Complexity: L * block
Addresses: attention
Cannot: cross-attention
Limit: dense attention where block >= L
"""

from __future__ import annotations

from torch import Tensor

from pyprof.models.zoo.blocks import cut, present
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention
from pyprof.models.zoo.softmax import both, earlier, scores, weighted


class Local(Attention):
    """Blocks of `block` positions."""

    def __init__(self, config: ZooConfig, layer: int, *, block: int) -> None:
        super().__init__(config, layer)
        self.block = block

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        return local(query, key, value, self.block, mask, self.causal, self.rate)


def local(
    query: Tensor, key: Tensor, value: Tensor, block: int, mask: Tensor | None, causal: bool, dropout: float
) -> Tensor:
    """Attention within blocks."""
    length = query.shape[2]
    block = min(block, length)
    there = present(length, block, mask, query.device)
    seen = both(
        None if there is None else there[:, None, :, None, :], earlier(block, block, query.device) if causal else None
    )
    query, key, value = (cut(states, block) for states in (query, key, value))
    return weighted(scores(query, key), value, seen, dropout).flatten(2, 3)[:, :, :length]
