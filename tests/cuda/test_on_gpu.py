"""The CUDA kernels on a real GPU, through PyTorch: what the emulation cannot show is that the machine does the same."""

from __future__ import annotations

import math

import pytest
import torch

from pyprof.ops import trial
from pyprof.ops.window_attention import window_attention, window_attention_with_lse

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device that this PyTorch can use"),
]

TYPES = (torch.float32, torch.bfloat16, torch.float16)
# (window, batch, heads, key_heads, length, head_dim, key_lengths)
PROBLEMS = [
    ((16, 16), 1, 12, 12, 2500, 64, None),
    ((0, 0), 1, 2, 2, 65, 64, None),
    ((50, 7), 2, 4, 2, 333, 32, (333, 61)),
    ((128, 0), 1, 4, 4, 1000, 128, None),
    ((1000, 1000), 2, 2, 1, 200, 64, (0, 199)),
    ((3, 40), 2, 4, 4, 97, 128, (1, 97)),
    ((170, 90), 2, 4, 2, 700, 128, (700, 311)),
]


def inputs(problem, dtype, spread=1.0):
    _, batch, heads, key_heads, length, head_dim, _ = problem
    random = torch.Generator().manual_seed(length)

    def normal(heads, size=1.0):  # (batch, heads, length, head_dim) as a model's projections give it
        drawn = torch.randn(batch, length, heads, head_dim, generator=random, dtype=torch.float64) * size
        return drawn.to(dtype).transpose(1, 2)

    return normal(heads, spread), normal(key_heads), normal(key_heads), normal(heads)


def naive(query, key, value, problem):
    """Dense attention in the tensors' own type, whose error is the budget; in float64 it is exact."""
    (left, right), batch, heads, key_heads, length, head_dim, key_lengths = problem
    key, value = (tensor.repeat_interleave(heads // key_heads, dim=1) for tensor in (key, value))
    distance = torch.arange(length)[None, :] - torch.arange(length)[:, None]
    seen = ((distance >= -left) & (distance <= right)).expand(batch, 1, length, length)
    if key_lengths is not None:
        seen = seen & (torch.arange(length) < torch.tensor(key_lengths)[:, None, None, None])
    seen = seen.to(query.device)
    scores = (query @ key.transpose(-1, -2) / math.sqrt(head_dim)).masked_fill(~seen, -torch.inf)
    weights = torch.where(seen, scores.softmax(-1), 0.0)  # a query that sees nothing gets zeros
    return weights @ value


def with_gradients(function, query, key, value, grad_output):
    leaves = [tensor.detach().requires_grad_() for tensor in (query, key, value)]
    output = function(*leaves)
    return [output, *torch.autograd.grad(output, leaves, grad_output)]


@pytest.mark.parametrize("spread", [1.0, 12.0], ids=["unit normal", "large scores"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_error_is_at_most_twice_that_of_plain_code(problem, dtype, spread, monkeypatch):
    monkeypatch.setenv("PYPROF_CUDA_KERNELS", "mma")  # those of every card: Hopper's have tests of their own
    given = inputs(problem, dtype, spread)
    exact = with_gradients(lambda q, k, v: naive(q, k, v, problem), *(tensor.double() for tensor in given))
    on_gpu = [tensor.cuda() for tensor in given]
    eager = with_gradients(lambda q, k, v: naive(q, k, v, problem), *on_gpu)
    lengths = None if problem[-1] is None else torch.tensor(problem[-1], device="cuda")
    ours = with_gradients(lambda q, k, v: window_attention(q, k, v, problem[0], lengths, impl="cuda"), *on_gpu)
    for name, mine, plain, right in zip(("output", "query", "key", "value"), ours, eager, exact, strict=True):
        error, budget = ((one.cpu().double() - right).abs().max() for one in (mine, plain))
        # Plain code can be exact: with the window 0 it returns the values, and two of its gradients are zeros.
        floor = torch.finfo(dtype).eps / 2 * (right.abs().max() or max(each.abs().max() for each in exact))
        assert error <= 2 * budget + floor, f"{name}: error {float(error):.3g}, plain code {float(budget):.3g}"


IS_HOPPER = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)
needs_hopper = pytest.mark.skipif(not IS_HOPPER, reason="the device is not of compute capability 9.0")
FOR_HOPPER = [problem for problem in PROBLEMS if problem[5] in (64, 128)] + [
    ((900, 900), 1, 3, 3, 2100, 64, None),
    ((200, 201), 2, 4, 2, 1500, 64, (1500, 733)),
    ((256, 256), 1, 4, 4, 2000, 128, (1111,)),
]


@needs_hopper
@pytest.mark.parametrize("dtype", TYPES[1:], ids=str)
@pytest.mark.parametrize("problem", FOR_HOPPER, ids=str)
def test_the_forward_of_hopper_is_as_good_and_gives_the_same_bits(problem, dtype, monkeypatch):
    monkeypatch.setenv("PYPROF_CUDA_KERNELS", "hopper")
    given = inputs(problem, dtype)[:3]
    exact = naive(*(tensor.double() for tensor in given), problem)
    on_gpu = [tensor.cuda() for tensor in given]
    lengths = None if problem[-1] is None else torch.tensor(problem[-1], device="cuda")
    ours = window_attention(*on_gpu, problem[0], lengths, impl="cuda")
    error, budget = ((one.cpu().double() - exact).abs().max() for one in (ours, naive(*on_gpu, problem)))
    assert error <= 2 * budget + torch.finfo(dtype).eps * exact.abs().max()
    for _ in range(40):
        assert torch.equal(window_attention(*on_gpu, problem[0], lengths, impl="cuda"), ours)


@pytest.mark.parametrize("kernels", [pytest.param("hopper", marks=needs_hopper), "mma_one_pass"])
@pytest.mark.parametrize("dtype", TYPES[1:], ids=str)
@pytest.mark.parametrize("problem", FOR_HOPPER, ids=str)
def test_a_backward_in_turns_is_as_good_and_gives_the_same_bits(problem, dtype, kernels, monkeypatch):
    given = inputs(problem, dtype)
    exact = with_gradients(lambda q, k, v: naive(q, k, v, problem), *(tensor.double() for tensor in given))
    on_gpu = [tensor.cuda() for tensor in given]
    eager = with_gradients(lambda q, k, v: naive(q, k, v, problem), *on_gpu)
    lengths = None if problem[-1] is None else torch.tensor(problem[-1], device="cuda")
    monkeypatch.setenv("PYPROF_CUDA_KERNELS", kernels)
    first = with_gradients(lambda q, k, v: window_attention(q, k, v, problem[0], lengths, impl="cuda"), *on_gpu)
    for name, mine, plain, right in zip(("output", "query", "key", "value"), first, eager, exact, strict=True):
        error, budget = ((one.cpu().double() - right).abs().max() for one in (mine, plain))
        floor = torch.finfo(dtype).eps * (right.abs().max() or max(each.abs().max() for each in exact))
        assert error <= 2 * budget + floor, f"{name}: error {float(error):.3g}, plain code {float(budget):.3g}"
    for _ in range(20):  # sums of blocks that wait for one another
        again = with_gradients(lambda q, k, v: window_attention(q, k, v, problem[0], lengths, impl="cuda"), *on_gpu)
        assert all(torch.equal(mine, before) for mine, before in zip(again, first, strict=True))


@needs_hopper
def test_what_is_masked_does_not_show_on_hopper(monkeypatch):
    monkeypatch.setenv("PYPROF_CUDA_KERNELS", "hopper")
    query, key, value, _ = (tensor.cuda() for tensor in inputs(PROBLEMS[0], torch.bfloat16))
    key[:, :, 100] = value[:, :, 100] = torch.nan
    seen = window_attention(query, key, value, (5, 5), impl="cuda").isnan().any(-1)[0, 0].nonzero().flatten().tolist()
    assert seen == list(range(95, 106))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("window", [(20, 9), (140, 120)], ids=str)
def test_dropout_and_log_sum_exp_are_those_of_the_reference(window, dtype):
    problem = (window, 2, 4, 2, 150, 64, (150, 77))
    query, key, value, grad_output = inputs(problem, dtype)
    lengths = torch.tensor(problem[-1])
    results = []
    for device, impl in (("cpu", "reference"), ("cuda", "cuda")):
        torch.manual_seed(11)
        seed = torch.tensor([123456789], device=device)
        tensors = [tensor.to(device) for tensor in (query, key, value)]
        common = (*window, lengths.to(device), 0.125, 0.3, seed, impl)
        output, lse = torch.ops.pyprof.window_attention(*tensors, *common)
        grad_lse = torch.linspace(-1, 1, lse.numel(), device=device).reshape(lse.shape)
        gradients = torch.ops.pyprof.window_attention_backward(
            grad_output.to(device), grad_lse, *tensors, output, lse, *common
        )
        results.append([tensor.cpu().double() for tensor in (output, lse, *gradients)])
    for reference, cuda in zip(*results, strict=True):
        finite = reference.isfinite()
        assert torch.equal(finite, cuda.isfinite())
        close = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}[dtype]
        torch.testing.assert_close(cuda[finite], reference[finite], atol=close, rtol=close)


def test_the_same_bits_every_time():
    problem = PROBLEMS[2]
    given = [tensor.cuda() for tensor in inputs(problem, torch.bfloat16)]
    runs = [with_gradients(lambda q, k, v: window_attention(q, k, v, (50, 7), impl="cuda"), *given) for _ in range(3)]
    assert all(torch.equal(one, other) for run in runs[1:] for one, other in zip(run, runs[0], strict=True))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_offsets_need_64_bits(dtype):
    if torch.cuda.mem_get_info()[0] < 12e9:
        pytest.skip("12 GB of free device memory are needed")
    # Rows so far apart that the last ones begin beyond 2^31 elements, in one tensor that is hardly ever touched.
    length = 130
    memory = torch.empty(8_840_000_000 // dtype.itemsize, dtype=dtype, device="cuda")
    step = memory.numel() // length
    far = memory.as_strided((1, 1, length, 64), (0, 0, step, 1))
    near = torch.randn(1, 1, length, 64, device="cuda").to(dtype)
    far.copy_(near)
    one, other = (window_attention(tensor, tensor, tensor, (9, 9), impl="cuda") for tensor in (near, far))
    assert torch.equal(one, other)


def test_on_the_stream_of_the_caller_and_in_a_graph():
    given = [tensor.cuda() for tensor in inputs(PROBLEMS[0], torch.bfloat16)[:3]]
    expected, lse = window_attention_with_lse(*given, (16, 16), impl="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        window_attention(*given, (16, 16), impl="cuda")
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = window_attention(*given, (16, 16), impl="cuda")
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(output, expected)
    assert lse.isfinite().all()


@needs_hopper
def test_the_kernels_of_hopper_pass_their_trial_and_are_taken_by_themselves(monkeypatch, tmp_path):
    monkeypatch.delenv("PYPROF_CUDA_KERNELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(trial, "_verdicts", {})
    assert trial.passed(0), trial.cards()
    given = inputs(PROBLEMS[0], torch.bfloat16)[:3]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        window_attention(*(tensor.cuda() for tensor in given), (16, 16))
    assert any("hopper" in event.key for event in profiler.key_averages())
