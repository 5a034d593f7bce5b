"""Sliding-window attention, measured: every implementation, the user's own too, in one table of time, memory, error."""

from __future__ import annotations

from pyprof.attention.comparison import Comparison, Plan, compare, contests
from pyprof.attention.contest import Contest, Row
from pyprof.attention.problem import Problem
from pyprof.timing.interleave import RoundLimits

__all__ = ["Comparison", "Contest", "Plan", "Problem", "RoundLimits", "Row", "compare", "contests"]
