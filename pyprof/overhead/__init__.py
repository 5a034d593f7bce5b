"""What looking costs: our probes and other ways of timing layers, on a model of yours and against the truth."""

from __future__ import annotations

from pyprof.overhead.find import find_overhead
from pyprof.overhead.plan import Plan
from pyprof.overhead.result import Calibration, ModeResult, Overhead, Row

__all__ = ["Calibration", "ModeResult", "Overhead", "Plan", "Row", "find_overhead"]
