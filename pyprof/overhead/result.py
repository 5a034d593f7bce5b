"""The measured overhead: a row for each tool, with its figures or the reason why it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pyprof.failures import Status
from pyprof.overhead.accuracy import Errors
from pyprof.overhead.empty_module import Added
from pyprof.overhead.request import OverheadRequest
from pyprof.records.environment import Environment
from pyprof.records.noise import Noise
from pyprof.records.trust import Judgement, of_share
from pyprof.statistics.estimate import Estimate


@dataclass(frozen=True)
class Row:
    """What one tool costs. Figures are None where there are none; `reason` says why there is no step under the tool.

    `ratio` is how many times as long a step takes under the tool, `samples` are its steps in nanoseconds, one for each
    round, and `timed` is what is part of them beside the step. `call` is what the tool adds to one call of a module,
    `event_bytes` what it keeps of it (counted as `bytes_by` says), and `errors` how far its layer times are off from
    the truth. `gaps` has the reasons of single figures that are missing.
    """

    tool: str
    status: Status
    timed: str
    reason: str | None = None
    ratio: Estimate | None = None
    samples: tuple[int, ...] = ()
    call: Added | None = None
    event_bytes: float | None = None
    bytes_by: str | None = None
    errors: Errors | None = None
    gaps: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stated:
    """What a profile of the same step says of its own overhead, from as many `rounds` of its own.

    `step` is a step without probes, in seconds, `ratio` how many times as long one with them takes; `calls` of layers
    and backward `nodes` are those of one step.
    """

    calls: float
    nodes: float
    step: Estimate
    ratio: Estimate
    rounds: int


@dataclass(frozen=True)
class ModeResult:
    """All tools in one mode. `step` is a step without a profiler, in seconds, `samples` its raw times in nanoseconds.

    `plain_call_ns` is the shortest call of a module that does nothing, and `unseen_call_ns` what a call needs in the
    model of known durations, both without a profiler. `held_up` is the share of a typical step in which threads of this
    process waited for other processes, None where the system doesn't tell.
    """

    mode: str
    attention: str
    step: Estimate | None
    samples: tuple[int, ...]
    stopped_by: str
    rows: tuple[Row, ...]
    plain_call_ns: float
    unseen_call_ns: float
    stated: Stated
    noise: Noise
    held_up: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def rounds(self) -> int:
        return len(self.samples)

    @property
    def trust(self) -> Judgement | None:
        """Whether to trust the steps' times, and what to do where not; None where the system doesn't tell."""
        return of_share(self.held_up, self.noise.throttled)

    def row(self, tool: str) -> Row | None:
        """The row of a tool."""
        return next((row for row in self.rows if row.tool == tool), None)

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "noise": self.noise.to_json(),
            "trust": None if self.trust is None else asdict(self.trust),
            "rounds": self.rounds,
        }


@dataclass(frozen=True)
class Overhead:
    """The overhead of all tools on one model, mode by mode. `unit` is what the model's length counts."""

    request: OverheadRequest
    unit: str
    environment: Environment
    modes: tuple[ModeResult, ...]

    @property
    def failed(self) -> int:
        """How many tools are installed and failed, over all modes."""
        return sum(row.status in ("error", "oom") for mode in self.modes for row in mode.rows)

    def to_json(self) -> dict[str, Any]:
        """One JSON object: what was requested, where it ran, and what was measured."""
        return {
            **self.request.to_json(),
            "unit": self.unit,
            "environment": self.environment.to_json(),
            "modes": [mode.to_json() for mode in self.modes],
        }
