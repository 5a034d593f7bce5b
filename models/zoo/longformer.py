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

from pyprof.models.zoo.band import band_with_lse, lengths_of
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.softmax import of_keys, scores, weighted
from pyprof.models.zoo.window import Window


class Longformer(Window):
    """`window` neighbours on each side; the first `tokens` positions are global.

    No tensor holds length x length scores: the kernel's window and the few global columns are two softmaxes, joined by
    their sums of exponentials; the global rows are `tokens` x length.
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
        rows = self.split(self.global_query(hidden[:, :tokens]))
        keys, values = self.split(self.global_key(hidden)), self.split(self.global_value(hidden))
        first = weighted(scores(rows, keys), values, of_keys(mask), self.rate)
        others = self.attend(query, key, value, mask)
        return self.join(torch.cat((first, others[:, :, tokens:]), dim=2))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """The window and the global columns, for every query alike."""
        length, tokens = query.shape[2], min(self.tokens, query.shape[2])
        near, near_lse = band_with_lse(query, key, value, self.sides, lengths_of(mask), self.rate)
        places = torch.arange(length, device=query.device)
        beyond = (places[:, None] - places[:tokens]) > self.window
        if mask is not None:
            beyond = beyond & mask[:, None, None, :tokens]
        columns = scores(query, key[:, :, :tokens]).masked_fill(~beyond, torch.finfo(query.dtype).min)
        lse = torch.logaddexp(near_lse.to(query.dtype), columns.logsumexp(dim=-1)) if tokens else near_lse
        weights = functional.dropout(torch.exp(columns - lse[..., None]), self.rate)
        return near * torch.exp(near_lse - lse).to(query.dtype)[..., None] + weights @ value[:, :, :tokens]
