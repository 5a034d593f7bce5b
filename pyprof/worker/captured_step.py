"""A step that is captured into a graph: an eager one to set it beside, and what it is weighed by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pyprof.layers.instrument import Probes
from pyprof.layers.profile import Profile
from pyprof.timing.clock import Call
from pyprof.worker.step import Step


def eager_profile(probed: Callable[[], Probes], prepare: Call, step: Call) -> Profile:
    """One eager step that is looked at, for `pyprof.layers.captured.captured_notes`."""
    with probed() as probes:
        prepare()
        probes.run_marked(step)
    return probes.profile()


def weighing(step: Step, probes: Probes | None = None) -> Call:
    """The call whose memory is that of a step: its capture where it is to be captured, as a replay allocates nothing.

    The capture includes the steps that warm it up.
    """
    if step.case.launch != "graph":
        return step
    return partial(step.capture, None if probes is None else probes.capture)
