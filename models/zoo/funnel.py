"""Funnel-Transformer: queries are pooled between blocks of layers, and the output is stretched again.

Family: downsampling
Source: Dai et al., "Funnel-Transformer: Filtering out Sequential Redundancy for Efficient Language Processing", NeurIPS
    2020, section 2
Equation: the first layer of a block is Attention(Q = pool(h), K = V = h); at the end g = h_1 + up(h_M)
Complexity: L * L
Addresses: attention, feed-forward
Cannot: autoregression, cross-attention
Limit: the plain stack with dense attention where there is one block
"""

from __future__ import annotations

from torch import Tensor

from pyprof.models.zoo.charformer import means
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.dense import Dense
from pyprof.models.zoo.encoder import Layer, Stack


class Pooled(Dense):
    """Dense attention whose queries may be shorter than its keys."""

    def across(self, shorter: Tensor, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Context of pooled queries, (batch, shorter, width)."""
        key, value = self.split(self.key(hidden)), self.split(self.value(hidden))
        return self.join(self.attend(self.split(self.query(shorter)), key, value, mask))


class Funnel(Stack):
    """The layers in `blocks` blocks, each with half as many positions as the one before.

    The output has the sequence's length: the last block's states are repeated and added to the first block's. The
    decoder's layers that follow in the paper are left out.
    """

    CAUSAL = False

    def __init__(self, config: ZooConfig, *, blocks: int) -> None:
        super().__init__(config, Pooled)
        self.each = -(-config.num_hidden_layers // blocks)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        first, length = hidden, hidden.shape[1]
        for depth, layer in enumerate(self.layers):
            if depth % self.each == 0 and depth and isinstance(layer, Layer):
                hidden, mask = self._pooled(layer, hidden, mask)
            else:
                hidden = layer(hidden, mask)
            if depth < self.each:
                first = hidden
        times = -(-length // hidden.shape[1])
        if times == 1:
            return hidden
        rate = 2 ** (-(-len(self.layers) // self.each) - 1)
        return first + hidden.repeat_interleave(rate, dim=1)[:, :length]

    def _pooled(self, layer: Layer, hidden: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The first layer of a block: half as many queries, which look at all states."""
        shorter = means(hidden, mask, 2)
        attention = layer.attention
        assert isinstance(attention, Pooled)
        context = attention.across(layer.attention_norm(shorter), layer.attention_norm(hidden), mask)
        left = None if mask is None else mask[:, ::2]
        return layer.fed(shorter + layer.dropout(context), left), left
