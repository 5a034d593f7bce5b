"""A user's own kernel: right ones are let in, wrong ones are refused in one sentence that says how far off they are."""

from __future__ import annotations

import pytest
import torch

from pyprof.attention import Problem, kernel
from pyprof.attention.kernel import Kernel, check
from pyprof.errors import UsageError

PROBLEMS = [Problem(500, (6, 6), head_dim=8), Problem(500, (4, 0), head_dim=8)]


def refused(function, problems=PROBLEMS, backward=False, **options):
    with pytest.raises(UsageError) as caught:
        check(Kernel.of("mine:kernel", function), problems, backward=backward, **options)
    message = str(caught.value)
    assert message.startswith("the kernel mine:kernel is wrong: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_right_kernel_is_let_in(right, dtype):
    problems = [Problem(90, window, head_dim=8, dtype=dtype) for window in ((6, 6), (3, 0), (900, 900))]
    check(Kernel.of("mine:kernel", right), problems, backward=True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda left, right: (left - 1, right - 1), "(5, 5)"),
        (lambda left, right: (left // 2, right // 2), "(3, 3)"),
        (lambda left, right: (left + 1, right + 1), "(7, 7)"),
        (lambda left, right: (left, 0), "(6, 0)"),
        (lambda left, right: (10**6, 10**6), "dense attention without a window"),
    ],
)
def test_another_convention_of_windows_is_named(right, changed, said):
    message = refused(lambda query, key, value, window: right(query, key, value, changed(*window)))
    assert "off by" in message
    assert "(6, 6) means so many neighbours on each side" in message
    assert said in message


def test_how_far_off_it_is_stands_in_the_message(right):
    message = refused(lambda query, key, value, window: right(query, key, value, window) + 0.25)
    assert "its output is off by 0.25 from dense attention in float64" in message
    assert "is allowed" in message


def test_a_softmax_that_overflows_is_found_by_large_scores(right):
    def naive(query, key, value, window):
        position = torch.arange(query.shape[2])
        ahead = position - position[:, None]
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        weights = scores.exp() * ((ahead >= -window[0]) & (ahead <= window[1]))
        return weights @ value / weights.sum(-1, keepdim=True)

    assert "off by inf" in refused(naive)


def test_gradients_are_checked_where_backward_is_compared(right):
    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(context, tensor):
            return tensor.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient / 2

    def function(query, key, value, window):
        return right(query, Halved.apply(key), value, window)

    check(Kernel.of("mine:kernel", function), PROBLEMS, backward=False)
    assert "its grad_key is off by" in refused(function, backward=True)
    message = refused(lambda query, key, value, window: right(query, key, value.detach(), window), backward=True)
    assert "no grad_value" in message


def test_keywords_are_checked_where_they_are_taken(right):
    def no_keywords(query, key, value, window):
        return right(query, key, value, window)

    def all_keys(query, key, value, window, key_lengths=None):
        return right(query, key, value, window)

    def own_scale(query, key, value, window, scale=None):
        return right(query, key, value, window)

    check(Kernel.of("mine:kernel", no_keywords), PROBLEMS, backward=False)
    assert "key lengths [" in refused(all_keys)
    assert "scale 0.3" in refused(own_scale)


def test_an_unwritten_output_does_not_inherit_what_was_right(right):
    def forgets(query, key, value, window):
        output = torch.empty_like(query)
        output[:, :, :-1] = right(query, key, value, window)[:, :, :-1]
        return output

    refused(forgets)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda output: output.transpose(1, 2), "shape"),
        (lambda output: output.double(), "float64"),
        (lambda output: (output, None), "tuple"),
    ],
)
def test_what_is_returned_has_to_be_an_output(right, changed, said):
    assert said in refused(lambda query, key, value, window: changed(right(query, key, value, window)))


def test_changing_the_inputs_is_refused(right):
    def function(query, key, value, window):
        return right(query.mul_(query.shape[-1] ** -0.5), key, value, window, scale=1.0)

    assert "changes its inputs" in refused(function)


def test_a_less_exact_kernel_is_let_in_on_demand(right):
    def rough(query, key, value, window):
        return right(query, key, value, window) * (1 + 1e-4)

    refused(rough)
    check(Kernel.of("mine:kernel", rough), PROBLEMS, backward=False, tolerance=1000.0)


def test_what_a_kernel_cannot_do_is_left_to_the_comparison(right):
    def picky(query, key, value, window):
        if query.dtype != torch.float32:
            raise NotImplementedError("float32 only")
        with torch.no_grad():
            return right(query, key, value, window)

    problems = [*PROBLEMS, Problem(500, (6, 6), dtype="bfloat16", head_dim=8)]
    check(Kernel.of("mine:kernel", picky), problems, backward=True)


def test_loading_finds_the_current_directory_and_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_kernel.py").write_text(
        "def attend(query, key, value, window, *, scale=None): return query\nx = 1\n"
    )
    (tmp_path / "broken_kernel.py").write_text("raise RuntimeError('no compiler here')\n")
    found = kernel.load("own_kernel:attend")
    assert found.keywords == {"scale"}
    for name, words in {
        "own_kernel": "package.module:function",
        "own_kernel:x": "no function 'x'",
        "own_kernel:y": "no function 'y'",
        "broken_kernel:attend": "no compiler here",
        "missing_kernel:attend": "missing_kernel",
    }.items():
        with pytest.raises(UsageError, match=words):
            kernel.load(name)
