"""Performer with ReLU features and no random projection, as Long Range Arena ran it.

Family: low rank / kernel
Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, section 4 ("Performer-RELU"); the
    released code of Tay et al., "Long Range Arena", ICLR 2021
Equation: phi(q_i)^T sum_j phi(k_j) v_j^T / phi(q_i)^T sum_j phi(k_j) with phi(x) = max(x, 0) + 0.001
Complexity: L
Addresses: attention
Cannot: nothing
Limit: the quadratic form of the same similarity, whatever the order of products
"""

from __future__ import annotations

from torch import Tensor

from pyprof.models.zoo.kernels import by_features
from pyprof.models.zoo.parts import Attention

FLOOR = 1e-3


class PerformerRelu(Attention):
    """Linear attention with features max(x, 0) + 0.001."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        query, key = query.relu() + FLOOR, key.relu() + FLOOR
        if mask is not None:
            key = key * mask[:, None, :, None]
        return by_features(query, key, value, self.causal)
