"""The host kernels under every instruction set that this CPU has, each against float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from naive_attention import Problem, check_errors, compare, naive_attention, visible, with_gradients

from pyprof.errors import UsageError
from pyprof.ops.window_attention import cpu_isa, window_attention, window_attention_with_lse

NAMES = ("portable", "avx2", "avx512", "avx512_bf16", "amx")
TYPES = (torch.float32, torch.bfloat16, torch.float16)

# Between them: all leftovers of registers, tiles cut short, shared keys, keys that end early, rows without any, and
# windows of more keys than are at hand at once (256 with heads of 256).
PROBLEMS = [
    Problem((16, 16), length=130, head_dim=64),
    Problem((3, 40), batch=2, heads=4, key_heads=2, length=97, head_dim=64, key_lengths=(97, 38)),
    Problem((25, 0), length=67, head_dim=24),
    Problem((9, 70), length=200, head_dim=80),
    Problem((100, 100), heads=3, key_heads=1, length=33, head_dim=96),
    Problem((400, 390), heads=1, key_heads=1, length=430, head_dim=256),
    Problem((100, 33), heads=1, key_heads=1, length=333, head_dim=256),
    Problem((251, 20), heads=1, key_heads=1, length=600, head_dim=256),
]


# Two of the instruction sets are for bfloat16 alone.
CASES = [(isa, dtype) for isa in NAMES for dtype in TYPES if isa in NAMES[:3] or dtype == torch.bfloat16]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def dtype(request, monkeypatch):
    """A type, and the instruction set that runs it."""
    isa, dtype = request.param
    monkeypatch.setenv("PYPROF_CPU_ISA", isa)
    try:
        assert cpu_isa(dtype) == isa
    except UsageError as lacking:
        pytest.skip(str(lacking))
    return dtype


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_no_less_accurate_than_plain_code(problem, dtype):
    check_errors(*compare(problem, dtype, 1.0, "cpu"))


def test_no_less_accurate_with_large_scores(dtype):
    check_errors(*compare(Problem((20, 30), heads=4, key_heads=4, length=150, head_dim=64), dtype, 10.0, "cpu"))


def test_every_window_around_the_strips_of_sixteen(dtype):
    """Windows and lengths next to where strips and blocks of keys begin, in a type-wide tolerance."""
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for left, right, length in itertools.product((0, 1, 15, 16, 17), (0, 5, 16, 33), (1, 15, 17, 33, 64)):
        problem = Problem((left, right), heads=1, key_heads=1, length=length, head_dim=32)
        tensors, seen = problem.tensors(dtype), visible(problem)
        exact = tuple(tensor.double() for tensor in tensors)
        expected = with_gradients(lambda q, k, v, seen=seen: naive_attention(q, k, v, seen)[0], exact)
        ours = with_gradients(lambda q, k, v, w=(left, right): window_attention(q, k, v, w, impl="cpu"), tensors)
        for mine, theirs in zip(ours, expected, strict=True):
            torch.testing.assert_close(mine.double(), theirs, atol=tolerance, rtol=tolerance)


def test_the_tolerance_sees_a_window_that_is_wrong_by_one(dtype):
    problem = Problem((15, 16), heads=1, key_heads=1, length=64, head_dim=32)
    output = window_attention(*problem.tensors(dtype), (16, 16), impl="cpu")
    exact, _ = naive_attention(*(tensor.double() for tensor in problem.tensors(dtype)), visible(problem))
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(output.double(), exact, atol=3e-2, rtol=3e-2)


# The second has more heads than take turns at once.
@pytest.mark.parametrize(
    "problem",
    [
        Problem((6, 9), batch=2, heads=3, key_heads=3, length=75, head_dim=64),
        Problem((20, 13), heads=36, key_heads=18, length=290, head_dim=64),
        Problem((70, 5), batch=2, heads=6, key_heads=6, length=400, head_dim=64, key_lengths=(400, 130)),
    ],
    ids=str,
)
def test_heads_that_lie_together_equal_contiguous_ones(problem, dtype):
    tensors = problem.tensors(dtype)
    together = tuple(tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in tensors)

    def attend(query, key, value):
        return window_attention(query, key, value, problem.window, problem.lengths(), impl="cpu")

    for mine, theirs in zip(with_gradients(attend, together), with_gradients(attend, tensors), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_drops_the_weights_that_the_reference_drops(dtype):
    tensors = Problem((12, 19), batch=2, heads=4, key_heads=2, length=70, head_dim=64).tensors(dtype)

    def run(impl: str) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(11)
        return with_gradients(lambda q, k, v: window_attention(q, k, v, (12, 19), dropout_p=0.4, impl=impl), tensors)

    tolerance = 2e-5 if dtype == torch.float32 else 4e-2
    for mine, theirs in zip(run("cpu"), run("reference"), strict=True):
        torch.testing.assert_close(mine, theirs, atol=tolerance, rtol=tolerance)


def test_keys_past_the_end_are_never_read(dtype):
    problem = Problem((8, 30), batch=2, heads=2, key_heads=1, length=80, head_dim=64, key_lengths=(43, 0))
    query, key, value = problem.tensors(dtype)
    for keys, sequence in zip(problem.key_lengths, range(2), strict=True):
        key[sequence, :, keys:] = value[sequence, :, keys:] = float("nan")
    output, lse = window_attention_with_lse(query, key, value, problem.window, problem.lengths(), impl="cpu")
    grads = with_gradients(
        lambda q, k, v: window_attention(q, k, v, problem.window, problem.lengths(), impl="cpu"), (query, key, value)
    )
    assert all(tensor.isfinite().all() for tensor in (output, *grads))
    empty = ~visible(problem).any(dim=-1).expand(lse.shape)
    assert empty.any()
    assert torch.equal(lse == float("-inf"), empty)
    assert (output[empty] == 0).all()
    assert (grads[2][0, :, 43:] == 0).all()


def test_the_number_of_threads_changes_no_bit(dtype):
    tensors = Problem((40, 20), heads=1, key_heads=1, length=700, head_dim=64).tensors(dtype)

    def run(threads: int) -> tuple[torch.Tensor, ...]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return with_gradients(lambda q, k, v: window_attention(q, k, v, (40, 20), impl="cpu"), tensors)
        finally:
            torch.set_num_threads(before)

    alone = run(1)
    for threads in (2, 3):
        assert all(map(torch.equal, run(threads), alone))
