"""The comparison: for every problem and mode a contest of all implementations, beside the machine's measured limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from torch import Tensor

from pyprof.attention import kernel, peers
from pyprof.attention.check import TOLERANCE
from pyprof.attention.contest import Contest, hold
from pyprof.attention.kernel import Kernel
from pyprof.attention.problem import Problem
from pyprof.errors import UsageError
from pyprof.machine.environment import current_environment
from pyprof.records.environment import Environment
from pyprof.timing.interleave import RoundLimits

SCHEMA = 1
MODES = ("forward", "backward")


@dataclass(frozen=True)
class Plan:
    """What to compare: every length x window x dtype, each in every mode.

    `windows` are (left, right) neighbours without the token itself. `impls` are names (see `peers.names`), `auto` being
    pyprof's own; the first one is what the others are held against. `kernels` maps names to functions of the user's,
    see `Kernel`. `care` is for each problem and mode. An implementation is accurate as long as it is off by at most
    `tolerance` times the error of the same-dtype eager result; a kernel of the user's that is off by more than twice
    that is refused.
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
    care: RoundLimits = field(default_factory=RoundLimits)
    tolerance: float = TOLERANCE
    seed: int = 0

    def __post_init__(self) -> None:
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
            Problem(length, window, self.batch, self.heads, self.head_dim, dtype, self.device)
            for dtype, length, window in product(self.dtypes, self.lengths, self.windows)
        ]

    def implementations(self) -> list[peers.Implementation]:
        """What is compared, each name once; raises UsageError for an unknown one."""
        found = [peers.find(name, self.device) for name in self.impls]
        found += [Kernel.of(name, function).implementation() for name, function in self.kernels.items()]
        return list({one.name: one for one in found}.values())

    def to_json(self) -> dict[str, Any]:
        plain = {name: value for name, value in vars(self).items() if name != "kernels"}
        plain["windows"] = [list(window) for window in self.windows]
        return {**plain, "care": asdict(self.care), "kernels": list(self.kernels)}


@dataclass(frozen=True)
class Comparison:
    """All contests that were held; `complete` is false where the user stopped before the last one."""

    plan: Plan
    environment: Environment
    contests: tuple[Contest, ...]
    complete: bool = True

    @property
    def failed(self) -> int:
        """How many rows have no figure though the implementation should have given one."""
        return sum(row.status in ("oom", "error") for contest in self.contests for row in contest.rows)

    def to_json(self) -> dict[str, Any]:
        """One JSON document; times in seconds, samples in nanoseconds, sizes in bytes, ratios as they are."""
        return {
            "schema": SCHEMA,
            "complete": self.complete,
            "environment": self.environment.to_json(),
            "plan": self.plan.to_json(),
            "contests": [contest.to_json() for contest in self.contests],
        }


Progress = Callable[[int, int, Contest | None, str], None]


def contests(plan: Plan, progress: Progress | None = None) -> Iterator[Contest]:
    """Hold the contests of a plan one by one. The user's kernels are checked before the first one.

    `progress` is called with how many contests are done, how many there are, the one just held (None before it) and
    what is going on in words. Raises UsageError for a senseless plan and for a kernel that is wrong.
    """
    tell: Progress = (lambda *_: None) if progress is None else progress
    problems, implementations = plan.problems(), plan.implementations()
    total = len(problems) * len(plan.modes)
    for name, function in plan.kernels.items():
        tell(0, total, None, f"checking {name}")
        kernel.check(Kernel.of(name, function), problems, backward="backward" in plan.modes, tolerance=plan.tolerance)
    done = 0
    for problem in problems:
        for mode in plan.modes:
            tell(done, total, None, f"{problem}, {mode}")
            held = hold(problem, mode, implementations, plan.care, tolerance=plan.tolerance)
            done += 1
            tell(done, total, held, f"{problem}, {mode}")
            yield held


def compare(plan: Plan, progress: Progress | None = None) -> Comparison:
    """Hold all contests of a plan; see `contests`."""
    held = tuple(contests(plan, progress))
    return Comparison(plan, current_environment(), held)
