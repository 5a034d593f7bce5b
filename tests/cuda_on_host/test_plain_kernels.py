"""The plain CUDA kernels on the host, against the reference in float64."""

from __future__ import annotations

import pytest
from building import COMPILER, NO_COMPILER, PLAIN, VARIANTS, holds, run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)]


def planted(sides):
    """Something that is no finite number, where few queries see it; last, scores that are all -infinity."""
    for tensor in ("query", "key", "value", "grad_output"):
        for value, element in (("nan", "all"), ("inf", 3), ("-inf", 0)):
            yield f"length=75 {sides} heads=2 plant={tensor},20,{value},{element}"
        yield f"length=75 {sides} heads=4 key_heads=2 dropout_p=0.3 plant={tensor},40,nan,7 seed=3"
        yield f"length=75 {sides} key_lengths=50 plant={tensor},0,inf,1"
    yield "length=75 left=0 right=0 heads=2 plant=key,20,-inf,2"
    yield "length=75 left=0 right=0 heads=2 plant=key,20,inf,2"


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
    *planted("left=5 right=9"),
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
