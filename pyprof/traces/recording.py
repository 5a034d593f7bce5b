"""From the intervals of a trace to a profile. Loads no torch.

A reader hands over the intervals of each thread, and then what `pyprof.traces.work` has added up of the device's work;
sums are kept as a recorder keeps them (`pyprof.layers.sums`), so the table is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError
from pyprof.layers.adding_up import CallTree
from pyprof.layers.device_work import BACKWARD, FORWARD, DeviceSums
from pyprof.layers.kinds import guess_kinds
from pyprof.layers.profile import FROM_TRACE, LayerFacts, Profile, assemble
from pyprof.layers.sums import BESIDE, CALLS, IN_STEP, STEPS, UNMARKED, Sums, node_cell

STEP: Final = -1
"""The phase of an interval that is a marked step."""
_MOST_PATHS = 100_000

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A call of a layer (phase FORWARD or RECOMPUTE), backward work of one (BACKWARD), or a marked step (STEP).

    Nanoseconds. `path` names the layer among all, `site` the place where a backward's forward was called, where the
    reader knows it; otherwise the backward intervals around it tell.
    """

    begin: int
    end: int
    phase: int
    path: str = ""
    site: int | None = None


@dataclass(frozen=True)
class Timeline:
    """Which place was open in a thread, and for which phase, from each moment on."""

    moments: Integers
    sites: Integers
    phases: Integers

    def at(self, times: Integers) -> tuple[Integers, Integers]:
        """Site and phase at each time; the root before the first moment."""
        found = np.searchsorted(self.moments, times, side="right") - 1
        found = np.maximum(found, 0)
        return self.sites[found], self.phases[found]


NOTHING: Final = Timeline(np.array([np.iinfo(np.int64).min]), np.array([UNMARKED]), np.array([FORWARD]))


@dataclass
class _Open:
    end: int
    begin: int
    site: int
    phase: int
    context: int
    node: int | None = None  # the site whose work a backward's interval is: that of the innermost one in it
    inner: int = 0


@dataclass
class Recording:
    """What a trace holds, added up. Threads with steps are to be handed over before those without."""

    types: dict[str, str] = field(default_factory=dict)  # the class of a layer where it is known, by path
    steps: list[tuple[int, int]] = field(default_factory=list)
    tree: CallTree = field(default_factory=CallTree)
    _numbers: dict[str, int] = field(default_factory=dict)
    _beside: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # nodes of threads without a step

    def number(self, path: str) -> int:
        """The number by which places name the layer; layers around it that were never called are known too."""
        if (known := self._numbers.get(path)) is not None:
            return known
        if path:
            self.number(path.rpartition(".")[0])
        if len(self._numbers) >= _MOST_PATHS:
            raise UsageError(
                f"the trace names more than {_MOST_PATHS:,} layers: their names seem to change from call to call"
            )
        return self._numbers.setdefault(path, len(self._numbers))

    def thread(self, intervals: Iterable[Interval], *, only_look: bool = False) -> Timeline:
        """Add up the intervals of one thread, and tell what was open in it when; with `only_look` nothing is added."""
        ordered = sorted(intervals, key=lambda each: (each.begin, -each.end))
        has_steps = any(each.phase == STEP for each in ordered)
        moments, sites, phases = [np.iinfo(np.int64).min], [UNMARKED], [FORWARD]
        sums: dict[tuple[int, int], list[int]] = {}
        stack: list[_Open] = []

        def note(moment: int) -> None:
            top = stack[-1] if stack else None
            moments.append(moment)
            sites.append(top.site if top else UNMARKED)
            phases.append(top.phase if top and top.phase != STEP else FORWARD)

        def close(until: int) -> None:
            while stack and stack[-1].end <= until:
                closed = stack.pop()
                if not only_look:
                    self._close(closed, sums, stack)
                note(closed.end)

        for each in ordered:
            close(each.begin)
            around = stack[-1] if stack else None
            end = min(each.end, around.end) if around else each.end
            if each.phase == STEP and around is None and not only_look:
                self.steps.append((each.begin, end))
            stack.append(self._opened(each, end, around, has_steps))
            note(each.begin)
        close(np.iinfo(np.int64).max)
        self.tree.publish(sums)
        return Timeline(np.array(moments), np.array(sites), np.array(phases))

    def _opened(self, each: Interval, end: int, around: _Open | None, has_steps: bool) -> _Open:
        if each.phase == STEP:
            return _Open(end, each.begin, IN_STEP, STEP, IN_STEP)
        context = around.context if around else self._context(each.begin, has_steps)
        if each.phase != BACKWARD:
            site = self.tree.child(around.site if around else context, self.number(each.path), each.phase)
            return _Open(end, each.begin, site, each.phase, context)
        site = each.site if each.site is not None else self._site_of_backward(each.path, around)
        return _Open(end, each.begin, site, BACKWARD, context)

    def _site_of_backward(self, path: str, around: _Open | None) -> int:
        """Where the forward was called: the ranges around name the layers around."""
        root = IN_STEP if self.steps else UNMARKED
        caller = around.site if around is not None and around.phase == BACKWARD else root
        return self.tree.child(caller, self.number(path), FORWARD)

    def _context(self, moment: int, has_steps: bool) -> int:
        if has_steps or not self.steps:
            return UNMARKED
        return BESIDE if any(begin <= moment < end for begin, end in self.steps) else UNMARKED

    def _close(self, closed: _Open, sums: dict[tuple[int, int], list[int]], stack: Sequence[_Open]) -> None:
        took = closed.end - closed.begin
        if stack:
            stack[-1].inner += took
        elif closed.context == UNMARKED:
            _add(sums, (UNMARKED, CALLS), 1, took)
        own = took - closed.inner
        is_node = closed.node is None
        node = closed.site if closed.node is None else closed.node
        if stack and stack[-1].phase == closed.phase == BACKWARD:
            stack[-1].node = node
        if closed.phase == STEP:
            outermost = not any(each.phase == STEP for each in stack)
            _add(sums, (IN_STEP, CALLS), int(outermost), own)
            if outermost:
                _add(sums, (STEPS, CALLS), 1, took)
        elif closed.phase != BACKWARD:
            _add(sums, (closed.site, CALLS), 1, own)
        elif closed.context == BESIDE:
            _add(self._beside, (node, BESIDE), int(is_node), own)
        else:
            _add(sums, (node, node_cell(closed.context, False)), int(is_node), own)

    def sums(self) -> Sums:
        """What was added up on the host.

        While autograd's thread runs a backward, the step's own thread waits for it: as much as that was outside of
        every layer, the time is the backward's.
        """
        late: dict[tuple[int, int], list[int]] = {}
        nodes = sum(took for _, took in self._beside.values())
        now = Sums.of(self.tree.sums())
        waits = nodes <= float(now.cells["nanoseconds"][IN_STEP, CALLS])
        for (site, _), (count, took) in self._beside.items():
            _add(late, (site, node_cell(IN_STEP if waits else BESIDE, False)), count, took)
        if waits:
            _add(late, (IN_STEP, CALLS), 0, -nodes)
        self._beside.clear()
        self.tree.publish(late)
        return Sums.of(self.tree.sums())

    def facts(self) -> list[LayerFacts]:
        """Every layer, each before those inside of it; kinds are guessed from the names."""
        paths = _preorder(list(self._numbers))
        types = [self.types.get(path, "") for path in paths]
        kinds = guess_kinds(list(zip(paths, types, strict=True)))
        at = {path: index for index, path in enumerate(paths)}
        return [
            LayerFacts(
                path,
                self.types.get(path, ""),
                kinds[path],
                at[path.rpartition(".")[0]] if path else None,
                0,
                FROM_TRACE,
                self._numbers[path],
            )
            for path in paths
        ]

    def profile(self, device_sums: DeviceSums | None, source: str, notes: Sequence[str]) -> Profile:
        """The profile of all that was handed over, checked."""
        self.number("")
        profile = assemble(self.sums(), self.facts(), device=device_sums)
        device = profile.device_time
        profile = replace(
            profile, notes=tuple(notes), device_time=None if device is None else replace(device, source=source)
        )
        profile.self_check()
        return profile


def _preorder(paths: list[str]) -> list[str]:
    """Parents before children, children in the order in which they were first seen."""
    below: dict[str, list[str]] = {}
    for path in paths:
        if path:
            below.setdefault(path.rpartition(".")[0], []).append(path)
    ordered, pending = [], [""]
    while pending:
        path = pending.pop()
        ordered.append(path)
        pending += reversed(below.get(path, []))
    return ordered


def _add(sums: dict[tuple[int, int], list[int]], cell: tuple[int, int], count: int, took: int) -> None:
    total = sums.setdefault(cell, [0, 0])
    total[0] += count
    total[1] += took
