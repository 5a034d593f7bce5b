"""One problem in one mode: the accuracy, memory and time of every implementation, beside the machine's limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from pyprof import device as devices
from pyprof.attention.bounds import bound, least_bytes, rotations
from pyprof.attention.check import Accuracy, Standard
from pyprof.attention.copying import Copy
from pyprof.attention.kernel import describe, run
from pyprof.attention.kernel_time import InTurn, KernelStopwatch, host_seconds
from pyprof.attention.peers import Attend, Implementation, Variant
from pyprof.attention.problem import Inputs, Problem, make_inputs
from pyprof.attention.result import ProblemResult, Row
from pyprof.device.memory import resident_bytes
from pyprof.failures import Failure, attempt
from pyprof.ops.window_attention import flops
from pyprof.statistics.estimate import Estimate
from pyprof.timing.clock import Call, Stopwatch
from pyprof.timing.interleave import Interleaved, RoundLimits, interleave
from pyprof.timing.watch import Watch
from pyprof.timing.yardstick import Yardstick

# The machine's limit is measured as the rate of a square matrix product in the problem's dtype, of the size that fills
# the device unless a test has another one.
LIMIT_SIZE: int | None = None
_LIMIT = "(matmul)"
_COPY = "(copy)"


@dataclass(frozen=True)
class _Candidate:
    """A variant that is checked and ready to be timed."""

    impl: str
    label: str | None
    call: Call
    accuracy: Accuracy | None
    extra_bytes: int
    flops: int
    host_seconds: float | None = None

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
    useful, _ = flops(*problem.shape, problem.window, backward=mode == "backward", global_keys=problem.global_keys)
    moved = least_bytes(problem.shape, problem.torch_dtype.itemsize, mode)
    device = devices.of(problem.device)
    prepared = attempt(lambda: _candidates(problem, mode, implementations, tolerance))
    if isinstance(prepared, Failure):
        rows = tuple(Row(each.name, prepared.status, prepared.reason) for each in implementations)
        return ProblemResult(problem, mode, useful, None, 0, rows)
    candidates, failures = prepared
    calls = {candidate.name: candidate.call for candidate in candidates}
    size = LIMIT_SIZE or device.filling_size
    limit_work = Yardstick(problem.torch_device, problem.dtype, size)
    works: dict[str, Call] = {_LIMIT: limit_work}
    kernels = copy = None
    if device.has_own_time:
        works[_COPY] = copy = Copy(problem.torch_device)
        kernels = KernelStopwatch(device)
    with Watch(device.throttled) as watch:
        taken = interleave({**works, **calls}, limits, stopwatch or kernels or device.stopwatch(), watch=watch)
        noise = watch.noise()
    told = [share for name in taken.samples if (share := taken.waited(name, noise)) is not None]
    limit = _scaled(taken.seconds(_LIMIT), limit_work.flops) if _LIMIT in taken.samples else None
    bandwidth = _scaled(taken.seconds(_COPY), copy.moved) if copy is not None and _COPY in taken.samples else None
    rows = tuple(
        _on_device(row, own, moved, limit, bandwidth, kernels)
        for row, own in _rows(implementations, candidates, failures, taken, limit_work.flops)
    )
    rounds = max((len(samples) for samples in taken.samples.values()), default=0)
    held_up = max(told, default=None)
    no_records = None if kernels is None else kernels.reason
    machine = (size, held_up, noise.throttled, moved, bandwidth, no_records)
    return ProblemResult(problem, mode, useful, limit, rounds, rows, *machine)


def _candidates(
    problem: Problem, mode: str, implementations: Sequence[Implementation], tolerance: float
) -> tuple[list[_Candidate], dict[str, Failure]]:
    """The candidates of all implementations, and why some have none."""
    inputs = make_inputs(problem)
    standard = Standard.of(inputs)
    others = _turns(problem)
    candidates: list[_Candidate] = []
    failures: dict[str, Failure] = {}
    for implementation in implementations:
        variants = attempt(partial(_prepared, implementation, problem))
        if isinstance(variants, Failure):
            failures[implementation.name] = variants
            continue
        for variant in variants:
            candidate = attempt(partial(_candidate, implementation, variant, inputs, others, mode, standard, tolerance))
            if isinstance(candidate, _Candidate):
                candidates.append(candidate)
            else:
                failures.setdefault(implementation.name, candidate)
    return candidates, failures


def _prepared(implementation: Implementation, problem: Problem) -> list[Variant]:
    return list(implementation.variants(problem))


def _turns(problem: Problem) -> list[Inputs]:
    """Further inputs, which are called in turn with the first where a device has a cache that would keep them."""
    device = devices.of(problem.device)
    if device.cache_bytes is None:
        return []
    count = rotations(4 * problem.tensor_bytes, device.cache_bytes, device.free_memory().bytes)
    return [make_inputs(problem, seed) for seed in range(1, count)]


def _candidate(
    implementation: Implementation,
    variant: Variant,
    inputs: Inputs,
    others: Sequence[Inputs],
    mode: str,
    standard: Standard,
    tolerance: float,
) -> _Candidate | Failure:
    """A variant that was called once, with what that call showed; or why it is not timed."""
    backward = mode == "backward"
    results = run(lambda given: variant.attend(given.query, given.key, given.value), inputs, backward=backward)
    if isinstance(results, str):
        return Failure("error", results)
    if backward:
        del results["output"]
    # What computes something else (every key is seen, say) is right in another way.
    accuracy = standard.judge(results, tolerance) if implementation.windowed else None
    if accuracy is not None and accuracy.error == float("inf"):
        return Failure("error", f"its {accuracy.tensor} holds NaN or infinity")
    if accuracy is not None and implementation.foreign and accuracy.wrong:
        return Failure("error", describe(accuracy, inputs))
    del results
    extra = _extra_bytes(variant, inputs, backward=backward)
    make = backward_call if backward else forward_call
    calls = [make(variant.attend, each) for each in (inputs, *others)]
    device = devices.of(inputs.problem.device)
    call = InTurn(calls) if len(calls) > 1 else calls[0]
    host = host_seconds(device, call, device.stopwatch().clock) if device.has_own_time else None
    window = inputs.problem.window if implementation.windowed else (inputs.problem.length,) * 2
    useful, _ = flops(*inputs.problem.shape, window, backward=backward, global_keys=inputs.problem.global_keys)
    return _Candidate(implementation.name, variant.label, call, accuracy, extra, useful, host)


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
    limit_flops: int,
) -> Iterator[tuple[Row, _Candidate | None]]:
    """A row for each implementation, with its fastest variant, which is None where there is no figure."""
    first: str | None = None
    for implementation in implementations:
        impl = implementation.name
        own = [each for each in candidates if each.impl == impl]
        timed = {each.name: taken.seconds(each.name).value for each in own if each.name in taken.samples}
        if not timed:
            failed = next((taken.failures[each.name] for each in own), None) or failures[impl]
            yield Row(impl, failed.status, failed.reason), None
            continue
        best = min((each for each in own if each.name in timed), key=lambda each: timed[each.name])
        first = best.name if first is None else first
        seconds = taken.seconds(best.name)
        row = Row(
            impl,
            "ok",
            seconds=seconds,
            flops_per_second=best.flops / seconds.value,
            of_limit=_share(taken, best.name, best.flops / limit_flops),
            against=taken.ratio(best.name, first),
            extra_bytes=best.extra_bytes,
            accuracy=best.accuracy,
            variant=best.label,
            variants={each.label: timed[each.name] for each in own if each.label and each.name in timed},
            samples=tuple(taken.samples[best.name]),
        )
        yield row, best


def _on_device(
    row: Row,
    own: _Candidate | None,
    moved: int,
    limit: Estimate | None,
    bandwidth: Estimate | None,
    kernels: KernelStopwatch | None,
) -> Row:
    """The row with what is told of a device that works beside the host: see `Row`."""
    seconds = row.seconds
    if own is None or kernels is None or seconds is None:
        return row
    row = replace(row, timed_by=kernels.timed_by(own.call), host_seconds=own.host_seconds)
    if limit is None or bandwidth is None:
        return row
    least = bound(own.flops, moved, limit.value, bandwidth.value)
    return replace(row, bound_by=least.by, of_bound=least.seconds / seconds.value)


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
