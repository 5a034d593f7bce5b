"""The comparison: all implementations on every problem in every mode, beside the machine's measured limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyprof.attention import kernel, peers
from pyprof.attention.check import TOLERANCE, check_tolerance
from pyprof.attention.kernel import Kernel
from pyprof.attention.measure import measure
from pyprof.attention.problem import Problem
from pyprof.attention.result import ProblemResult
from pyprof.errors import UsageError
from pyprof.machine.environment import current_environment
from pyprof.records.trust import Judgement, of_shares
from pyprof.timing.interleave import RoundLimits

if TYPE_CHECKING:
    from pyprof.records.environment import Environment

SCHEMA = 1
MODES = ("forward", "backward")


@dataclass(frozen=True)
class Grid:
    """What to compare: every length x window x dtype, each in every mode.

    `windows` are (left, right) neighbours without the token itself; the first `global_keys` keys are seen beside them.
    `impls` are names (see `peers.names`), `auto` being pyprof's own; the others are compared with the first one.
    `kernels` maps names to functions of the user's, see `Kernel`. `care` is for each problem and mode. An
    implementation is accurate as long as it is off by at most `tolerance` times the error of the same-dtype eager
    result; a kernel of the user's that is off by more than twice that is refused.
    """

    lengths: tuple[int, ...] = (512, 1024, 2500)
    windows: tuple[tuple[int, int], ...] = ((16, 16), (50, 50))
    dtypes: tuple[str, ...] = ("float32",)
    modes: tuple[str, ...] = MODES
    impls: tuple[str, ...] = ("auto", "sdpa", "chunks")
    kernels: Mapping[str, Callable[..., Tensor]] = field(default_factory=dict)
    batch: int = 1
    heads: int = 12
    head_dim: int = 64
    device: str = "cpu"
    global_keys: int = 0
    care: RoundLimits = field(default_factory=RoundLimits)
    tolerance: float = TOLERANCE
    seed: int = 0

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance)
        unknown = sorted(set(self.modes) - set(MODES))
        if unknown:
            raise UsageError(f"there is no mode {unknown[0]!r}: choose from {', '.join(MODES)}")
        for name in ("lengths", "windows", "dtypes", "modes"):
            if not getattr(self, name):
                raise UsageError(f"a comparison needs {name}: give at least one")
        if not self.impls and not self.kernels:
            raise UsageError("a comparison needs implementations: give at least one")

    def problems(self) -> list[Problem]:
        """All problems, dtype by dtype; raises UsageError for a senseless one."""
        return [
            Problem(length, window, self.batch, self.heads, self.head_dim, dtype, self.device, self.global_keys)
            for dtype, length, window in product(self.dtypes, self.lengths, self.windows)
        ]

    def implementations(self) -> list[peers.Implementation]:
        """What is compared, each name once; raises UsageError for an unknown one."""
        implementations = [peers.find(name, self.device) for name in self.impls]
        implementations += [Kernel.of(name, function).implementation() for name, function in self.kernels.items()]
        return list({implementation.name: implementation for implementation in implementations}.values())

    def to_json(self) -> dict[str, Any]:
        plain = {name: value for name, value in vars(self).items() if name != "kernels"}
        plain["windows"] = [list(window) for window in self.windows]
        return {**plain, "care": asdict(self.care), "kernels": list(self.kernels)}


@dataclass(frozen=True)
class Comparison:
    """All results; `complete` is false where the user stopped before the last one."""

    grid: Grid
    environment: Environment
    results: tuple[ProblemResult, ...]
    complete: bool = True

    @property
    def failed(self) -> int:
        """How many rows have no figure though the implementation should have given one."""
        return sum(row.status in ("oom", "error") for result in self.results for row in result.rows)

    @property
    def trust(self) -> Judgement | None:
        """Whether to trust the times, and what to do where not; None where nothing tells."""
        told = [(_named(each), each.held_up) for each in self.results if each.held_up is not None]
        throttled = any(each.throttled for each in self.results)
        return of_shares(told, "problem", throttled)

    def to_json(self) -> dict[str, Any]:
        """One JSON document; times in seconds, samples in nanoseconds, sizes in bytes, ratios as they are."""
        return {
            "schema": SCHEMA,
            "complete": self.complete,
            "environment": self.environment.to_json(),
            "trust": None if self.trust is None else asdict(self.trust),
            "plan": self.grid.to_json(),
            "contests": [result.to_json() for result in self.results],
        }


def _named(result: ProblemResult) -> str:
    """A problem in a sentence on a grid whose other settings are known."""
    left, right = result.problem.window
    return f"{result.mode} {result.problem.dtype} {result.problem.length:,}, {left}+{right}"


Progress = Callable[[int, int, ProblemResult | None, str], None]


def measured(grid: Grid, progress: Progress | None = None) -> Iterator[ProblemResult]:
    """Measure the problems of a grid one by one, in each mode. The user's kernels are checked before the first one.

    `progress` is called with how many results there are, how many there will be, the latest one (None before it) and
    what is going on in words. Raises UsageError for a senseless grid and for a kernel that is wrong.
    """
    report: Progress = (lambda *_: None) if progress is None else progress
    problems, implementations = grid.problems(), grid.implementations()
    total = len(problems) * len(grid.modes)
    for name, function in grid.kernels.items():
        report(0, total, None, f"checking {name}")
        kernel.check(Kernel.of(name, function), problems, backward="backward" in grid.modes, tolerance=grid.tolerance)
    done = 0
    for problem in problems:
        for mode in grid.modes:
            report(done, total, None, f"{problem}, {mode}")
            result = measure(problem, mode, implementations, grid.care, tolerance=grid.tolerance)
            done += 1
            report(done, total, result, f"{problem}, {mode}")
            yield result


def compare(grid: Grid, progress: Progress | None = None) -> Comparison:
    """Measure all problems of a grid; see `measured`."""
    results = tuple(measured(grid, progress))
    return Comparison(grid, current_environment(), results)
