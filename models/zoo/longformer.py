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

from torch import Tensor, nn

from pyprof.models.zoo.band import band, kernel, lengths_of
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.window import Window
from pyprof.ops.global_attention import global_attention


class Longformer(Window):
    """`window` neighbours on each side; the first `tokens` positions are global.

    No tensor holds length x length scores: see `global_attention`.
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
        tokens = min(self.tokens, hidden.shape[1])
        if tokens == 0:
            return self.join(self.attend(query, key, value, mask))
        rows = self.split(self.global_query(hidden[:, :tokens]))
        keys, values = self.split(self.global_key(hidden)), self.split(self.global_value(hidden))
        context = global_attention(
            *(query, key, value, rows, keys, values),
            window=self.sides,
            key_lengths=lengths_of(mask),
            dropout_p=self.rate,
            impl=kernel(query),
        )
        return self.join(context)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """The window and the global columns, for queries that are not global."""
        return band(query, key, value, self.sides, lengths_of(mask), self.rate, self.tokens)
