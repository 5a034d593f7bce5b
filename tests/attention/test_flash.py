"""FlashAttention as a peer: how it is asked for a window, shown by a stand-in that computes what it was asked for."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor

from pyprof.attention import Problem, peers
from pyprof.attention.problem import make_inputs
from pyprof.errors import UsageError
from pyprof.ops import flash
from pyprof.ops.arguments import checked
from pyprof.ops.window_attention import window_attention


def stand_in(*arguments, scale, window_size_left, window_size_right):
    """The operator's contract, after its schema: (batch, length, heads, head_dim), a window of neighbours."""
    query, key, value, *rest = arguments
    assert rest == [None, None, query.shape[1], query.shape[1], 0.0, False, False]
    asked = window_size_left, window_size_right
    tensors = [tensor.transpose(1, 2) for tensor in (query, key, value)]
    output = window_attention(*tensors, asked, scale=scale, impl="reference")
    return output.transpose(1, 2), torch.empty(0)


@pytest.mark.parametrize("window", [(3, 3), (5, 0), (1000, 1000)])
def test_the_window_and_the_layout_are_those_of_the_others(monkeypatch, window):
    monkeypatch.setattr(flash, "_forward", stand_in)
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
    assert "scale" in schema
    assert "window_size_left" in schema
    assert "window_size_right" in schema


def test_it_is_an_implementation_like_the_others(monkeypatch):
    operator = importlib.import_module("pyprof.ops.window_attention")
    monkeypatch.setattr(operator, "resolve_impl", lambda impl, query: impl)
    monkeypatch.setattr(flash, "_forward", stand_in)
    query, key, value = (torch.randn(1, heads, 30, 16).bfloat16() for heads in (4, 2, 2))
    output = window_attention(query, key, value, 4, scale=-0.3, impl="flash")
    assert torch.equal(output, window_attention(query, key, value, (4, 4), scale=-0.3, impl="reference"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": torch.float32}, "query is torch.float32 and impl 'flash' takes bfloat16, float16: convert"),
        ({"head_dim": 12}, "head_dim 12, and impl 'flash' takes multiples of 8 up to 256.*impl='sdpa'"),
        ({"head_dim": 264}, "head_dim 264"),
        ({"key_lengths": torch.tensor([3])}, "impl 'flash' has no key lengths"),
        ({"global_keys": 1}, "impl 'flash' has no global keys"),
    ],
)
def test_its_limits_are_sentences(changes, message):
    given = {"dtype": torch.bfloat16, "head_dim": 16, "key_lengths": None, "global_keys": 0} | changes
    tensors = (torch.zeros(1, 2, 5, given["head_dim"], dtype=given["dtype"]),) * 3
    with pytest.raises(UsageError, match=message):
        checked(tensors, (1, 1), given["key_lengths"], None, 0.0, "flash", given["global_keys"])


def test_it_is_for_16_bits_on_a_card():
    assert "flash" in peers.names("cuda")
    with pytest.raises(UsageError, match="no implementation 'flash' on cpu"):
        peers.find("flash")
    with pytest.raises(NotImplementedError, match="16 bits"):
        list(peers.find("flash", "cuda").variants(Problem(40, (3, 3))))
