#include "planted/planted.h"

#include <utility>

#include "planted/spin.h"
#include "stopwatch/monotonic.h"

namespace pyprof {

namespace {

constexpr int kTurns = 64;

// More chains than a multiply and an add have latency for, so that the units' throughput limits them, and few enough
// for the registers of the x86-64 baseline.
constexpr size_t kChains = 12;

// The value passes through a register that the compiler knows nothing about: it can neither fold the arithmetic around
// it nor gather several values into one vector.
inline void hide(double& value) noexcept {
#if defined(__x86_64__)
  asm volatile("" : "+x"(value));
#elif defined(__aarch64__)
  asm volatile("" : "+w"(value));
#else
  asm volatile("" : "+m"(value));
#endif
}

template <size_t... kChain>
double chains(int64_t turns, std::index_sequence<kChain...>) noexcept {
  // The indices are all known to the compiler, so that the array lives in registers. Every chain stays near 1, far from
  // overflow and from denormal numbers, which have a speed of their own.
  double values[] = {1.0 + static_cast<double>(kChain) / sizeof...(kChain)...};
  for (int64_t turn = 0; turn < turns; ++turn) {
    ((values[kChain] = values[kChain] * 0.5 + 0.5, hide(values[kChain])), ...);
  }
  return (values[kChain] + ...);
}

PyObject* spin_from_python(PyObject*, PyObject* nanoseconds) {
  const int64_t wanted = PyLong_AsLongLong(nanoseconds);
  if (wanted == -1 && PyErr_Occurred()) return nullptr;
  return PyLong_FromLongLong(spin(wanted));
}

PyObject* work_from_python(PyObject*, PyObject* rounds) {
  const int64_t count = PyLong_AsLongLong(rounds);
  if (count == -1 && PyErr_Occurred()) return nullptr;
  return PyFloat_FromDouble(work(count));
}

PyMethodDef functions[] = {
    {"spin", spin_from_python, METH_O,
     "spin(nanoseconds)\n--\n\nBusy for at least so long; returns the true length in nanoseconds."},
    {"work", work_from_python, METH_O,
     "work(rounds)\n--\n\nA fixed amount of arithmetic for each round; returns a number that depends on all of it."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

double work(int64_t rounds) noexcept { return chains(rounds * kTurns, std::make_index_sequence<kChains>()); }

bool add_planted(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0 && add_spin(module); }

}  // namespace pyprof
