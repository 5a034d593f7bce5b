"""Linear Transformer: the softmax's similarity is replaced by a product of elu(x) + 1.

Family: low rank / kernel
Source: Katharopoulos et al., "Transformers are RNNs", ICML 2020, sections 3.2 and 3.3
Equation: phi(q_i)^T sum_j phi(k_j) v_j^T / phi(q_i)^T sum_j phi(k_j) with phi(x) = elu(x) + 1
Complexity: L
Addresses: attention
Cannot: nothing
Limit: the quadratic form of the same similarity, whatever the order of products
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from pyprof.models.zoo.kernels import by_features
from pyprof.models.zoo.parts import Attention


class Linear(Attention):
    """Linear attention; there are no weights that could be dropped."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        query, key = functional.elu(query) + 1, functional.elu(key) + 1
        if mask is not None:
            key = key * mask[:, None, :, None]
        return by_features(query, key, value, self.causal)
