"""The kernels on a CUDA device; what is proven of them without one is in tests/cuda_on_host."""

from __future__ import annotations

import pytest
import torch
from naive_attention import Problem, check_errors, compare

from pyprof.ops import operator
from pyprof.ops.window_attention import resolve_impl, window_attention

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(torch.cuda.is_available() and not operator.HAS_CUDA, reason="needs a build with PYPROF_CUDA=1"),
]
PROBLEMS = [
    Problem((16, 16), heads=3, key_heads=3, length=500, head_dim=64),
    Problem((50, 7), batch=2, heads=4, length=300, head_dim=32, key_lengths=(300, 161)),
    Problem((1000, 0), heads=2, key_heads=1, length=190, head_dim=128),
    Problem((0, 0), batch=2, length=77, head_dim=64, key_lengths=(0, 40)),
]
GLOBAL = Problem((20, 9), batch=2, heads=4, length=300, head_dim=64, key_lengths=(300, 161), global_keys=3)
TYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("spread", [1.0, 12.0], ids=["unit normal", "large scores"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_no_less_accurate_than_plain_code(problem, dtype, spread):
    check_errors(*compare(problem, dtype, spread, "cuda", device="cuda"))


@pytest.mark.parametrize("dtype", TYPES[1:], ids=str)
@pytest.mark.parametrize("problem", [one for one in PROBLEMS if one.key_lengths is None], ids=str)
def test_flash_is_no_less_accurate_than_plain_code(problem, dtype):
    check_errors(*compare(problem, dtype, 1.0, "flash", device="cuda"))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_global_keys_are_no_less_accurate_than_plain_code(dtype):
    check_errors(*compare(GLOBAL, dtype, 1.0, "cuda", device="cuda"))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_budget_sees_a_window_that_is_wrong_by_one(dtype):
    for wrong in ((15, 16), (16, 15), (17, 16), (16, 17)):
        with pytest.raises(AssertionError, match="error of output"):
            check_errors(*compare(PROBLEMS[0], dtype, 1.0, "cuda", wrong, device="cuda"))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_dropout_keeps_what_the_host_keeps(dtype):
    tensors = PROBLEMS[0].tensors(dtype)
    seed = torch.tensor([2**50 + 3])
    forward = torch.ops.pyprof.window_attention
    expected, _ = forward(*tensors, 16, 16, None, 0.125, 0.3, seed, "reference")
    on_device = [tensor.cuda() for tensor in tensors]
    ours, _ = forward(*on_device, 16, 16, None, 0.125, 0.3, seed.cuda(), "cuda")
    torch.testing.assert_close(ours.cpu().float(), expected.float(), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_auto_is_cuda_and_waits_for_nothing(dtype, dropout_p):
    query = torch.randn(1, 2, 64, 64, device="cuda", dtype=dtype, requires_grad=True)
    assert resolve_impl("auto", query) == "cuda"
    window_attention(query, query, query, (8, 8), dropout_p=dropout_p)
    torch.cuda.set_sync_debug_mode("error")
    try:
        window_attention(query, query, query, (8, 8), dropout_p=dropout_p).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_graph_draws_anew_at_every_replay_and_its_backward_draws_the_same():
    query, key, value = (torch.randn(1, 2, 200, 64, device="cuda", requires_grad=True) for _ in range(3))
    upstream = torch.randn(1, 2, 200, 64, device="cuda")

    def run() -> tuple[torch.Tensor, ...]:
        output = window_attention(query, key, value, (20, 20), dropout_p=0.4)
        return output, *torch.autograd.grad(output, value, upstream)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output, grad_value = run()
    seen = []
    for _ in range(3):
        graph.replay()
        seen.append(output.clone())
        # The output is linear in value, with the very weights that forward kept.
        torch.testing.assert_close((grad_value * value).sum(), (upstream * output).sum(), atol=1e-2, rtol=1e-4)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
