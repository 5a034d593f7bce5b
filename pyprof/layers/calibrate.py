"""What a probe costs on this machine, right now: measured when probes are attached, on a call that does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np
import torch

from pyprof.layers.profile import ProbeCost
from pyprof.layers.recorder import Recorder, RecorderName, make_recorder
from pyprof.layers.trace import STEP

_CALLS = 1000
_NODES = 200
_ROUNDS = 7


def calibrate(name: RecorderName, *, backward: bool) -> ProbeCost:
    """The cost of one probed call and of one observed backward node, in seconds.

    The least of several rounds counts: noise only ever adds. Takes some 20 ms at most, and some tenths of a second with
    the twin in Python.
    """
    recorder = make_recorder(name, backward=backward, capacity=2 * _CALLS)
    probe = recorder.probe(_nothing, 0)
    bare = probed = inside = float("inf")
    empty = min(_seconds_per_call(None) for _ in range(_ROUNDS))
    for _ in range(_ROUNDS):
        bare = min(bare, _seconds_per_call(_nothing))
        # An outer span keeps the probes from being the outermost ones, as in a model.
        outer = recorder.begin(STEP)
        probed = min(probed, _seconds_per_call(probe))
        recorder.end(outer)
        spans = recorder.drain()["spans"]
        inside = min(inside, float(np.median((spans["end"] - spans["begin"])[1:])) * 1e-9)
    total = max(probed - bare, 0.0)
    inside = min(max(inside - (bare - empty), 0.0), total)
    return ProbeCost(inside, total - inside, _node_cost(recorder) if backward else 0.0)


def _nothing(argument: Any) -> Any:
    return argument


def _seconds_per_call(function: Callable[[Any], Any] | None) -> float:
    argument = None
    begin = time.perf_counter_ns()
    if function is None:
        for _ in repeat(None, _CALLS):
            pass
    else:
        for _ in repeat(None, _CALLS):
            function(argument)
    return (time.perf_counter_ns() - begin) / _CALLS * 1e-9


def _node_cost(recorder: Recorder) -> float:
    unseen = min(_backward_seconds(None) for _ in range(_ROUNDS))
    seen = min(_backward_seconds(recorder) for _ in range(_ROUNDS))
    return max(seen - unseen, 0.0) / _NODES


def _backward_seconds(recorder: Recorder | None) -> float:
    """One backward through a chain of nodes that do next to nothing."""
    with torch.enable_grad(), torch.inference_mode(False):
        start = torch.ones(1, requires_grad=True)

        def chain() -> torch.Tensor:
            value = start
            for _ in range(_NODES):
                value = value.view_as(value)
            return value

        stop = recorder.observe_backward() if recorder else None
        # The twin hooks nodes when the call that made them ends.
        end = recorder.probe(chain, 0)() if recorder else chain()
        begin = time.perf_counter_ns()
        end.backward()
        took = time.perf_counter_ns() - begin
        if recorder and stop:
            stop()
            recorder.drain()
    return took * 1e-9
