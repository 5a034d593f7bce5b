"""How much longer a step takes under a tool: rounds of one step without a profiler and one with each tool.

Attaching lies outside of what is timed, but it takes a millisecond in which caches go cold. So our probes are attached
and detached before every step, the one without a tool included, and so is an empty recording, which fills megabytes of
buffers; without this the tools would seem slower than they are by up to a hundredth of a step. A tool's own empty
recording follows its attachment too, so that what it does only once, when its first recording begins, is not paid for
in each step. On a device whose work is recorded beside the host's, a whole step follows it, under the tool or without
one: what CUPTI does in the first launches after it was switched on or off is no step's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import nn

from pyprof.overhead.probes import PYPROF
from pyprof.overhead.tool import Attached, Tool
from pyprof.timing.clock import Call, Renewing, Stopwatch
from pyprof.timing.interleave import Interleaved, RoundLimits, Rule, interleave
from pyprof.timing.watch import AnyWatch

# The name of the step without a tool.
UNPROFILED = "(without a profiler)"


class ToolSwitch:
    """Steps of one module under one tool after the other, or under none.

    `prepare(tool)` detaches the tool before and attaches this one; None attaches nothing. `timed` is what to time then.
    Where it `settles`, preparing ends with a step.
    """

    def __init__(self, module: nn.Module, run: Call, *, backward: bool, settles: bool = False) -> None:
        self._module = module
        self._run = run
        self._backward = backward
        self._settles = settles
        self._attached: Attached | None = None

    def prepare(self, tool: Tool | None) -> None:
        """Attach a tool, or none, in place of the one before; drop the gradients, and renew what the step needs."""
        self.detach()
        self._renew()
        if tool is not PYPROF:
            self._attach(PYPROF)
            self.detach()
        if tool is not None:
            self._attach(tool)
        if self._settles:
            self.step()
            self._renew()

    def _renew(self) -> None:
        self._module.zero_grad(set_to_none=True)
        if isinstance(self._run, Renewing):
            self._run.renew()

    @property
    def timed(self) -> Call:
        """The step, without what renews something for it."""
        return Renewing(self.step, self._run.renew) if isinstance(self._run, Renewing) else self.step

    def step(self) -> None:
        """One step, inside of what users of the attached tool put around it."""
        if self._attached is None:
            self._run()
        else:
            with self._attached.recording():
                self._run()

    def _attach(self, tool: Tool) -> None:
        self._attached = tool.attach(self._module, self._backward)
        with self._attached.recording():  # what a tool does in its first recording only
            pass

    def detach(self) -> None:
        """Leave the module as it was."""
        attached, self._attached = self._attached, None
        if attached is not None:
            attached.detach()


def slowdowns(
    switch: ToolSwitch,
    tools: Sequence[Tool],
    limits: RoundLimits,
    *,
    stopwatch: Stopwatch | None = None,
    watch: AnyWatch | None = None,
    rules: Sequence[Rule] = (),
    progress: Callable[[Interleaved], None] | None = None,
) -> Interleaved:
    """Time the step under each tool and under none in turn; `Interleaved.ratio(tool, UNPROFILED)` is its slowdown."""
    prepare: Mapping[str, Call] = {
        UNPROFILED: partial(switch.prepare, None),
        **{tool.name: partial(switch.prepare, tool) for tool in tools},
    }
    try:
        calls = dict.fromkeys(prepare, switch.timed)
        return interleave(calls, limits, stopwatch, prepare=prepare, watch=watch, rules=rules, progress=progress)
    finally:
        switch.detach()
