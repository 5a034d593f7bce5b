"""Profiling overhead: our probes and other ways of timing layers, on a model of yours and against known durations."""

from __future__ import annotations

from pyprof.overhead.measure import measure_overhead
from pyprof.overhead.request import OverheadRequest
from pyprof.overhead.result import ModeResult, Overhead, Row, Stated

__all__ = ["ModeResult", "Overhead", "OverheadRequest", "Row", "Stated", "measure_overhead"]
