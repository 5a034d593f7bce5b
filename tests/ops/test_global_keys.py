"""The first keys of a sequence, which later queries see beside their window."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from naive_attention import Problem, check_errors, compare, naive_attention, visible, with_gradients
from test_not_finite import PLANTED, TYPES, Setting, check, dtype, one_thread  # noqa: F401 - fixtures
from torch.utils.flop_counter import FlopCounterMode

from pyprof.errors import UsageError
from pyprof.ops import operator
from pyprof.ops.global_attention import global_attention
from pyprof.ops.window_attention import flops, window_attention, window_attention_with_lse

IMPLS = ("reference", "cpu", "sdpa")
PROBLEMS = [
    Problem((3, 2), length=40, head_dim=16, global_keys=1),
    Problem((0, 0), length=33, global_keys=4),
    Problem((16, 16), length=150, head_dim=64, global_keys=4),
    Problem((5, 0), batch=2, heads=4, key_heads=2, length=70, head_dim=24, global_keys=37),
    Problem((8, 8), batch=3, heads=4, length=70, head_dim=16, key_lengths=(70, 1, 33), global_keys=3),
    Problem((2, 2), batch=2, heads=2, key_heads=1, length=60, key_lengths=(0, 20), global_keys=26),
    Problem((100, 100), length=20, global_keys=5),
    Problem((4, 4), length=30, global_keys=10**18),
    Problem((300, 300), heads=1, key_heads=1, length=1300, head_dim=128, global_keys=2),
]
problems = pytest.mark.parametrize("problem", PROBLEMS, ids=str)


def attend(problem: Problem, impl: str, **options):
    return lambda q, k, v: window_attention(
        q, k, v, problem.window, problem.lengths(), impl=impl, global_keys=problem.global_keys, **options
    )


@problems
@pytest.mark.parametrize("impl", IMPLS)
def test_equals_the_definition_and_so_do_gradients(impl, problem):
    if impl == "reference" and problem.length > 1000:
        pytest.skip("plain loops take too long for it")
    tensors, seen = problem.tensors(), visible(problem)
    exact = tuple(tensor.double() for tensor in tensors)
    expected = with_gradients(lambda q, k, v: naive_attention(q, k, v, seen)[0], exact)
    for ours, theirs in zip(with_gradients(attend(problem, impl), tensors), expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=5e-5)


@pytest.mark.parametrize("wrong", [2, 4])
@pytest.mark.parametrize("impl", IMPLS)
def test_the_check_sees_a_number_that_is_wrong_by_one(impl, wrong):
    problem = Problem((4, 4), length=40, head_dim=16, global_keys=3)
    told = dataclasses.replace(problem, global_keys=wrong)
    right, ours = (with_gradients(attend(each, impl), problem.tensors()) for each in (problem, told))
    for one, other in zip(right, ours, strict=True):
        assert (one - other).abs().max() > 1e-2


@problems
@pytest.mark.parametrize("impl", ["reference", "cpu"])
def test_the_log_sum_exp_is_of_all_that_is_seen(impl, problem):
    if problem.length > 1000:
        pytest.skip("plain loops take too long for it")
    leaves = [tensor.requires_grad_() for tensor in problem.tensors()]
    exact = [tensor.detach().double().requires_grad_() for tensor in leaves]
    options = {"impl": impl, "global_keys": problem.global_keys}
    gradients = []
    for tensors, (output, lse) in (
        (leaves, window_attention_with_lse(*leaves, problem.window, problem.lengths(), **options)),
        (exact, naive_attention(*exact, visible(problem))),
    ):
        mixed = (output.sin() * lse.clamp(-10, 10).cos()[..., None]).sum()
        gradients.append((lse.detach().double(), *torch.autograd.grad(mixed, tensors)))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), atol=1e-5, rtol=5e-5)


@pytest.mark.parametrize("spread", [1.0, 12.0], ids=["unit normal", "large scores"])
@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize(
    "problem",
    [
        PROBLEMS[2],
        PROBLEMS[7],
        Problem((50, 7), batch=2, heads=4, length=100, head_dim=32, key_lengths=(100, 61), global_keys=3),
    ],
    ids=str,
)
def test_no_less_accurate_than_plain_code(problem, type_, spread):
    check_errors(*compare(problem, type_, spread, "cpu"))


def test_what_is_not_finite_reaches_who_sees_it_and_nobody_else(dtype):  # noqa: F811
    for problem in (
        Problem((5, 5), length=90, head_dim=64, global_keys=2),
        Problem((0, 3), batch=2, heads=4, key_heads=2, length=70, head_dim=24, key_lengths=(70, 31), global_keys=21),
    ):
        for planted in PLANTED:
            check(Setting(problem, dtype, (planted,)), "cpu")


def test_the_reference_drops_the_same_weights(dtype):  # noqa: F811
    problem = Problem((12, 9), batch=2, heads=4, key_heads=2, length=70, head_dim=64, global_keys=6)
    runs = []
    for impl in ("cpu", "reference"):
        torch.manual_seed(11)
        runs.append(with_gradients(attend(problem, impl, dropout_p=0.4), problem.tensors(dtype)))
    tolerance = 2e-5 if dtype == torch.float32 else 4e-2
    for mine, theirs in zip(*runs, strict=True):
        torch.testing.assert_close(mine, theirs, atol=tolerance, rtol=tolerance)


def test_the_number_of_threads_changes_no_bit(dtype):  # noqa: F811
    problem = Problem((40, 20), heads=3, key_heads=3, length=700, head_dim=64, global_keys=5)
    runs = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        runs.append(with_gradients(attend(problem, "cpu"), problem.tensors(dtype)))
    for other in runs[1:]:
        assert all(map(torch.equal, runs[0], other))


def test_none_of_them_changes_no_bit_of_a_window(dtype):  # noqa: F811
    problem = Problem((40, 20), heads=2, length=300, head_dim=64)
    tensors = problem.tensors(dtype)
    # The window covers all that comes before, so that there is nothing to add.
    covered = dataclasses.replace(problem, window=(300, 20), global_keys=4)
    plain = with_gradients(attend(dataclasses.replace(covered, global_keys=0), "cpu"), tensors)
    assert torch.equal(with_gradients(attend(covered, "cpu"), tensors)[0], plain[0])


def test_attention_sinks_are_what_later_queries_of_a_causal_window_see():
    query, key, value = Problem((0, 0), length=50, head_dim=16).tensors()
    sinks = window_attention(query, key, value, (7, 0), global_keys=2)
    value[:, :, :2] += 1.0
    moved = window_attention(query, key, value, (7, 0), global_keys=2) - sinks
    assert (moved.abs().amax(dim=(0, 1, 3)) > 0).all()
    value[:, :, 30] += 1.0
    later = window_attention(query, key, value, (7, 0), global_keys=2) - sinks - moved
    assert (later.abs().amax(dim=(0, 1, 3)) > 1e-4).nonzero().flatten().tolist() == list(range(30, 38))


def test_they_are_counted():
    for problem in PROBLEMS[:4]:
        seen = visible(Problem(problem.window, length=problem.length, global_keys=problem.global_keys))
        assert operator.visible_pairs(problem.length, problem.window, problem.global_keys) == int(seen.sum())
    leaves = [tensor.requires_grad_() for tensor in Problem((4, 1), batch=2, heads=4, length=30).tensors()]
    with FlopCounterMode(display=False) as forward:
        output = window_attention(*leaves, (4, 1), global_keys=3)
    assert forward.get_total_flops() == flops(2, 4, 30, 8, (4, 1), global_keys=3)[0]
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert backward.get_total_flops() == flops(2, 4, 30, 8, (4, 1), backward=True, global_keys=3)[0]


def test_the_operator_refuses_a_negative_number():
    query, key, value = Problem((2, 2)).tensors()
    with pytest.raises(RuntimeError, match="global_keys is negative"):
        torch.ops.pyprof.window_attention(query, key, value, 2, 2, None, 1.0, 0.0, None, "cpu", -1)


def test_they_compile_as_one_graph():
    problem = Problem((3, 2), batch=2, length=30, key_lengths=(30, 11), global_keys=3)
    compiled = torch.compile(attend(problem, "cpu"), fullgraph=True, backend="aot_eager")
    ours, expected = (with_gradients(each, problem.tensors()) for each in (compiled, attend(problem, "cpu")))
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_gradients_of_the_reference_are_those_of_its_output_and_log_sum_exp():
    problem = Problem((1, 1), batch=2, heads=4, key_heads=2, length=6, head_dim=2, key_lengths=(6, 4), global_keys=2)
    leaves = tuple(tensor.requires_grad_() for tensor in problem.tensors(torch.float64))
    forward = torch.ops.pyprof.window_attention.default
    rest = (1, 1, problem.lengths(), 1 / math.sqrt(2), 0.0, None, "reference", 2)
    assert torch.autograd.gradcheck(lambda *tensors: forward(*tensors, *rest), leaves, atol=1e-7)
    torch.library.opcheck(forward, (*leaves, *rest))


def composed(query, key, value, rows, row_keys, row_values, window, key_lengths=None):
    """Longformer's attention of dense parts."""
    tokens, length = rows.shape[2], query.shape[2]
    problem = Problem(window, batch=query.shape[0], length=length, key_lengths=key_lengths, global_keys=tokens)
    everything = torch.arange(length) < torch.tensor(key_lengths or [length])[:, None, None, None]
    first, _ = naive_attention(rows, row_keys, row_values, everything)
    others, _ = naive_attention(query, key, value, visible(problem))
    return torch.cat((first, others[:, :, tokens:]), dim=2)


@pytest.mark.parametrize("in_rows", [False, True], ids=["heads first", "heads cut out of rows"])
@pytest.mark.parametrize("key_lengths", [None, (40, 23)])
@pytest.mark.parametrize("type_", [torch.float64, *TYPES], ids=str)
def test_global_tokens_see_and_are_seen_by_every_token(type_, key_lengths, in_rows):
    generator = torch.Generator().manual_seed(2)
    shape = (2, 40, 3, 16) if in_rows else (2, 3, 40, 16)
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64).to(type_) for _ in range(6)]
    tensors = [tensor.transpose(1, 2) if in_rows else tensor for tensor in tensors]
    tensors[3] = tensors[3][:, :, :4]
    lengths = None if key_lengths is None else torch.tensor(key_lengths)
    impl = "reference" if type_ == torch.float64 else "auto"
    ours = with_gradients(lambda *given: global_attention(*given, (5, 5), lengths, impl=impl), tensors)
    exact = tuple(tensor.double() for tensor in tensors)
    expected = with_gradients(lambda *given: composed(*given, (5, 5), key_lengths), exact)
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 8e-2}[type_]
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=tolerance, rtol=tolerance)


def test_dropout_of_global_tokens_is_repeated_by_the_backward():
    tensors = [torch.randn(1, 2, 30, 16, dtype=torch.float64, requires_grad=True) for _ in range(6)]
    tensors[3] = tensors[3].detach()[:, :, :2].requires_grad_()

    def run(*given):
        torch.manual_seed(4)
        return global_attention(*given, (3, 3), dropout_p=0.4, impl="reference")

    assert torch.autograd.gradcheck(run, tensors, fast_mode=True, atol=1e-7)
    assert (run(*tensors) - global_attention(*tensors, (3, 3), impl="reference")).abs().max() > 0.1


def test_arguments_of_global_tokens_that_do_not_fit_are_named():
    query, rows = torch.zeros(1, 2, 6, 8), torch.zeros(1, 2, 2, 8)
    good = [query, query, query, rows, query, query]
    assert global_attention(*good, (1, 1)).shape == query.shape
    assert global_attention(*good[:3], rows[:, :, :0], query, query, (1, 1)).shape == query.shape
    for place, wrong, message in (
        (3, torch.zeros(1, 2, 7, 8), r"rows has shape \(1, 2, 7, 8\)"),
        (3, torch.zeros(2, 8), r"rows has shape \(2, 8\)"),
        (4, rows, r"row_keys has shape \(1, 2, 2, 8\)"),
        (5, rows, r"row_values has shape \(1, 2, 2, 8\)"),
    ):
        with pytest.raises(UsageError, match=message):
            global_attention(*good[:place], wrong, *good[place + 1 :], (1, 1))
    with pytest.raises(UsageError, match="impl 'sdpa' has no global tokens"):
        global_attention(*good, (1, 1), impl="sdpa")
