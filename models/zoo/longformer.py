"""Longformer: a sliding window, and global tokens that see and are seen by every token.

Family: global memory
Source: Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020 (arXiv:2004.05150), section 3.1
Equation: softmax over {j : |i - j| <= w or j < g}; a global query i < g looks at all keys, with projections of its own
Complexity: L * (2 * window + 1 + 2 * tokens)
Addresses: attention
Cannot: autoregression, cross-attention
Limit: the sliding window where tokens = 0; dense attention of the global queries where tokens = L
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyprof.models.zoo.band import band, lengths_of
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.softmax import of_keys
from pyprof.models.zoo.window import Window


class Longformer(Window):
    """`window` neighbours on each side; the first `tokens` positions are global.

    No tensor holds length x length scores: one kernel does the window and the global columns, and the global rows are
    `tokens` x length.
    """

    CAUSAL = False

    def __init__(self, config: ZooConfig, layer: int, *, window: int, tokens: int) -> None:
        super().__init__(config, layer, window=window)
        self.tokens = tokens
        self.global_query = nn.Linear(config.hidden_size, config.hidden_size)
        self.global_key = nn.Linear(config.hidden_size, config.hidden_size)
        self.global_value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        query, key, value = (self.split(project(hidden)) for project in (self.query, self.key, self.value))
        others = self.attend(query, key, value, mask)
        tokens = min(self.tokens, hidden.shape[1])
        if tokens == 0:
            return self.join(others)
        rows = self.split(self.global_query(hidden[:, :tokens]))
        keys, values = self.split(self.global_key(hidden)), self.split(self.global_value(hidden))
        return self.join(with_rows(others, rows, keys, values, mask, self.rate))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """The window and the global columns, for queries that are not global."""
        return band(query, key, value, self.sides, lengths_of(mask), self.rate, self.tokens)


def with_rows(
    others: Tensor, rows: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float = 0.0
) -> Tensor:
    """`others`, whose first queries are replaced by global ones, `rows`, which see everything.

    Tensors are (batch, heads, length, head_dim), a padding mask is (batch, length).
    """
    first = functional.scaled_dot_product_attention(rows, key, value, of_keys(mask), dropout)
    # In a model's layout, which is that of the kernel's output.
    joined = torch.cat((first.transpose(1, 2), others.transpose(1, 2)[:, rows.shape[2] :]), dim=1)
    return joined.transpose(1, 2)
