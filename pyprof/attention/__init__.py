"""Sliding-window attention, measured: every implementation, the user's own too, in one table of time, memory, error."""

from __future__ import annotations

from pyprof.attention.comparison import Comparison, Grid, compare, measured
from pyprof.attention.problem import Problem
from pyprof.attention.result import ProblemResult, Row
from pyprof.ops.choices import Line, choices
from pyprof.ops.trial import Verdict, cards
from pyprof.timing.interleave import RoundLimits

__all__ = [
    "Comparison",
    "Grid",
    "Line",
    "Problem",
    "ProblemResult",
    "RoundLimits",
    "Row",
    "Verdict",
    "cards",
    "choices",
    "compare",
    "measured",
]
