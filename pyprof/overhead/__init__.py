"""Profiling overhead: our probes and other ways of timing layers, on a model of yours and against known durations."""

from __future__ import annotations

from pyprof.overhead.measure import measure_overhead
from pyprof.overhead.request import OverheadRequest
from pyprof.overhead.result import Calibration, ModeResult, Overhead, Row

__all__ = ["Calibration", "ModeResult", "Overhead", "OverheadRequest", "Row", "measure_overhead"]
