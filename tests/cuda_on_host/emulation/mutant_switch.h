// The mutants that are compiled into a program: each place has a switch, which is off unless the command line names it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace pyprof::mutants {

struct Switch {
  const char* name;
  bool on = false;
  Switch* next = first;
  static inline Switch* first = nullptr;

  explicit Switch(const char* name) : name(name) { first = this; }
};

// A name as a template's argument.
template <size_t N>
struct Name {
  char letters[N];
  consteval Name(const char (&name)[N]) { std::copy_n(name, N, letters); }
};

// Exists for each name that compiled code mentions, and is in the list before main begins.
template <Name name>
inline Switch place{name.letters};

// False where the program has no place of that name.
inline bool turn_on(std::string_view name) {
  bool found = false;
  for (Switch* place = Switch::first; place; place = place->next) {
    if (place->name == name) found = place->on = true;
  }
  return found;
}

}  // namespace pyprof::mutants
