from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from pyprof.errors import UsageError
from pyprof.models.blueprint import blueprint
from pyprof.models.registry import entry
from pyprof.models.verify import attention_modules, silent, verify_attention
from pyprof.ops import interface

INPUTS = ((torch.randn(1, 1, 4, 8),), {})


class Fused(nn.Module):
    def forward(self, tensor: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(tensor, tensor, tensor)


class Plain(nn.Module):
    def forward(self, tensor: Tensor) -> Tensor:
        return (tensor @ tensor.transpose(-1, -2)).softmax(-1) @ tensor


def test_the_output_is_returned_where_the_implementation_ran() -> None:
    assert verify_attention(Fused(), INPUTS, "sdpa", ["sdpa"]).shape == (1, 1, 4, 8)
    assert verify_attention(Plain(), INPUTS, "eager", ["eager"]).shape == (1, 1, 4, 8)


@pytest.mark.parametrize(("module", "asked"), [(Plain(), "sdpa"), (Fused(), "eager")])
def test_a_model_that_runs_something_else_is_refused(module: nn.Module, asked: str) -> None:
    with pytest.raises(UsageError, match=f"ignores attention implementation '{asked}': choose from one, two"):
        verify_attention(module, INPUTS, asked, ["one", "two"])


def test_a_registered_name_has_to_be_called_and_is_left_as_it_was() -> None:
    interface.install()
    registered = AttentionInterface()["chunks"]
    plan = blueprint(entry("l-hubert"), "tiny")
    inputs = ((torch.randn(1, 4000),), {})
    verify_attention(plan.build("chunks", 0).eval(), inputs, "chunks", ["chunks"])
    ignoring = blueprint(entry("nystromformer"), "tiny").build("chunks", 0)
    with pytest.raises(UsageError, match="NystromformerModel ignores attention implementation 'chunks'"):
        verify_attention(ignoring, ((torch.ones(1, 32, dtype=torch.long) * 5,), {}), "chunks", ["eager"])
    assert AttentionInterface()["chunks"] is registered


def test_the_innermost_attention_modules_are_found() -> None:
    paths = {
        "bert": ["encoder.layer.0.attention.self", "encoder.layer.1.attention.self"],
        "hubert": ["encoder.layers.0.attention", "encoder.layers.1.attention"],
        "longformer": ["encoder.layer.0.attention.self", "encoder.layer.1.attention.self"],
    }
    for name, expected in paths.items():
        module = blueprint(entry(name), "tiny").build("eager", 0)
        layers = attention_modules(module)
        assert list(layers) == expected
        assert silent(module, [layers[expected[0]]]) == expected[1:]
        assert silent(module, list(layers.values())) == []
    assert silent(Fused(), []) == ["Fused"]
