"""One problem in one mode: the accuracy, memory and time of every implementation, beside the machine's limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyprof import device as devices
from pyprof.attention.check import Accuracy, Standard
from pyprof.attention.kernel import describe, run
from pyprof.attention.peers import Attend, Implementation, Variant
from pyprof.attention.problem import Inputs, Problem, make_inputs
from pyprof.device.memory import resident_bytes
from pyprof.failures import Failure, Status, attempt
from pyprof.statistics.estimate import Estimate
from pyprof.timing.clock import Call, Stopwatch
from pyprof.timing.interleave import Interleaved, RoundLimits, interleave
from pyprof.timing.watch import Watch
from pyprof.timing.yardstick import Yardstick

# The machine's limit is measured as the rate of a square matrix product in the problem's dtype, of the size that fills
# the device unless a test has another one.
LIMIT_SIZE: int | None = None
_LIMIT = "(matmul)"


@dataclass(frozen=True)
class Row:
    """The figures of one implementation. They are None where there are none, and `reason` says why.

    `seconds` is the median of a call with its interval, `samples` the raw times in nanoseconds, a round each.
    `flops_per_second` counts useful operations only. `of_limit` is the share of the rate of the matrix product in the
    same rounds, `against` how many times as long as the first implementation it takes, both paired by round.
    `extra_bytes` are the peak beyond inputs and results, prepared masks included: of a forward without gradients, or of
    a forward and backward together. `variant` is the fastest one of those in `variants` (median seconds of each).
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
    useful operations of a call. `held_up` is the largest share of a typical call of one of the rows in which threads of
    this process waited for other processes, and `throttled` whether a clock was lowered, both None where nothing tells.
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
            "rounds": self.rounds,
            "held_up": self.held_up,
            "throttled": self.throttled,
            "rows": [row.to_json() for row in self.rows],
        }


@dataclass(frozen=True)
class _Candidate:
    """A variant that is checked and ready to be timed."""

    impl: str
    label: str | None
    call: Call
    accuracy: Accuracy
    extra_bytes: int

    @property
    def name(self) -> str:
        return self.impl if self.label is None else f"{self.impl}, {self.label}"


def measure(
    problem: Problem,
    mode: str,
    implementations: Sequence[Implementation],
    limits: RoundLimits,
    *,
    tolerance: float,
    stopwatch: Stopwatch | None = None,
) -> ProblemResult:
    """Check, weigh and time every implementation on one problem; what fails is a row with its reason."""
    from pyprof.ops.window_attention import flops

    useful, _ = flops(*problem.shape, problem.window, backward=mode == "backward")
    prepared = attempt(lambda: _candidates(problem, mode, implementations, tolerance))
    if isinstance(prepared, Failure):
        rows = tuple(Row(each.name, prepared.status, prepared.reason) for each in implementations)
        return ProblemResult(problem, mode, useful, None, 0, rows)
    candidates, failures = prepared
    calls = {candidate.name: candidate.call for candidate in candidates}
    size = LIMIT_SIZE or devices.of(problem.device).filling_size
    limit_work = Yardstick(problem.torch_device, problem.dtype, size)
    device = devices.of(problem.device)
    with Watch(device.throttled) as watch:
        taken = interleave({_LIMIT: limit_work, **calls}, limits, stopwatch or device.stopwatch(), watch=watch)
        noise = watch.noise()
    told = [share for name in taken.samples if (share := taken.waited(name, noise)) is not None]
    rows = tuple(_rows(implementations, candidates, failures, taken, useful, limit_work.flops))
    limit = _scaled(taken.seconds(_LIMIT), limit_work.flops) if _LIMIT in taken.samples else None
    rounds = max((len(samples) for samples in taken.samples.values()), default=0)
    return ProblemResult(problem, mode, useful, limit, rounds, rows, size, max(told, default=None), noise.throttled)


def _candidates(
    problem: Problem, mode: str, implementations: Sequence[Implementation], tolerance: float
) -> tuple[list[_Candidate], dict[str, Failure]]:
    """The candidates of all implementations, and why some have none."""
    inputs = make_inputs(problem)
    standard = Standard.of(inputs)
    candidates: list[_Candidate] = []
    failures: dict[str, Failure] = {}
    for implementation in implementations:
        variants = attempt(partial(_prepared, implementation, problem))
        if isinstance(variants, Failure):
            failures[implementation.name] = variants
            continue
        for variant in variants:
            candidate = attempt(partial(_candidate, implementation, variant, inputs, mode, standard, tolerance))
            if isinstance(candidate, _Candidate):
                candidates.append(candidate)
            else:
                failures.setdefault(implementation.name, candidate)
    return candidates, failures


def _prepared(implementation: Implementation, problem: Problem) -> list[Variant]:
    return list(implementation.variants(problem))


def _candidate(
    implementation: Implementation, variant: Variant, inputs: Inputs, mode: str, standard: Standard, tolerance: float
) -> _Candidate | Failure:
    """A variant that was called once, with what that call showed; or why it is not timed."""
    backward = mode == "backward"
    results = run(lambda given: variant.attend(given.query, given.key, given.value), inputs, backward=backward)
    if isinstance(results, str):
        return Failure("error", results)
    if backward:
        del results["output"]
    accuracy = standard.judge(results, tolerance)
    if accuracy.error == float("inf"):
        return Failure("error", f"its {accuracy.tensor} holds NaN or infinity")
    if implementation.foreign and accuracy.wrong:
        return Failure("error", describe(accuracy, inputs))
    del results
    extra = _extra_bytes(variant, inputs, backward=backward)
    call = backward_call(variant.attend, inputs) if backward else forward_call(variant.attend, inputs)
    return _Candidate(implementation.name, variant.label, call, accuracy, extra)


def forward_call(attend: Attend, inputs: Inputs) -> Call:
    """The forward without gradients."""

    def call() -> Tensor:
        with torch.no_grad():
            return attend(inputs.query, inputs.key, inputs.value)

    return call


def backward_call(attend: Attend, inputs: Inputs) -> Call:
    """The backward alone: the forward's graph is made here and kept from call to call."""
    leaves = tuple(tensor.detach().requires_grad_() for tensor in (inputs.query, inputs.key, inputs.value))
    output = attend(*leaves)

    def call() -> tuple[Tensor, ...]:
        return torch.autograd.grad(output, leaves, inputs.grad_output, retain_graph=True)

    return call


def _extra_bytes(variant: Variant, inputs: Inputs, *, backward: bool) -> int:
    """The peak beyond inputs, output and gradients, what was prepared included, in bytes."""
    leaves = tuple(tensor.detach().requires_grad_(backward) for tensor in (inputs.query, inputs.key, inputs.value))

    def call() -> object:
        with torch.set_grad_enabled(backward):
            output = variant.attend(*leaves)
            return (output, torch.autograd.grad(output, leaves, inputs.grad_output)) if backward else output

    results = (4 if backward else 1) * inputs.problem.tensor_bytes
    peak = devices.of(inputs.problem.device).peak_memory(call).peak
    return max(0, peak - results) + resident_bytes(None, variant.state)


def _rows(
    implementations: Sequence[Implementation],
    candidates: Sequence[_Candidate],
    failures: Mapping[str, Failure],
    taken: Interleaved,
    useful: int,
    limit_flops: int,
) -> Iterator[Row]:
    """A row for each implementation, with its fastest variant."""
    first: str | None = None
    for implementation in implementations:
        impl = implementation.name
        own = [each for each in candidates if each.impl == impl]
        timed = {each.name: taken.seconds(each.name).value for each in own if each.name in taken.samples}
        if not timed:
            failed = next((taken.failures[each.name] for each in own), None) or failures[impl]
            yield Row(impl, failed.status, failed.reason)
            continue
        best = min((each for each in own if each.name in timed), key=lambda each: timed[each.name])
        first = best.name if first is None else first
        seconds = taken.seconds(best.name)
        yield Row(
            impl,
            "ok",
            seconds=seconds,
            flops_per_second=useful / seconds.value,
            of_limit=_share(taken, best.name, useful / limit_flops),
            against=taken.ratio(best.name, first),
            extra_bytes=best.extra_bytes,
            accuracy=best.accuracy,
            variant=best.label,
            variants={each.label: timed[each.name] for each in own if each.label and each.name in timed},
            samples=tuple(taken.samples[best.name]),
        )


def _share(taken: Interleaved, name: str, work: float) -> Estimate | None:
    """The share of the limit's rate that a candidate reaches; `work` is its useful work over the limit's."""
    if _LIMIT not in taken.samples:
        return None
    times = taken.ratio(_LIMIT, name)
    bounds = [None if bound is None else bound * work for bound in (times.low, times.high)]
    return Estimate(times.value * work, *bounds)


def _scaled(seconds: Estimate, work: float) -> Estimate:
    """The rate of some work in so many seconds."""
    if seconds.low is None or seconds.high is None:
        return Estimate(work / seconds.value)
    return Estimate(work / seconds.value, work / seconds.high, work / seconds.low)
