"""The rows of global tokens: the host's kernel beside plain dense attention; and global keys joined to a kernel."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from naive_attention import Problem, naive_attention, visible, with_gradients
from torch.utils.flop_counter import FlopCounterMode

import pyprof._window
from pyprof.ops import columns, operator
from pyprof.ops import window_attention as window_module
from pyprof.ops.arguments import checked
from pyprof.ops.global_attention import global_attention
from pyprof.ops.global_rows import attend_rows
from pyprof.ops.window_attention import cpu_isa, window_attention, window_attention_with_lse

TYPES = (torch.float32, torch.float16, torch.bfloat16)
ISAS = ("portable", "avx2", "avx512", "avx512_bf16", "amx")


@dataclasses.dataclass(frozen=True)
class Rows:
    """How many rows, how many keys, and the rest."""

    rows: int
    length: int
    head_dim: int = 16
    batch: int = 1
    heads: int = 2
    key_lengths: tuple[int, ...] | None = None
    in_rows: bool = False

    def tensors(self, dtype, spread=1.0):
        """Rows, keys and values; heads lie cut out of rows of all heads where `in_rows`."""
        generator = torch.Generator().manual_seed(self.length)

        def made(count):
            shape = (self.batch, count, self.heads, self.head_dim)
            tensor = torch.randn(shape, generator=generator, dtype=torch.float64).transpose(1, 2)
            return tensor if self.in_rows else tensor.contiguous()

        return tuple(tensor.to(dtype) for tensor in (made(self.rows) * spread, made(self.length), made(self.length)))

    def lengths(self):
        return None if self.key_lengths is None else torch.tensor(self.key_lengths)


CASES = [
    Rows(1, 1, head_dim=8),
    Rows(4, 7),
    Rows(4, 300, head_dim=64, in_rows=True),
    Rows(17, 140, head_dim=24, batch=2, heads=3),
    Rows(40, 41, head_dim=72, batch=2, key_lengths=(41, 9), in_rows=True),
    Rows(2, 270, head_dim=256, batch=2, heads=1, key_lengths=(129, 1)),
    Rows(3, 20, batch=3, key_lengths=(20, 0, 5)),
    Rows(3, 160, head_dim=32, heads=1),
    Rows(19, 200, head_dim=96, batch=2, key_lengths=(161, 3), in_rows=True),
]
cases = pytest.mark.parametrize("case", CASES, ids=str)


def attended(case, impl, dropout=0.0, scale=None):
    """Global attention whose window has as good as no part in what is asked for: the rows."""

    def run(rows, keys, values):
        nothing = torch.zeros_like(keys)
        given = (nothing, nothing, nothing, rows, keys, values)
        options = {"scale": scale, "dropout_p": dropout, "impl": impl}
        return global_attention(*given, (0, 0), case.lengths(), **options)[:, :, : case.rows]

    return run


def exact(case):
    def run(rows, keys, values):
        seen = torch.arange(case.length) < torch.tensor(case.key_lengths or [case.length])[:, None, None, None]
        return naive_attention(rows, keys, values, seen)[0]

    return run


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@cases
def test_they_are_dense_attention_and_so_are_gradients(case, dtype, isa, monkeypatch):
    if ISAS.index(isa) > ISAS.index(cpu_isa(torch.bfloat16)):
        pytest.skip(f"this processor has no {isa}")
    monkeypatch.setenv("PYPROF_CPU_ISA", isa)
    tensors = case.tensors(dtype)
    ours = with_gradients(attended(case, "cpu"), tensors)
    theirs = with_gradients(exact(case), tuple(tensor.double() for tensor in tensors))
    tolerance = {torch.float32: 2e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), reference, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_large_scores_are_as_exact_as_they_can_be(dtype):
    case = Rows(4, 300, head_dim=64)
    tensors = case.tensors(dtype, spread=12.0)
    ours = with_gradients(attended(case, "cpu"), tensors)
    plain = with_gradients(exact(case), tensors)
    theirs = with_gradients(exact(case), tuple(tensor.double() for tensor in tensors))
    for mine, eager, reference in zip(ours, plain, theirs, strict=True):
        assert (mine - reference).abs().max() <= 2 * (eager - reference).abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scale", [-0.2, 0.0, 0.3])
def test_any_scale(scale, dtype):
    case = Rows(3, 150, head_dim=64)
    tensors = case.tensors(dtype)

    def theirs(rows, keys, values):
        return (rows @ keys.mT * scale).softmax(dim=-1) @ values

    expected = with_gradients(theirs, tuple(tensor.double() for tensor in tensors))
    tolerance = 2e-6 if dtype == torch.float32 else 3e-2
    for mine, reference in zip(with_gradients(attended(case, "cpu", scale=scale), tensors), expected, strict=True):
        torch.testing.assert_close(mine.double(), reference, atol=tolerance, rtol=tolerance)


def test_a_wrong_length_is_seen():
    case = Rows(4, 300, batch=2, key_lengths=(300, 129))
    told = dataclasses.replace(case, key_lengths=(300, 128))
    right, wrong = (with_gradients(attended(each, "cpu"), case.tensors(torch.float32)) for each in (case, told))
    for one, other in zip(right, wrong, strict=True):
        assert (one - other).abs().max() > 1e-3


def weights_of(case, dropout, seed, dtype=torch.float32):
    """The kernel's weights, (batch, heads, rows, length), from values that are one in a place of their own."""
    rows, keys, _ = case.tensors(dtype)
    torch.manual_seed(seed)
    values = torch.eye(case.length, case.head_dim, dtype=dtype).expand(case.batch, case.heads, -1, -1)
    return attended(case, "cpu", dropout)(rows, keys, values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_dropout_keeps_some_weights_and_makes_them_larger(dtype):
    case = Rows(40, 64, head_dim=64, batch=2, heads=4)
    whole, dropped, again, other = (
        weights_of(case, rate, seed, dtype) for rate, seed in ((0, 1), (0.3, 1), (0.3, 1), (0.3, 2))
    )
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], (whole / 0.7)[kept])
    assert kept.float().mean().sub(0.7).abs() < 0.02
    assert torch.equal(dropped, again)
    assert (kept != (other != 0)).float().mean().sub(2 * 0.3 * 0.7).abs() < 0.02
    # No two rows, heads or sequences draw alike.
    patterns = kept.flatten(0, 2)
    assert len(torch.unique(patterns, dim=0)) == len(patterns)


def test_the_backward_drops_what_the_forward_dropped():
    case = Rows(3, 64, head_dim=64)
    mask = (weights_of(case, 0.4, 3) != 0).double() / 0.6
    tensors = case.tensors(torch.float32)

    def ours(*given):
        torch.manual_seed(3)
        return attended(case, "cpu", 0.4)(*given)

    def theirs(rows, keys, values):
        return ((rows @ keys.mT / 8).softmax(dim=-1) * mask) @ values

    expected = with_gradients(theirs, tuple(tensor.double() for tensor in tensors))
    for mine, reference in zip(with_gradients(ours, tensors), expected, strict=True):
        torch.testing.assert_close(mine.double(), reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_not_finite_behind_the_key_lengths_reaches_nobody(dtype):
    case = Rows(3, 200, batch=2, head_dim=64, key_lengths=(200, 150))
    tensors = case.tensors(dtype)
    clean = with_gradients(attended(case, "cpu"), tensors)
    for tensor in tensors[1:]:
        tensor[1, :, 150:] = torch.nan
    assert all(map(torch.equal, with_gradients(attended(case, "cpu"), tensors), clean))
    tensors[1][0, 0, 7, 3] = torch.nan
    output = attended(case, "cpu")(*tensors)
    assert output[0, 0].isnan().all()
    assert output[0, 1].isfinite().all()
    assert output[1].isfinite().all()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_number_of_threads_changes_no_bit(dtype):
    case = Rows(20, 300, batch=2, heads=3, head_dim=64, in_rows=True)
    before, runs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(with_gradients(attended(case, "cpu"), case.tensors(dtype)))
    finally:
        torch.set_num_threads(before)
    for other in runs[1:]:
        assert all(map(torch.equal, runs[0], other))


def test_the_operators_are_ones_of_pytorch():
    case = Rows(3, 20, batch=2, key_lengths=(20, 11))
    rows, keys, values = case.tensors(torch.float32)
    rest = (case.lengths(), 0.25, 0.0, None)
    torch.library.opcheck(torch.ops.pyprof.global_rows.default, (rows, keys, values, *rest))
    output, statistics = torch.ops.pyprof.global_rows(rows, keys, values, *rest)
    saved = (rows, rows, keys, values, output, statistics)
    torch.library.opcheck(torch.ops.pyprof.global_rows_backward.default, (*saved, *rest))
    for wrong in (rows[:1], rows.double(), rows[..., :8]):
        with pytest.raises(RuntimeError, match="do not fit key"):
            torch.ops.pyprof.global_rows(wrong, keys, values, *rest)


def test_operations_are_counted():
    case = Rows(3, 20, batch=2)
    arguments = checked(case.tensors(torch.float32)[1:2] * 3, (1, 1), None, None, 0.0, "cpu", 3)
    leaves = [tensor.requires_grad_() for tensor in case.tensors(torch.float32)]
    with FlopCounterMode(display=False) as counter:
        output, saved = attend_rows(*leaves, arguments, "cpu", None)
    assert counter.get_total_flops() == 4 * leaves[0].numel() * 20
    with FlopCounterMode(display=False) as counter:
        operator.global_rows_backward(arguments, None, output, *leaves, *saved)
    assert counter.get_total_flops() == 10 * leaves[0].numel() * 20


def test_global_attention_compiles_as_one_graph():
    case = Rows(2, 30, heads=2)
    rows, keys, values = case.tensors(torch.float32)

    def attend(*given):
        return global_attention(*given, (3, 3))

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    given = (keys + 1, keys.clone(), values.clone(), rows, keys, values)
    ours, expected = (with_gradients(each, given) for each in (compiled, attend))
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


COLUMNS = [
    Problem((3, 2), length=40, head_dim=16, global_keys=4),
    Problem((5, 0), batch=2, heads=4, key_heads=2, length=70, head_dim=24, global_keys=37),
    Problem((2, 2), batch=2, heads=2, key_heads=1, length=60, key_lengths=(0, 20), global_keys=26),
    Problem((100, 100), length=20, global_keys=5),
    Problem((4, 4), length=30, global_keys=10**18),
]


@pytest.fixture
def joined(monkeypatch):
    """Global keys are joined on the host as they are in float32 on CUDA."""
    monkeypatch.setattr(window_module, "needs_columns", lambda arguments, impl: arguments.global_keys > 0)
    monkeypatch.setattr(pyprof._window, "call", lambda *_: None)


@pytest.mark.parametrize("problem", COLUMNS, ids=str)
@pytest.mark.usefixtures("joined")
def test_global_keys_that_are_joined_are_what_the_definition_says(problem):
    options = {"key_lengths": problem.lengths(), "impl": "cpu", "global_keys": problem.global_keys}
    leaves = [tensor.requires_grad_() for tensor in problem.tensors()]
    exact_leaves = [tensor.detach().double().requires_grad_() for tensor in leaves]
    found = []
    for tensors, (output, lse) in (
        (leaves, window_attention_with_lse(*leaves, problem.window, **options)),
        (exact_leaves, naive_attention(*exact_leaves, visible(problem))),
    ):
        mixed = (output.sin() * lse.clamp(-10, 10).cos()[..., None]).sum()
        found.append((output.detach(), lse.detach(), *torch.autograd.grad(mixed, tensors)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), atol=1e-5, rtol=5e-5)


@pytest.mark.usefixtures("joined")
def test_global_keys_that_are_joined_lose_dropped_weights():
    problem = Problem((1, 1), length=300, head_dim=16, global_keys=8)
    tensors = problem.tensors()
    plain, *dropped = (
        window_attention(*tensors, problem.window, global_keys=8, impl="cpu", dropout_p=rate)
        for rate in (0.0, *[0.5] * 200)
    )
    assert (dropped[0] - plain).abs().max() > 0.1
    assert (torch.stack(dropped).mean(dim=0) - plain).abs().mean() < 0.1


def test_which_kernels_leave_global_keys_to_be_joined():
    arguments = checked(Problem((1, 1)).tensors(), (1, 1), None, None, 0.0, "cpu", 2)
    half = checked(Problem((1, 1)).tensors(torch.float16), (1, 1), None, None, 0.0, "cpu", 2)
    none = dataclasses.replace(arguments, global_keys=0)
    assert columns.needs_columns(arguments, "cuda")
    assert not any(columns.needs_columns(*each) for each in ((arguments, "cpu"), (half, "cuda"), (none, "cuda")))


def test_global_tokens_beside_global_keys_that_are_joined(monkeypatch):
    from pyprof.ops import global_attention as module

    monkeypatch.setattr(module, "needs_columns", lambda *_: True)
    monkeypatch.setattr(module, "with_columns", lambda arguments, _: columns.with_columns(arguments, "cpu"))
    monkeypatch.setattr(module, "attend_rows", lambda *given: attend_rows(*given[:4], "cuda", None))
    generator = torch.Generator().manual_seed(2)
    tensors = [torch.randn(2, 3, 40, 16, generator=generator) for _ in range(6)]
    tensors[3] = tensors[3][:, :, :4]
    lengths = torch.tensor([40, 23])
    ours = with_gradients(lambda *given: global_attention(*given, (5, 5), lengths), tensors)
    monkeypatch.undo()
    theirs = with_gradients(lambda *given: global_attention(*given, (5, 5), lengths), tensors)
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)
