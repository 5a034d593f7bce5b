"""A captured step beside an eager one: where the two do not run the same kernels. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pyprof.layers.profile import Profile
from pyprof.quantity import plural

# Sentences beyond these are counted only.
_SHOWN = 5
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class OtherPath:
    """A layer that runs other kernels when it is captured: `eager` and `captured` are how many in a step.

    `path` is the first of `layers` whose paths differ in their numbers only, and which differ alike.
    """

    path: str
    layers: int
    eager: float
    captured: float

    def __str__(self) -> str:
        more = f" and {self.layers - 1} more" if self.layers > 1 else ""
        return f"{self.path or 'the model'}{more}: {self.captured:g} kernels captured, {self.eager:g} eager"


def other_paths(eager: Mapping[str, float], captured: Mapping[str, float]) -> tuple[OtherPath, ...]:
    """The layers with other numbers of kernels of their own, by path; a path that is not there has none."""
    groups: dict[tuple[str, float, float], list[str]] = {}
    for path in dict.fromkeys((*eager, *captured)):
        counts = eager.get(path, 0.0), captured.get(path, 0.0)
        if counts[0] != counts[1]:
            groups.setdefault((_NUMBER.sub("#", path), *counts), []).append(path)
    return tuple(OtherPath(paths[0], len(paths), *counts) for (_, *counts), paths in groups.items())


def other_kernels(eager: Mapping[str, float], captured: Mapping[str, float]) -> tuple[str, ...]:
    """The names of the kernels that only one of the two steps runs, or that they run at different counts."""
    return tuple(name for name in dict.fromkeys((*eager, *captured)) if eager.get(name, 0) != captured.get(name, 0))


def captured_notes(eager: Profile, captured: Profile) -> tuple[str, ...]:
    """What a reader of a captured step's profile should know, a sentence each."""
    if eager.device_time is None or captured.device_time is None:
        return (
            "the step was captured into a CUDA graph: a replay calls no layer, so they have no times here, and whether "
            "it takes another path than the eager step is not known",
        )
    paths = other_paths(*(_own_kernels(profile) for profile in (eager, captured)))
    kernels = other_kernels(
        {kernel.short: kernel.count for kernel in eager.device_time.kernels},
        {kernel.short: kernel.count for kernel in captured.device_time.kernels},
    )
    if not paths and not kernels:
        return ("the captured step runs the kernels of the eager one",)
    said = [f"captured, the step takes another path than eager: {path}" for path in paths[:_SHOWN]]
    if len(paths) > _SHOWN:
        said.append(f"captured, {plural(len(paths) - _SHOWN, 'more layer')} run other numbers of kernels than eager")
    if kernels:
        more = f" and {len(kernels) - _SHOWN} more" if len(kernels) > _SHOWN else ""
        said.append(f"kernels that the two do not run alike: {', '.join(kernels[:_SHOWN])}{more}")
    return tuple(said)


def _own_kernels(profile: Profile) -> dict[str, float]:
    assert profile.device_time is not None
    counts: dict[str, float] = {}
    for layer, work in zip(profile.layers, profile.device_time.layers, strict=True):
        backward = 0.0 if work.own_backward is None else work.own_backward.kernels
        counts[layer.path] = work.own_forward.kernels + backward
    return counts
