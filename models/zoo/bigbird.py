"""BigBird: blocks of a window, of random places and of the sequence's beginning, which is global.

Family: global memory
Source: Zaheer et al., "Big Bird: Transformers for Longer Sequences", NeurIPS 2020, section 2 and appendix D
Equation: softmax over the keys of a query's own block and its two neighbours, of the first block, and of r random
    blocks; the queries of the first block look at all keys
Complexity: L * block * (5 + random)
Addresses: attention
Cannot: autoregression, cross-attention
Limit: dense attention where there are at most four blocks, or where the random ones are all that is left
"""

from __future__ import annotations

from functools import cache
from random import Random

import torch
from torch import Tensor

from pyprof.models.zoo.blocks import Pattern, over_pattern
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention
from pyprof.models.zoo.softmax import of_keys, scores, weighted


class BigBird(Attention):
    """`random` random blocks of `block` positions for each block of queries, drawn for the fitted length.

    Each layer has random blocks of its own. The global block is an existing one (the paper's internal construction);
    the published code has the last one too, which would depend on the padding.
    """

    CAUSAL = False

    def __init__(self, config: ZooConfig, layer: int, *, block: int, random: int) -> None:
        super().__init__(config, layer)
        self.block, self.random = block, random
        self._fitted = 0

    def fit(self, length: int) -> None:
        self._fitted = length

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        length, block = query.shape[2], self.block
        first = weighted(scores(query[:, :, :block], key), value, of_keys(mask), self.rate)
        if length <= block:
            return first
        blocks = -(-max(length, self._fitted) // block)
        chosen = torch.tensor(block_pattern(blocks, self.random, self.layer), device=query.device)
        inside = torch.arange(block, device=query.device)
        rows = torch.arange(1, blocks, device=query.device)[:, None] * block + inside
        columns = (chosen[1:, :, None] * block + inside).masked_fill(chosen[1:, :, None] < 0, -1).flatten(1)
        needed = -(-length // block) - 1
        # The first block's rows are not among those of the pattern, whose positions begin behind them.
        pattern = Pattern(rows[:needed] - block, columns[:needed])
        others = over_pattern(query[:, :, block:], key, value, pattern, mask, self.rate)
        return torch.cat((first, others), dim=2)


@cache
def block_pattern(blocks: int, random: int, seed: int) -> list[list[int]]:
    """The blocks that each block looks at: the first, itself with its neighbours, and random others; -1 for none."""
    draw = Random(seed)
    chosen = []
    for own in range(blocks):
        near = sorted({0, *range(max(own - 1, 0), min(own + 2, blocks))})
        # Few are drawn of many, so that most draws are new.
        wanted, picked = min(random, blocks - len(near)), set[int]()
        while len(picked) < wanted:
            each = draw.randrange(blocks)
            if each not in near:
                picked.add(each)
        columns = near + sorted(picked)
        chosen.append(columns + [-1] * (4 + random - len(columns)))
    return chosen
