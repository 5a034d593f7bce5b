"""Errors against float64 on the very inputs that are given, at most twice those of plain code in the same type."""

from __future__ import annotations

import pytest
import torch
from naive_attention import NAMES, Problem, check_errors, compare, naive_attention, visible

from pyprof.device.host import HostDevice
from pyprof.ops.window_attention import window_attention

IMPLS = ("reference", "cpu")
TYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture
def poisoned():
    """PyTorch fills what it allocates, also for our operators, with NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


PROBLEMS = [
    Problem((16, 16), heads=2, length=130, head_dim=64),
    Problem((50, 7), batch=2, heads=4, length=100, head_dim=32, key_lengths=(100, 61)),
    Problem((200, 0), heads=2, key_heads=1, length=90, head_dim=128),
]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("spread", [1.0, 12.0], ids=["unit normal", "large scores"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("impl", IMPLS)
def test_no_less_accurate_than_plain_code(impl, problem, dtype, spread):
    check_errors(*compare(problem, dtype, spread, impl))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("wrong", [(15, 16), (16, 15), (17, 16), (16, 17)])
@pytest.mark.parametrize("impl", IMPLS)
def test_the_budget_sees_a_window_that_is_wrong_by_one(impl, dtype, wrong):
    problem = Problem((16, 16), heads=2, length=130, head_dim=64)
    ours, eager = compare(problem, dtype, 1.0, impl, wrong)
    for one in range(len(NAMES)):
        # Every tensor by itself gives the wrong window away.
        with pytest.raises(AssertionError, match="largest error"):
            check_errors([*eager[:one], ours[one], *eager[one + 1 :]], eager)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_on_a_gpu_the_budget_is_one_rounding_at_least_where_plain_code_is_exact(dtype):
    """As it is with the window 0, which returns the values."""
    problem = Problem((0, 0), length=5)
    of_host, of_card = (compare(problem, dtype, 1.0, "reference", device=device)[1] for device in ("cpu", "cpu:0"))
    one_rounding = torch.finfo(dtype).eps / 2 * float(problem.tensors(dtype)[2].abs().max())
    assert of_host[0] == (0, 0)
    check_errors([(one_rounding, 0.0), *of_host[1:]], of_card)
    with pytest.raises(AssertionError, match="error of output"):
        check_errors([(1.01 * one_rounding, 0.0), *of_host[1:]], of_card)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("impl", IMPLS)
def test_scores_beyond_what_a_type_can_exponentiate(impl, dtype):
    query, key, value = Problem((8, 8), length=40, head_dim=16).tensors(dtype, spread=400.0)
    output = window_attention(query, key, value, (8, 8), impl=impl)
    exact, _ = naive_attention(
        query.double(), key.double(), value.double(), visible(Problem((8, 8), length=40, head_dim=16))
    )
    assert output.isfinite().all()
    torch.testing.assert_close(output.double(), exact, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_only_outputs_and_gradients_are_allocated(impl, dtype):
    """Two heads of 2048 tokens: a tensor of scores would be 16 MiB, one of the band alone 1 MiB."""
    length, window = (2048, (31, 32)) if impl == "cpu" else (512, (3, 4))
    problem = Problem(window, heads=2, length=length, head_dim=16)
    leaves = [tensor.requires_grad_() for tensor in problem.tensors(dtype)]
    # What threads keep for themselves, the first call may take.
    torch.autograd.grad(window_attention(*leaves, window, impl=impl).sum(), leaves)
    held = []
    scratch = 0 if impl == "reference" else 2**20 * torch.get_num_threads()

    forward = HostDevice().peak_memory(lambda: held.append(window_attention(*leaves, window, impl=impl)))
    log_sum_exp = 2 * length * 4
    assert forward.peak - (held[0].nbytes + log_sum_exp) <= scratch

    upstream = torch.ones_like(held[0])
    backward = HostDevice().peak_memory(lambda: held.extend(torch.autograd.grad(held[0], leaves, upstream)))
    assert backward.peak - sum(tensor.nbytes for tensor in leaves) <= scratch
    assert scratch < 2 * length * length * leaves[0].element_size()
