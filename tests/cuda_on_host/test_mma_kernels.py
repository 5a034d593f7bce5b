"""The tensor-core kernels on the host, against the reference in float64."""

from __future__ import annotations

import pytest
from building import ASAN, COMPILER, NO_COMPILER, PLAIN, holds, run
from test_plain_kernels import planted

pytestmark = pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)

# Tiles are of 64 rows and 64 columns (32 with head_dim 128), a warp's of 16 rows, and groups of 16 columns. Few cases,
# in which every part of the kernels matters.
CASES = [
    "length=70 left=3 right=17 heads=2",
    "length=200 left=64 right=30 layout=gaps batch=2 heads=4 key_heads=2 key_lengths=131,199",
    "length=150 left=13 right=22 dropout_p=0.4 heads=2 seed=12345678901234",
    "length=1",
    "length=64 left=0 right=0",
    "length=137 left=40 right=0 size=20",
    "length=129 left=0 right=65 layout=blhd heads=3 grad_lse=0",
    "length=90 left=100 right=100 scale=-0.2",
    "length=33 left=4 right=4 scale=0",
    "length=75 left=2 right=1 layout=odd batch=4 heads=2 key_heads=1 key_lengths=0,1,300,33",
    "length=530 left=30 right=9 global_keys=1 grad_lse=0",
    "length=132 left=33 right=33 dropout_p=0.2 batch=2 heads=4 key_heads=2 key_lengths=68,35 layout=blhd",
]
# Keys that later queries see too: more and fewer than a tile, behind the key lengths, and beside what is not finite.
CASES += [
    "length=170 left=20 right=9 global_keys=3 heads=2",
    "length=150 left=13 right=2 global_keys=37 dropout_p=0.3 heads=4 key_heads=2 key_lengths=120 grad_lse=0",
    "length=140 left=0 right=0 global_keys=70 batch=2 key_lengths=1,100 layout=gaps",
    "length=75 left=5 right=9 global_keys=2 heads=2 plant=value,40,nan,3",
    "length=75 left=2 right=0 global_keys=21 heads=2 plant=grad_output,17,nan,3",
]
CASES += planted("left=5 right=9")
# From 256 neighbours of both sides together on another kernel runs forward, with tiles of 128 rows, 32 to a warp, and
# passes of 32 columns. Lopsided windows have both ends of the band in short sequences.
WIDE = [
    f"{case} backward=0"
    for case in (
        "length=300 left=20 right=236",
        "length=170 left=250 right=7 layout=gaps batch=2 heads=4 key_heads=2 key_lengths=131,169 scale=-0.2",
        "length=150 left=13 right=243 dropout_p=0.4 heads=2 seed=12345678901234",
        "length=137 left=256 right=0 size=20",
        "length=75 left=254 right=2 layout=odd batch=4 heads=2 key_heads=1 key_lengths=0,1,300,33",
        "length=33 left=128 right=128 scale=0",
        "length=1 left=500 right=500",
        *(case for case in planted("left=5 right=251") if "left=5" in case and ("=key," in case or "=value," in case)),
        "length=40 left=0 right=256 key_lengths=1 heads=2 plant=key,0,-inf,2",
    )
]
SMALL = [f"type=float16 head_dim=32 {case}" for case in CASES + WIDE]
ALL = [
    f"type={dtype} head_dim={head_dim} {case}"
    for dtype in ("float16", "bfloat16")
    for head_dim in (64, 128)
    for case in CASES + WIDE
] + [f"type=bfloat16 head_dim=32 {case}" for case in CASES]


def every_window(instance=""):
    """Every width on each side and every place of a tile for the band's ends, with causal and lopsided ones between."""
    for width in range(129):
        seed = f"seed={width + 1} {instance}"
        yield f"type=float16 length={130 + width % 64} left={width} right={width} {seed}"
        yield f"type=float16 length={65 + width * 29 % 64} left={width} right={width * 37 % 129} {seed}"
        yield f"type=float16 length=100 left={width} right=0 key_lengths={width * 11 % 101} {seed}"


def every_seventh_window():
    for width in range(0, 129, 7):
        yield f"type=bfloat16 head_dim=64 length={120 + width} left={width} right={width + 3} seed={width + 1}"
        yield f"type=float16 head_dim=128 length={90 + width} left={width + 1} right={width} seed={width + 1}"


def every_length():
    """Every number of rows in the last tile and in its last warp, and every number of keys that take part."""
    for length in range(1, 68):
        yield f"type=float16 length={length} left={length % 23} right={length * 7 % 31} seed={length}"
    for keys in range(0, 68, 2):  # few queries to a key: sums of many rounded weights would need a wider bar
        sides = f"left={keys % 3} right={keys % 4}"
        yield (
            f"type=float16 length=66 {sides} batch=2 key_lengths={keys},{66 - keys} heads=2 key_heads=1 "
            f"dropout_p={keys % 4 / 8}"
        )


def every_wide_window():
    """Both ends of the band at every place of a pass; every number of rows in a warp, and of keys that take part."""
    for head_dim in (64, 128):
        for width in range(33):
            seed = f"seed={width + 1} type=float16 head_dim={head_dim} backward=0"
            yield f"length={100 + 5 * width} left={width} right={256 - width % 2} {seed}"
            yield f"length={290 + width} left={256 + width % 3} right={width} {seed}"
            yield f"length={65 + width} left=128 right=128 key_lengths={4 * width} dropout_p=0.2 {seed}"


def every_number_of_global_keys():
    for instance in ("type=float16", "type=bfloat16 head_dim=128 dropout_p=0.2 heads=2 key_heads=1"):
        for count in range(1, 80, 3):
            yield f"length={81 + count % 50} left={count * 7 % 40} right={count % 5} global_keys={count} {instance}"
            # Of fewer keys than that each has a gradient far beyond the typical one, by which errors are judged.
            keys = f"{20 + count % 60},{30 + count % 60}"
            yield f"length=90 left=3 right=3 global_keys=40 batch=2 key_lengths={keys} {instance}"


def figures(done):
    words = done.stdout.split()
    return dict(zip(words[0:10:2], map(int, words[1:10:2]), strict=True))


def test_cases(workshop):
    """Under the sanitizers they run in test_mutants.py, in a program in which no mutant is on."""
    for order in ((), ("--reversed",)):
        done = run(workshop.program("mma_small", PLAIN), SMALL, *order)
        assert holds(done), done.stdout + done.stderr[-4000:]
    assert f"all held: {len(SMALL)}" in done.stdout


@pytest.mark.slow
def test_cases_of_all_instances(workshop):
    done = run(workshop.program("mma", PLAIN), ALL)
    assert holds(done), done.stdout + done.stderr[-4000:]


@pytest.mark.slow
def test_what_all_sizes_read_and_write_is_theirs(workshop):
    """One type for each head_dim: where it reads and writes does not depend on the type."""
    of_each = ("type=float16 head_dim=64 ", "type=bfloat16 head_dim=128 ")
    done = run(workshop.program("mma", ASAN), [case for case in ALL if case.startswith(of_each)])
    assert holds(done), done.stdout + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sweep", [every_window, every_seventh_window, every_length, every_wide_window, every_number_of_global_keys]
)
def test_sweeps(workshop, sweep):
    done = run(workshop.program("mma", PLAIN), sweep())
    assert holds(done), done.stdout + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("head_dim", [32, 64, 128])
def test_no_bank_conflicts(workshop, head_dim):
    """None at all, loads of matrices and other accesses, except where rows are not aligned (layout=odd)."""
    cases = [f"type=float16 head_dim={head_dim} {case}" for case in CASES + WIDE if "odd" not in case]
    seen = figures(run(workshop.program("mma", PLAIN), cases, "--conflicts"))
    assert seen["matrix_loads"] > 0
    assert seen["accesses"] > 0
    assert seen["matrix_conflicts"] == seen["conflicts"] == 0


@pytest.mark.slow
def test_few_global_keys_cost_few_more_products(workshop):
    """Longformer's shape, 256 neighbours on each side of 4,096 tokens: each warp has one more group of columns in 34.

    For the gradients of the global keys one warp goes through all queries.
    """
    products = []
    for count in (0, 4):
        case = f"type=float16 length=4096 left=256 right=256 global_keys={count}"
        products.append(figures(run(workshop.program("mma", PLAIN), [case]))["products"])
    plain, with_global = products
    assert 1 < with_global / plain < 1.05
