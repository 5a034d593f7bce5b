"""The backward in one pass on the host, against the reference in float64."""

from __future__ import annotations

import pytest
from building import COMPILER, NO_COMPILER, PLAIN, bits, holds, run
from test_mma_kernels import every_window, figures
from test_plain_kernels import planted

pytestmark = pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)

# Blocks are of 64 keys, which wait for one another, stages of 32 queries, and turns of 16.
CASES = [
    "length=70 left=3 right=17 heads=2",
    "length=200 left=64 right=30 layout=gaps batch=2 heads=4 key_heads=2 key_lengths=131,199",
    "length=150 left=13 right=22 dropout_p=0.4 heads=2 seed=12345678901234",
    "length=1",
    "length=64 left=0 right=0",
    "length=137 left=40 right=0 size=20",
    "length=129 left=0 right=65 layout=blhd heads=3 grad_lse=0",
    "length=90 left=500 right=501 scale=-0.2",
    "length=33 left=4 right=4 scale=0",
    "length=260 left=101 right=70 key_lengths=150 size=6",
    "length=75 left=2 right=1 layout=odd batch=4 heads=2 key_heads=1 key_lengths=0,1,300,33",
    "length=132 left=33 right=33 dropout_p=0.2 batch=2 heads=4 key_heads=2 key_lengths=68,35 layout=blhd",
    *planted("left=5 right=9"),
]
ALL = [
    f"type={dtype} head_dim={head_dim} {case}"
    for dtype in ("float16", "bfloat16")
    for head_dim in (64, 128)
    for case in [*CASES, "length=300 left=250 right=250 dropout_p=0.3"]
]
# For mutants, sanitizers and the quick tests.
FEW = [
    f"type=float16 head_dim=64 {case}"
    for case in (
        "length=140 left=40 right=20 heads=2 key_heads=1 key_lengths=131",
        "length=80 left=13 right=22 dropout_p=0.4 scale=-0.2",
        "length=75 left=2 right=1 layout=odd batch=4 key_lengths=0,1,300,33",
        "length=75 left=5 right=9 plant=query,20,inf,3",
        "length=75 left=5 right=9 plant=key,70,nan,7 dropout_p=0.3 heads=2",
        "length=75 left=5 right=9 plant=value,0,inf,1 key_lengths=50",
    )
]


def test_cases(workshop):
    """Under the sanitizers they run in test_mutants.py, in a program in which no mutant is on."""
    for order in ((), ("--reversed",)):
        done = run(workshop.program("mma_one_pass_small", PLAIN), FEW, *order)
        assert holds(done), done.stdout + done.stderr[-4000:]
    assert f"all held: {len(FEW)}" in done.stdout


def test_bits_are_the_same_whoever_is_first_and_however_many_run_at_once(workshop):
    program = workshop.program("mma_one_pass_small", PLAIN)
    backwards, many = "--reversed", "--multiprocessors=5"
    ways = ((), (backwards,), ("--multiprocessors=1",), (many,), (many, backwards))
    seen = {bits(run(program, FEW[:4], *way)) for way in ways}
    assert len(seen) == 1
    assert seen != {bits(run(program, FEW[1:4]))}


@pytest.mark.slow
def test_cases_of_all_instances(workshop):
    done = run(workshop.program("mma_one_pass", PLAIN), ALL)
    assert holds(done), done.stdout + done.stderr[-4000:]


@pytest.mark.slow
def test_every_third_window(workshop):
    # Scores are as large as those of head_dim 32, for which the bar was drawn.
    cases = list(every_window("head_dim=64 scale=0.0884"))[1::3]
    done = run(workshop.program("mma_one_pass_small", PLAIN), cases)
    assert holds(done), done.stdout + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("head_dim", [64, 128])
def test_no_bank_conflicts(workshop, head_dim):
    sizes = ("length=160 left=40 right=20 heads=2", "length=96 left=500 right=500 heads=4 key_heads=2 dropout_p=0.3")
    cases = [f"type=bfloat16 head_dim={head_dim} {size}" for size in sizes]
    seen = figures(run(workshop.program("mma_one_pass", PLAIN), cases, "--conflicts"))
    assert seen["matrix_loads"] > 0
    assert seen["accesses"] > 0
    assert seen["matrix_conflicts"] == seen["conflicts"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("head_dim", [64, 128])
def test_products_are_five_where_two_passes_have_seven(workshop, head_dim):
    case = f"type=bfloat16 head_dim={head_dim} length=700 left=256 right=256"

    def of_backward(program):
        both, forward = (
            figures(run(workshop.program(program, PLAIN), [f"{case} backward={backward}"]))["products"]
            for backward in (1, 0)
        )
        return both - forward

    assert of_backward("mma") > 0
    assert 7 * of_backward("mma_one_pass") == 5 * of_backward("mma")
