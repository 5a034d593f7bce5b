from __future__ import annotations

import math

import pytest
import torch
from naive_attention import PROBLEMS, Problem, naive_attention, visible
from torch.utils.flop_counter import FlopCounterMode

from pyprof.errors import UsageError
from pyprof.ops import operator
from pyprof.ops.window_attention import flops, window_attention, window_attention_with_lse

FORWARD = torch.ops.pyprof.window_attention.default
BACKWARD = torch.ops.pyprof.window_attention_backward.default
IMPLS = ("reference", "cpu")


def operands(problem: Problem, dropout_p: float = 0.0, impl: str = "reference", dtype: torch.dtype = torch.float32):
    """The operator's arguments; a seed comes with dropout."""
    left, right = problem.window
    seed = torch.tensor([2**40 + 7]) if dropout_p else None
    scale = problem.head_dim**-0.5
    return (*problem.tensors(dtype), left, right, problem.lengths(), scale, dropout_p, seed, impl)


CHECKED = [
    ("reference", Problem((2, 3), length=9), 0.0),
    ("cpu", Problem((2, 3), length=9), 0.0),
    ("cpu", Problem((2, 3), batch=2, heads=4, length=9, key_lengths=(9, 4)), 0.0),
    ("cpu", Problem((3, 0), heads=2, key_heads=1, length=9), 0.25),
]


@pytest.mark.parametrize(("impl", "problem", "dropout_p"), CHECKED, ids=str)
def test_torch_accepts_the_forward_operator(impl, problem, dropout_p):
    query, key, value, *rest = operands(problem, dropout_p, impl)
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    torch.library.opcheck(FORWARD, (*leaves, *rest))
    cut = [tensor.detach().transpose(1, 2).contiguous().transpose(1, 2) for tensor in leaves]
    torch.library.opcheck(FORWARD, (*cut, *rest), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(("impl", "problem", "dropout_p"), CHECKED, ids=str)
def test_torch_accepts_the_backward_operator(impl, problem, dropout_p):
    arguments = operands(problem, dropout_p, impl)
    output, lse = FORWARD(*arguments)
    grad_lse = torch.randn_like(lse) if problem.key_lengths else None
    given = (torch.randn_like(output), grad_lse, *arguments[:3], output, lse, *arguments[3:])
    torch.library.opcheck(BACKWARD, given)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_fake_tensors_have_the_types_of_real_ones(dtype):
    arguments = operands(Problem((2, 3), length=9), dtype=dtype)
    torch.library.opcheck(FORWARD, arguments, test_utils=("test_schema", "test_faketensor"))
    assert FORWARD(*arguments)[1].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
@pytest.mark.parametrize(
    "problem",
    [
        Problem((2, 3), length=6, head_dim=3),
        Problem((1, 0), batch=2, heads=4, key_heads=2, length=5, head_dim=2, key_lengths=(5, 4)),
    ],
    ids=str,
)
def test_gradients_of_the_reference_are_those_of_its_output_and_of_its_log_sum_exp(problem, dropout_p):
    query, key, value, *rest = operands(problem, dropout_p, dtype=torch.float64)
    leaves = tuple(tensor.requires_grad_() for tensor in (query, key, value))
    assert torch.autograd.gradcheck(lambda *tensors: FORWARD(*tensors, *rest), leaves, atol=1e-7)


@pytest.mark.parametrize("impl", IMPLS)
def test_only_the_log_sum_exp_or_nothing_is_used(impl):
    problem = Problem((2, 3), length=24)
    leaves = [tensor.requires_grad_() for tensor in problem.tensors()]
    _, lse = window_attention_with_lse(*leaves, (2, 3), impl=impl)
    gradients = torch.autograd.grad(lse.sum(), leaves)
    exact = [tensor.detach().double().requires_grad_() for tensor in leaves]
    expected = torch.autograd.grad(naive_attention(*exact, visible(problem))[1].sum(), exact[:2])
    for ours, theirs in zip(gradients, expected, strict=False):
        torch.testing.assert_close(ours.double(), theirs, atol=5e-6, rtol=5e-5)
    assert torch.equal(gradients[2], torch.zeros_like(gradients[2]))


@pytest.mark.parametrize("impl", IMPLS)
def test_output_and_log_sum_exp_used_together(impl):
    problem = Problem((2, 3), length=24, batch=2, key_lengths=(24, 21))
    leaves = [tensor.requires_grad_() for tensor in problem.tensors()]
    exact = [tensor.detach().double().requires_grad_() for tensor in leaves]
    results = []
    for tensors, (output, lse) in (
        (leaves, window_attention_with_lse(*leaves, (2, 3), problem.lengths(), impl=impl)),
        (exact, naive_attention(*exact, visible(problem))),
    ):
        mixed = (output.sin() * lse.clamp(-10, 10).cos()[..., None]).sum()
        results.append(torch.autograd.grad(mixed, tensors))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=5e-6, rtol=5e-5)


def test_second_derivatives_are_refused():
    leaves = [tensor.requires_grad_() for tensor in Problem((2, 3)).tensors()]
    output = window_attention(*leaves, (2, 3), impl="reference")
    (gradient, *_) = torch.autograd.grad(output.sum(), leaves, create_graph=True)
    with pytest.raises(UsageError, match="no second derivatives"):
        gradient.sum().backward()


def test_forward_mode_derivatives_are_refused():
    with torch.autograd.forward_ad.dual_level():
        query, key, value = Problem((2, 3)).tensors()
        query = torch.autograd.forward_ad.make_dual(query, torch.ones_like(query))
        with pytest.raises(NotImplementedError, match="no forward-mode derivatives"):
            window_attention(query, key, value, (2, 3))


def test_a_backward_without_retain_graph_gives_its_memory_back():
    leaves = [tensor.requires_grad_() for tensor in Problem((2, 3)).tensors()]
    output = window_attention(*leaves, (2, 3))
    output.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        output.sum().backward()


def step(query, key, value, key_lengths, dropout_p, impl):
    output = window_attention(query * 2.0, key, value, (3, 2), key_lengths, dropout_p=dropout_p, impl=impl)
    return output.transpose(1, 2).reshape(output.shape[0], output.shape[2], -1).sin()


def run(function, dropout_p, impl, seed=0):
    problem = Problem((3, 2), batch=2, length=30, key_lengths=(30, 11))
    leaves = [tensor.requires_grad_() for tensor in problem.tensors()]
    torch.manual_seed(seed)
    output = function(*leaves, problem.lengths(), dropout_p, impl)
    return (output.detach(), *torch.autograd.grad(output.square().sum(), leaves))


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
@pytest.mark.parametrize("impl", IMPLS)
def test_compiles_as_one_graph_forward_and_backward(impl, dropout_p):
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for ours, expected in zip(run(compiled, dropout_p, impl), run(step, dropout_p, impl), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.slow
@pytest.mark.parametrize("impl", IMPLS)
def test_compiles_to_machine_code(impl):
    compiled = torch.compile(step, fullgraph=True)
    for ours, expected in zip(run(compiled, 0.0, impl), run(step, 0.0, impl), strict=True):
        torch.testing.assert_close(ours, expected)
    first, second = run(compiled, 0.3, impl), run(compiled, 0.3, impl)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not torch.equal(first[0], run(compiled, 0.3, impl, seed=1)[0])


@pytest.mark.parametrize("impl", IMPLS)
def test_a_shape_that_changes_needs_no_second_graph(impl):
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(lambda q, k, v: window_attention(q, k, v, (3, 2), impl=impl), dynamic=True, backend=count)
    for length in (20, 30, 41):
        tensors = Problem((3, 2), batch=3, heads=4, length=length).tensors()
        torch.testing.assert_close(compiled(*tensors), window_attention(*tensors, (3, 2), impl=impl))
    assert len(graphs) == 1


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Philox4x32-10 as the paper defines it."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def test_the_generator_gives_the_published_numbers():
    """From the known answers that its authors publish with Random123."""
    assert philox((0, 0), (0, 0, 0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = 2**32 - 1
    assert philox((ones, ones), (ones,) * 4) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)


@pytest.mark.parametrize("impl", IMPLS)
def test_dropout_keeps_what_the_generator_says(impl):
    """Values that are rows of the identity show every weight by itself."""
    batch, heads, length, p = 2, 3, 16, 0.4
    seed = 0x1234_5678_9ABC_DEF0
    query, key = torch.zeros(2, batch, heads, length, length).unbind(0)
    value = torch.eye(length).expand(batch, heads, length, length)
    weights, _ = FORWARD(query, key, value, length, length, None, 1.0, p, torch.tensor([seed]), impl)
    threshold = int(p * 2**32)
    for row in range(batch * heads):
        for i in range(length):
            for j in range(length):
                word = philox((seed % 2**32, seed >> 32), (j // 4, i, row, 0))[j % 4]
                expected = 1 / length / (1 - p) if word >= threshold else 0.0
                assert math.isclose(float(weights[row // heads, row % heads, i, j]), expected, rel_tol=1e-5)


@pytest.mark.parametrize("impl", IMPLS)
def test_dropout_is_repeated_by_backward_and_drawn_from_torchs_generator(impl):
    problem = Problem((5, 5), heads=4, length=200)
    query, key, value = (tensor.requires_grad_() for tensor in problem.tensors())

    def run(seed):
        torch.manual_seed(seed)
        return window_attention(query, key, value, (5, 5), dropout_p=0.5, impl=impl)

    output, again, other = run(1), run(1), run(2)
    assert torch.equal(output, again)
    assert not torch.equal(output, other)
    # The output is linear in value, with the very weights that forward kept.
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    (grad_value,) = torch.autograd.grad(output, value, upstream)
    torch.testing.assert_close((grad_value * value).sum(), (upstream * output).sum(), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_weight_is_dropped_as_often_as_asked_and_what_is_kept_makes_up_for_it(impl):
    query, key, value = torch.ones(3, 1, 1, 20_000, 8).unbind(0)
    torch.manual_seed(0)
    output = window_attention(query, key, value, (0, 0), dropout_p=0.2, impl=impl)[0, 0, :, 0]
    kept = output > 0
    torch.testing.assert_close(output[kept], torch.full((int(kept.sum()),), 1.25))
    # Five standard deviations of a binomial distribution.
    assert abs(float(kept.double().mean()) - 0.8) < 5 * math.sqrt(0.8 * 0.2 / 20_000)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_useful_flops_are_those_of_the_pairs_inside_the_window(problem):
    pairs = int(visible(Problem(problem.window, length=problem.length)).sum())
    assert operator.visible_pairs(problem.length, problem.window) == pairs
    per_pair = 3 * 5 * problem.head_dim
    useful, dense = flops(3, 5, problem.length, problem.head_dim, problem.window)
    assert (useful, dense) == (4 * per_pair * pairs, 4 * per_pair * problem.length**2)
    useful, dense = flops(3, 5, problem.length, problem.head_dim, problem.window, backward=True)
    assert (useful, dense) == (10 * per_pair * pairs, 10 * per_pair * problem.length**2)


def test_torchs_counter_counts_useful_flops():
    leaves = [tensor.requires_grad_() for tensor in Problem((4, 1), batch=2, heads=4, length=30).tensors()]
    with FlopCounterMode(display=False) as forward:
        output = window_attention(*leaves, (4, 1), impl="reference")
    assert forward.get_total_flops() == flops(2, 4, 30, 8, (4, 1))[0]
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert backward.get_total_flops() == flops(2, 4, 30, 8, (4, 1), backward=True)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({0: torch.zeros(4, 6, 8)}, "query has 3 dimensions"),
        ({1: torch.zeros(1, 2, 7, 8)}, "does not fit query"),
        ({2: torch.zeros(1, 1, 9, 8)}, "does not fit query"),
        ({1: torch.zeros(1, 2, 9, 8).half()}, "differ in type"),
        ({3: -1}, "window is negative"),
        ({5: torch.tensor([1, 2])}, "key_lengths must be int64"),
        ({5: torch.tensor([1], dtype=torch.int32)}, "key_lengths must be int64"),
        ({7: 0.5}, "dropout needs a seed"),
        ({7: 1.0, 8: torch.tensor([1])}, r"not in \[0, 1\)"),
        ({8: torch.tensor([1, 2])}, "seed"),
        ({9: "cuda"}, "impl 'cuda' cannot run on the host"),
    ],
)
def test_the_operator_itself_refuses_what_would_read_out_of_bounds(changes, message):
    arguments = list(operands(Problem((2, 2), length=9)))
    FORWARD(*arguments)
    for index, value in changes.items():
        arguments[index] = value
    with pytest.raises(RuntimeError, match=message):
        FORWARD(*arguments)


def test_backward_refuses_what_is_not_from_forward():
    arguments = operands(Problem((2, 2), length=9))
    output, lse = FORWARD(*arguments)
    good = (output, None, *arguments[:3], output, lse, *arguments[3:])
    BACKWARD(*good)
    for index, wrong in ((0, output[:, :1]), (1, lse.double()), (5, output.half()), (6, lse[:, :, :3])):
        with pytest.raises(RuntimeError, match="must be"):
            BACKWARD(*good[:index], wrong, *good[index + 1 :])


def test_the_instruction_set_is_told():
    assert operator.cpu_isa(torch.float32) in ("portable", "avx2", "avx512")
    assert operator.cpu_isa(torch.bfloat16) in ("portable", "avx2", "avx512", "avx512_bf16", "amx")
