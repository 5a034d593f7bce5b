"""A test of the tests: the cases of the CUDA kernels find every bug that is planted in them."""

from __future__ import annotations

import subprocess

import pytest
from building import COMPILER, NO_COMPILER, PLAIN, ROOT, VARIANTS, holds, run
from mutants import FAMILIES, ORDERS, SOURCES, complaint, places

needs_compiler = pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)
of_each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.program)
in_each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)


@of_each_family
def test_each_name_has_one_place_in_the_sources_and_one_here(family):
    assert sorted(places(family.paths())) == sorted(mutant.name for mutant in family.mutants())
    assert len(set(places(family.paths()))) == len(family.mutants())


def test_no_place_is_outside_of_the_kernels():
    elsewhere = {path for path in (ROOT / "csrc").rglob("*") if path.is_file() and "PYPROF_MUTANT(" in path.read_text()}
    elsewhere -= {SOURCES / "mutant.h", *(path for family in FAMILIES for path in family.paths())}
    assert not elsewhere


@needs_compiler
@pytest.mark.parametrize("compiler_of", [(), ("-D__CUDACC__",)], ids=["host", "cuda"])
def test_outside_of_these_programs_a_place_is_what_is_right(compiler_of):
    code = '#include "mutant.h"\nPYPROF_MUTANT(name, (a + b) * c, d)\n'
    command = [COMPILER, "-E", "-P", f"-I{SOURCES}", *compiler_of, "-xc++", "-"]
    done = subprocess.run(command, input=code, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "(a + b) * c"


@pytest.mark.slow
@needs_compiler
@of_each_family
def test_the_program_that_is_tested_otherwise_has_no_mutant(workshop, family):
    program = workshop.program(family.program, PLAIN)
    assert run(program, (), "--mutants").stdout == ""
    assert run(program, family.cases, f"--mutant={family.mutants()[0].name}").returncode == 2


@pytest.mark.slow
@needs_compiler
@of_each_family
@in_each_variant
def test_each_name_is_compiled_into_the_program(workshop, family, variant):
    listed = set(family.run(workshop, variant, "--mutants").stdout.split())
    own = {mutant.name for mutant in family.mutants()}
    assert own <= listed
    # What a family takes from another one's files has its mutants too; they are found there.
    assert listed <= {name for other in FAMILIES for name in places(other.paths())}


@pytest.mark.slow
@needs_compiler
@of_each_family
@in_each_variant
def test_with_no_mutant_on_the_same_cases_hold(workshop, family, variant):
    for order in ORDERS:
        done = family.run(workshop, variant, *order)
        assert holds(done), done.stdout + done.stderr[-4000:]
        assert f"all held: {len(family.cases)}" in done.stdout
        assert not complaint(done, variant)


@pytest.mark.slow
@needs_compiler
@of_each_family
def test_a_name_that_no_place_has_is_no_find(workshop, family):
    done = family.run(workshop, PLAIN, "--mutant=nobody")
    assert done.returncode == 2
    assert "there is no mutant nobody here" in done.stderr
    assert not any(complaint(done, variant) for variant in VARIANTS)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("family", "mutant"),
    [
        pytest.param(family, mutant, id=f"{family.program}-{mutant.name}-{mutant.variant.name}")
        for family in FAMILIES
        for mutant in family.mutants()
    ],
)
def test_a_mutant_is_found(workshop, family, mutant):
    done = family.run_with(mutant, workshop)
    assert complaint(done[-1], mutant.variant), done[-1].stdout + done[-1].stderr[-4000:]
