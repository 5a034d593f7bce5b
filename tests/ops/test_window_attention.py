from __future__ import annotations

import warnings

import pytest
import torch
from naive_attention import PROBLEMS, Problem, naive_attention, visible, with_gradients
from torch.nn import functional
from torch.nn.attention.flex_attention import flex_attention

import pyprof
from pyprof.errors import UsageError
from pyprof.ops import flex
from pyprof.ops.window_attention import IMPLEMENTATIONS, resolve_impl, window_attention, window_attention_with_lse

ON_HOST = ("reference", "cpu", "sdpa", "flex", "chunks")
NATIVE_ON_HOST = ("reference", "cpu")
BACKWARD_ON_HOST = ("reference", "cpu", "sdpa", "chunks")


@pytest.fixture
def interpreted_flex(monkeypatch):
    """FlexAttention without its compilation, which takes seconds for every shape: the mask is what is ours."""
    monkeypatch.setattr(flex, "_compiled", lambda: flex_attention)


def cases(impls: tuple[str, ...]) -> list:
    """All problems for each implementation that can do them; three are enough for the slow interpreted flex."""
    found = []
    for impl in impls:
        for problem in PROBLEMS[5::3] if impl == "flex" else PROBLEMS:
            left, right = (min(side, max(problem.length - 1, 1)) for side in problem.window)
            if impl != "chunks" or left == right > 0:
                found.append(pytest.param(impl, problem, id=f"{impl}-{problem}"))
    return found


def check_forward(impl: str, problem: Problem, window: tuple[int, int], **options) -> None:
    """Equal to the definition under the problem's own window; `window` is what the implementation is told."""
    tensors = problem.tensors()
    expected, _ = naive_attention(*(tensor.double() for tensor in tensors), visible(problem))
    output = window_attention(*tensors, window, problem.lengths(), impl=impl, **options)
    torch.testing.assert_close(output.double(), expected, atol=2e-6, rtol=2e-5)


def check_backward(impl: str, problem: Problem, window: tuple[int, int]) -> None:
    tensors, seen, lengths = problem.tensors(), visible(problem), problem.lengths()
    ours = with_gradients(lambda q, k, v: window_attention(q, k, v, window, lengths, impl=impl), tensors)
    exact = tuple(tensor.double() for tensor in tensors)
    expected = with_gradients(lambda q, k, v: naive_attention(q, k, v, seen)[0], exact)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=5e-6, rtol=5e-5)


@pytest.mark.usefixtures("interpreted_flex")
@pytest.mark.parametrize(("impl", "problem"), cases(ON_HOST))
def test_equals_the_definition(impl, problem):
    check_forward(impl, problem, problem.window)


@pytest.mark.parametrize(("impl", "problem"), cases(BACKWARD_ON_HOST))
def test_gradients_equal_the_definition(impl, problem):
    check_backward(impl, problem, problem.window)


@pytest.mark.usefixtures("interpreted_flex")
@pytest.mark.parametrize("wrong", [(3, 4), (5, 4), (4, 3), (4, 5)])
@pytest.mark.parametrize("impl", ["reference", "cpu", "sdpa", "flex"])
def test_the_check_sees_a_window_that_is_wrong_by_one(impl, wrong):
    problem = Problem((4, 4), length=32, head_dim=64)
    check_forward(impl, problem, (4, 4))
    with pytest.raises(AssertionError, match="not close"):
        check_forward(impl, problem, wrong)


@pytest.mark.parametrize("wrong", [(3, 4), (5, 4), (4, 3), (4, 5)])
@pytest.mark.parametrize("impl", NATIVE_ON_HOST)
def test_the_check_of_gradients_sees_a_window_that_is_wrong_by_one(impl, wrong):
    problem = Problem((4, 4), length=32, head_dim=64)
    check_backward(impl, problem, (4, 4))
    with pytest.raises(AssertionError, match="not close"):
        check_backward(impl, problem, wrong)


@pytest.mark.parametrize("impl", ["reference", "cpu", "sdpa", "chunks"])
def test_the_check_sees_key_lengths_that_are_wrong_by_one(impl):
    problem = Problem((4, 4), batch=2, length=32, key_lengths=(20, 31))
    tensors = problem.tensors()
    expected, _ = naive_attention(*(tensor.double() for tensor in tensors), visible(problem))
    for lengths in ((21, 31), (20, 30)):
        output = window_attention(*tensors, (4, 4), torch.tensor(lengths), impl=impl)
        assert (output - expected).abs().max() > 1e-2


@pytest.mark.usefixtures("interpreted_flex")
@pytest.mark.parametrize("impl", ON_HOST)
@pytest.mark.parametrize("length", [1, 17, 64])
def test_a_window_over_everything_is_dense_attention(impl, length):
    query, key, value = Problem((0, 0), batch=2, length=length, head_dim=32).tensors()
    expected = functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(window_attention(query, key, value, (length, length), impl=impl), expected)
    if impl != "chunks":
        causal = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        torch.testing.assert_close(window_attention(query, key, value, (length, 0), impl=impl), causal)


@pytest.mark.parametrize("impl", NATIVE_ON_HOST)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_log_sum_exp(impl, problem):
    tensors = problem.tensors()
    output, lse = window_attention_with_lse(*tensors, problem.window, problem.lengths(), impl=impl)
    expected_output, expected = naive_attention(*(tensor.double() for tensor in tensors), visible(problem))
    assert lse.dtype == torch.float32
    torch.testing.assert_close(lse.double(), expected, atol=2e-6, rtol=2e-6)
    torch.testing.assert_close(output.double(), expected_output, atol=2e-6, rtol=2e-5)


@pytest.mark.usefixtures("interpreted_flex")
@pytest.mark.parametrize("impl", ON_HOST)
def test_a_query_without_any_key_gives_zeros_and_passes_on_no_gradient(impl):
    problem = Problem((2, 2), batch=2, length=12, key_lengths=(3, 0))
    query, key, value = problem.tensors()
    output = window_attention(query, key, value, (2, 2), problem.lengths(), impl=impl)
    assert torch.equal(output[0, :, 5:], torch.zeros(2, 7, 8))
    assert torch.equal(output[1], torch.zeros(2, 12, 8))
    assert (output[0, :, :5].abs().sum(dim=-1) > 0).all()
    if impl != "flex":
        lengths = problem.lengths()
        gradients = with_gradients(
            lambda q, k, v: window_attention(q, k, v, (2, 2), lengths, impl=impl), (query, key, value)
        )[1:]
        for gradient in gradients:
            assert gradient.isfinite().all()
            assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))
        assert torch.equal(gradients[0][0, :, 5:], torch.zeros(2, 7, 8))


@pytest.mark.parametrize("impl", NATIVE_ON_HOST)
def test_the_log_sum_exp_of_nothing(impl):
    problem = Problem((2, 2), batch=2, length=12, key_lengths=(3, 0))
    _, lse = window_attention_with_lse(*problem.tensors(), (2, 2), problem.lengths(), impl=impl)
    assert (lse[0, :, 5:] == float("-inf")).all()
    assert (lse[1] == float("-inf")).all()
    assert lse[0, :, :5].isfinite().all()


@pytest.mark.usefixtures("interpreted_flex")
@pytest.mark.parametrize("impl", ON_HOST)
def test_scale(impl):
    query, key, value = Problem((4, 4), head_dim=16).tensors()
    usual = window_attention(query * 2, key, value, (4, 4), impl=impl)
    torch.testing.assert_close(window_attention(query, key, value, (4, 4), scale=0.5, impl=impl), usual)
    assert not torch.allclose(window_attention(query, key, value, (4, 4), impl=impl), usual)


def cut_out_of_one_tensor(problem: Problem) -> tuple[torch.Tensor, ...]:
    """Query, key and value as a model cuts them out of one projection: (batch, length, 3, heads, head_dim)."""
    stacked = torch.stack([tensor.transpose(1, 2) for tensor in problem.tensors()], dim=2)
    return tuple(part.transpose(1, 2) for part in stacked.unbind(2))


@pytest.mark.parametrize("impl", NATIVE_ON_HOST)
def test_strides_change_nothing(impl):
    problem = Problem((4, 2), batch=2, length=37, head_dim=16)
    plain = with_gradients(lambda q, k, v: window_attention(q, k, v, (4, 2), impl=impl), problem.tensors())
    cut = cut_out_of_one_tensor(problem)
    assert not cut[0].is_contiguous()
    for ours, expected in zip(
        with_gradients(lambda q, k, v: window_attention(q, k, v, (4, 2), impl=impl), cut), plain, strict=True
    ):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("impl", NATIVE_ON_HOST)
def test_one_key_head_expanded_over_all_heads(impl):
    query, key, value = Problem((4, 2), heads=3, key_heads=1, length=37, head_dim=16).tensors()
    expanded = [tensor.expand(-1, 3, -1, -1) for tensor in (key, value)]
    assert expanded[0].stride(1) == 0
    shared = window_attention(query, key, value, (4, 2), impl=impl)
    assert torch.equal(window_attention(query, *expanded, (4, 2), impl=impl), shared)


@pytest.mark.parametrize("impl", NATIVE_ON_HOST)
def test_an_expanded_gradient_is_taken(impl):
    query, key, value = (tensor.requires_grad_() for tensor in Problem((4, 2), length=37).tensors())
    output = window_attention(query, key, value, (4, 2), impl=impl)
    from_sum = torch.autograd.grad(output.sum(), (query, key, value), retain_graph=True)
    from_ones = torch.autograd.grad(output, (query, key, value), torch.ones(output.shape))
    for ours, expected in zip(from_sum, from_ones, strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("impl", NATIVE_ON_HOST)
def test_output_and_gradients_are_laid_out_as_models_use_them(impl):
    rows = [torch.randn(2, 9, 3 * 8, requires_grad=True) for _ in range(3)]
    heads = [row.view(2, 9, 3, 8).transpose(1, 2) for row in rows]
    output = window_attention(*heads, (2, 2), impl=impl)
    assert output.transpose(1, 2).is_contiguous()
    for gradient in torch.autograd.grad(output.sum(), heads):
        assert gradient.transpose(1, 2).is_contiguous()
    contiguous = [tensor.detach().contiguous().requires_grad_() for tensor in heads]
    for gradient in torch.autograd.grad(window_attention(*contiguous, (2, 2), impl=impl).sum(), contiguous):
        assert gradient.is_contiguous()


@pytest.mark.parametrize("impl", NATIVE_ON_HOST)
@pytest.mark.parametrize("shape", [(0, 2, 5, 8), (2, 2, 0, 8), (2, 0, 5, 8)])
def test_nothing_gives_nothing(impl, shape):
    tensors = [torch.zeros(shape, requires_grad=True) for _ in range(3)]
    output = window_attention(*tensors, (2, 2), impl=impl)
    assert output.shape == shape
    assert all(gradient.shape == shape for gradient in torch.autograd.grad(output.sum(), tensors))


def test_an_integer_stands_for_both_sides():
    tensors = Problem((4, 4)).tensors()
    both = window_attention(*tensors, (4, 4), impl="reference")
    assert torch.equal(window_attention(*tensors, 4, impl="reference"), both)


def test_auto_is_the_native_one_and_can_be_asked_for():
    query, key, value = Problem((4, 4)).tensors()
    assert resolve_impl("auto", query) == "cpu"
    assert [resolve_impl(name, query) for name in ON_HOST] == list(ON_HOST)
    assert set(ON_HOST) | {"cuda", "flash"} == set(IMPLEMENTATIONS)
    automatic = pyprof.window_attention(query, key, value, window=(4, 4))
    assert torch.equal(automatic, window_attention(query, key, value, (4, 4), impl="cpu"))


@pytest.mark.slow
def test_flex_stays_compiled_beyond_the_limit_of_recompilations():
    """PyTorch gives up compiling after a number of lengths, and FlexAttention then runs dense, with a warning."""
    with (
        torch.no_grad(),
        torch._dynamo.config.patch(recompile_limit=1),
        warnings.catch_warnings(action="error", category=UserWarning),
    ):
        for length in (130, 140, 150):
            flex.flex_window_attention(*(torch.randn(1, 1, length, 16) for _ in range(3)), (16, 16))


@pytest.mark.slow
def test_compiled_flex_for_every_block_size():
    problem = Problem((16, 16), batch=2, heads=4, length=130, head_dim=16, key_lengths=(130, 77))
    tensors = problem.tensors()
    expected, _ = naive_attention(*(tensor.double() for tensor in tensors), visible(problem))
    check_forward("flex", Problem((16, 16), length=130, head_dim=16), (16, 16))
    for block_size in (16, 128):
        output = flex.flex_window_attention(*tensors, (16, 16), key_lengths=problem.lengths(), block_size=block_size)
        torch.testing.assert_close(output.double(), expected, atol=2e-6, rtol=2e-5)


def zeros(*shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device=device)


GOOD = {"query": zeros(2, 4, 6, 8), "key": zeros(2, 4, 6, 8), "value": zeros(2, 4, 6, 8), "window": (2, 2)}
PERMUTED = zeros(2, 4, 8, 6).transpose(2, 3)
BAD = [
    ({"query": zeros(4, 6, 8)}, r"query has shape \(4, 6, 8\).*\(batch, heads, length, head_dim\)"),
    ({"query": zeros(2, 4, 6, 8, dtype=torch.int64)}, "query is torch.int64.*float32, bfloat16 or float16"),
    ({"query": PERMUTED}, r"query of shape \(2, 4, 6, 8\).*last dimension.*contiguous"),
    ({"key": zeros(2, 4, 7, 8)}, r"key has shape \(2, 4, 7, 8\) and query \(2, 4, 6, 8\)"),
    ({"key": zeros(2, 3, 6, 8)}, "key has 3 heads, which must divide the 4 heads of query"),
    ({"key": zeros(2, 0, 6, 8), "value": zeros(2, 0, 6, 8)}, "key has 0 heads"),
    ({"key": zeros(2, 4, 6, 8, dtype=torch.float16)}, "key is torch.float16 on cpu.*query's torch.float32"),
    ({"key": PERMUTED}, "key of shape.*contiguous"),
    ({"value": zeros(2, 2, 6, 8)}, r"value has shape \(2, 2, 6, 8\).*key's shape, \(2, 4, 6, 8\)"),
    ({"value": zeros(2, 4, 6, 8, device="meta")}, "value is torch.float32 on meta"),
    ({"value": PERMUTED}, "value of shape.*contiguous"),
    ({"window": (-1, 2)}, r"window is \(-1, 2\).*two integers of at least 0"),
    ({"window": -3}, "window is -3"),
    ({"window": None}, "window is None"),
    ({"window": (1.5, 2)}, r"window is \(1.5, 2\)"),
    ({"window": (True, 2)}, r"window is \(True, 2\)"),
    ({"window": (1, 2, 3)}, r"window is \(1, 2, 3\)"),
    ({"key_lengths": torch.tensor([3, 4, 5])}, r"key_lengths has shape \(3,\).*\(2,\), int64"),
    ({"key_lengths": torch.tensor([3, 4], dtype=torch.int32)}, "key_lengths.*torch.int32.*int64"),
    ({"key_lengths": torch.zeros(2, 6, dtype=torch.int64)}, r"key_lengths has shape \(2, 6\)"),
    ({"key_lengths": torch.zeros(2, dtype=torch.int64, device="meta")}, "key_lengths.*on meta.*on cpu"),
    ({"scale": float("inf")}, "scale is inf"),
    ({"dropout_p": 1.0}, "dropout_p is 1.0: it must be at least 0 and below 1"),
    ({"dropout_p": -0.1}, "dropout_p is -0.1"),
    ({"global_keys": -1}, "global_keys is -1: it must be a whole number of at least 0"),
    ({"global_keys": 1.0}, "global_keys is 1.0"),
    ({"global_keys": True}, "global_keys is True"),
    ({"global_keys": 1, "impl": "chunks"}, "impl 'chunks' has no global keys"),
    ({"global_keys": 1, "impl": "flex"}, "impl 'flex' has no global keys"),
    ({"impl": "fastest"}, "impl 'fastest' is unknown: choose auto, reference, cpu, cuda, sdpa, flex, flash, chunks"),
    ({"impl": "cuda"}, "impl 'cuda' cannot run on cpu"),
    ({"impl": "flash"}, "impl 'flash' cannot run on cpu, where query is"),
    ({"impl": "chunks", "window": (2, 3)}, "as many neighbours left as right"),
    ({"impl": "flex", "dropout_p": 0.1}, "impl 'flex' has no dropout"),
    ({"impl": "flex", "query": zeros(2, 4, 6, 8).requires_grad_()}, "impl 'flex' runs only forward on the host"),
    ({name: zeros(2, 4, 6, 12) for name in ("query", "key", "value")}, "head_dim 12.*multiples of 8 up to 256"),
    ({name: zeros(2, 4, 6, 264) for name in ("query", "key", "value")}, "head_dim 264.*multiples of 8 up to 256"),
    (
        {name: zeros(2, 4, 6, 8, dtype=torch.float64) for name in ("query", "key", "value")},
        "query is torch.float64 and impl 'cpu' takes float32, bfloat16, float16: set impl='reference'",
    ),
    ({name: zeros(2, 4, 6, 8, device="meta") for name in ("query", "key", "value")}, "no native .* runs on meta"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_an_argument_that_does_not_fit_is_named(changes, message):
    with pytest.raises(UsageError, match=message) as raised:
        window_attention(**(GOOD | changes))
    assert "\n" not in str(raised.value)


def test_only_native_implementations_have_a_log_sum_exp():
    with pytest.raises(UsageError, match="impl 'sdpa' does not return the log-sum-exp: choose auto, reference"):
        window_attention_with_lse(**GOOD, impl="sdpa")
