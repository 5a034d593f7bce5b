"""Dense attention: every query looks at every key.

Family: full attention
Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.2.1, "Scaled Dot-Product Attention"
Equation: softmax(Q K^T / sqrt(d)) V
Complexity: L * L
Addresses: attention
Cannot: nothing
Limit: it is what the others are compared with
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention
from pyprof.models.zoo.softmax import both, earlier, of_keys, scores, weighted


class Dense(Attention):
    """Dense attention, by PyTorch's fused operator or in plain tensor operations as the configuration says."""

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        self._config = config

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        queries, keys = query.shape[2], key.shape[2]
        seen = both(of_keys(mask), earlier(queries, keys, query.device) if self.causal else None)
        if self._config._attn_implementation == "sdpa":
            return functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=self.rate)
        return weighted(scores(query, key), value, seen, self.rate)
