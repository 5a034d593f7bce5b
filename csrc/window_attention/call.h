// The way from Python to the operator; see call.cpp.
#pragma once

struct PyMethodDef;

namespace pyprof::window {

extern PyMethodDef call_methods[];

}  // namespace pyprof::window
