"""Set Transformer: attention through a few induced points.

Family: global memory
Source: Lee et al., "Set Transformer", ICML 2019, section 3.1
Equation: Attention(X, H, H) with H = Attention(I, X, X); the blocks' own feed-forward parts and
    normalisations are the encoder's
Complexity: L * 2 * points
Addresses: attention
Cannot: autoregression
Limit: with one point all positions have the same context, which is that point's attention to the whole sequence
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention
from pyprof.models.zoo.softmax import of_keys, scores, weighted


class SetTransformer(Attention):
    """`points` learned vectors gather the sequence, and every position reads what they gathered."""

    CAUSAL = False

    def __init__(self, config: ZooConfig, layer: int, *, points: int) -> None:
        super().__init__(config, layer)
        self.points = nn.Parameter(torch.empty(1, points, config.hidden_size))
        nn.init.normal_(self.points)
        self.point_query = nn.Linear(config.hidden_size, config.hidden_size)
        self.gathered_key = nn.Linear(config.hidden_size, config.hidden_size)
        self.gathered_value = nn.Linear(config.hidden_size, config.hidden_size)
        self.gathered_output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        gathered = self.gather(hidden, mask)
        keys, values = self.split(self.gathered_key(gathered)), self.split(self.gathered_value(gathered))
        return self.join(weighted(scores(self.split(self.query(hidden)), keys), values, None, self.rate))

    def gather(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """What the points take from the sequence, (batch, points, width)."""
        query = self.split(self.point_query(self.points))
        key, value = self.split(self.key(hidden)), self.split(self.value(hidden))
        context = weighted(scores(query, key), value, of_keys(mask), self.rate)
        gathered: Tensor = self.gathered_output(context.transpose(1, 2).flatten(2))
        return gathered
