"""The emulation of blocks that wait for one another, and of sums that bulk copies add up in global memory."""

from __future__ import annotations

import pytest
from building import ASAN, COMPILER, HERE, NO_COMPILER, PLAIN, TSAN, run

pytestmark = pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)

HOLDS = ("in turn", "taken in turn", "line", "matrices", "by columns")
BROKEN = {
    "sums not waited for": "leaves the kernel while what it sent is on its way",
    "sums not shown": "leaves the kernel before others see what it sent",
    "turn not fenced": "a bulk copy follows a turn without fence_async_global",
    "source not fenced": "without fence_async",
    "source changes": "what a bulk copy sends has changed before it was waited for",
    "turn that never comes": "waits for its turn",
}
# What plain runs do not show, on a GPU neither for long.
RACES = ("turn without release", "turn without acquire")


@pytest.fixture(scope="session")
def program(workshop):
    return lambda variant: workshop.emulation_program(HERE / "hopper_turns_program.cpp", variant)


@pytest.mark.parametrize("name", HOLDS)
def test_blocks_in_turn_give_the_same_sum_in_any_order(program, name):
    for order in ((), ("--reversed",), ("--multiprocessors=1",), ("--multiprocessors=7", "--reversed")):
        done = run(program(PLAIN), (), name, *order)
        assert done.stdout == "held\n", done.stdout + done.stderr


@pytest.mark.parametrize("name", BROKEN)
def test_ends_with_a_sentence_where_a_rule_is_broken(program, name):
    done = run(program(PLAIN), (), name)
    assert done.returncode == 3, done.stdout + done.stderr
    assert BROKEN[name] in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("variant", [ASAN, TSAN], ids=lambda variant: variant.name)
@pytest.mark.parametrize("name", HOLDS)
def test_sanitizers_have_nothing_to_say_of_what_is_right(program, name, variant):
    done = run(program(variant), (), name)
    assert done.stdout == "held\n", done.stdout + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", RACES)
def test_a_turn_that_orders_no_memory_is_a_race(program, name):
    done = run(program(TSAN), (), name)
    assert done.returncode != 0
    assert "data race" in done.stderr
