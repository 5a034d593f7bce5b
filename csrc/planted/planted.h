// Work of known length, to hold a measurement against the truth.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>

#include "stopwatch/monotonic.h"

namespace pyprof {

// Keeps this thread busy until at least the given time after `begin`, and returns how long after it the last stamp was.
// The clock is CLOCK_MONOTONIC, as that of Python's perf_counter_ns.
inline int64_t spin_since(int64_t begin, int64_t nanoseconds) noexcept {
  int64_t length;
  do {
    length = monotonic_nanoseconds() - begin;
  } while (length < nanoseconds);
  return length;
}

// The same from now on. It returns how long it really was, from the first stamp to the last: longer than wanted by what
// remained of the last turn, and by all that the machine took away meanwhile.
inline int64_t spin(int64_t nanoseconds) noexcept { return spin_since(monotonic_nanoseconds(), nanoseconds); }

// A fixed amount of arithmetic for each round, about a quarter of a microsecond: how long it takes is up to the
// machine, as it is for a model, but always in proportion to the rounds. The result depends on all of it.
double work(int64_t rounds) noexcept;

// Adds spin, work and Spin to a Python module. They are made of CPython's plain parts, since against 20 us even the
// tenth of a microsecond of a generated binding would be half a percent, and they hold the interpreter's lock, so that
// a switch of threads in Python cannot come between the stamps. False with a Python error set on failure.
bool add_planted(PyObject* module);

}  // namespace pyprof
