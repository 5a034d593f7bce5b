"""The plain CUDA kernels on the host, against the reference in float64."""

from __future__ import annotations

import pytest
from building import ASAN, COMPILER, NO_COMPILER, PLAIN, TSAN, VARIANTS, holds, run
from planted import Bug, survives

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)]

# Tiles are of 32 rows and 32 columns. Few cases, in which every part of the kernels matters.
SMALL = [
    "length=1",
    "length=32 left=0 right=0",
    "length=70 left=3 right=17 heads=2",
    "length=97 left=40 right=0 size=20",
    "length=65 left=0 right=33 layout=blhd heads=3 grad_lse=0",
    "length=40 left=500 right=500 scale=-0.2",
    "length=100 left=64 right=31 layout=gaps batch=2 heads=4 key_heads=2 key_lengths=61,99",
    "length=75 left=2 right=1 layout=odd batch=4 heads=2 key_heads=1 key_lengths=0,1,300,33",
    "length=90 left=13 right=22 dropout_p=0.4 heads=2 seed=12345678901234",
    "length=68 left=33 right=33 dropout_p=0.2 batch=2 heads=4 key_heads=2 key_lengths=68,35 layout=blhd",
]
CASES = [
    *SMALL,
    "length=34 left=5 right=9 head_dim=64 batch=2 key_lengths=34,3",
    "length=34 left=5 right=9 head_dim=128 heads=2 dropout_p=0.1",
]


def every_window():
    """Every width on each side, so that a band begins and ends at every place of a tile."""
    for width in range(129):
        yield f"length=170 left={width} right={width} seed={width + 1}"
        yield f"length={97 + width % 37} left={width} right={width * 37 % 129} seed={width + 1}"


def every_key_length():
    for keys in range(0, 68, 3):
        yield f"length=66 left=9 right={keys % 40} batch=2 key_lengths={keys},{66 - keys} heads=2 key_heads=1"


BUGS = [
    Bug(
        "the first key is lost",
        "plain.cuh",
        "scores[n] = first <= j && j < end ? score",
        "scores[n] = first < j && j < end ? score",
    ),
    Bug(
        "one key too many",
        "plain.cuh",
        "scores[n] = first <= j && j < end ? score",
        "scores[n] = first <= j && j <= end ? score",
    ),
    Bug(
        "the last keys of the last rows are lost",
        "plain_tile.cuh",
        "first + kRows - 1 : problem.length - 1",
        "first + kRows - 4 : problem.length - 1",
    ),
    Bug(
        "dropout draws for other keys",
        "plain_tile.cuh",
        "return {first_key(first, problem.left) / 4 * 4,",
        "return {first_key(first, problem.left),",
    ),
    Bug("sums aren't scaled to a larger score", "plain.cuh", "sums.multiply(fade);", ""),
    Bug("rows that saw nothing yet", "plain.cuh", "larger == -kInfinity ? 0.0f : larger", "larger"),
    Bug(
        "a log-sum-exp in powers of two",
        "plain.cuh",
        "(largest + gpu::log2(total)) * kLn2",
        "largest + gpu::log2(total)",
    ),
    Bug(
        "the wrong sign of the weights' sum",
        "plain.cuh",
        "grad_lse[statistic] : 0.0f) - sum",
        "grad_lse[statistic] : 0.0f) + sum",
    ),
    Bug(
        "left is taken for right",
        "plain.cuh",
        "first_query = first_key(j, problem.right)",
        "first_query = first_key(j, problem.left)",
    ),
    Bug(
        "queries before the tile are lost",
        "plain.cuh",
        "begin = first_key(at.first, problem.right)",
        "begin = at.first",
    ),
    Bug(
        "only the first head counts", "plain.cuh", "head < (at.head + 1) * shared_by", "head < at.head * shared_by + 1"
    ),
    Bug("more keys than there are", "plain_tile.cuh", "keys < problem.length ? keys : problem.length", "keys"),
    Bug(
        "dropout is of another query",
        "plain_tile.cuh",
        "static_cast<uint32_t>(first + mine + n)",
        "static_cast<uint32_t>(first + n)",
    ),
    Bug(
        "numbers are read before they are there",
        "plain.cuh",
        "load_queries<D>(params, at.batch, head, column, end);\n      gpu::sync_threads();",
        "load_queries<D>(params, at.batch, head, column, end);",
    ),
    Bug(
        "a tile is overwritten while it is read",
        "plain.cuh",
        "gpu::sync_threads();\n      load_queries<D>",
        "load_queries<D>",
        TSAN,
    ),
    Bug(
        "rows past the end are read",
        "plain_tile.cuh",
        "valid ? second_matrix.get(first + column, chunk) : zeros",
        "second_matrix.get(first + column, chunk)",
        ASAN,
    ),
    Bug(
        "a statistic past the end is written",
        "plain.cuh",
        "if (valid && gpu::lane() % kQuad == 0) {",
        "if (gpu::lane() % kQuad == 0) {",
        ASAN,
    ),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_cases(workshop, variant):
    for order in ((), ("--reversed",)):
        done = run(workshop.program("plain", variant), CASES, *order)
        assert holds(done), done.stdout + done.stderr[-4000:]
    assert f"all held: {len(CASES)}" in done.stdout


@pytest.mark.parametrize("sweep", [every_window, every_key_length])
def test_sweeps(workshop, sweep):
    done = run(workshop.program("plain", PLAIN), sweep())
    assert holds(done), done.stdout + done.stderr[-4000:]


def test_no_bank_conflicts(workshop):
    done = run(workshop.program("plain", PLAIN), CASES, "--conflicts")
    words = done.stdout.split()
    figures = dict(zip(words[0:10:2], map(int, words[1:10:2]), strict=True))
    assert figures["accesses"] > 0
    assert figures["conflicts"] == 0


def test_without_a_planted_bug_the_same_cases_hold(workshop):
    for order in ((), ("--reversed",)):
        done = run(workshop.program("plain_small", PLAIN), SMALL, *order)
        assert holds(done), done.stdout + done.stderr[-4000:]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_planted_bugs_are_found(workshop, tmp_path, bug):
    assert not survives(bug, workshop, "plain_small", SMALL, tmp_path)
