"""The Hopper kernels on the host, against the reference in float64."""

from __future__ import annotations

import pytest
from building import ASAN, COMPILER, NO_COMPILER, PLAIN, bits, holds, run
from test_mma_kernels import every_window, figures
from test_plain_kernels import planted

pytestmark = pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)

SPOILS = ("query,20,nan,all", "key,20,inf,3", "grad_output,40,nan,7")

# Tiles are of 64 to 192 rows and 64 to 128 columns. Rows behind a key length hold NaN, which whole tiles meet. In
# backward a tile of queries meets one to four blocks of 128 keys, which wait for one another.
CASES = [
    "length=70 left=3 right=17 heads=2",
    "length=200 left=64 right=30 layout=gaps batch=2 heads=4 key_heads=2 key_lengths=131,199",
    "length=150 left=13 right=22 dropout_p=0.4 heads=2 seed=12345678901234",
    "length=1",
    "length=64 left=0 right=0",
    "length=137 left=40 right=0 size=20",
    "length=129 left=0 right=65 layout=blhd heads=3",
    "length=90 left=500 right=501 scale=-0.2",
    "length=33 left=4 right=4 scale=0",
    "length=300 left=21 right=9 heads=3",
    "length=300 left=101 right=70",  # a tile ends one key behind what the first row of a warp sees
    "length=260 left=101 right=40 key_lengths=150 size=6",
    "length=132 left=33 right=33 dropout_p=0.2 batch=2 heads=4 key_heads=2 key_lengths=68,35 layout=blhd",
    "length=75 left=2 right=1 batch=4 heads=2 key_heads=1 key_lengths=0,1,300,33",
    "length=420 left=150 right=140 grad_lse=0",
    "length=200 left=62 right=100",  # a tile of queries ends one query behind what sees the first key of a warp
    "length=140 left=65 right=64 heads=2",  # a tile is seen by the last key of a warpgroup alone
    *planted("left=5 right=9"),
    # Heads that share no key: backward in one launch where the window is narrow.
    "length=200 left=15 right=9 batch=2 heads=2 key_heads=2 key_lengths=131,200 layout=gaps",
    "length=130 left=30 right=22 heads=2 key_heads=2",
    "length=128 left=7 right=8 heads=2 key_heads=2 grad_lse=0 layout=blhd",
    "length=150 left=13 right=22 dropout_p=0.4 heads=2 key_heads=2 seed=5",
    "length=66 left=32 right=32 scale=-0.2",
    # Where they share keys it is a seed of 7 that asks for one launch.
    "length=140 left=15 right=9 heads=6 key_heads=2 key_lengths=131 layout=gaps seed=7",
    "length=130 left=13 right=22 dropout_p=0.4 heads=4 key_lengths=120 seed=7",
    *(
        case.replace("heads=2", "heads=2 key_heads=2")
        for case in planted("left=4 right=9")
        if " heads=2" in case and not case.endswith(",-inf,0")
    ),
]
# By the table of kernels these are cases that are there already; in the small program the seed says which one runs.
BY_SEED = [
    *(f"length=75 left=4 right=9 heads=4 key_heads=2 plant={what} seed=7" for what in SPOILS),
    # In one pass, which an even seed asks for.
    "length=1 seed=2",
    "length=137 left=40 right=0 size=20 seed=2",
    "length=300 left=21 right=9 heads=2 key_heads=2 seed=2",
    "length=75 left=5 right=9 key_lengths=50 plant=value,0,inf,1 seed=2",
]
SMALL = [f"type=float16 head_dim=64 {case}" for case in BY_SEED + CASES]
# Bands as wide as each of the instances wants them.
ALL = [
    f"type={dtype} head_dim={head_dim} {case}"
    for dtype in ("float16", "bfloat16")
    for head_dim in (64, 128)
    for case in [
        *CASES,
        "length=450 left=210 right=200 size=3",
        "length=400 left=900 right=900 key_lengths=333",
        "length=300 left=250 right=250 dropout_p=0.3",
        *(f"length=95 left=50 right=30 heads=2 plant={what}" for what in SPOILS),
    ]
]


def test_cases(workshop):
    """Under the sanitizers they run in test_mutants.py, in a program in which no mutant is on."""
    for order in ((), ("--reversed",)):
        done = run(workshop.program("hopper_small", PLAIN), SMALL, *order)
        assert holds(done), done.stdout + done.stderr[-4000:]
    assert f"all held: {len(SMALL)}" in done.stdout


def test_bits_are_the_same_whoever_is_first_and_however_many_run_at_once(workshop):
    program = workshop.program("hopper_small", PLAIN)
    backwards, many = "--reversed", "--multiprocessors=5"
    ways = ((), (backwards,), ("--multiprocessors=1",), (many,), (many, backwards))
    seen = {bits(run(program, SMALL[:20], *way)) for way in ways}
    assert len(seen) == 1
    assert seen != {bits(run(program, SMALL[1:20]))}


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_warpgroup_leaves_out_what_its_keys_do_not_see(workshop, ahead):
    """The backward in one pass, 50 neighbours on each side: a quarter less than what blocks of 128 keys meet."""
    length, side, rows = 2500, 50, 64
    left = side + ahead  # an odd one has scores computed ahead
    case = f"type=float16 head_dim=64 length={length} left={left} right={side} seed=2"
    program = workshop.program("hopper_small", PLAIN)
    both, forward = (figures(run(program, [f"{case} backward={wanted}"]))["products"] for wanted in (1, 0))

    def tiles(count):
        """Of 64 queries, that each so many keys see, added up."""
        ends = [(first, min(first + count, length) - 1) for first in range(0, length, count)]
        return sum(min(last + left, length - 1) // rows - max(first - side, 0) // rows + 1 for first, last in ends)

    met, seen = 2 * tiles(2 * rows), tiles(rows)
    assert (met, seen) == (156, 118)
    # Scores, what reaches the weights, both sums for keys, and two halves of the query's gradient; each warpgroup once
    # more the last scores that it computes ahead.
    warpgroups = -(-length // rows)
    assert both - forward == seen * (4 * 4 + 2 * 4) + ahead * warpgroups * 4


@pytest.mark.slow
def test_cases_of_all_instances(workshop):
    done = run(workshop.program("hopper", PLAIN), ALL)
    assert holds(done), done.stdout + done.stderr[-4000:]


@pytest.mark.slow
def test_what_all_sizes_read_and_write_is_theirs(workshop):
    """One type for each head_dim: where it reads and writes does not depend on the type."""
    of_each = ("type=float16 head_dim=64 ", "type=bfloat16 head_dim=128 ")
    done = run(workshop.program("hopper", ASAN), [case for case in ALL if case.startswith(of_each)])
    assert holds(done), done.stdout + done.stderr[-4000:]


# Scores are as large as those of head_dim 32, for which the bar was drawn.
SIZES = "head_dim=64 scale=0.0884"


def every_narrow_window_of_shared_keys():
    for width in range(33):
        shared = f"type=float16 heads=3 seed=7 {SIZES}"
        yield f"length={65 + width * 29 % 64} left={width} right={width} {shared}"
        yield f"length={100 + width} left={2 * width} right={(64 - 2 * width) // 8 * 8} {shared}"
        yield f"length=100 left={width} right=0 key_lengths={width * 11 % 101} {shared}"


@pytest.mark.slow
def test_every_window(workshop):
    cases = [*every_window(SIZES), *every_narrow_window_of_shared_keys()]
    done = run(workshop.program("hopper_small", PLAIN), cases)
    assert holds(done), done.stdout + done.stderr[-4000:]
