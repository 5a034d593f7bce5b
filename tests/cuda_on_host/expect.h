// A condition that a small kernel of the emulation's tests has to meet.
#pragma once

#include <cstdio>
#include <cstdlib>

#define EXPECT(condition)                                              \
  if (!(condition)) {                                                  \
    std::printf("line %d: does not hold: %s\n", __LINE__, #condition); \
    std::exit(1);                                                      \
  }
