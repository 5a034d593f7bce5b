// Places where the tests plant a bug, by name: PYPROF_MUTANT(name, right, wrong) is `right`, token for token.
//
// Only test programs define PYPROF_MUTANTS. There it is a switch, and tests/cuda_on_host/test_mutants.py requires that
// the cases find each mutant when it is on. A name occurs in one place; commas in an argument need parentheses or a
// call around them; what has no result is replaced by (void)0.
#pragma once

#ifdef PYPROF_MUTANTS
#include "mutant_switch.h"
#define PYPROF_MUTANT(name, right, wrong) (::pyprof::mutants::place<#name>.on ? (wrong) : (right))
#else
#define PYPROF_MUTANT(name, right, wrong) right
#endif
