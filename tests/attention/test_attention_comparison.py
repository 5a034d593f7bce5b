"""The comparison as a whole: figures, rows that failed, the best of several variants, and the document."""

from __future__ import annotations

import json

import pytest
import torch

from pyprof.attention import Grid, Problem, RoundLimits, compare, measured, peers
from pyprof.attention import measure as measuring
from pyprof.attention.peers import Implementation, Variant
from pyprof.errors import UsageError

SMALL = {"heads": 2, "head_dim": 8, "care": RoundLimits(0.05, most_rounds=8)}


def grid(**changes):
    return Grid(**{"lengths": (40,), "windows": ((4, 4),), "impls": ("sdpa", "chunks"), **SMALL, **changes})


def implementation(attend, name="mine", foreign=False):
    return Implementation(name, lambda problem: iter([Variant(attend)]), foreign)


def result_beside(right, *others, mode="forward", dtype="float32", stopwatch=None):
    problem = Problem(40, (4, 4), heads=2, head_dim=8, dtype=dtype)

    def fine(query, key, value):
        if stopwatch is not None:
            stopwatch.clock.now += 500
        return right(query, key, value, (4, 4))

    implementations = [implementation(fine, "fine"), *others]
    return measuring.measure(
        problem, mode, implementations, RoundLimits(0.05, most_rounds=8), tolerance=2.0, stopwatch=stopwatch
    )


def test_every_problem_and_mode_has_a_result_with_figures():
    found = compare(grid(lengths=(24, 40), windows=((4, 4),), dtypes=("float32", "bfloat16")))
    assert len(found.results) == 2 * 2 * 2
    assert found.complete
    assert found.failed == 0
    for result in found.results:
        assert [row.impl for row in result.rows] == ["sdpa", "chunks"]
        assert result.limit.value > 0
        for row in result.rows:
            assert row.status == "ok"
            assert len(row.samples) == result.rounds
            assert row.flops_per_second == pytest.approx(result.flops / row.seconds.value)
            assert row.of_limit.value > 0
            assert not row.accuracy.wrong, (result.problem, result.mode, row)
        assert result.rows[0].against.value == 1.0


def test_the_document_is_plain_and_has_a_schema():
    found = compare(grid(impls=("sdpa", "chunks"), windows=((4, 4), (4, 2))))
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["schema"] == 1
    assert document["plan"]["windows"] == [[4, 4], [4, 2]]
    assert document["environment"]["fingerprint"] == found.environment.fingerprint
    first = document["contests"][0]
    assert first["problem"]["length"] == 40
    assert first["rows"][0]["seconds"]["value"] == found.results[0].rows[0].seconds.value
    assert first["rows"][0]["accuracy"]["holds"] is True
    skipped = document["contests"][-1]["rows"][1]  # chunks know equal sides only
    assert (skipped["status"], skipped["seconds"], skipped["samples"]) == ("skipped", None, [])
    assert "chunks" in skipped["reason"]


def test_a_failing_implementation_is_a_row_with_its_reason(right):
    def unsupported(query, key, value):
        raise NotImplementedError("only on Tuesdays")

    def exhausted(query, key, value):
        raise MemoryError("2 TiB")

    def broken(query, key, value):
        raise ValueError("no such block")

    others = [implementation(one, one.__name__) for one in (unsupported, exhausted, broken)]
    found = result_beside(right, *others)
    assert [row.status for row in found.rows] == ["ok", "skipped", "oom", "error"]
    assert [row.reason for row in found.rows[1:]] == [
        "only on Tuesdays",
        "out of memory: 2 TiB",
        "ValueError: no such block",
    ]
    assert found.row("fine").seconds.value > 0


def test_what_fails_in_the_middle_loses_nothing_of_the_others(right):
    calls = []

    def late(query, key, value):
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("unspecified launch failure")
        return right(query, key, value, (4, 4))

    found = result_beside(right, implementation(late, "late"))
    assert found.row("late").status == "error"
    assert "unspecified launch failure" in found.row("late").reason
    assert len(found.row("fine").samples) == found.rounds > 0


def test_no_backward_is_said_and_the_forward_is_kept(right):
    def forward_only(query, key, value):
        with torch.no_grad():
            return right(query, key, value, (4, 4))

    assert result_beside(right, implementation(forward_only)).rows[1].status == "ok"
    row = result_beside(right, implementation(forward_only), mode="backward").rows[1]
    assert row.status == "skipped"
    assert "no backward" in row.reason


def test_a_kernel_of_the_users_that_is_wrong_at_this_length_is_not_timed(right):
    def wrong(query, key, value):
        return right(query, key, value, (4, 3))

    row = result_beside(right, implementation(wrong, foreign=True)).rows[1]
    assert (row.status, row.seconds) == ("error", None)
    assert "off by" in row.reason
    known = result_beside(right, implementation(wrong)).rows[1]
    assert known.status == "ok"
    assert not known.accuracy.holds


def test_of_several_variants_the_fastest_counts(right, work_clock, work_stopwatch):
    def variants(problem):
        for size, nanoseconds in ((16, 900), (32, 300), (64, 700)):
            work = work_clock.work(str(size), nanoseconds)

            def attend(query, key, value, work=work):
                work()
                return right(query, key, value, problem.window)

            yield Variant(attend, f"block size {size}", (torch.zeros(size, dtype=torch.uint8),))

    row = result_beside(right, Implementation("blocks", variants), stopwatch=work_stopwatch).rows[1]
    assert row.variant == "block size 32"
    assert row.variants == {"block size 16": 900e-9, "block size 32": 300e-9, "block size 64": 700e-9}
    assert set(row.samples) == {300}


def test_memory_is_what_lies_beyond_inputs_and_results():
    problem = Problem(32, (4, 4), heads=2, head_dim=8)
    wasted = 100_000

    def attend(query, key, value):
        torch.zeros(wasted, dtype=torch.uint8)
        return query + key + value

    prepared = torch.zeros(1234, dtype=torch.uint8)
    inputs = measuring.make_inputs(problem)
    found = measuring._extra_bytes(Variant(attend, state=(prepared,)), inputs, backward=False)
    # The waste is gone before the output and the sum of two inputs are there.
    assert found == max(wasted, 2 * problem.tensor_bytes) - problem.tensor_bytes + 1234


def test_backward_is_timed_without_its_forward(right, work_clock, work_stopwatch):
    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(context, tensor):
            work_clock.now += 1_000_000
            return tensor.clone()

        @staticmethod
        def backward(context, gradient):
            work_clock.now += 700
            return gradient

    def attend(query, key, value):
        return right(Slow.apply(query), key, value, (4, 4))

    row = result_beside(right, implementation(attend), mode="backward", stopwatch=work_stopwatch).rows[1]
    assert set(row.samples) == {700}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modes": ("sideways",)}, "sideways"),
        ({"impls": ("spda",)}, "did you mean 'sdpa'"),
        ({"impls": ()}, "at least one"),
        ({"lengths": ()}, "lengths"),
        ({"lengths": (0,)}, "length has to be at least 1"),
        ({"windows": ((-1, 2),)}, "neighbours"),
        ({"dtypes": ("float8",)}, "float8"),
    ],
)
def test_a_senseless_grid_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        list(measured(grid(**changes)))


def test_a_wrong_kernel_ends_the_comparison_before_it_begins(right):
    seen = []
    with pytest.raises(UsageError, match="the kernel mine is wrong"):
        compare(
            grid(kernels={"mine": lambda *arguments: right(*arguments) * 2}), lambda *progress: seen.append(progress)
        )
    assert [result for _, _, result, _ in seen] == [None]


def test_a_right_kernel_stands_beside_the_others(right):
    found = compare(grid(kernels={"mine": right}, modes=("forward",)))
    assert [row.impl for row in found.results[0].rows] == ["sdpa", "chunks", "mine"]


def test_auto_is_the_operators_own_and_is_named():
    found = compare(grid(impls=("auto",), dtypes=("float32", "bfloat16", "float16")))
    for result in found.results:
        assert [(row.impl, row.status) for row in result.rows] == [("cpu", "ok")]
        assert not result.rows[0].accuracy.wrong


def test_a_mask_that_cannot_fit_is_not_tried():
    with pytest.raises(MemoryError, match="over 50,000,000 tokens"):
        list(peers.find("sdpa").variants(Problem(50_000_000, (4, 4))))


@pytest.mark.slow  # importing torch.compile takes seconds
def test_flex_has_no_backward_on_the_host():
    (result,) = compare(grid(impls=("flex",), modes=("backward",))).results
    assert (result.rows[0].status, result.rows[0].reason) == ("skipped", "FlexAttention has no backward on the host")


@pytest.mark.slow
def test_flex_is_the_best_of_its_block_sizes():
    (result,) = compare(grid(impls=("flex",), lengths=(64,), modes=("forward",))).results
    assert result.rows[0].status == "ok"
    assert set(result.rows[0].variants) == {f"block size {size}" for size in peers.FLEX_BLOCKS}
