"""Numbers that mean nothing are refused by the functions of Python too, before anything is called or measured."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import pyprof
from pyprof.attention.check import Standard
from pyprof.attention.comparison import Grid
from pyprof.attention.problem import Problem, make_inputs
from pyprof.errors import UsageError
from pyprof.models.setup import ModelSetup
from pyprof.overhead import OverheadRequest
from pyprof.timing.interleave import RoundLimits

NO_TIMES = (-1, -1e-9, math.nan, math.inf, True, "3", None, 10**400)


def never(*_: object) -> None:
    raise AssertionError("it was called")


class Never(nn.Module):
    def forward(self, value: torch.Tensor) -> torch.Tensor:
        raise AssertionError("it was called")


@pytest.mark.parametrize("seconds", NO_TIMES)
@pytest.mark.parametrize(
    "call",
    [
        lambda seconds: pyprof.profile(Never(), torch.ones(1), seconds=seconds),
        lambda seconds: pyprof.measure(never, max_seconds=seconds),
        lambda seconds: pyprof.compare(never, never, max_seconds=seconds),
        lambda seconds: RoundLimits(seconds),
        lambda seconds: OverheadRequest(ModelSetup("bert", 8), seconds=seconds),
    ],
    ids=["profile", "measure", "compare", "rounds", "overhead"],
)
def test_a_time_is_a_finite_number_above_zero(call, seconds):
    with pytest.raises(UsageError, match="has to be positive, a number of seconds, not "):
        call(seconds)


def test_profile_takes_no_time_for_a_single_step():
    assert pyprof.profile(nn.Linear(2, 2), torch.ones(1, 2), seconds=0).steps == 1


@pytest.mark.parametrize("tolerance", [math.nan, math.inf, -math.inf, 0, -1.0])
def test_a_tolerance_that_lets_anything_pass_is_refused(tolerance):
    """A comparison with NaN is never true, so that no kernel would be off by more than NaN allows."""
    with pytest.raises(UsageError, match="the tolerance has to be a finite number above 0"):
        Grid(tolerance=tolerance)
    inputs = make_inputs(Problem(16, (2, 2), 1, 1, 8))
    with pytest.raises(UsageError, match="the tolerance has to be a finite number above 0"):
        Standard.of(inputs).judge({"output": torch.zeros_like(inputs.query)}, tolerance)


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_window_attention_takes_no_scale_that_is_no_number(scale):
    query = torch.ones(1, 1, 8, 8)
    with pytest.raises(UsageError, match="scale is"):
        pyprof.window_attention(query, query, query, window=(2, 2), scale=scale)
    with pytest.raises(UsageError, match="dropout_p is nan"):
        pyprof.window_attention(query, query, query, window=(2, 2), dropout_p=math.nan)
    with pytest.raises(UsageError, match="window is"):
        pyprof.window_attention(query, query, query, window=())
    with pytest.raises(UsageError, match="window is"):
        pyprof.window_attention(query, query, query, window=True)


@pytest.mark.parametrize("numbers", [{"length": 0}, {"length": 8, "batch": 0}, {"length": -1}])
def test_a_model_has_a_length_and_a_batch(numbers):
    with pytest.raises(UsageError, match="at least 1"):
        ModelSetup("bert", **numbers)
