"""The short way from Python to the operator, and who still hears of a call."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from naive_attention import Problem

from pyprof.ops.window_attention import window_attention, window_attention_with_lse

FORWARD = torch.ops.pyprof.window_attention.default


class Listener(torch.overrides.TorchFunctionMode):
    def __init__(self):
        self.heard = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.heard.append(function)
        return function(*args, **(kwargs or {}))


class Heard(torch.Tensor):
    functions: ClassVar[list[object]] = []

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.functions.append(function)
        return super().__torch_function__(function, types, args, kwargs or {})


@pytest.mark.parametrize("call", [window_attention, window_attention_with_lse])
def test_modes_and_tensors_that_want_to_hear_of_a_call_do(call):
    tensors = Problem((2, 3)).tensors()
    with Listener() as listener:
        call(*tensors, (2, 3))
    assert FORWARD in listener.heard
    Heard.functions.clear()
    call(tensors[0].as_subclass(Heard), *tensors[1:], (2, 3))
    assert FORWARD in Heard.functions


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window": [2, 3]},
        {"window": 3, "scale": 1},
        {"window": (2**70, 0), "scale": -0.3},
        {"key_lengths": torch.tensor([11])},
        {"dropout_p": 0.25},
        {"impl": "reference"},
        {"global_keys": 3},
    ],
    ids=str,
)
def test_the_short_way_gives_what_torch_ops_does(options):
    query, key, value = Problem((2, 3), heads=4, key_heads=2).tensors()
    given = {"window": (2, 3), **options}
    torch.manual_seed(3)
    short = window_attention_with_lse(query, key, value, **given)
    torch.manual_seed(3)
    with Listener() as listener:
        long = window_attention_with_lse(query, key, value, **given)
    assert FORWARD in listener.heard
    assert all(map(torch.equal, short, long))
