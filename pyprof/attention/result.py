"""What came of one problem in one mode: a row for each implementation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pyprof.attention.check import Accuracy
from pyprof.attention.problem import Problem
from pyprof.failures import Status
from pyprof.statistics.estimate import Estimate


@dataclass(frozen=True)
class Row:
    """The figures of one implementation. They are None where there are none, and `reason` says why.

    `seconds` is the median of a call with its interval, `samples` the raw times in nanoseconds, a round each.
    `flops_per_second` counts useful operations only. `of_limit` is the share of the rate of the matrix product in the
    same rounds, `against` how many times as long as the first implementation it takes, both paired by round.
    `extra_bytes` are the peak beyond inputs and results, prepared masks included: of a forward without gradients, or of
    a forward and backward together. `variant` is the fastest one of those in `variants` (median seconds of each).

    On a device that works beside the host the times are the device's own, `timed_by` says how they were taken
    (kernels, graph, events: see `KernelStopwatch`), and `host_seconds` is what a call takes the host. `bound_by`
    (compute, memory) is what the useful work is limited by there, and `of_bound` the share of that limit that is
    reached. One that computes something else has its own useful work, and no accuracy.
    """

    impl: str
    status: Status
    reason: str | None = None
    seconds: Estimate | None = None
    flops_per_second: float | None = None
    of_limit: Estimate | None = None
    against: Estimate | None = None
    extra_bytes: int | None = None
    accuracy: Accuracy | None = None
    variant: str | None = None
    variants: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[int, ...] = ()
    timed_by: str = "host"
    host_seconds: float | None = None
    bound_by: str | None = None
    of_bound: float | None = None

    def to_json(self) -> dict[str, Any]:
        plain = asdict(replace(self, accuracy=None))
        if self.accuracy is not None:
            accuracy = self.accuracy
            plain["accuracy"] = {**asdict(accuracy), "times_eager": accuracy.times_eager, "holds": accuracy.holds}
        return plain


@dataclass(frozen=True)
class ProblemResult:
    """All rows of one problem in one mode.

    `limit` is the rate in FLOP/s of the product of two square matrices of the side `limit_size`, `flops` counts the
    useful operations of a call, `least_bytes` what it has to move. `bandwidth` is that of a copy in bytes a second,
    read and written ones, on a device that works beside the host; None elsewhere. `held_up` is the largest share of a
    typical call of one of the rows in which threads of this process waited for other processes, and `throttled` whether
    a clock was lowered, both None where nothing tells. `no_records` says why the records of a device's work could not
    be had, None where they could or where there is no such device.
    """

    problem: Problem
    mode: str
    flops: int
    limit: Estimate | None
    rounds: int
    rows: tuple[Row, ...]
    limit_size: int = 0
    held_up: float | None = None
    throttled: bool | None = None
    least_bytes: int = 0
    bandwidth: Estimate | None = None
    no_records: str | None = None

    def row(self, impl: str) -> Row | None:
        """The row of an implementation."""
        return next((row for row in self.rows if row.impl == impl), None)

    def to_json(self) -> dict[str, Any]:
        return {
            "problem": self.problem.to_json(),
            "mode": self.mode,
            "flops": self.flops,
            "limit_flops_per_second": None if self.limit is None else asdict(self.limit),
            "limit_size": self.limit_size,
            "least_bytes": self.least_bytes,
            "bandwidth_bytes_per_second": None if self.bandwidth is None else asdict(self.bandwidth),
            "rounds": self.rounds,
            "held_up": self.held_up,
            "throttled": self.throttled,
            "no_records": self.no_records,
            "rows": [row.to_json() for row in self.rows],
        }
