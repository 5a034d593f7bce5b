"""What a query does not see is not there, whatever it is: NaN and infinities, under every implementation."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import pytest
import torch
from naive_attention import Problem
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from pyprof.errors import UsageError
from pyprof.ops import flex, operator
from pyprof.ops.window_attention import cpu_isa, window_attention, window_attention_with_lse

ISAS = ("portable", "avx2", "avx512", "avx512_bf16", "amx")
TYPES = (torch.float32, torch.bfloat16, torch.float16)
NAN, INFINITY = float("nan"), float("inf")
KINDS = (torch.isnan, torch.isposinf, torch.isneginf)
TENSORS = ("query", "key", "value", "grad_output")
TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 4e-2}
PROBLEMS = [
    Problem((5, 5), length=150, head_dim=64),
    Problem((9, 9), batch=2, heads=4, key_heads=2, length=70, head_dim=24, key_lengths=(70, 31)),
    Problem((2, 17), length=75, head_dim=32),
    Problem((40, 0), heads=4, key_heads=1, length=90, head_dim=64),
    Problem((0, 0), length=40, head_dim=64),
    Problem((200, 200), heads=1, key_heads=1, length=430, head_dim=256),
]


@dataclasses.dataclass(frozen=True)
class Planted:
    """`value` in `elements` of row `row` of a tensor, of its last head and of the first sequence; "all" or one."""

    tensor: str
    value: float
    row: int = 20
    elements: str = "one"

    def into(self, tensors: dict[str, Tensor]) -> None:
        row = tensors[self.tensor][0, -1, self.row]
        row[3 if self.elements == "one" else slice(None)] = self.value


PLANTED = [
    *(Planted(tensor, value) for tensor in TENSORS for value in (NAN, INFINITY, -INFINITY)),
    *(Planted(tensor, NAN, elements="all") for tensor in TENSORS),
    Planted("key", NAN, row=0),
    Planted("value", NAN, row=39),
    Planted("grad_output", INFINITY, row=0),
]


@dataclasses.dataclass(frozen=True)
class Setting:
    """With `rows` the heads are cut out of rows, as a model does it."""

    problem: Problem
    dtype: torch.dtype
    planted: tuple[Planted, ...] = ()
    rows: bool = False
    dropout_p: float = 0.0

    def tensors(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(7)
        query, key, value = self.problem.tensors(self.dtype)
        given = [query, key, value, torch.randn(query.shape, generator=generator).to(self.dtype)]
        if self.rows:
            given = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in given]
        tensors = dict(zip(TENSORS, given, strict=True))
        for one in self.planted:
            one.into(tensors)
        return tensors


def results(setting: Setting, tensors: dict[str, Tensor], impl: str) -> dict[str, Tensor]:
    problem, leaves = setting.problem, [tensors[name].detach().requires_grad_() for name in TENSORS[:3]]
    torch.manual_seed(1)
    options = {"dropout_p": setting.dropout_p, "impl": impl, "global_keys": problem.global_keys}
    output = window_attention(*leaves, problem.window, problem.lengths(), **options)
    gradients = torch.autograd.grad(output, leaves, tensors["grad_output"])
    return dict(zip(("output", "grad_query", "grad_key", "grad_value"), (output.detach(), *gradients), strict=True))


@functools.cache
def reference(setting: Setting) -> dict[str, Tensor]:
    return results(setting, setting.tensors(), "reference")


def check(setting: Setting, impl: str, kinds: tuple[Callable[[Tensor], Tensor], ...] = KINDS) -> None:
    """NaN, infinities and numbers where the reference has them; fewer `kinds` tell less apart."""
    expected, tolerance = reference(setting), TOLERANCE[setting.dtype]
    for name, ours in results(setting, setting.tensors(), impl).items():
        theirs = expected[name]
        for of in kinds:
            assert torch.equal(of(ours), of(theirs)), (name, of.__name__, (of(ours) ^ of(theirs)).nonzero()[:5])
        finite = theirs.isfinite()
        torch.testing.assert_close(ours[finite], theirs[finite], atol=3 * tolerance, rtol=tolerance)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of small problems wait for one another longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[(isa, dtype) for isa in ISAS for dtype in TYPES if isa in ISAS[:3] or dtype == torch.bfloat16])
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
def test_the_host_kernels_agree_with_the_reference(problem, dtype):
    for planted in PLANTED if problem.head_dim < 256 else PLANTED[::5]:
        check(Setting(problem, dtype, (planted,)), "cpu")


def test_heads_that_are_cut_out_of_rows_do_too(dtype):
    for planted in PLANTED:
        check(Setting(PROBLEMS[0], dtype, (planted,), rows=True), "cpu")


def test_with_dropout_and_with_several_at_once_they_do_too(dtype):
    for planted in PLANTED:
        check(Setting(PROBLEMS[1], dtype, (planted,), dropout_p=0.3), "cpu")
    several = (Planted("key", NAN, 3), Planted("value", -INFINITY, 25, "all"), Planted("grad_output", NAN, 50))
    check(Setting(PROBLEMS[1], dtype, several), "cpu")


@pytest.mark.parametrize("rows", [False, True])
def test_in_whichever_element_it_lies(rows, dtype):
    """In another one in each head."""
    problem = Problem((5, 5), heads=64, key_heads=64, length=40, head_dim=64)
    for name in TENSORS:
        for value in (NAN, INFINITY):
            setting = Setting(problem, dtype, rows=rows)
            tensors = setting.tensors()
            tensors[name][0].diagonal(dim1=0, dim2=2)[20] = value
            expected = results(setting, tensors, "reference")
            for result, ours in results(setting, tensors, "cpu").items():
                assert torch.equal(ours.isfinite(), expected[result].isfinite()), (name, value, result)


def test_sums_that_overflow_are_none_of_the_results(dtype):
    problem = PROBLEMS[0]
    query, key, _ = problem.tensors(dtype)
    value = torch.full_like(key, torch.finfo(dtype).max / 2)
    output = window_attention(query, key, value, problem.window, impl="cpu")
    torch.testing.assert_close(output, value)


@pytest.mark.parametrize("payload", [0x7F800001, 0x7FFFFFFF, 0xFFC00123 - 2**32])
@pytest.mark.parametrize("isa", ISAS[:3])
def test_every_nan_is_one(isa, payload, monkeypatch):
    monkeypatch.setenv("PYPROF_CPU_ISA", isa)
    try:
        cpu_isa(torch.float32)
    except UsageError as lacking:
        pytest.skip(str(lacking))
    setting = Setting(PROBLEMS[0], torch.float32)
    tensors = setting.tensors()
    tensors["key"].view(torch.int32)[0, 0, 20, 3] = payload
    expected = results(setting, tensors, "reference")
    for name, ours in results(setting, tensors, "cpu").items():
        assert torch.equal(ours.isnan(), expected[name].isnan())


@pytest.mark.parametrize("impl", ["reference", "cpu"])
def test_the_log_sum_exp_of_queries_that_see_it_is_nan_and_of_scores_of_minus_infinity_too(impl):
    problem = Problem((2, 2), length=40, head_dim=64)
    query, key, value = problem.tensors()
    query[..., 0] = 1.0
    key[0, 1, 20] = NAN
    key[0, 0, 28:33, 0] = -INFINITY  # all that query 30 sees
    output, lse = window_attention_with_lse(query, key, value, problem.window, impl=impl)
    assert lse[0, 1].isnan().nonzero().flatten().tolist() == [18, 19, 20, 21, 22]
    assert lse[0, 0].isnan().nonzero().flatten().tolist() == [30]
    assert output[0, 0].isnan().all(dim=-1).nonzero().flatten().tolist() == [30]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS[:2], ids=str)
def test_chunks_agree_with_the_reference(problem, dtype):
    for planted in PLANTED:
        # What an infinite gradient makes of a query's scores, PyTorch's softmax sums in another order: there infinity
        # less infinity is NaN where the reference has an infinity.
        infinite = planted.tensor == "grad_output" and planted.value in (INFINITY, -INFINITY)
        check(Setting(problem, dtype, (planted,)), "chunks", (torch.isfinite,) if infinite else KINDS)


@pytest.mark.parametrize("impl", ["reference", "cpu", "sdpa", "chunks"])
def test_what_lies_behind_the_key_lengths_reaches_nobody(impl):
    problem = Problem((4, 4), batch=3, heads=4, key_heads=2, length=60, head_dim=64, key_lengths=(60, 23, 0))
    setting = Setting(problem, torch.float32)
    tensors = setting.tensors()
    expected = results(setting, tensors, impl)
    for value in (NAN, INFINITY):
        for name in ("key", "value"):
            tensors[name][1, :, 23:] = tensors[name][2] = value
        for name, ours in results(setting, tensors, impl).items():
            torch.testing.assert_close(ours, expected[name])


def test_nor_with_flex(monkeypatch):
    monkeypatch.setattr(flex, "_compiled", lambda: flex_attention)
    problem = Problem((4, 4), batch=2, length=60, head_dim=64, key_lengths=(60, 23))
    tensors = problem.tensors()
    expected = window_attention(*tensors, (4, 4), problem.lengths(), impl="flex")
    for tensor in tensors[1:]:
        tensor[1, :, 23:] = NAN
    torch.testing.assert_close(window_attention(*tensors, (4, 4), problem.lengths(), impl="flex"), expected)


@pytest.mark.skipif(not (torch.cuda.is_available() and operator.HAS_CUDA), reason="needs a CUDA device")
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("impl", ["cuda", "chunks"])
def test_on_cuda_too(impl, dtype):
    setting = Setting(PROBLEMS[0], dtype)
    for planted in PLANTED:
        given = dataclasses.replace(setting, planted=(planted,))
        on_device = {name: tensor.cuda() for name, tensor in given.tensors().items()}
        for name, ours in results(given, on_device, impl).items():
            for of in KINDS:
                assert torch.equal(of(ours).cpu(), of(reference(given)[name])), (planted, name, of.__name__)
