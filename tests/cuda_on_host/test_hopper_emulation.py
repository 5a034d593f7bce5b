"""The emulation of Hopper: that it computes what the PTX ISA says, and finds what it is there to find."""

from __future__ import annotations

import pytest
from building import ASAN, COMPILER, HERE, NO_COMPILER, PLAIN, TSAN, run

pytestmark = pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)

HOLDS = (
    "box",
    "rows",
    "columns",
    "result too early",
    "phases",
    "named",
    "persistent",
    "fenced",
    "refilled in time",
)
# In reversed order they come as soon as anybody waits for them.
LATE = "bytes too early"
BROKEN = {
    "operand changes": "an operand has changed before its product was waited for",
    "without fence": "without fence_async",
    "not begun": "without products_begin",
    "not waited": "with products not waited for",
    "half a group": "waits for its warpgroup",
    "wrong phase": "waits for a barrier",
    "nobody brings": "waits for a barrier",
    "too many": "more threads arrive at a barrier than it counts",
    "not visible": "not visible",
    "left alone": "while copies are on their way",
    "not initialised": "nobody has initialised",
    "named by too few": "waits at a named barrier",
}


@pytest.fixture(scope="session")
def program(workshop):
    return lambda variant: workshop.emulation_program(HERE / "hopper_emulation_program.cpp", variant)


def test_bytes_come_as_late_as_may_be(program):
    done = run(program(PLAIN), (), LATE)
    assert done.stdout == "held\n", done.stdout + done.stderr


@pytest.mark.parametrize("name", HOLDS)
def test_computes_what_the_instructions_do(program, name):
    for order in ((), ("--reversed",)):
        done = run(program(PLAIN), (), name, *order)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == "held\n"


@pytest.mark.parametrize("name", BROKEN)
def test_ends_with_a_sentence_where_a_rule_is_broken(program, name):
    done = run(program(PLAIN), (), name)
    assert done.returncode == 3, done.stdout + done.stderr
    assert BROKEN[name] in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("variant", [ASAN, TSAN], ids=lambda variant: variant.name)
@pytest.mark.parametrize("name", [name for name in HOLDS if name != "persistent"])
def test_sanitizers_have_nothing_to_say_of_what_is_right(program, name, variant):
    done = run(program(variant), (), name)
    assert done.stdout == "held\n", done.stdout + done.stderr[-4000:]


@pytest.mark.slow
def test_a_slot_that_is_filled_too_early_is_a_race(program):
    done = run(program(TSAN), (), "refilled too early")
    assert done.returncode != 0
    assert "data race" in done.stderr
