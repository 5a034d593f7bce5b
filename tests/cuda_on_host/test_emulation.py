"""The emulation itself: that it computes what the PTX ISA says, and finds what it is there to find."""

from __future__ import annotations

import pytest
from building import ASAN, COMPILER, NO_COMPILER, PLAIN, TSAN, run

pytestmark = pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)

HOLDS = ("products", "matrices", "conversions", "shuffles", "fresh", "deferred", "conflicts", "order")
BROKEN = {
    "unwaited": "copies that it has not waited for",
    "uncommitted": "copies that it has not waited for",
    "misaligned": "not aligned",
    "half a block": "diverge",
    "half a warp": "diverge",
    "two places": "different sync_threads",
    "two functions": "different warp functions",
    "past the end": "past the end of its shared memory",
    "too much shared memory": "more shared memory than there is",
}
RACES = ("race", "race across a shuffle", "race of warps", "refilled too early", "two blocks at one place")
# Counting conflicts keeps books that all threads share, and the order is told by a race.
UNORDERED = {"conflicts", "order"}
NO_RACES = ("ordered in a warp", "ordered in a block", "refilled in time", "two blocks at their places")


@pytest.fixture(scope="session")
def program(workshop):
    from building import HERE

    return lambda variant: workshop.emulation_program(HERE / "emulation_program.cpp", variant)


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
@pytest.mark.parametrize("name", [*HOLDS, *NO_RACES])
def test_address_sanitizer_has_nothing_to_say_of_what_is_right(program, name):
    done = run(program(ASAN), (), name)
    assert done.stdout == "held\n", done.stdout + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(name for name in HOLDS if name not in UNORDERED), *NO_RACES])
def test_thread_sanitizer_has_nothing_to_say_of_what_is_right(program, name):
    done = run(program(TSAN), (), name)
    assert done.stdout == "held\n", done.stdout + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", RACES)
def test_races_are_found_and_only_under_thread_sanitizer(program, name):
    assert run(program(PLAIN), (), name).returncode == 0
    done = run(program(TSAN), (), name)
    assert done.returncode != 0
    assert "data race" in done.stderr


@pytest.mark.slow
def test_address_sanitizer_sees_the_end_of_shared_memory(program):
    done = run(program(ASAN), (), "past the end")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
