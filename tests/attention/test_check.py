"""The reference that everything is judged by: against PyTorch's dense attention, over windows, padding and blocks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from pyprof.attention import Problem, check
from pyprof.attention.check import Standard, dense
from pyprof.attention.problem import make_inputs
from pyprof.ops.window_attention import window_attention

WINDOWS = [(0, 0), (1, 0), (0, 3), (5, 5), (4, 9), (40, 40), (10**12, 10**12)]


def problem(window, dtype="float32", length=37):
    return Problem(length, window, batch=2, heads=3, head_dim=8, dtype=dtype)


def by_autograd(kernel, inputs, dtype):
    leaves = [tensor.to(dtype).requires_grad_() for tensor in (inputs.query, inputs.key, inputs.value)]
    output = kernel(*leaves, inputs.problem.window, key_lengths=inputs.key_lengths, scale=inputs.scale)
    gradients = torch.autograd.grad(output, leaves, inputs.grad_output.to(dtype))
    return dict(zip(("output", *check.GRADIENTS), (output.detach(), *gradients), strict=True))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("padded", [False, True])
def test_the_exact_result_is_that_of_plain_attention_and_autograd(right, monkeypatch, window, padded):
    monkeypatch.setattr(check, "_MOST_ROWS", 16)  # several blocks, the last one partial
    inputs = make_inputs(problem(window))
    if padded:
        # The second sequence has queries that see no key.
        inputs = replace(inputs, key_lengths=torch.tensor([37, 11]), scale=0.7)
    found, wanted = dense(inputs, torch.float64), by_autograd(right, inputs, torch.float64)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.parametrize("window", WINDOWS)
def test_the_first_keys_are_seen_beside_the_window(monkeypatch, window):
    monkeypatch.setattr(check, "_MOST_ROWS", 16)
    inputs = make_inputs(replace(problem(window), global_keys=3))
    inputs = replace(inputs, key_lengths=torch.tensor([37, 11]))
    found = dense(inputs, torch.float64)
    for count, alike in ((3, True), (2, False)):
        kernel = partial(window_attention, impl="reference", global_keys=count)
        wanted = by_autograd(kernel, inputs, torch.float64)
        near = [torch.allclose(found[name], tensor, atol=1e-10) for name, tensor in wanted.items()]
        covered = window[0] >= 36
        assert all(near) if alike or covered else not any(near)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("large", [False, True])
def test_plain_eager_attention_is_as_accurate_as_eager_is_said_to_be(right, dtype, large):
    inputs = make_inputs(problem((6, 6), dtype, length=100), large=large)
    found = Standard.of(inputs).judge(by_autograd(right, inputs, inputs.problem.torch_dtype))
    assert found.holds
    assert 0.3 < found.times_eager < 2


@pytest.mark.parametrize("window", [(5, 6), (6, 5), (7, 6), (6, 7), (0, 0)])
def test_a_wrong_window_is_not_accurate(right, window):
    inputs = make_inputs(problem((6, 6), "bfloat16"))
    output = right(inputs.query, inputs.key, inputs.value, window)
    assert not Standard.of(inputs).judge({"output": output}).holds


def test_a_value_that_is_no_number_is_infinitely_far_off(right):
    inputs = make_inputs(problem((3, 3)))
    output = right(inputs.query, inputs.key, inputs.value, (3, 3))
    output[1, 2, 36, 7] = torch.nan
    assert Standard.of(inputs).judge({"output": output}).error == float("inf")


def test_nothing_has_to_be_better_than_the_exact_result_rounded():
    inputs = make_inputs(problem((0, 0), "bfloat16"))  # each output is its value: eager makes no error at all
    standard = Standard.of(inputs)
    found = standard.judge({"output": standard.exact["output"].to(torch.bfloat16)})
    assert (found.error, found.eager, found.times_eager) == (0.0, 0.0, None)
    assert found.holds
