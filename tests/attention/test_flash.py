"""FlashAttention as a peer: how it is asked for a window, shown by a stand-in that computes what it was asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyprof.attention import Problem, peers
from pyprof.attention.problem import make_inputs
from pyprof.errors import UsageError
from pyprof.ops.window_attention import window_attention


def stand_in(*arguments, window_size_left, window_size_right):
    """The operator's contract, after its schema: (batch, length, heads, head_dim), a window of neighbours."""
    query, key, value, *rest = arguments
    assert rest == [None, None, query.shape[1], query.shape[1], 0.0, False, False]
    asked = window_size_left, window_size_right
    output = window_attention(*(tensor.transpose(1, 2) for tensor in (query, key, value)), asked, impl="reference")
    return output.transpose(1, 2), torch.empty(0)


@pytest.mark.parametrize("window", [(3, 3), (5, 0), (1000, 1000)])
def test_the_window_and_the_layout_are_those_of_the_others(monkeypatch, window):
    monkeypatch.setattr(peers, "_flash_forward", stand_in)
    problem = Problem(40, window, batch=2, heads=3, head_dim=16, dtype="bfloat16")
    inputs = make_inputs(problem)
    [variant] = peers.find("flash", "cuda").variants(problem)
    output: Tensor = variant.attend(inputs.query, inputs.key, inputs.value)
    expected = window_attention(inputs.query, inputs.key, inputs.value, window, impl="reference")
    assert torch.equal(output, expected)


def test_the_operator_takes_what_it_is_given():
    schema = str(torch.ops.aten._flash_attention_forward.default._schema)
    order = ("query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q", "max_k", "dropout_p", "is_causal")
    places = [schema.index(f" {name}") if name != "query" else schema.index("query") for name in order]
    assert places == sorted(places)
    assert "window_size_left" in schema
    assert "window_size_right" in schema


def test_it_is_for_16_bits_on_a_card():
    assert "flash" in peers.names("cuda")
    with pytest.raises(UsageError, match="no implementation 'flash' on cpu"):
        peers.find("flash")
    with pytest.raises(NotImplementedError, match="16 bits"):
        list(peers.find("flash", "cuda").variants(Problem(40, (3, 3))))
